"""A copy of a run's code to train in: neither the run nor the user's files are written to."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from kddoctor.errors import UsageError
from kddoctor.run.directory import STEPS_FILE, Run
from kddoctor.run.manifest import MANIFEST_FILE
from kddoctor.run.metrics import METRICS_FILE
from kddoctor.run.observations import OBSERVATIONS_FILE
from kddoctor.run.paths import reason
from kddoctor.treatment.prescription import PRESCRIPTION
from kddoctor.treatment.result import RESULT

#: Folder of a treated run for what its script wrote into its working directory.
WRITTEN = "script_files"
#: What a run has of its own: never copied from the old one, never taken over into the new one.
RECORDS = frozenset(
    {MANIFEST_FILE, STEPS_FILE, METRICS_FILE, OBSERVATIONS_FILE, RESULT, PRESCRIPTION}
    | {"predictions", "features", "inputs", "fingerprints", WRITTEN}
)
#: The sick student, which nobody should take for the treated one.
STUDENT = Path("checkpoints", "student.safetensors")
CACHES = "__pycache__"


def _is_there(path: Path) -> bool:
    return path.exists() or path.is_symlink()


def copy_code(run: Run, workspace: Path, texts: Mapping[Path, str]) -> None:
    """Everything in the run directory that is no record, teacher's weights included; then ``texts``, by relative name.

    What lies in the workspace already, such as a script's own checkpoints, stays. Raises UsageError.
    """
    root = run.path.resolve()

    def left_out(folder: str, names: list[str]) -> set[str]:
        here = Path(folder).resolve()
        records = RECORDS if here == root else set()
        return {name for name in names if name in records or name == CACHES or here / name == root / STUDENT}

    try:
        shutil.copytree(root, workspace, symlinks=True, ignore=left_out, dirs_exist_ok=True)
        for name, text in texts.items():
            _overwrite(workspace, name, text)
    except (OSError, shutil.Error) as error:
        raise UsageError(f"{workspace}: cannot be written: {reason(error)}") from None


def _overwrite(workspace: Path, name: Path, text: str) -> None:
    """A file of the copy; a link there is replaced, not followed into the run."""
    path = workspace / name
    if not path.parent.resolve().is_relative_to(workspace.resolve()):
        raise UsageError(f"{name}: lies behind a link that leaves the copied code; put the directory itself there")
    path.unlink(missing_ok=True)
    path.write_text(text, encoding="utf-8")


def take_over(run: Run, workspace: Path, run_dir: Path) -> None:
    """Move what the new run does not have yet: the code, with its new settings, and what the script wrote beside it.

    The latter into a folder of its own: another treatment's script shall not take them for its own checkpoints.
    """
    for path in sorted(workspace.rglob("*")):
        name = path.relative_to(workspace)
        if (path.is_dir() and not path.is_symlink()) or name.parts[0] in RECORDS or CACHES in name.parts:
            continue
        target = run_dir / name if _is_there(run.path / name) else run_dir / WRITTEN / name
        if not _is_there(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)


def wrote_of_its_own(run: Run, workspace: Path) -> bool:
    """Whether a script left files there that the run does not have, such as checkpoints to go on from."""
    names = (path.relative_to(workspace) for path in workspace.rglob("*") if not path.is_dir())
    return any(CACHES not in name.parts and not _is_there(run.path / name) for name in names)
