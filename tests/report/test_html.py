"""The HTML report as text: one file, the same bytes, nothing of the record unescaped."""

import html
import json
import re
from functools import cache
from html.parser import HTMLParser

import pytest

from kddoctor.errors import RunError
from kddoctor.report.html import render_html
from kddoctor.report.html.cause_cards import inline_markup
from kddoctor.report.html.palette import DARK, LIGHT, VARIABLES
from kddoctor.run import load
from tests.builders import recorded_run
from tests.report.runs import misaligned, subject, treated
from tests.treatment.recorded import sick_run

#: Contrast that WCAG 2.2 asks of pictures and of text (1.4.11, 1.4.3).
GRAPHIC, TEXT = 3.0, 4.5
TEXT_ROLES = ("fg", "soft", "link", "removed", "added")
PICTURE_ROLES = ("teacher", "student", "alone", "good")


@pytest.fixture(scope="session")
def page(subjects):
    """``page("sick")``: the report of a kind of run."""
    return cache(lambda kind: rendered(subjects(kind)))


def rendered(of, **changes):
    return render_html(of.diagnosis, of.run, measured=of.measured, **changes)


class Elements(HTMLParser):
    """Start tags with their attributes."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def all_text(text):
    return html.unescape(re.sub(r"<[^>]*>", "", text))


def headings(text):
    return [all_text(found) for found in re.findall(r"<h2[^>]*>(.*?)</h2>", text)]


def test_the_same_run_gives_the_same_bytes(page, subjects):
    of = subjects("sick")
    assert render_html(of.diagnosis, of.run) == page("sick")


@pytest.mark.parametrize("kind", ["sick", "multiclass", "thin", "top-k tokens", "treated", "binary", "tokens"])
def test_ids_are_there_once_and_every_link_leads_somewhere(kind, page):
    elements = Elements(page(kind)).found
    ids = [attrs["id"] for _, attrs in elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    links = {attrs["href"] for _, attrs in elements if "href" in attrs and not attrs["href"].startswith("data:image/")}
    assert links <= {f"#{own}" for own in ids}


@pytest.mark.parametrize("kind", ["sick", "multiclass"])
def test_nothing_is_loaded_from_anywhere(kind, page):
    for tag, attrs in Elements(page(kind)).found:
        assert "src" not in attrs, tag
        assert not attrs.get("href", "#").startswith(("http", "//", "file:")), tag


def test_sections_stand_in_their_order(page):
    text = page("multiclass")
    assert headings(text) == [
        "What to do next",
        "Causes",
        "Where did the points go?",
        "Is the teacher's signal soft enough?",
        "The loss and the training",
        "The layers",
        "Examples and classes",
        "Can the confidences be believed?",
        "Was it worth it?",
        "What was tested",
        "How this was measured",
    ]


def test_what_was_not_recorded_is_named_with_the_way_to_record_it(page):
    text = page("thin")
    assert "The layers" not in headings(text)
    assert "To see it, record layers of both models with kddoctor.record" in all_text(text)


def test_a_cause_has_evidence_fix_and_its_explain_page(page, subjects):
    of = subjects("sick")
    text = all_text(page("sick"))
    cause = of.diagnosis.causes[0]
    for item in cause.evidence:
        assert item.text in text
    assert "+ treatment.pairing: online" in text
    assert "What it checks" in text
    assert f"kddoctor explain {cause.code}" in text


def test_a_script_of_the_user_gets_the_fix_in_its_own_arguments(tmp_path):
    code = {"entry": "blobs.py --squared false", "keys": {"distillation.temperature_squared": "--squared"}}
    text = all_text(rendered(subject(sick_run(tmp_path / "run", code=code))))
    assert "+ python blobs.py --squared true" in text
    assert "+ distillation.temperature_squared" not in text


def test_marks_of_an_explain_page_become_elements():
    assert inline_markup("`a<b` is *so* and 2*3*4 is not") == "<code>a&lt;b</code> is <em>so</em> and 2*3*4 is not"


def test_a_record_that_is_too_thin_gets_the_list_of_what_to_record(page, subjects):
    advice = subjects("thin").diagnosis.advice
    text = all_text(page("thin"))
    assert advice
    assert [line for line in advice if line not in text] == []


def test_every_picture_has_a_title_a_description_and_its_numbers(page):
    text = page("multiclass")
    pictures = re.findall(r'<svg class="picture" role="img" aria-labelledby="(\S+) (\S+)"', text)
    assert len(pictures) == 12
    for title, described in pictures:
        assert f'<title id="{title}">' in text
        assert f'<desc id="{described}">' in text
    assert text.count("The numbers of this picture") == len(pictures)


def test_no_sentinel_colour_is_left(page):
    text = page("multiclass")
    assert not [sentinel for sentinel in VARIABLES if sentinel in text.lower()]


def test_the_json_of_the_diagnosis_is_inside(page, subjects):
    of = subjects("hostile")
    block = re.search(r'<script type="application/json" id="diagnosis">(.*?)</script>', page("hostile"), re.DOTALL)
    assert block is not None
    assert json.loads(block.group(1)) == json.loads(of.diagnosis.to_json())


def test_names_of_the_record_are_no_markup(page):
    elements = Elements(page("hostile")).found
    assert [tag for tag, _ in elements if tag in ("img", "b")] == ["b"] * 4  # the four numbers of the verdict
    assert sum(tag == "script" for tag, _ in elements) == 3
    assert not [attrs for _, attrs in elements if any(name.startswith("on") for name in attrs)]


def test_no_control_character_is_left(page):
    assert not [c for c in page("hostile") if not c.isprintable() and c != "\n"]


def test_the_policy_knows_the_script_and_the_style(page):
    text = page("sick")
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text).group(1)
    assert policy.startswith("default-src 'none'")
    assert "'unsafe-inline'" not in policy.replace("style-src-attr 'unsafe-inline'", "")
    assert len(re.findall(r"'sha256-[A-Za-z0-9+/]{43}='", policy)) == 2


# Treatment ----------------------------------------------------------------------------------------------


def test_a_treated_run_shows_before_and_after(page):
    text = all_text(page("treated"))
    assert "Accuracy went from 10.0% to 90.0%: +80.0 points" in text
    assert "takes the rows as unpaired" in text
    assert "fixed" not in text


def test_with_the_run_before_every_row_is_compared(subjects):
    text = all_text(rendered(subjects("treated"), before=subjects("sick").run))
    assert "Paired over the same 600 rows" in text
    assert re.search(r"\d+ fixed", text)


@pytest.mark.parametrize(
    ("content", "said"), [("{", "is not valid JSON"), ('{"code": 3}', "code is 3"), ("[]", "content")]
)
def test_a_broken_treatment_is_one_line(content, said, tmp_path):
    path = treated(tmp_path / "run")
    (path / "treatment.json").write_text(content)
    of = subject(path)
    with pytest.raises(RunError, match=rf"^treatment\.json: {said}") as error:
        rendered(of)
    assert "\n" not in str(error.value)


# Colours ------------------------------------------------------------------------------------------------


def contrast(first, second):
    def luminance(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("ground", ["bg", "card"])
def test_every_role_stands_out(colours, ground):
    for role in TEXT_ROLES:
        assert contrast(colours[role], colours[ground]) >= TEXT, role
    for role in PICTURE_ROLES:
        assert contrast(colours[role], colours[ground]) >= GRAPHIC, role


def test_both_schemes_have_the_same_roles():
    assert LIGHT.keys() == DARK.keys() >= set(VARIABLES.values())


# The command --------------------------------------------------------------------------------------------


def test_the_file_is_extra_and_the_answer_stays_on_the_terminal(tmp_path, kddoctor):
    run = misaligned(tmp_path / "run")
    plain = kddoctor("diagnose", run)
    with_file = kddoctor("diagnose", run, "--html", tmp_path / "report.html")
    assert (with_file.code, with_file.out) == (plain.code, plain.out)
    assert (tmp_path / "report.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_a_report_that_cannot_be_written_is_one_line(tmp_path, kddoctor):
    run = recorded_run(tmp_path / "run")
    answer = kddoctor("diagnose", run, "--html", tmp_path / "nowhere" / "report.html")
    assert answer.code == 2
    assert answer.err.count("\n") == 1
    assert "report.html: cannot be written" in answer.err


def test_before_is_the_run_to_compare_with(tmp_path, kddoctor):
    before, after = misaligned(tmp_path / "before"), treated(tmp_path / "after")
    answer = kddoctor("diagnose", after, "--html", tmp_path / "report.html", "--before", before)
    assert answer.code == 0
    assert "Paired over the same 600 rows" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_before_without_a_report_is_bad_usage(tmp_path, kddoctor):
    run = recorded_run(tmp_path / "run")
    answer = kddoctor("diagnose", run, "--before", run)
    assert (answer.code, answer.err) == (2, "kddoctor: --before compares in the report; give --html as well\n")


def test_the_digest_is_that_of_the_record(tmp_path):
    first, second = (recorded_run(tmp_path / name, seed=seed) for name, seed in (("a", 0), ("b", 1)))
    digests = [re.search(r"[0-9a-f]{64}", rendered(subject(path))).group() for path in (first, second)]
    assert digests[0] != digests[1]
    assert re.search(digests[0], render_html(subject(first).diagnosis, load(first)))
