"""MLflow's file store: mlruns/<experiment>/<run> with meta.yaml, and a small file for each metric and parameter."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kddoctor.errors import RunError
from kddoctor.importers.files import MOST_SETTINGS, below, text_of
from kddoctor.importers.metric_names import number
from kddoctor.importers.mlflow_runs import Logged, MlflowRun
from kddoctor.run.yaml_text import parse_foreign_yaml

META = "meta.yaml"


def is_store(path: Path) -> bool:
    """Whether a directory is MLflow's, of all experiments, of one, or of one run."""
    return path.is_dir() and any(_is_run(path / name) for name in below(path, META, depth=2))


def _is_run(meta: Path) -> bool:
    return (meta.parent / "metrics").is_dir() and (meta.parent / "params").is_dir()


class FileStore:
    """Reads one directory. Methods raise RunError where a file is not what MLflow writes."""

    kind = "files"

    def __init__(self, root: Path) -> None:
        self.root = root

    def runs(self) -> list[MlflowRun]:
        """Runs that were not deleted."""
        found = []
        for name in below(self.root, META, depth=2):
            if not _is_run(self.root / name) or ".trash" in Path(name).parts:
                continue
            meta = self._meta(name)
            if meta.get("lifecycle_stage", "active") == "active":
                start = number(meta.get("start_time"))
                place = Path(name).parent.as_posix()
                run_id = str(meta.get("run_id", (self.root / name).parent.name))
                found.append(MlflowRun(run_id, str(meta.get("run_name", "")), int(start or 0), place))
        return found

    def metrics(self, run: MlflowRun) -> list[Logged]:
        """What the run logged; names with slashes lie in folders."""
        logged = []
        for name in self._files(run, "metrics"):
            key = name.removeprefix(f"{run.place}/metrics/") if run.place != "." else name.removeprefix("metrics/")
            for line_number, line in enumerate(text_of(self.root, name).splitlines(), start=1):
                words = line.split()
                value = number(words[1]) if len(words) in (2, 3) else None
                step = number(words[2]) if len(words) == 3 else 0.0
                if value is None or step is None or step != step // 1:
                    raise RunError(name, f"line {line_number}", repr(line[:60]), "timestamp, value and step")
                logged.append(Logged(key, int(step), value))
        return logged

    def parameters(self, run: MlflowRun) -> dict[str, object]:
        """The run's parameters, as text."""
        inner = f"{run.place}/params/" if run.place != "." else "params/"
        return {
            name.removeprefix(inner): text_of(self.root, name, MOST_SETTINGS).strip()
            for name in self._files(run, "params")
        }

    def artifacts(self, run: MlflowRun) -> Path | None:
        """The run's artifacts in MLflow's default place."""
        folder = self.root / run.place / "artifacts"
        return folder if folder.is_dir() and not folder.is_symlink() else None

    def _files(self, run: MlflowRun, kind: str) -> list[str]:
        inner = self.root / run.place / kind
        return [(Path(run.place) / kind / name).as_posix() for name in below(inner, "*")]

    def _meta(self, name: str) -> Mapping[str, Any]:
        meta = parse_foreign_yaml(text_of(self.root, name, MOST_SETTINGS), name)
        return meta if isinstance(meta, Mapping) else {}
