"""The app in a real browser: every page, its links, its clicks, and a treatment that outlives page and server."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.browser.app.serving import PATHS, drawn, go, settled
from tests.browser.slice import in_slice

pytestmark = pytest.mark.browser

# CI looks at the first page and at the two with most to draw.
PAGES = in_slice(PATHS, kept=(PATHS[0], "examples", "layers"))
SCHEMES = in_slice(("light", "dark"), kept=("light",))


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("page", PAGES)
def test_axe_finds_nothing_on_any_page(page, scheme, server, browsing, axe):
    shown = go(browsing(scheme), server, page)
    assert axe(shown) == []


@pytest.mark.parametrize("page", PAGES)
def test_nothing_is_asked_of_any_other_machine(page, server, browsing):
    shown = go(browsing("light"), server, page)
    drawn(shown)
    outside = [url for url in shown.asked if not url.startswith((server.url, "data:", "blob:", server.socket_url))]
    assert outside == []
    assert shown.said == []


def test_the_slider_goes_by_keyboard_and_into_the_address(server, browsing):
    shown = go(browsing("light"), server, "signal")
    slider = shown.get_by_role("slider", name="Temperature T")
    slider.focus()
    shown.keyboard.press("ArrowRight")
    shown.wait_for_function("() => location.search.includes('T=3.5')")
    shown.get_by_text("at T = 3.5").first.wait_for()


def test_a_click_on_a_cell_picks_the_layer_pair_and_its_address_brings_it_back(server, browsing):
    shown = go(browsing("light"), server, "layers")
    lines = shown.get_by_test_id("stCode")
    before = lines.inner_text()
    shown.locator("[data-testid=stVegaLiteChart] .mark-rect path").nth(1).click()
    shown.wait_for_function("before => document.querySelector('[data-testid=stCode]').innerText !== before", arg=before)
    chosen = lines.inner_text()
    pair = parse_qs(urlsplit(shown.url).query)["pair"][0]
    assert f"[[{pair.replace(' ~ ', ', ')}]]" in chosen
    shown.reload()
    shown.get_by_role("heading", level=1).wait_for()
    settled(shown)
    assert lines.inner_text() == chosen


def test_the_example_of_the_address_is_shown_with_its_input_and_both_answers(server, browsing):
    shown = go(browsing("light"), server, "examples", "?ex=7")
    assert shown.get_by_label(re.compile("Example")).input_value() == "7"
    for heading in ("Input", "Teacher", "Student"):
        shown.get_by_role("heading", name=heading, exact=True).wait_for()


def test_attributions_are_computed_only_after_asking_and_come_with_an_agreement(server, browsing, axe):
    shown = go(browsing("light"), server, "examples", "?ex=7")
    compute = shown.get_by_role("button", name="Compute")
    compute.wait_for()
    assert compute.is_disabled()
    shown.get_by_text("I trust the code of this run").click()
    shown.wait_for_function(
        "() => ![...document.querySelectorAll('button')].find(b => /Compute/.test(b.innerText)).disabled"
    )
    compute.click()
    shown.get_by_text("What speaks for the teacher").wait_for(timeout=90_000)
    assert re.fullmatch(r"[+-]\d\.\d\d|–", shown.get_by_test_id("stMetricValue").first.inner_text())
    assert axe(shown) == []


def test_a_row_of_the_checks_sets_the_code_in_the_address(server, browsing):
    shown = go(browsing("light"), server, "checks")
    box = shown.get_by_test_id("stDataFrame").first.bounding_box()
    shown.mouse.click(box["x"] + 16, box["y"] + 90)
    shown.wait_for_function("() => location.search.includes('code=')")


def test_a_treatment_goes_on_when_the_page_is_reloaded_and_the_server_restarted(own_server, browsing, axe):
    shown = go(browsing("light"), own_server, "treatment")
    shown.get_by_label("Epochs", exact=False).first.fill("20000")
    shown.keyboard.press("Enter")
    settled(shown)  # what is clicked while the page is drawn anew is lost
    shown.get_by_role("button", name="Treat", exact=True).click()
    shown.get_by_role("button", name="Run it").click()
    epochs = re.compile(r"epoch \d+ of 20000")
    shown.get_by_text(epochs).first.wait_for(timeout=90_000)
    assert axe(shown) == []
    shown.reload()
    shown.get_by_text(epochs).first.wait_for(timeout=30_000)
    assert shown.get_by_role("button", name="Treat", exact=True).is_disabled()
    own_server.restart()
    again = go(browsing("light"), own_server, "treatment")
    again.get_by_text(epochs).first.wait_for(timeout=30_000)
    again.get_by_role("button", name="Stop").click()
    again.get_by_role("button", name="Resume").click(timeout=30_000)
    again.get_by_text(epochs).first.wait_for(timeout=60_000)
    again.get_by_role("button", name="Stop").click()
    again.get_by_role("button", name="Resume").wait_for(timeout=30_000)


def test_a_pinned_example_stays_while_pages_are_changed(server, browsing, axe):
    shown = go(browsing("light"), server, "examples", "?ex=7")
    shown.get_by_role("button", name="Pin", exact=True).click()
    strip = shown.get_by_text("Pinned: row 7").first
    strip.wait_for()
    shown.wait_for_function("() => location.search.includes('pin=7')")
    shown.get_by_role("button", name="Next").click()
    shown.get_by_role("heading", name="Pinned: row 7").wait_for()
    assert axe(shown) == []
    shown.get_by_role("link", name="Layers").first.click()
    shown.get_by_role("heading", name="Do the layers match?").wait_for()
    strip.wait_for()
    shown.get_by_role("link", name="Look at it").click()
    shown.get_by_label(re.compile("Example")).first.wait_for()
    shown.wait_for_function("() => location.search.includes('ex=7')")
    shown.get_by_role("button", name="Unpin").click()
    strip.wait_for(state="detached")


def test_a_click_on_the_map_over_time_picks_the_example(server, browsing):
    shown = go(browsing("light"), server, "examples", "?ex=7")
    drawn = shown.get_by_test_id("stVegaLiteChart").filter(has_text="easy to learn")
    drawn.scroll_into_view_if_needed()
    settled(shown)
    drawn.locator(".mark-symbol.role-mark path").last.click(force=True)
    shown.wait_for_function("() => document.querySelector('input[aria-label^=Example]').value !== '7'")


def test_causes_to_treat_are_chosen_one_by_one(server, browsing, axe):
    shown = go(browsing("light"), server, "treatment")
    cause = shown.get_by_role("button", name="KD202", exact=True)
    cause.wait_for()
    shown.get_by_text("--only KD202").first.wait_for()
    cause.click()
    shown.get_by_text("Choose at least one cause.").wait_for()
    assert axe(shown) == []
    cause.click()
    shown.get_by_text("--only KD202").first.wait_for()
