"""The student is evaluated through another pipeline than it was trained with.

What it checks
    Whether a student whose weights are those of the last step answers the same batch otherwise than it did then, and is
    worse on held-out rows than the loop had logged; or whether held-out inputs have another range or another mean than
    those of the loop, or a classifier tells nearly every one of them from a training row, and the teacher fails on them
    as well.

Why it hurts
    A sound student is judged, or used, on inputs that it was never shown.

What it looks like
    The metric falls by 5 to 40 points outside the training script. Nobody touched the weights.

Told apart from
    KD701, where the weights were written to. KD703, where weights or activations have few values. KD603, where the
    teacher knows the held-out rows and the training rows are the odd ones. A teacher that knows its training rows by
    heart, which no classifier of inputs can tell. A student with dropout or batch
    normalisation, which answers otherwise in training mode and is as good in the other.

Fix
    Keep the transform of the evaluation with the checkpoint; compare the outputs for one batch before and after export.

Treat automatically
    No: nothing has to be retrained. Evaluate through the pipeline of the training.

Read more
    PyTorch documentation of Module.eval. Touvron et al. 2019, arXiv:1906.06423: train and test resolution.
"""

import math
from collections.abc import Mapping

from kddoctor.probes.data_measurements import SplitDifference
from kddoctor.probes.deployment_measurements import EvaluatedStudent
from kddoctor.probes.measurements import Gaps, TrainGaps
from kddoctor.rules.deployment.ending import (
    LACKING,
    PROBE,
    answers_change,
    drop,
    grade_of,
    grid,
    is_quantised,
    other_weights,
)
from kddoctor.rules.finding import Finding, NotExamined
from kddoctor.rules.record import RECORD
from kddoctor.rules.registry import rule
from kddoctor.rules.settings import Deviations, Factor, Share
from kddoctor.run.observations import InputFacts, Observations

#: Standard deviations by which means of inputs differ, and ratio of standard deviations, that no two samples of one
#: source have.
SHIFTED: Deviations = 0.5
SCALED: Factor = 1.5
#: Area under the ROC curve from which a pipeline left its mark on nearly every input, standard errors taken off: rows
#: that were collected elsewhere overlap with the others.
MARKED: Share = 0.9
SURE: Deviations = 2.0
#: Points by which the teacher is worse on held-out rows when it, too, is fed wrongly.
TEACHER_FAILS: Share = 0.1


@rule(
    "KD702",
    name="eval-pipeline-drift",
    family="deployment",
    title="The student is evaluated through another pipeline than it was trained with",
    stage=72,
    reads=(EvaluatedStudent, Observations),
    uses=(Gaps, TrainGaps, SplitDifference),
    masks=LACKING,
)
def eval_pipeline_drift(
    student: EvaluatedStudent,
    seen: Observations,
    held_out: Gaps | None,
    train: TrainGaps | None,
    difference: SplitDifference | None,
) -> Finding | NotExamined:
    finding = Finding().saying(
        "The student is evaluated through another pipeline than it was trained with.",
        where="inputs or mode after training",
    )
    finding = finding.prescribe("evaluate through the pipeline of the training", automatic=False, safety="manual")
    text = _ranges(seen.inputs or {}) or _marked(difference)
    finding = _of_inputs(finding, text, held_out, train)
    if student.then is None and (student.written is not None or student.logged is None):
        return finding if finding.evidence else NotExamined(*RECORD["EvaluatedStudent"])
    worse = drop(student)
    if not answers_change(student) or worse.how == "none":
        if finding.supporting:
            return finding  # what was logged in the loop went through the same pipeline: nothing against another one
        return finding.against(
            PROBE,
            "drop",
            worse.points,
            f"what is evaluated is what was trained: {worse.text}",
            weight=5.0,
        )
    if student.written:
        return finding.against(
            PROBE, "written", float(student.written), "the weights were written to after the last step", weight=6.0
        )
    if worse.how != "unknown":
        finding = finding.supported_by(
            PROBE,
            "drop",
            worse.points,
            f"{'with the weights of the last step and the same inputs: ' if student.written == 0 else ''}{worse.text}",
            threshold=0.0,
            grade=grade_of(student, worse),
            # Where nobody watched the weights, they may be others, too.
            weight=8.0 if worse.how == "certainly" and student.written == 0 else 5.5,
        )
    if student.written is None and (seen_in_weights := other_weights(student)) is not None:
        finding = finding.against("answers-over-time", "nearest", None, seen_in_weights, weight=6.0)
    on_grid = grid(student)
    if on_grid is not None or is_quantised(student):
        finding = finding.against(
            PROBE, "grid", None, "weights or outputs have few values: a quantisation", weight=10.0
        )
    return finding


def _of_inputs(finding: Finding, text: str | None, held_out: Gaps | None, train: TrainGaps | None) -> Finding:
    if text is None or held_out is None or train is None:
        return finding
    fails = train.gaps.teacher_accuracy - held_out.gaps.teacher_accuracy
    if fails < TEACHER_FAILS:
        return finding
    return finding.supported_by(
        "input-statistics",
        "teacher_fails",
        fails,
        f"{text}; on the held-out ones the teacher is right on {held_out.gaps.teacher_accuracy:.1%}, on training "
        "rows on "
        f"{train.gaps.teacher_accuracy:.1%}",
        threshold=TEACHER_FAILS,
        origin="convention",
        weight=6.0,
    )


def _marked(difference: SplitDifference | None) -> str | None:
    """Whether nearly every held-out input bears the mark of another pipeline, in words."""
    inputs = None if difference is None else difference.inputs
    if inputs is None or inputs.auc - SURE * inputs.standard_error < MARKED:
        return None
    return (
        f"by their {inputs.source}, held-out rows are told from training ones with an area under the ROC curve of "
        f"{inputs.auc:.2f} ± {inputs.standard_error:.2f}"
    )


def _ranges(inputs: Mapping[str, InputFacts]) -> str | None:
    loop, other = inputs.get("loop_student"), inputs.get("val") or inputs.get("test")
    return None if loop is None or other is None else _difference(loop, other)


def _difference(loop: InputFacts, other: InputFacts) -> str | None:
    """Whether two places see inputs of different make, in words."""
    if loop.shape and other.shape and loop.shape != other.shape:
        return f"inputs of the loop are {loop.shape}, held-out ones {other.shape}"
    if None in (loop.mean, loop.std, other.mean, other.std) or not loop.std or not other.std:
        return None
    assert loop.mean is not None
    assert other.mean is not None
    shift = abs(loop.mean - other.mean) / loop.std
    scale = math.exp(abs(math.log(other.std / loop.std)))
    if shift < SHIFTED and scale < SCALED:
        return None
    return (
        f"inputs of the loop have mean {loop.mean:.3g} and deviation {loop.std:.3g}, held-out ones "
        f"{other.mean:.3g} and "
        f"{other.std:.3g}"
    )
