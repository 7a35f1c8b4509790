"""Markdown: the verdict first and last, everything of the diagnosis, and names that stay text."""

from __future__ import annotations

import re

import pytest
from markdown_it import MarkdownIt

from kddoctor.report.markdown import escaped, render_markdown
from tests.report.files.conftest import HOSTILE

WORDS = {"sick": "**SICK**", "healthy": "**HEALTHY**", "inconclusive": "**CANNOT TELL**"}


def html(text: str) -> str:
    """As a forge shows it."""
    return MarkdownIt("gfm-like", {"linkify": False, "html": True}).render(text)


@pytest.mark.parametrize("verdict", WORDS)
def test_the_verdict_stands_first_and_last(cases, verdict):
    lines = [line for line in render_markdown(*cases[verdict]).splitlines() if line]
    assert lines[1].startswith(WORDS[verdict])
    assert lines[-1] == lines[1]


def test_a_cause_has_a_row_evidence_and_a_fix(cases):
    text = render_markdown(*cases["sick"])
    (cause, *_) = cases["sick"].diagnosis.causes
    assert re.search(rf"^\| 1 \| KD201 \|.*\| error \| {cause.confidence:.2f} \|$", text, re.MULTILINE)
    assert "- for: " in text
    assert "- fix: " in text
    assert "kddoctor explain KD201" in text


@pytest.mark.parametrize("verdict", WORDS)
def test_every_code_that_was_looked_for_is_named(cases, verdict):
    diagnosis, text = cases[verdict].diagnosis, render_markdown(*cases[verdict])
    codes = {*diagnosis.ruled_out, *diagnosis.undecided, *(i.code for i in diagnosis.not_examined)}
    assert codes | {f.code for f in diagnosis.findings} <= set(re.findall(r"KD\d{3}", text))


def test_an_inconclusive_run_says_what_to_record(cases):
    text = render_markdown(*cases["inconclusive"])
    assert "To get an answer, record more" in text
    for line in cases["inconclusive"].diagnosis.advice:
        assert escaped(line) in text


def test_hostile_names_are_shown_as_they_stand(hostile):
    shown = html(render_markdown(*hostile))
    assert "&lt;script&gt;alert(1)&lt;/script&gt; [x](http" in shown
    for tag in ("<script", "<a ", "<em", "<img"):
        assert tag not in shown


def test_a_hostile_name_breaks_no_table(hostile):
    shown = html(render_markdown(*hostile))
    row = re.search(r"<tr>\s*<td>1</td>.*?</tr>", shown, re.DOTALL)
    assert row is not None
    assert row[0].count("<td>") == 5


def test_nobody_is_mentioned_and_no_address_becomes_a_link():
    line = escaped(HOSTILE)
    assert "@octocat" not in line
    assert "<a " not in MarkdownIt("gfm-like", {"linkify": False}).render(line)
    assert "http:" not in line
    assert "\n" not in line
