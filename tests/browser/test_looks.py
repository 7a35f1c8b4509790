"""How the report looks, beside committed screenshots."""

from __future__ import annotations

import pytest
from PIL import Image

from tests.browser.looks import BASELINES, SHARE, assert_looks_like, differing


def picture(page) -> bytes:
    return page.screenshot(animations="disabled")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_report_of_a_sick_run(opened, reports, scheme, tmp_path):
    assert_looks_like(f"report-{scheme}", picture(opened(reports["sick"], scheme=scheme)), tmp_path)


def test_the_report_on_a_phone(opened, reports, tmp_path):
    assert_looks_like("report-phone", picture(opened(reports["sick"], width=400)), tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        "document.querySelector('h1').parentElement.style.visibility = 'hidden'",
        "document.body.style.padding = '60px'",
        "document.documentElement.style.fontSize = '24px'",
        "document.head.querySelectorAll('style').forEach(sheet => sheet.remove())",
    ],
)
def test_a_page_that_is_broken_is_seen_to_be(opened, reports, change):
    page = opened(reports["sick"])
    page.evaluate(change)
    with Image.open(BASELINES / "report-light.png") as baseline:
        assert differing(picture(page), baseline) > SHARE
