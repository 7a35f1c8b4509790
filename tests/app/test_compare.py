"""Two runs side by side, differences first."""

from __future__ import annotations

from kddoctor.app.preparing import prepare
from tests.app.pages import text_of


def test_one_run_alone_cannot_be_compared_and_the_page_says_how(app, runs):
    assert "kddoctor app RUN_A RUN_B" in app(runs["sick"])("compare").info[0].value


def test_cured_causes_and_turned_examples_are_named(app, runs):
    prepare(runs["sick"], runs["healthy"])
    shown = app(runs["sick"], runs["healthy"])("compare")
    changes = shown.dataframe[0].value
    assert dict(zip(changes["code"], changes["change"], strict=True))["KD201"] == "✓ cured"
    assert [metric.label for metric in shown.metric] == ["Fixed", "Broken", "Right in both", "Wrong in both"]
    assert [error.value for error in shown.error] == []


def test_the_link_picks_both_sides(app, runs):
    prepare(runs["healthy"], runs["sick"])
    shown = app(runs["sick"], runs["healthy"])("compare", a="healthy", b="sick")
    changes = shown.dataframe[0].value
    assert dict(zip(changes["code"], changes["change"], strict=True))["KD201"] == "+ new"


def test_swap_swaps(app, runs):
    for pair in (("sick", "healthy"), ("healthy", "sick")):
        prepare(*(runs[name] for name in pair))
    shown = app(runs["sick"], runs["healthy"])("compare")
    next(button for button in shown.button if button.label == "Swap").click().run()
    assert (shown.selectbox(key="a").value, shown.selectbox(key="b").value) == ("healthy", "sick")


def test_without_the_switch_equal_settings_are_shown_too(app, runs):
    prepare(runs["sick"], runs["healthy"])
    shown = app(runs["sick"], runs["healthy"])("compare")
    fewer = sum(len(frame.value) for frame in shown.dataframe)
    shown.toggle(key="diff").set_value(False).run()
    assert sum(len(frame.value) for frame in shown.dataframe) > fewer


def test_runs_of_different_examples_are_not_paired(app, runs):
    prepare(runs["full"], runs["sick"])
    shown = app(runs["full"], runs["sick"])("compare")
    assert "the same held" in text_of(shown).replace("\\", "")
    assert [metric.label for metric in shown.metric] == []
