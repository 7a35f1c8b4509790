"""Every page, of runs that hold everything and of runs that hold nearly nothing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kddoctor.app import cards
from kddoctor.app.summary import find_summary
from tests.app.pages import FILES, text_of
from tests.builders import recorded_run


@pytest.mark.parametrize("kind", ["full", "healthy", "thin"])
@pytest.mark.parametrize("page", FILES)
def test_every_page_shows_every_kind_of_run(app, runs, page, kind):
    shown = app(runs[kind])(page)
    assert [error.value for error in shown.error] == []
    assert [error.value for error in shown.exception] == []
    assert len(shown.title) == 1


@pytest.mark.parametrize(
    ("page", "line"),
    [
        ("layers", "layers=[…]"),
        ("training", "run.step("),
        ("examples", "save_inputs=True"),
        ("verdict", "not judged"),
    ],
)
def test_what_a_thin_record_lacks_is_said_as_a_line_to_record_it(app, runs, page, line):
    shown = app(runs["thin"])(page)
    labels = " ".join(expander.label for expander in shown.expander)
    assert line in text_of(shown).replace("\\", "") + labels


@pytest.mark.parametrize(("kind", "title"), [("sick", "Sick"), ("healthy", "Healthy"), ("thin", "Cannot tell")])
def test_the_verdict_comes_first(app, runs, kind, title):
    assert app(runs[kind])().title[0].value == title


def test_the_verdict_page_says_what_the_diagnosis_says(app, runs):
    shown = app(runs["sick"])()
    assert "KD201" in text_of(shown)
    assert [metric.label for metric in shown.metric][:2] == ["Teacher, accuracy", "Student"]


def test_explain_opens_the_page_of_the_code(app, runs):
    shown = app(runs["sick"])()
    shown.button(key="explain-KD201").click().run()
    assert any("Why it hurts" in code.value for code in shown.code)


def test_the_temperature_of_the_link_is_that_of_the_slider(app, runs):
    assert app(runs["full"])("soft_targets", T="8").slider(key="T").value == 8.0


def test_without_a_link_the_slider_stands_at_the_runs_own_temperature(app, runs):
    assert app(runs["full"])("soft_targets").slider(key="T").value == 3.0


def test_another_temperature_gives_other_soft_targets(app, runs):
    page = app(runs["full"])("soft_targets")
    before = text_of(page)
    page.slider(key="T").set_value(16.0).run()
    assert "at T = 16" in text_of(page).replace("\\", "")
    assert text_of(page) != before


def test_the_example_of_the_link_is_shown(app, runs):
    assert app(runs["full"])("examples", ex="7").number_input(key="ex").value == 7


@pytest.mark.parametrize("asked", ["100000", "-3", "x"])
def test_an_example_that_there_is_none_of_becomes_the_worst_one(app, runs, asked):
    shown = app(runs["full"])("examples", ex=asked)
    assert shown.number_input(key="ex").value == shown.dataframe[1].value["row"].iloc[0]


def test_the_first_example_is_the_worst_one(app, runs):
    shown = app(runs["full"])("examples")
    assert shown.number_input(key="ex").value == shown.dataframe[1].value["row"].iloc[0]


def test_next_goes_down_the_list_of_the_worst(app, runs):
    shown = app(runs["full"])("examples")
    order = list(shown.dataframe[1].value["row"])
    next(button for button in shown.button if button.label == "Next").click().run()
    assert shown.number_input(key="ex").value == order[1]


def test_a_filter_leaves_what_it_says(app, runs):
    shown = app(runs["full"])("examples", who="teacher right, student wrong")
    listed = shown.dataframe[1].value
    assert len(listed)
    assert listed["teacher_right"].all()
    assert not listed["student_right"].any()


def test_the_layer_pair_of_the_link_is_shown(app, runs):
    shown = app(runs["full"])("layers", pair="3 ~ 4")
    assert shown.selectbox(key="pair").value == "3 ~ 4"
    assert any("feature_layers: [[3, 4]]" in code.value for code in shown.code)


def test_a_window_of_steps_narrows_the_table(app, runs):
    whole, part = app(runs["full"])("training"), app(runs["full"])("training", steps="0")
    part.slider(key="steps").set_value((0, 10)).run()
    tables = [[frame.value for frame in page.dataframe if "values" in frame.value] for page in (whole, part)]
    values = [found[0]["values"].sum() for found in tables]
    assert values[1] < values[0]


def test_checks_can_be_searched_and_filtered(app, runs):
    found = app(runs["sick"])("checks", search="factor lacks").dataframe[0].value
    assert 0 < len(found) < 20
    causes = app(runs["sick"])("checks", state="cause").dataframe[0].value
    assert set(causes["state"]) == {"cause"}


def test_a_check_shows_its_measurements_and_limits(app, runs):
    evidence = app(runs["sick"])("checks", code="KD201").dataframe[1].value
    assert evidence["supports"].any()
    assert {"value", "threshold", "origin"} <= set(evidence.columns)


def test_the_address_picks_a_run_by_its_id(app, runs):
    shown = app(runs["sick"], runs["healthy"])(run="healthy")
    assert shown.title[0].value == "Healthy"


@pytest.mark.parametrize("asked", ["/etc", "../healthy", "nowhere"])
def test_the_address_cannot_open_what_the_command_line_does_not_name(app, runs, asked):
    shown = app(runs["sick"], runs["healthy"])(run=asked)
    assert shown.title[0].value == "Sick"


def test_names_of_a_record_are_text_and_nothing_else(app, tmp_path):
    hostile = "<img src=x onerror=alert(1)> **bold** [link](http://example.com) $x$"
    run = recorded_run(tmp_path / "run", rows=60, classes=3)
    manifest = run / "kd_run.yaml"
    manifest.write_text(manifest.read_text() + f"class_names: ['{hostile}', '2 {hostile}', '3 {hostile}']\n")
    shown = app(run)("examples", ex="0")
    words = text_of(shown)
    assert "img src" in words
    assert not re.search(r"(?<!\\)<img|(?<!\\)\*\*bold|(?<!\\)\[link", words)


def test_a_run_that_became_unreadable_is_one_sentence_with_the_file(app, tmp_path):
    run = recorded_run(tmp_path / "run", rows=60)
    shown = app(run)
    (run / "kd_run.yaml").write_text("task: nonsense\n")
    page = shown()
    assert len(page.error) == 1
    assert "kd\\_run.yaml" in page.error[0].value
    assert "Traceback" not in text_of(page)


def test_a_bug_is_one_sentence_with_a_log_file(app, runs, monkeypatch):
    def broken(_diagnosis: object) -> None:
        raise ZeroDivisionError("the page is broken")

    shown = app(runs["sick"])
    monkeypatch.setattr(cards, "metrics", broken)
    page = shown()
    said = page.error[0].value
    log = Path(re.search(r"`(.*kddoctor-.*\.log)`", said).group(1))
    assert "code 4" in said
    assert "the page is broken" in said
    assert "Traceback" not in said
    assert "ZeroDivisionError" in log.read_text()
    log.unlink()


def test_without_a_run_the_page_says_how_to_start_it(app):
    assert "kddoctor app RUN_DIR" in app()().info[0].value


def test_a_pinned_example_stays_beside_the_next_one(app, runs):
    shown = app(runs["full"])("examples", ex="7")
    next(button for button in shown.button if button.label == "Pin").click().run()
    assert "Pinned" not in text_of(shown)  # it is the one that is looked at
    shown.number_input(key="ex").set_value(9).run()
    assert "Pinned: row 7" in text_of(shown)


@pytest.mark.parametrize(("asked", "there"), [("7", True), ("100000", False), ("-1", False), ("x", False)])
def test_a_link_may_name_a_pinned_example(app, runs, asked, there):
    shown = app(runs["full"])(pin=asked)
    assert ("Pinned: row" in text_of(shown)) is there
    assert [error.value for error in shown.error] == []


def test_a_pinned_example_can_be_let_go(app, runs):
    shown = app(runs["full"])(pin="7")
    next(button for button in shown.button if button.label == "Unpin").click().run()
    assert "Pinned" not in text_of(shown)
    assert "pin" not in shown.query_params


def test_examples_can_be_found_by_region_and_by_words(app, runs):
    page = app(runs["full"])
    marks = find_summary(runs["full"]).view("gap_map").marks
    region = page("examples", region="teacher sure, student lost").dataframe[1].value
    assert len(region) == marks["teacher sure, student lost"]
    assert (region["teacher_confidence"] >= marks["sure"]).all()
    assert (region["student_loss"] >= marks["lost"]).all()
    words = page("examples", find="class 2").dataframe[1].value
    assert len(words)
    assert words[["label", "teacher", "student"]].eq("class 2").any(axis=1).all()


def test_what_happened_when_stands_in_a_table(app, tmp_path):
    rows = [{"step": step, "loss": 1.0, "lr": 0.1 if step < 5 else 0.01} for step in range(12)]
    run = recorded_run(tmp_path / "run", rows=60, metrics=rows)
    tables = [frame.value for frame in app(run)("training").dataframe]
    events = next(table for table in tables if "what" in table)
    assert list(events["what"]) == ["learning rate from 0.1 to 0.01"]


def test_capacity_or_training_is_answered(app, runs):
    assert "Is it capacity or training?" in [header.value for header in app(runs["full"])("training").header]


def test_a_layer_pair_is_shown_over_the_training(app, runs):
    shown = app(runs["full"])("layers", pair="3 ~ 4")
    assert "Over the training; dashed: the pairs that match at the end." in text_of(shown)


@pytest.mark.parametrize(("page", "question"), [("layers", "When did"), ("examples", "Which examples were easy")])
def test_without_snapshots_the_page_names_the_line_that_takes_them(app, runs, page, question):
    shown = app(runs["healthy"])(page)
    assert any(header.value.startswith(question) for header in shown.header)
    assert "run.snapshot(" in text_of(shown).replace("\\", "")


def test_fewer_snapshots_give_another_map(app, runs):
    page = app(runs["full"])("examples")
    before = next(frame.value for frame in page.dataframe if "variability" in frame.value)
    page.select_slider(key="until").set_value(10).run()
    after = next(frame.value for frame in page.dataframe if "variability" in frame.value)
    assert set(after["correctness"]) <= {0.0, 0.5, 1.0}
    assert not before.equals(after)


def test_two_runs_have_a_link_to_compare_them(app, runs):
    shown = app(runs["sick"], runs["healthy"])()
    links = [link.proto for link in shown.get("page_link")]
    assert any(link.label == "Compare" and "a=sick&b=healthy" in link.query_string for link in links)
