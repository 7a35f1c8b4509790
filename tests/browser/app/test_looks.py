"""How pages of the app look, beside committed screenshots."""

from __future__ import annotations

import pytest

from tests.browser.app.serving import drawn, go
from tests.browser.looks import assert_looks_like

pytestmark = pytest.mark.browser


@pytest.mark.parametrize(("page", "scheme"), [("verdict", "light"), ("signal", "light"), ("layers", "dark")])
def test_a_page(page, scheme, server, browsing, tmp_path):
    shown = go(browsing(scheme), server, page)
    drawn(shown)
    assert_looks_like(f"app-{page}-{scheme}", shown.screenshot(animations="disabled"), tmp_path)
