"""A record that goes elsewhere than the script says, because whoever started the script wants it there."""

from __future__ import annotations

import os
from pathlib import Path

from kddoctor.errors import UsageError

#: Environment variable: the run directory to write, instead of the one that the script names.
RUN_DIR_VARIABLE = "KDDOCTOR_RUN_DIR"

_redirected: set[str] = set()


def redirected(run_dir: Path, overwrite: bool) -> tuple[Path, bool]:
    """Where to record, and whether a run that is there may be replaced.

    Raises UsageError for a second record of this process with another name: both would go to the same place.
    """
    target = os.environ.get(RUN_DIR_VARIABLE)
    if not target:
        return run_dir, overwrite
    _redirected.add(str(run_dir))
    if len(_redirected) > 1:
        names = " and ".join(sorted(_redirected))
        raise UsageError(f"{RUN_DIR_VARIABLE} is set, but the script records {names}; it can redirect one of them.")
    return Path(target), True
