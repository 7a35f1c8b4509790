"""What was worked out from one state of a run (or of two), on disk: the diagnosis and every picture's numbers.

The app opens summaries only; the logits of a record are read by the process that makes them.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from kddoctor.app.cache import place, signature
from kddoctor.engine.diagnosis import Diagnosis
from kddoctor.report.views import Missing, View
from kddoctor.report.views.view import Event

DIAGNOSIS, WORDS, REPORT = "diagnosis.json", "views.json", "report.html"


@dataclass(frozen=True)
class Summary:
    """A directory that is complete but for the report, which follows. Another state of the run has another one."""

    directory: Path

    def diagnosis(self) -> Diagnosis:
        """Of the one run."""
        return Diagnosis.model_validate_json((self.directory / DIAGNOSIS).read_text(encoding="utf-8"))

    def view(self, name: str) -> View | Missing:
        """One picture's numbers. Raises KeyError for a name that there is none of."""
        words: dict[str, Any] = json.loads((self.directory / WORDS).read_text(encoding="utf-8"))[name]
        if "missing" in words:
            return Missing(**words["missing"])
        frame = pd.read_parquet(self.directory / f"{name}.parquet")
        kept = words["view"]
        events = tuple(Event(*event) for event in kept["events"])
        return View(**{**kept, "notes": tuple(kept["notes"]), "events": events, "frame": frame})

    def report(self) -> Path | None:
        """The HTML report of the one run, once it is written."""
        path = self.directory / REPORT
        return path if path.is_file() else None


def summary_path(*runs: Path) -> Path:
    """Where the summary of these runs, as they are now, lies or will lie."""
    return place(*runs) / "-".join(signature(run) for run in runs)


def find_summary(*runs: Path) -> Summary | None:
    """The summary of the runs as they are now, if it was made."""
    path = summary_path(*runs)
    return Summary(path) if (path / WORDS).is_file() else None


def write_summary(path: Path, diagnosis: Diagnosis | None, views: Mapping[str, View | Missing]) -> None:
    """Write a summary whole or not at all, and remove those of earlier states of the same runs."""
    partial = path.with_name(f".{path.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    if diagnosis is not None:
        (partial / DIAGNOSIS).write_text(diagnosis.to_json(), encoding="utf-8")
    words = {}
    for name, view in views.items():
        if isinstance(view, Missing):
            words[name] = {"missing": asdict(view)}
            continue
        view.frame.to_parquet(partial / f"{name}.parquet")
        words[name] = {"view": {key: value for key, value in vars(view).items() if key != "frame"}}
    (partial / WORDS).write_text(json.dumps(words), encoding="utf-8")
    for old in path.parent.iterdir():
        if old.is_dir() and old != partial:
            shutil.rmtree(old, ignore_errors=True)
    partial.replace(path)


def write_report(path: Path, html: str) -> None:
    """Add the report to a summary."""
    partial = path / f".{REPORT}.partial"
    partial.write_text(html, encoding="utf-8")
    partial.replace(path / REPORT)
