"""Annotations of GitHub Actions: well-formed commands, five at most, which no name in the run can add to."""

from __future__ import annotations

import io
import re

from kddoctor.report.github import MOST, commands_off, render_github
from tests.report.files.conftest import HOSTILE

COMMAND = re.compile(r"::(error|warning|notice) file=([^,:]+),line=(\d+),title=([^,:\r\n]*)::([^\r\n]*)\n")


def test_a_cause_is_an_error_on_the_line_of_its_key(cases):
    case = cases["alpha"]
    level, file, line, title, message = COMMAND.fullmatch(render_github(*case)).groups()
    assert (level, title[:5]) == ("error", "KD207")
    assert file.endswith("kd_run.yaml")
    assert "alpha" in (case.run.path / "kd_run.yaml").read_text().splitlines()[int(line) - 1]
    assert "%0Afix: " in message


def test_a_healthy_run_is_annotated_with_nothing(cases):
    assert render_github(*cases["healthy"]) == ""


def test_a_run_that_nobody_can_judge_is_one_warning(cases):
    (found,) = COMMAND.findall(render_github(*cases["inconclusive"]))
    assert found[0] == "warning"
    assert "record" in found[4]


def test_only_the_first_causes_are_annotated(cases):
    diagnosis, run = cases["sick"]
    many = diagnosis.model_copy(update={"findings": diagnosis.causes[:1] * (MOST + 3)})
    assert len(render_github(many, run).splitlines()) == MOST


def test_hostile_names_stay_inside_their_command(hostile):
    text = render_github(*hostile)
    assert COMMAND.sub("", text) == ""
    title, message = COMMAND.findall(text)[0][3:]
    assert "100%25%2Ca%3Ab" in title
    assert "100%25,a:b" in message


def test_what_is_printed_inside_holds_no_way_out(hostile):
    stream = io.StringIO()
    with commands_off(hostile.diagnosis, stream):
        stream.write(HOSTILE + "\n")
    first, *inside, last = stream.getvalue().splitlines()
    token = first.removeprefix("::stop-commands::")
    assert last == f"::{token}::"
    assert all(token not in line for line in inside)
