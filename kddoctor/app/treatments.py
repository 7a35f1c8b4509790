"""Treatments as background processes, found again by their files: no thread, and nothing in the server's memory.

Closing the page or the server changes nothing; ``kddoctor treat --resume`` and the app can each go on with what the
other began.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from filelock import FileLock

from kddoctor.app.cache import cache_directory
from kddoctor.app.detached import start_detached
from kddoctor.app.runs import RESULT, treated_runs
from kddoctor.errors import UsageError
from kddoctor.treatment.journal import Begun, Epoch, read_journal
from kddoctor.treatment.process import Process
from kddoctor.treatment.work_directory import checkpoint_directory

Status = Literal["running", "stopped", "failed", "done"]
#: What is kept of the end of a log.
LOG_BYTES = 4000


@dataclass(frozen=True)
class Job:
    """A treatment that the app started. code: of the causes, with commas. epochs: None for the run's own."""

    run: str
    output: str
    code: str
    epochs: int | None
    process: Process


@dataclass(frozen=True)
class TreatmentState:
    """One treatment of a run, as its files tell. code: of the causes, with commas, as ``--only`` takes them; empty
    where only experiments are made. begun: None until its process has said something.
    """

    status: Status
    output: Path
    code: str
    epochs_asked: int | None
    begun: Begun | None
    epochs: tuple[Epoch, ...]
    process: Process | None
    last_line: str


def treatments_of(run: Path) -> tuple[TreatmentState, ...]:
    """All that is known of treatments of this run: running ones first, then by name."""
    outputs = {path.resolve() for path in (*treated_runs(run), *_at_work(run), *_started(run))}
    states = [state for output in sorted(outputs) if (state := _state(output)) is not None]
    order: tuple[Status, ...] = ("running", "stopped", "failed", "done")
    return tuple(sorted(states, key=lambda state: order.index(state.status)))


def free_output(run: Path) -> Path:
    """A name beside the run that no treatment has taken."""
    number = 1
    while True:
        path = run.with_name(f"{run.name}-treated{'' if number == 1 else f'-{number}'}")
        if not path.exists() and not checkpoint_directory(path).exists():
            return path
        number += 1


def command_of(run: Path, output: Path, code: str, epochs: int | None = None, *, resume: bool = False) -> list[str]:
    """What the user would type. code: as in ``TreatmentState``."""
    asked = [] if epochs is None else ["--epochs", str(epochs)]
    return [
        *("kddoctor", "treat", str(run), "--output", str(output)),
        *(["--only", code] if code else []),
        *asked,
        *(["--resume"] if resume else []),
    ]


def start(run: Path, output: Path, code: str, epochs: int | None = None, *, resume: bool = False) -> None:
    """Begin, or go on with, a treatment in the background. Raises UsageError where one is running into ``output``."""
    run, output = run.resolve(), output.resolve()
    folder = _job_folder(output)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "lock", timeout=10):
        known = _state(output)
        if known is not None and known.status == "running":
            raise UsageError(f"{output}: is already being treated into; wait, or stop that treatment")
        _, *arguments = command_of(run, output, code, epochs, resume=resume)
        child = start_detached(["kddoctor", *arguments], folder / "output.log")
        job = Job(str(run), str(output), code, epochs, child)
        (folder / "job.json").write_text(json.dumps(asdict(job)), encoding="utf-8")


def stop(state: TreatmentState) -> None:
    """End its process; what was trained up to the last whole epoch is kept."""
    if state.process is not None:
        state.process.stop()


def forget(state: TreatmentState) -> None:
    """Drop the note about a treatment that failed; files of the treatment itself are left alone."""
    folder = _job_folder(state.output)
    for name in ("job.json", "output.log"):
        (folder / name).unlink(missing_ok=True)


def _state(output: Path) -> TreatmentState | None:
    work, job = checkpoint_directory(output), _job(output)
    begun, epochs = read_journal(work)
    done = (output / RESULT).is_file()
    if not done and begun is None and job is None:
        return None
    running = next((p for p in _processes(begun, job) if p.is_running()), None)
    status: Status = "failed"
    if running is not None:
        status = "running"
    elif done:
        status = "done"
    elif begun is not None:  # one that failed before its first epoch takes its work directory with it
        status = "stopped"
    return TreatmentState(
        status=status,
        output=output,
        code=_code(output, begun, job),
        epochs_asked=begun.epochs if begun else job.epochs if job else None,
        begun=begun,
        epochs=epochs,
        process=running,
        last_line=_last_line(output),
    )


def _processes(begun: Begun | None, job: Job | None) -> Iterator[Process]:
    if job is not None:
        yield job.process
    if begun is not None:
        yield begun.process


def _code(output: Path, begun: Begun | None, job: Job | None) -> str:
    if begun is not None:
        return ",".join(begun.codes) or begun.code
    if job is not None:
        return job.code
    try:
        result = json.loads((output / RESULT).read_text(encoding="utf-8"))
        return ",".join(map(str, result.get("codes") or [result["code"]]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ""


def _at_work(run: Path) -> Iterator[Path]:
    """Outputs beside the run whose work directory says that it is this run's."""
    for work in run.resolve().parent.glob(".*.treating"):
        begun, _ = read_journal(work)
        output = work.with_name(work.name[1:].removesuffix(".treating"))
        if begun is not None and Path(begun.run) == run.resolve() and Path(begun.output) == output:
            yield output


def _started(run: Path) -> Iterator[Path]:
    """Outputs of what the app started for this run."""
    for file in (cache_directory() / "treatments").glob("*/job.json"):
        job = _read_job(file)
        if job is not None and Path(job.run) == run.resolve():
            yield Path(job.output)


def _job_folder(output: Path) -> Path:
    return cache_directory() / "treatments" / hashlib.sha256(str(output).encode()).hexdigest()[:20]


def _job(output: Path) -> Job | None:
    return _read_job(_job_folder(output) / "job.json")


def _read_job(file: Path) -> Job | None:
    with suppress(OSError, ValueError, TypeError, KeyError):
        data = json.loads(file.read_text(encoding="utf-8"))
        return Job(**{**data, "process": Process(**data["process"])})
    return None


def _last_line(output: Path) -> str:
    """The last line that the process wrote: its error, where it failed."""
    with suppress(OSError):
        text = (_job_folder(output) / "output.log").read_bytes()[-LOG_BYTES:].decode(errors="replace")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return lines[-1] if lines else ""
    return ""
