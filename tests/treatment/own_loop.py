"""The documented script and settings, as files, and stand-ins for the script that take no time."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

import kddoctor

ROOT = Path(kddoctor.__file__).parents[1]
PAGE = ROOT / "docs" / "treat-your-own-loop.md"


def documented(name: str) -> str:
    """The text of a file that the page shows."""
    found = re.search(rf"`{re.escape(name)}`:\n\n```\w+\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found, f"{PAGE.name} shows no {name}"
    return found[1]


def record_documented(folder: Path) -> Path:
    """Run the page's script as it stands; the run that it records."""
    for name in ("train.py", "config.yaml"):
        (folder / name).write_text(documented(name), encoding="utf-8")
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    subprocess.run([sys.executable, "train.py"], cwd=folder, check=True, env={**os.environ, "PYTHONPATH": path})
    return folder / "runs" / "digits"


def changed_copy(run: Path, copy: Path, script: str | None = None, **code: Any) -> Path:
    """The run with another script, and other values in its code section; None takes one away."""
    shutil.copytree(run, copy)
    if script is not None:
        (copy / "train.py").write_text(script, encoding="utf-8")
    rewrite(copy, code)
    return copy


def rewrite(run: Path, code: Mapping[str, Any]) -> None:
    """Change the code section of a manifest."""
    manifest = yaml.safe_load((run / "kd_run.yaml").read_text(encoding="utf-8"))
    section = {**manifest["code"], **code}
    manifest["code"] = {key: value for key, value in section.items() if value is not None}
    (run / "kd_run.yaml").write_text(yaml.safe_dump(manifest), encoding="utf-8")
