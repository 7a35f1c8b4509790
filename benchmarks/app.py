"""How fast the app's pages, slider and clicks are, and how much memory its server takes, on 50,000 x 1,000 logits.

``python -m benchmarks.app`` needs Chromium and ``kddoctor[browser]``. It generates the run in a temporary directory,
diagnoses it once, and prints a row a budget; it ends with 1 where one is missed. ``--rows`` and ``--classes`` make a
smaller run.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from kddoctor.app.launching import free_port
from kddoctor.run import write_run

CHROMIUM = "/usr/bin/chromium"
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")
REPEATS = 5
DRAWN = "() => !document.querySelector('[data-testid=stStatusWidget], [data-stale=true], [data-testid=stSkeleton]')"


@dataclass(frozen=True)
class Measured:
    """One figure against its budget."""

    what: str
    value: float
    budget: float
    unit: str

    @property
    def kept(self) -> bool:
        return self.value <= self.budget


def generated_run(path: Path, rows: int, classes: int) -> Path:
    """A teacher with structure, a noisy student, float16 logits, 24 recorded layers' worth of features, and metrics."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, rows)
    centres = rng.normal(size=(classes, 64)).astype(np.float32)
    hidden = centres[labels] + rng.normal(scale=0.9, size=(rows, 64)).astype(np.float32)
    teacher = (hidden @ centres.T / 6).astype(np.float16)
    student = (teacher + rng.normal(scale=0.8, size=teacher.shape).astype(np.float32)).astype(np.float16)
    count, batch = 12, 32
    step_labels = labels[: count * batch].reshape(count, batch)
    steps = {
        "teacher_logits": teacher[: count * batch].reshape(count, batch, classes),
        "student_logits": student[: count * batch].reshape(count, batch, classes),
        "labels": step_labels,
        "loss": rng.random(count) + 1.0,
    }
    features = {f"{model}/block{n}": hidden[:512] + n for model in ("teacher", "student") for n in range(6)}
    return write_run(
        path,
        {
            "task": "multiclass",
            "num_classes": classes,
            "distillation": {"loss": "kl", "temperature": 4.0, "alpha": 0.9},
        },
        predictions={"val": {"labels": labels, "teacher_logits": teacher, "student_logits": student}},
        steps=steps,
        metrics=[{"step": n, "loss": 3.0 / (n + 1) + 1} for n in range(2000)],
        features={"val": features},
    )


def served(run: Path, port: int) -> tuple[subprocess.Popen[bytes], float]:
    """The server, and the seconds until it answered."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "kddoctor", "app", str(run), "--port", str(port), "--no-browser"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=1):
                return process, time.perf_counter() - began
        except OSError:
            if process.poll() is not None:
                raise RuntimeError("the server ended") from None
            time.sleep(0.02)


def seconds(act: Callable[[], object]) -> float:
    """How long something took."""
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def opened(page: Any, url: str) -> None:
    """Until the page's title is drawn and nothing is being drawn any more."""
    page.goto(url)
    page.get_by_role("heading", level=1).wait_for()
    page.wait_for_function(DRAWN)


def slider(page: Any, wanted: float) -> None:
    """One step of the temperature, until the soft targets of the new one stand there."""
    page.get_by_role("slider", name="Temperature T").press("ArrowRight")
    page.get_by_text(f"at T = {wanted:g}.", exact=False).first.wait_for()


def cell(page: Any, number: int) -> None:
    """A click on a cell of the heat map, until the lines for another pair stand there."""
    before = page.get_by_test_id("stCode").inner_text()
    page.locator("[data-testid=stVegaLiteChart] .mark-rect path").nth(number).click()
    page.wait_for_function("before => document.querySelector('[data-testid=stCode]').innerText !== before", arg=before)


def next_example(page: Any) -> None:
    """One example further, until its answers stand there."""
    number = page.get_by_label("Example (row", exact=False).first
    before = number.input_value()
    page.get_by_role("button", name="Next").click()
    page.wait_for_function(
        "before => [...document.querySelectorAll('input[aria-label^=Example]')].every(i => i.value !== before)",
        arg=before,
    )
    page.wait_for_function(DRAWN)


def measure(page: Any, url: str, process: subprocess.Popen[bytes]) -> list[Measured]:
    """All figures, the coldest first."""
    found = [Measured("first page, cold", seconds(lambda: opened(page, url)), 2.0, "s")]
    warm = statistics.median(seconds(lambda: opened(page, url)) for _ in range(REPEATS))
    found.append(Measured("first page, warm", warm, 1.0, "s"))
    opened(page, f"{url}/signal?T=4")
    steps = [seconds(lambda at=at: slider(page, at)) for at in (4.5, 5.0, 5.5, 6.0, 6.5)]
    found.append(Measured("slider to picture", statistics.median(steps), 0.5, "s"))
    opened(page, f"{url}/layers")
    clicks = [seconds(lambda at=at: cell(page, at)) for at in (1, 8, 15, 22, 29)]
    found.append(Measured("cell to layer pair", statistics.median(clicks), 0.5, "s"))
    opened(page, f"{url}/examples")
    found.append(
        Measured(
            "next example", statistics.median(seconds(lambda: next_example(page)) for _ in range(REPEATS)), 0.5, "s"
        )
    )
    for name in ("training", "compare", "treat", "checks"):
        opened(page, f"{url}/{name}")
    # Pages of mapped files that the system may take back at any time are not the server's own.
    memory = psutil.Process(process.pid).memory_full_info().uss / 2**20
    found.append(Measured("server's memory", memory, 600.0, "MiB"))
    return found


def main() -> int:
    """Print the table; 1 where a budget is missed."""
    from playwright.sync_api import sync_playwright

    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, default=50_000)
    options.add_argument("--classes", type=int, default=1_000)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["KDDOCTOR_CACHE"] = str(Path(folder) / "cache")
        run = generated_run(Path(folder) / "run", chosen.rows, chosen.classes)
        prepared = seconds(
            lambda: subprocess.run([sys.executable, "-m", "kddoctor.app.preparing", str(run)], check=True)
        )
        print(f"diagnosed once in {prepared:.1f} s ({chosen.rows:,} x {chosen.classes:,} logits)")
        port = free_port(None)
        process, until = served(run, port)
        busy = os.getloadavg()[0] / (os.cpu_count() or 1)
        print(f"server answers after {until:.1f} s; load {busy:.1f} a core (budgets are for an idle machine)")
        try:
            with sync_playwright() as started:
                browser = started.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
                table = measure(browser.new_page(), f"http://127.0.0.1:{port}", process)
                browser.close()
        finally:
            process.terminate()
            process.wait()
    for row in table:
        print(f"{row.what:<20} {row.value:8.2f} {row.unit:<4} budget {row.budget:g}  {'ok' if row.kept else 'MISSED'}")
    return 0 if all(row.kept for row in table) else 1


if __name__ == "__main__":
    sys.exit(main())
