"""Real validators, a real browser, and one report for each kind of run."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kddoctor.report.html import render_html
from kddoctor.run import load
from tests.report.runs import KINDS, hostile, misaligned, subject, treated

HERE = Path(__file__).parent
MODULES = HERE / "node_modules"
#: What reports show instead of the folder that their runs were written to.
SHOWN_FOLDER = "/home/ada/runs"
CHROMIUM = ("/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome")
QUIET = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder needs a browser or a validator."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One HTML file for each kind of run."""
    folder = tmp_path_factory.mktemp("reports")
    made = {}
    for name in ("multiclass", "many classes", "thin", "multilabel", "top-k tokens"):
        made[name] = _written(folder, name, KINDS[name](folder / f"{name} run"))
    made["sick"] = _written(folder, "sick", misaligned(folder / "sick run"))
    made["hostile"] = _written(folder, "hostile", hostile(folder / "hostile run"))
    after = treated(folder / "treated run")
    made["treated"] = _written(folder, "treated", after, before=folder / "sick run")
    return made


def _written(folder: Path, name: str, run: Path, before: Path | None = None) -> Path:
    of = subject(run)
    text = render_html(of.diagnosis, of.run, measured=of.measured, before=None if before is None else load(before))
    path = folder / f"{name.replace(' ', '-')}.html"
    # Where a line breaks must not depend on how long the name of a temporary folder is.
    path.write_text(text.replace(str(folder), SHOWN_FOLDER), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def node_module() -> Any:
    """``node_module("axe-core/axe.min.js")``: a file of an installed package, or a skip that says how to install it."""

    def find(name: str) -> Path:
        path = MODULES / name
        if not path.exists():
            pytest.skip(f"{name} is not installed; run npm install --ignore-scripts in tests/browser")
        return path

    return find


@pytest.fixture(scope="session")
def command() -> Any:
    """``command("node", …)``: what it printed and its exit code, or a skip where the program is not there."""

    def run(program: str, *arguments: str | Path) -> tuple[int, str]:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
        done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=False, cwd=HERE)
        return done.returncode, done.stdout + done.stderr

    return run


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A headless browser."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (kddoctor[browser])")
    executable = next((path for path in CHROMIUM if Path(path).exists()), None)
    if executable is None:
        pytest.skip(f"no browser at {', '.join(CHROMIUM)}")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=executable, args=list(QUIET))
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium: Any) -> Iterator[Any]:
    """``opened(path, width=…, scheme=…)``: a page without a network, with its requests and console."""
    contexts = []

    def open_page(path: Path, *, width: int = 1200, scheme: str = "light") -> Any:
        context = chromium.new_context(color_scheme=scheme, viewport={"width": width, "height": 900}, offline=True)
        contexts.append(context)
        page = context.new_page()
        page.asked, page.said = [], []
        page.on("request", lambda request: page.asked.append(request.url))
        page.on("console", lambda message: page.said.append(message.text))
        page.on("pageerror", lambda error: page.said.append(str(error)))
        page.goto(path.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture(scope="session")
def axe(node_module: Any) -> Any:
    """``axe(page)``: violations, as text."""
    source = node_module("axe-core/axe.min.js").read_text(encoding="utf-8")
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]

    def violations(page: Any) -> list[str]:
        page.evaluate(source)
        found = page.evaluate(f"axe.run({{runOnly: {json.dumps(tags)}}})")
        return [f"{v['id']}: {v['help']}: {v['nodes'][0]['html'][:200]}" for v in found["violations"]]

    return violations
