"""What a treatment did: ``treatment.json`` in the treated run directory."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from kddoctor.engine.diagnosis import Diagnosis
from kddoctor.engine.reading import binary_like
from kddoctor.probes.paired_difference import PairedDifference, paired_answers, paired_numbers
from kddoctor.probes.proportions import noise_of_difference, standard_error
from kddoctor.run.arrays import Array, LazyArray
from kddoctor.run.directory import Run
from kddoctor.run.labels import IGNORED
from kddoctor.treatment.experiments import ablation
from kddoctor.treatment.experiments.experiment import Verdict
from kddoctor.treatment.plan import Plan

RESULT = "treatment.json"
#: p-value of the paired test below which a change on the same rows is more than noise.
SURE = 0.01


class Interval(BaseModel):
    """of: what, in words. low, high: 95 %."""

    model_config = ConfigDict(frozen=True)

    of: str
    value: float
    low: float
    high: float
    rows: int


class OtherSeed(BaseModel):
    """The same treatment from another seed, not recorded."""

    model_config = ConfigDict(frozen=True)

    seed: int
    after: float


class Cost(BaseModel):
    """trainings: of all students. steps: of the treated ones. of_one: in multiples of the run's own training."""

    model_config = ConfigDict(frozen=True)

    trainings: int
    steps: int
    of_one: float | None


class Treatment(BaseModel):
    """What a treatment did.

    code, name: the first cause that was treated; codes: all. before, after, teacher: the metric on the same held-out
    rows; labels_only: of the student without a teacher, where the sick run recorded it. standard_error: of before and
    after alike. change: accuracy on the same rows, paired. share_closed: (after − before) / (teacher − before), None
    where that gap is within the noise. helped: the change is above its noise, from every seed; harmed: it is below it.
    kept_epoch: whose student this is, of so many epochs; None of a script, which keeps what it keeps. epochs, seed:
    None where a script does not say. worth: by code, an interval of the points that it had cost. command: of the
    run's own script, where one was run.
    """

    model_config = ConfigDict(frozen=True)

    format: Literal[1] = 1
    code: str
    name: str
    codes: tuple[str, ...] = ()
    summary: str
    changes: dict[str, Any]
    metric: str
    before: float
    after: float
    teacher: float
    labels_only: float | None
    standard_error: float
    change: Interval | None = None
    share_closed: float | None
    helped: bool
    harmed: bool = False
    epochs: int | None
    kept_epoch: int | None = None
    seed: int | None
    seeds: tuple[OtherSeed, ...] = ()
    cost: Cost | None = None
    experiments: tuple[Verdict, ...] = ()
    worth: dict[str, tuple[float, float]] = {}
    verdict_after: str
    causes_after: tuple[str, ...]
    command: str | None = None

    @property
    def confirmed(self) -> tuple[str, ...]:
        """Codes that were treated, where that helped and none of them is found any more."""
        treated = self.codes or (self.code,)
        return treated if self.helped and not set(treated) & set(self.causes_after) else ()


def result_of(
    plan: Plan,
    before: Diagnosis,
    after: Diagnosis,
    runs: tuple[Run, Run],
    *,
    epochs: int | None,
    kept_epoch: int | None,
    seed: int | None,
    seeds: Sequence[OtherSeed],
    cost: Cost,
    experiments: Sequence[Verdict],
    command: str | None = None,
) -> Treatment:
    """Compare the run before and after its treatment. runs: the sick and the treated one."""
    # A teacher that the treatment repaired is measured after it: that is the teacher which the student could match.
    # A student that became NaN leaves no row to measure on: then it is the teacher as it was.
    teacher = after.gap.teacher or before.gap.teacher or 0.0
    old, new = before.gap.student or 0.0, after.gap.student or 0.0
    error = standard_error(new, max(1, after.gap.rows))
    noise = noise_of_difference(error)
    change = _paired(*runs, split=after.gap.split)
    gap, gained = teacher - old, [new - old, *(other.after - old for other in seeds)]
    paired = change is not None and after.gap.metric == "accuracy" and change.p_value < SURE
    return Treatment(
        code=plan.code,
        name=next(c.name for c in plan.prescription.changes if c.finding == plan.code),
        codes=plan.prescription.codes,
        summary=plan.summary,
        changes=dict(plan.changes),
        metric=after.gap.metric,
        before=old,
        after=new,
        teacher=teacher,
        labels_only=before.gap.baseline,
        standard_error=_figures(error),
        change=None if change is None else _interval(change),
        share_closed=_figures(gained[0] / gap) if gap > noise else None,
        helped=all(points > noise for points in gained) or (paired and all(points > 0 for points in gained)),
        harmed=all(points < -noise for points in gained) or (paired and all(points < 0 for points in gained)),
        epochs=epochs,
        kept_epoch=kept_epoch,
        seed=seed,
        seeds=tuple(seeds),
        cost=cost,
        experiments=tuple(experiments),
        worth=_worth(plan, change, experiments),
        verdict_after=after.verdict,
        causes_after=tuple(after.cause_codes),
        command=command,
    )


def _worth(
    plan: Plan, change: PairedDifference | None, experiments: Sequence[Verdict]
) -> dict[str, tuple[float, float]]:
    """Of one cause what the treatment brought, on the same rows; of several what leaving each out takes away again."""
    codes = plan.prescription.codes
    if len(codes) == 1:
        return {} if change is None else {codes[0]: (_figures(100 * change.low), _figures(100 * change.high))}
    whole = next((v for v in experiments if v.experiment == ablation.NAME), None)
    found = {}
    for code, brought in ({} if whole is None else ablation.costs(whole)).items():
        points = 100 * np.array(list(brought.values()))
        if len(points) > 1:
            interval = paired_numbers(np.zeros(len(points)), points)
            found[code] = (_figures(interval.low), _figures(interval.high))
    return found


def write_result(output: Path, result: Treatment) -> None:
    """Beside the treated run, whole or not at all."""
    partial = output / f".{RESULT}.partial"
    partial.write_text(json.dumps(result.model_dump(mode="json"), indent=2, sort_keys=True) + "\n", encoding="utf-8")
    partial.replace(output / RESULT)


def _paired(before: Run, after: Run, split: str) -> PairedDifference | None:
    """Right or wrong on the same rows; None where the rows are not the same ones."""
    old, new = before.predictions(split), after.predictions(split)
    if old is None or new is None or old.student_logits is None or new.student_logits is None:
        return None
    labels, again = old.labels.read(), new.labels.read()
    if labels.shape != again.shape or not (labels == again).all():
        return None
    counts = labels != IGNORED
    logits = (old.student_logits, new.student_logits)
    right = [(_answers(before, z) == labels)[counts].astype(float) for z in logits if z is not None]
    return paired_answers(*right) if counts.any() else None


def _answers(run: Run, logits: LazyArray) -> Array:
    """What the student answers to each row; a chunk in memory at a time."""
    chunks = logits.chunks()
    return np.concatenate([c > 0 if binary_like(run.manifest) else c.argmax(-1) for c in chunks])


def _interval(found: PairedDifference) -> Interval:
    low, high = _figures(found.low), _figures(found.high)
    return Interval(of="accuracy on the same rows", value=_figures(found.change), low=low, high=high, rows=found.rows)


def _figures(value: float) -> float:
    return float(f"{value:.6g}")
