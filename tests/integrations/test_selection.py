"""``make test-integrations`` looks into a few folders alone: collecting all others takes longer than many a test."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_marked_test_lies_where_make_looks() -> None:
    (command,) = re.findall(
        r"^\tKERAS_BACKEND=torch .* -m integrations (.*)$", (ROOT / "Makefile").read_text("utf-8"), re.M
    )
    folders = [ROOT / name for name in command.split()]
    marked = [path for path in (ROOT / "tests").rglob("*.py") if "mark.integrations" in path.read_text("utf-8")]
    outside = [path for path in marked if not any(path.is_relative_to(folder) for folder in folders)]
    assert len(marked) >= 12
    assert not outside
