"""What the rules about deployment read."""

from dataclasses import dataclass
from typing import Literal

from kddoctor.probes.answers_over_time import AnswersOverTime
from kddoctor.probes.threshold_shift import ThresholdShift
from kddoctor.probes.value_grid import ValueGrid


@dataclass(frozen=True)
class EvaluatedStudent:
    """The student that the predictions came from, against the one that training ended with.

    written: how many of its parameters were written to after the last optimizer step, None where nobody looked.
    logged, logged_best: the last and the best held-out accuracy that the loop logged; evaluated: that of the
    predictions; error: standard error of the difference of two such accuracies. same_rows: every logged accuracy is a
    whole number of the predicted rows, as it is when these were logged. then, after: accuracy on the last training
    batch, at that step and of the final student; agreement: share of equal choices there; moved: mean change of its
    logits, over their mean size. batch: rows or positions of that batch. weights, weight_elements: distinct values of
    the weight that has the fewest, and its size. outputs: of the student, its logits and recorded layers, the coarsest
    first. answers: to training rows, in the recorded steps and after training; then, after, agreement, moved and batch
    are of these where nobody ran the last batch again, and opinion what then and after are shares of. head: values of
    the weights by which the student's logits follow from its last recorded layer, where they follow from it exactly.
    is_teacher: its answers are the teacher's, and those of the last recorded step were not. matrices_alone: of what was
    written to each is a matrix, and at least as many other parameters, such as their biases, are those of training.
    """

    written: int | None
    logged: float | None
    logged_best: float | None
    evaluated: float
    error: float
    same_rows: bool
    then: float | None
    after: float | None
    agreement: float | None
    moved: float | None
    batch: int | None
    weights: int | None
    weight_elements: int | None
    outputs: tuple[tuple[str, ValueGrid], ...]
    answers: AnswersOverTime | None = None
    head: ValueGrid | None = None
    opinion: Literal["right", "of its teacher's opinion"] = "right"
    is_teacher: bool = False
    matrices_alone: bool = False


@dataclass(frozen=True)
class ThresholdShifts:
    """Calibration in the large of each model on the same held-out rows; areas under the ROC curve likewise.

    in_loop: of the teacher's logits that the loss used, on its own labels.
    """

    student: ThresholdShift
    teacher: ThresholdShift
    baseline: ThresholdShift | None
    in_loop: ThresholdShift | None
    student_auc: float
    teacher_auc: float
    baseline_auc: float | None


@dataclass(frozen=True)
class TargetOutcome:
    """What the manifest wants, and what was reached; None where one of both is not known.

    wanted, reached: share of the teacher's metric. error: standard error of reached. wanted_ms, reached_ms: time of a
    batch. wanted_mb, reached_mb: size of the student's checkpoint in 10^6 bytes; parameters: its number of parameters,
    where reached_mb is what these take in the number format of its logits. behind_twin: whether the labels-only student
    is better than noise explains.
    """

    metric: str
    wanted: float | None
    reached: float | None
    error: float
    wanted_ms: float | None
    reached_ms: float | None
    wanted_mb: float | None
    reached_mb: float | None
    behind_twin: bool
    parameters: int | None = None
