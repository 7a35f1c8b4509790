"""Running the command line as users do: its exit code, its stdout, its stderr."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from kddoctor import cli


@dataclass(frozen=True)
class Answer:
    """What a command left behind."""

    code: int
    out: str
    err: str


class Command:
    """The real entry point, in this process: importing torch anew for each test would take a second each."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.capsys = capsys
        self.monkeypatch = monkeypatch

    def __call__(self, *arguments: str | Path) -> Answer:
        self.monkeypatch.setattr(sys, "argv", ["kddoctor", *map(str, arguments)])
        self.capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            cli.main()
        out, err = self.capsys.readouterr()
        assert isinstance(left.value.code, int)
        return Answer(left.value.code, out, err)


def in_a_process(*arguments: str | Path, cwd: Path | None = None, **environment: str) -> Answer:
    """The same in a process of its own, piped, with a clean environment."""
    kept = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "NO_COLOR", "FORCE_COLOR")}
    kept["PYTHONPATH"] = os.pathsep.join([str(Path(cli.__file__).parents[2]), kept.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", "kddoctor", *map(str, arguments)],
        capture_output=True,
        check=False,
        cwd=cwd,
        env={**kept, "PYTHONIOENCODING": "utf-8", **environment},
    )
    encoding = environment.get("PYTHONIOENCODING", "utf-8")
    return Answer(done.returncode, done.stdout.decode(encoding), done.stderr.decode(encoding))
