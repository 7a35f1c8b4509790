"""A sizeable share of the labels is wrong.

What it checks
    How often labels contradict the teacher where it is surest, beyond the errors that its own probabilities concede,
    on training and on held-out rows, or on training rows alone where held-out labels are clean and the student sides
    with the teacher, or the teacher is as sure of both and names the same classes; whether that is nearly as often as
    where it is unsure; and whether the student, or one that never saw the teacher, knows the labels better than the
    teacher does.

Why it hurts
    The term of the labels teaches mistakes, and the evaluation counts right answers as wrong.

What it looks like
    Teacher and student agree with each other, confidently and against the label. Distilling helps, and most when the
    labels are given no weight. A ceiling in accuracy that no model passes.

Told apart from
    KD102, whose teacher errs where it is unsure, is beaten on the labels by its own student, or takes one class for
    another because it was trained on coarser ones. KD105, where whole classes are exchanged and a permutation restores
    the teacher. KD603, where the teacher is unsure of the training rows, or these look like no held-out row.

Fix
    Relabel the rows on which both models agree against the label. Until then: alpha: 1.0, and a clean set to evaluate
    on.

Treat automatically
    Yes: the student is retrained on the teacher alone.

Read more
    Northcutt et al. 2021, arXiv:1911.00068: confident learning.
"""

import math
from collections.abc import Mapping

import numpy as np

from kddoctor.probes.data_measurements import LabelDoubts, SplitDifference
from kddoctor.probes.deployment_measurements import ThresholdShifts
from kddoctor.probes.label_doubt import LabelDoubt
from kddoctor.probes.measurements import TeacherView, TeacherViews
from kddoctor.probes.proportions import noise_of_difference, standard_error
from kddoctor.rules.finding import Finding
from kddoctor.rules.pipeline.merged_classes import RIGHT, merged_classes
from kddoctor.rules.registry import rule
from kddoctor.rules.settings import Deviations, Distance, Factor, Share

PROBE = "label-doubt"
#: Share of wrong labels, beyond what the teacher concedes, from which they matter; and one that is nearly none. Data
#: sets in use have up to a tenth of wrong labels (Northcutt et al. 2021, arXiv:2103.14749), and live with it.
NOISE: Share = 0.10
CLEAN: Share = 0.01
#: Standard errors.
SURE: Deviations = 4.0
#: Share of errors where the teacher is surest over that of all rows, from which they do not depend on the row. Teachers
#: that are weak or too sure of themselves (Guo et al. 2017, arXiv:1706.04599) still err less where they are surest.
EVEN: Factor = 0.75
#: Share of a class that is contradicted when it has been exchanged for another, and the highest accuracy that the best
#: matching of classes may add.
EXCHANGED: Share = 0.9
RESTORED: Share = 0.1
#: Share of a class that is contradicted where the teacher does not answer it at all.
ALL: Share = 0.98
#: Skill of a teacher that knows nothing of these labels, right or wrong.
NO_SKILL: Share = 0.1
#: Entropy, as a share of the largest, by which a teacher is less sure of inputs that are not its own; and distance
#: between the shares of classes that it names, of which splits of a few hundred rows have half.
AS_SURE: Share = 0.05
AS_OFTEN: Distance = 0.15
#: Area under the ROC curve from which rows of the two splits hardly overlap.
OF_ANOTHER_KIND: Share = 0.95
#: Shares of doubt within which both models give the same other class by more than chance.
AGREED: Share = 0.5


