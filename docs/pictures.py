"""The pictures of the README, made from the demo's runs: ``python docs/pictures.py demo``, after ``make demo``."""

import re
import subprocess
import sys
import time
import urllib.request
from io import StringIO
from pathlib import Path

from playwright.sync_api import sync_playwright
from rich.console import Console

from kddoctor import diagnose, load
from kddoctor.report.terminal import show_diagnosis

HERE = Path(__file__).parent / "pictures"
PORT = 8597
CHROMIUM = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--force-color-profile=srgb")


def terminal(run_dir: Path) -> None:
    """The diagnosis as a terminal shows it, with text that can be selected."""
    console = Console(record=True, width=100, file=StringIO(), force_terminal=True, highlight=False)
    show_diagnosis(diagnose(load(run_dir)), str(run_dir), console)
    svg = console.export_svg(title=f"kddoctor diagnose {run_dir}", unique_id="kddoctor")
    # The fonts would be fetched from a server of others; any monospaced one does.
    (HERE / "diagnose.svg").write_text(re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL), encoding="utf-8")


def app(run_dirs: list[Path]) -> None:
    """The first page of the app."""
    command = [sys.executable, "-m", "kddoctor", "app", *map(str, run_dirs), "--port", str(PORT), "--no-browser"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        wait_for(f"http://127.0.0.1:{PORT}/_stcore/health")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=list(CHROMIUM))
            page = browser.new_page(viewport={"width": 1280, "height": 1100}, color_scheme="light")
            page.goto(f"http://127.0.0.1:{PORT}/")
            page.get_by_text("Numbers and notes").first.wait_for(timeout=120_000)
            page.wait_for_timeout(5_000)
            page.screenshot(path=str(HERE / "app.png"))
            browser.close()
    finally:
        server.terminate()
        server.wait()


def wait_for(address: str) -> None:
    """Until the server answers, two minutes at most."""
    for _ in range(240):
        try:
            urllib.request.urlopen(address, timeout=1)
        except OSError:
            time.sleep(0.5)
        else:
            return
    raise TimeoutError(address)


if __name__ == "__main__":
    demo = Path(sys.argv[1])
    HERE.mkdir(exist_ok=True)
    terminal(demo / "teacher-rows-misaligned")
    app([demo / "teacher-rows-misaligned", demo / "teacher-rows-misaligned-treated"])
