"""The labels-only twin of a recorded student, trained from the run's own code and added to the run."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from kddoctor.engine.diagnosis import GapReport, diagnose
from kddoctor.engine.outcome import area_under_roc
from kddoctor.engine.reading import binary_like
from kddoctor.errors import RunError, UsageError
from kddoctor.run.additions import add_to_run, copy_with
from kddoctor.run.arrays import Array
from kddoctor.run.directory import Run, load
from kddoctor.run.labels import IGNORED
from kddoctor.run.writer import refuse_existing

#: Elements of one model's logits on one split: 1 GiB, as the recorder keeps.
MAX_LOGITS = 1 << 28


@dataclass(frozen=True)
class Twin:
    """What is trained: the student's or the teacher's make, and where its answers go in the run."""

    model: str
    array: str
    observation: str
    name: str


STUDENT_TWIN = Twin("student", "baseline_logits", "baseline", "labels-only student")
TEACHER_TWIN = Twin("teacher", "teacher_twin_logits", "teacher_twin", "labels-only model of the teacher's make")


@dataclass(frozen=True)
class BaselineResult:
    """metric: what the twin reached on the run's held-out rows, in the metric of ``gap``, which the run now has."""

    twin: Twin
    metric: float
    epochs: int
    seed: int
    gap: GapReport


def train_baseline(
    run: Run,
    *,
    output: Path | None = None,
    as_teacher: bool = False,
    epochs: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    quiet: bool = False,
) -> BaselineResult:
    """Train the twin on the labels alone, in the run's own schedule, and add its answers on every recorded split.

    output: a new run directory, the run itself without. as_teacher: the twin is of the teacher's make. overwrite:
    replace the answers of an earlier twin. Imports the code that the manifest names. Interrupted, it leaves a
    checkpoint beside the run, from which ``resume`` goes on.

    Raises UsageError where there is a twin already or ``output`` is taken, RunError where code is missing or broken or
    its data are not those of the run.
    """
    twin = TEACHER_TWIN if as_teacher else STUDENT_TWIN
    place = run.path if output is None else output
    if output is not None:
        refuse_existing(output, overwrite=False)
    work = place.resolve().with_name(f".{place.resolve().name}.{twin.observation}")
    _refuse_twin(run, twin, overwrite=overwrite or (resume and work.exists()))
    _refuse_size(run)
    # torch is loaded only now: a refusal is instant.
    from kddoctor.treatment.answers import answers_on, check_rows
    from kddoctor.treatment.checkpoint import claimed_directory, discard
    from kddoctor.treatment.code_loading import named_code
    from kddoctor.treatment.labels_only import train_labels_only
    from kddoctor.treatment.progress import shown_progress
    from kddoctor.treatment.schedule import recorded_epochs, recorded_shape, schedule_of

    schedule = schedule_of(run.manifest.training)
    wanted = epochs or run.manifest.training.epochs or recorded_epochs(run) or schedule.epochs
    schedule = replace(schedule, epochs=wanted)
    needed = tuple(dict.fromkeys((twin.model, "train_data", *(f"{split}_data" for split in run.splits))))
    optional = ("val_data", "teacher_transform")
    with (
        claimed_directory(work, place, "baseline", resume=resume) as work,
        named_code(run.path, run.manifest, needed, optional) as code,
        shown_progress(f"training the {twin.name}", quiet=quiet, whose="it") as progress,
    ):
        for split in run.splits:
            check_rows(run, split, code)
        model = train_labels_only(
            run.manifest, code, twin.model, schedule, recorded_shape(run), work, progress=progress
        )
        logits = {split: answers_on(run, split, code, twin.model, model) for split in run.splits}
        metric = _metric(run, logits)
        predictions = {split: {twin.array: values} for split, values in logits.items()}
        facts = {twin.observation: {"metric": metric, "epochs": schedule.epochs, "seed": schedule.seed}}
        if output is None:
            add_to_run(run.path, predictions, facts)
        else:
            copy_with(run.path, output, predictions, facts)
        discard(work)
    return BaselineResult(twin, metric, schedule.epochs, schedule.seed, diagnose(load(place)).gap)


def _refuse_twin(run: Run, twin: Twin, *, overwrite: bool) -> None:
    held = [part.file for part in map(run.predictions, run.splits) if part and getattr(part, twin.array) is not None]
    if held and not overwrite:
        advice = "add --overwrite to replace them, or --output for another run directory"
        raise UsageError(f"{held[0]}: holds {twin.array} already; {advice}")


def _refuse_size(run: Run) -> None:
    for part in map(run.predictions, run.splits):
        assert part is not None
        rows = part.labels.size if run.manifest.task == "tokens" else part.n
        if rows * (run.manifest.num_classes or 1) > MAX_LOGITS:
            found = f"{rows} rows of {run.manifest.num_classes} logits"
            raise RunError(part.file, "labels", found, f"at most {MAX_LOGITS:,} numbers to add", "record fewer rows")


def _metric(run: Run, logits: Mapping[str, Array]) -> float:
    """Accuracy, or for yes-or-no tasks the area under the ROC curve, on the held-out rows."""
    split = next((s for s in ("val", "test") if s in logits), next(iter(logits)))
    part = run.predictions(split)
    assert part is not None
    labels, scores = part.labels.read(), logits[split]
    if binary_like(run.manifest):
        area = area_under_roc(labels.reshape(part.n, -1), np.nan_to_num(scores.reshape(part.n, -1)))
        return 0.5 if area is None else area
    counts = labels != IGNORED
    return float((scores.argmax(-1) == labels)[counts].mean()) if counts.any() else 0.0