@rule(
    "KD605",
    name="label-noise",
    family="data",
    title="A sizeable share of the labels is wrong",
    stage=56,
    reads=(LabelDoubts,),
    uses=(TeacherViews, ThresholdShifts, SplitDifference),
    masks=("KD102", "KD402", "KD502", "KD602"),
)
def label_noise(
    doubts: LabelDoubts,
    teacher: TeacherViews | None,
    scores: ThresholdShifts | None,
    difference: SplitDifference | None = None,
) -> Finding:
    splits = {"training": doubts.train, "held-out": doubts.held_out}
    parts = {name: part for name, part in splits.items() if part is not None}
    excess = {name: part.sure_doubted - part.sure_stated for name, part in parts.items()}
    least = min(excess, key=lambda name: excess[name])
    alike = _as_sure_of_both(teacher)
    alone = _in_training_alone(parts, excess, alike)
    if alone:
        least = "training"
    part = parts[least]
    finding = Finding().saying("A sizeable share of the labels is wrong.", where="the labels of both splits")
    finding = finding.prescribe(
        "learn from the teacher alone until the labels are checked", safety="careful", distillation__alpha=1.0
    )
    text = "; ".join(
        f"{name}: labels contradict the teacher on {each.sure_doubted:.1%} of the rows of which it is surest, "
        f"{each.sure_stated:.1%} are conceded"
        for name, each in parts.items()
    )
    # A teacher that errs no more where it is unsure is told by clean rows of the same kind, where there are any.
    told = alone and alike is True
    even = part.sure_doubted > EVEN * part.doubted or told
    if excess[least] > max(NOISE, SURE * _error(part)) and even:
        agreed, twin = part.sure_agreed / max(1e-9, part.sure_doubted), _of_twin(doubts.held_out)
        certain = told or (agreed > AGREED and (len(parts) > 1 or bool(twin)))
        sure = ", and the teacher is as sure of the rows of both" if told else ""
        finding = finding.supported_by(
            PROBE,
            "excess",
            excess[least],
            f"{text}; the student gives the same answer on {agreed:.0%} of them{twin}{sure}",
            threshold=NOISE,
            origin="convention",
            # Noise of a single split may be another fault of that split, unless the labels' own student sees it, or
            # the teacher's answers to both splits are of one kind.
            weight=6.0 if certain else 3.5,
        )
        if alone and difference is not None:
            finding = _of_other_inputs(finding, difference)
        finding = _of_rivals(finding, doubts.held_out, scores)
        finding = _of_exchanges(finding, part, teacher)
    elif max(excess.values()) < CLEAN:
        finding = finding.against(
            PROBE, "excess", excess[least], text, threshold=CLEAN, origin="convention", weight=5.0
        )
    return finding


def _of_other_inputs(finding: Finding, difference: SplitDifference) -> Finding:
    """Of rows that are certainly of another kind, neither model's answer says what their labels should be (KD603)."""
    inputs = difference.inputs
    if inputs is None or inputs.auc - SURE * inputs.standard_error < OF_ANOTHER_KIND:
        return finding
    return finding.against(
        "two-samples",
        "auc",
        inputs.auc,
        f"by their inputs nearly every training row is told from held-out ones (area {inputs.auc:.2f}): what the "
        "teacher says of them proves no label wrong",
        threshold=OF_ANOTHER_KIND,
        origin="convention",
        weight=4.0,
    )


def _in_training_alone(parts: Mapping[str, LabelDoubt], excess: Mapping[str, float], alike: bool | None) -> bool:
    """Whether held-out labels are clean, and in training the models know better than the labels.

    So does the teacher where its answers to both splits are of one kind. Where that is not known, the student has to
    give the teacher's answer to most rows whose label was changed: it saw the same inputs, so that neither of the two
    was fed otherwise there.
    """
    train = parts.get("training")
    if train is None or excess.get("held-out", 1.0) >= NOISE or alike is False:
        return False
    return alike is True or train.sure_agreed > AGREED * train.sure_doubted


def _as_sure_of_both(teacher: TeacherViews | None) -> bool | None:
    """Whether the teacher is as sure of training rows as of held-out ones, which it is not of other inputs (KD603).

    None where it names other classes there, which may be more frequent, and where one of the splits was not recorded.
    """
    if teacher is None or teacher.own is None or teacher.own_train is None:
        return None
    held_out, train = teacher.own.validity, teacher.own_train.validity
    if held_out.confusion is None or train.confusion is None:
        return None
    if train.entropy_ratio_median - held_out.entropy_ratio_median >= AS_SURE:
        return False
    there, here = (counts.sum(axis=1) / counts.sum() for counts in (train.confusion, held_out.confusion))
    return True if float(np.abs(there - here).sum()) < AS_OFTEN else None


