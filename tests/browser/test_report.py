"""The HTML report in a real browser, and before real validators."""

import math

import pytest

from tests.browser.slice import in_slice

ALL = ("multiclass", "many classes", "thin", "multilabel", "top-k tokens", "sick", "hostile", "treated")
# CI looks at the fullest report, at the one with hostile names, and at the one of two runs.
KINDS = in_slice(ALL, kept=("multiclass", "hostile", "treated"))
# axe takes a quarter of a minute for each; the report of two runs holds all that the one of the former holds.
FOR_AXE = in_slice(ALL, kept=("hostile", "treated"))
MOST_BYTES = 1_000_000


def test_html_validate_finds_nothing(reports, node_module, command):
    tool = node_module("html-validate/bin/html-validate.mjs")
    assert command("node", tool, "--config", "htmlvalidate.json", *reports.values()) == (0, "")


def test_the_nu_checker_finds_nothing(reports, node_module, command):
    jar = node_module("vnu-jar/build/dist/vnu.jar")
    assert command("java", "-jar", jar, "--errors-only", *reports.values()) == (0, "")


@pytest.mark.parametrize("tool", ["node", "java"])
def test_the_validators_can_find_something(tool, tmp_path, node_module, command):
    broken = tmp_path / "broken.html"
    broken.write_text('<!DOCTYPE html><html lang="en"><head><title>x</title></head><body><p id="a"></p><p id="a"></p>')
    arguments = {
        "node": (node_module("html-validate/bin/html-validate.mjs"), "--config", "htmlvalidate.json"),
        "java": ("-jar", node_module("vnu-jar/build/dist/vnu.jar"), "--errors-only"),
    }[tool]
    assert command(tool, *arguments, broken)[0] != 0


@pytest.mark.parametrize("kind", FOR_AXE)
def test_axe_finds_nothing_in_light_and_dark(kind, reports, opened, axe):
    page = opened(reports[kind])
    page.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
    assert axe(page) == []
    page.emulate_media(color_scheme="dark")
    assert axe(page) == []


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_asked_of_the_network_and_the_console_stays_empty(kind, reports, opened):
    page = opened(reports[kind])
    page.wait_for_load_state("networkidle")
    assert (page.asked, page.said) == ([reports[kind].as_uri()], [])


@pytest.mark.parametrize("kind", KINDS)
def test_no_page_is_wider_than_a_small_telephone(kind, reports, opened):
    page = opened(reports[kind], width=360)
    page.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.parametrize("kind", KINDS)
def test_a_report_can_be_mailed(kind, reports):
    assert reports[kind].stat().st_size < MOST_BYTES


def test_the_slider_recomputes_the_soft_targets(reports, opened):
    page = opened(reports["sick"])
    slider = page.locator("#slider input")
    logits = page.evaluate("JSON.parse(document.getElementById('slider-data').textContent)")
    for power, key in ((0.0, "Home"), (5.0, "End")):
        slider.press(key)
        temperature = 0.5 if key == "Home" else 2.0**power
        weights = [math.exp((z - max(logits)) / temperature) for z in logits]
        top = page.locator("#slider tr[data-class] .number").first.inner_text()
        assert top == f"{100 / sum(weights):.1f}%", f"at T = {temperature}"
        assert page.locator("#slider output").inner_text().startswith(f"T = {temperature:g}:")


def test_the_slider_goes_by_keyboard(reports, opened):
    page = opened(reports["sick"])
    slider = page.locator("#slider input")
    slider.focus()
    before = slider.get_attribute("aria-valuetext")
    page.keyboard.press("ArrowRight")
    assert slider.get_attribute("aria-valuetext") != before


def test_the_first_tab_stop_skips_to_the_causes(reports, opened):
    page = opened(reports["sick"])
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"


def test_a_hostile_name_is_shown_and_not_run(reports, opened):
    page = opened(reports["hostile"])
    assert page.evaluate("window.hit") is None
    assert "<script>window.hit=1</script>" in page.inner_text("main")


def test_the_dark_report_has_dark_pictures(reports, opened):
    colours = {
        scheme: opened(reports["sick"], scheme=scheme).evaluate(
            "getComputedStyle(document.querySelector('.picture text')).fill"
        )
        for scheme in ("light", "dark")
    }
    assert colours == {"light": "rgb(27, 31, 36)", "dark": "rgb(232, 234, 237)"}


def test_print_is_light_whatever_the_screen_is(reports, opened):
    page = opened(reports["sick"], scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