def _of_twin(part: LabelDoubt) -> str:
    """Said where a student that learned the labels alone gives the teacher's answers more often than the labels."""
    teacher, labels = part.baseline_with_teacher, part.baseline_with_labels
    if teacher is None or labels is None or teacher - labels <= noise_of_difference(standard_error(labels, part.n)):
        return ""
    return f", and one on labels alone agrees with it ({teacher:.1%}) more often than with them ({labels:.1%})"


def _error(part: LabelDoubt) -> float:
    """Standard error of the share of doubted labels among the surest rows."""
    share = max(part.sure_stated, 1 / part.sure_n)
    return math.sqrt(share * (1 - share) / part.sure_n)


def _of_rivals(finding: Finding, held_out: LabelDoubt, scores: ThresholdShifts | None) -> Finding:
    """Who knows the labels better than the teacher shows that they are not the problem."""
    if scores is not None:
        teacher, others = scores.teacher_auc, (scores.student_auc, scores.baseline_auc)
    else:
        teacher, others = 1 - held_out.doubted, (held_out.student_with_labels, held_out.baseline_with_labels)
    best = max(value for value in others if value is not None)
    if best - teacher <= noise_of_difference(standard_error(teacher, held_out.n)) / 2:
        return finding
    return finding.against(
        PROBE,
        "labels_known",
        best,
        f"another model knows the labels better than the teacher: {best:.1%} against {teacher:.1%}",
        threshold=teacher,
        weight=6.0,
    )


def _of_exchanges(finding: Finding, part: LabelDoubt, teacher: TeacherViews | None) -> Finding:
    own = None if teacher is None else teacher.own
    if own is not None and own.skill < NO_SKILL:
        finding = finding.against(
            "teacher-validity",
            "skill",
            own.skill,
            f"{own.source}: the teacher is no better than chance, which no share of wrong labels that leaves a "
            "task explains",
            threshold=NO_SKILL,
            origin="convention",
            weight=8.0,
        )
    merged = None if own is None else merged_classes(own.validity)
    if merged is not None:
        finding = finding.against(
            "teacher-validity",
            "merged_accuracy",
            merged.accuracy,
            f"the teacher never answers class {merged.pairs[0][0]}, which it calls {merged.pairs[0][1]} and which has "
            "too many rows for wrong labels to have taught it that: it was trained on other classes",
            threshold=RIGHT,
            weight=8.0,
        )
    finding = _of_classes_never_answered(finding, part, own)
    matched = None if own is None else own.validity.hungarian_accuracy
    restored = 0.0 if own is None or matched is None else matched - own.validity.accuracy
    worst = float(np.nanmax(part.by_class)) if len(part.by_class) > 2 else 0.0
    if restored <= RESTORED or worst <= EXCHANGED:
        return finding
    return finding.against(
        "teacher-validity",
        "hungarian_accuracy",
        matched,
        f"{worst:.0%} of one class are contradicted, and the best matching of classes lifts the teacher to "
        f"{matched:.1%}",
        threshold=EXCHANGED,
        weight=8.0,
    )


def _of_classes_never_answered(finding: Finding, part: LabelDoubt, own: TeacherView | None) -> Finding:
    """A class that the teacher has no name for contradicts it on all of its rows, however right its labels are.

    Wrong labels leave a class the most frequent answer to rows of its own, unless most of them are wrong, as those of a
    rare one are.
    """
    if own is None or own.validity.confusion is None or len(part.by_class) < 3:
        return finding
    never = np.nan_to_num(part.by_class) >= ALL
    often = never & (own.validity.label_prior > NOISE)
    if not often.any():
        return finding
    share = float(own.validity.label_prior[often].sum())
    names = ", ".join(map(str, np.flatnonzero(often)[:5]))
    return finding.against(
        "label-doubt",
        "by_class",
        share,
        f"the teacher calls nearly every row of the classes {names} something else, which are {share:.0%} of all: it "
        "was taught without them",
        threshold=NOISE,
        origin="convention",
        weight=6.0,
    )
