"""The teacher knows the task, but less well than a student trained on the labels alone.

What it checks
    The teacher's metric on held-out rows (accuracy; for yes-or-no tasks the area under the ROC curve) against that of
    the same student trained without a teacher, and against that of its own student, row by row. A student that its
    teacher holds back, and that is clearly better all the same, would be so without it. Whether the teacher never
    answers classes that make up a good part of the rows, of either split, and knows the others: it was trained where
    these classes hardly occur. Whether it has one name for several classes each, of which it is sure: it was trained on
    coarser ones, under their own numbers. Whether it is right far more often than it is sure on the tenth of rows that
    it is surest of, and its student is about as good: it was hardly trained.

Why it hurts
    Where the teacher is worse than the labels, following it pulls the student down: the larger alpha, the further.

What it looks like
    Distillation is worse than plain training, and the hard-label loss falls more slowly with it.

Told apart from
    KD101 (the teacher is at chance, or little above and as unsure and lopsided as first weights are), KD105 (right
    after a permutation of classes), KD108 (right with its own preprocessing), KD401 (the teacher is clearly better than
    the student). A teacher that knows the training rows by heart, and no others, was trained on this task;
    self-distillation, whose student may beat its teacher by a point or two. KD606, whose teacher knows the classes that
    the transfer set lacks. Without a twin, nothing in a record tells a teacher that is weak on all classes, and that
    its student follows, from the limit of the task.

Fix
    Fine-tune the teacher on this task first, lower alpha to 0.1, or distil only where the teacher is right.

Treat automatically
    In part: the student is retrained with a small alpha, or on the labels alone where the teacher is right less than
    half as often as it should be. A better teacher has to come from you.

Read more
    Cho and Hariharan 2019, arXiv:1910.01348. Furlanello et al. 2018, arXiv:1805.04770: what self-distillation gains.
    DeLong et al. 1988: two areas under the ROC curve on the same rows.
"""

import math
from dataclasses import dataclass

import numpy as np

from kddoctor.probes.data_measurements import ClassRecalls
from kddoctor.probes.deployment_measurements import ThresholdShifts
from kddoctor.probes.measurements import Gaps, Rivals, TeacherView, TeacherViews
from kddoctor.probes.paired_retention import PairedRetention
from kddoctor.probes.student_path import StudentPath
from kddoctor.probes.surest_rows import SurestRows
from kddoctor.rules.data.class_outliers import lacks_these_alone, share_of, unknown_to_the_teacher
from kddoctor.rules.finding import Finding, Grade
from kddoctor.rules.pipeline.base_rate import knows_base_rate
from kddoctor.rules.pipeline.first_step import better_at_first
from kddoctor.rules.pipeline.merged_classes import RIGHT, Merged, merged_classes, unanswered_classes
from kddoctor.rules.pipeline.teacher_weights_not_loaded import (
    NO_SKILL,
    blank,
    has_learned,
    may_be_first_weights,
    names_are_right,
)
from kddoctor.rules.registry import rule
from kddoctor.rules.settings import Deviations, Nats, Share
from kddoctor.run.manifest import Manifest

PROBE = "example-gaps"
#: What a teacher's confidence says of its training counts once, be it of all rows or of those that it is surest of.
HARDLY_TRAINED = "hardly-trained"
#: Standard errors of a difference on the same rows that make it significant.
SIGNIFICANT: Deviations = 2.0
#: Smallest difference that matters, as in the benchmark's definition of a mild fault.
ONE_POINT: Share = 0.01
#: Points, and standard errors, by which a student beats its teacher when no self-distillation does.
CLEARLY: Share = 0.03
CLEAR_ERRORS: Deviations = 3.0
#: Accuracy minus mean confidence: label smoothing of 0.1 costs a tenth of confidence, not a quarter.
UNSURE: Share = 0.25
#: The same on the tenth of rows that it is surest of, for certain; 0.03 at most where training went on to its end.
STOPPED_EARLY: Share = 0.08
#: Standard errors of chance.
ACCIDENT: Deviations = 4.0
#: Weight at which a weak teacher does little harm.
SMALL_ALPHA: Share = 0.1
#: Share of the accuracy of whoever it is held against, below which a teacher has nothing to say of this task.
OFF_TASK: Share = 0.5
#: A teacher this good is at the limit of the task rather than weak.
GOOD: Share = 0.95
#: A teacher that is right this often after a permutation of classes is not weak.
MATCHED: Share = 0.8
#: Share of the rows whose classes the teacher never answers, from which it was trained on others.
UNANSWERED: Share = 0.1
#: Skill that a teacher loses from training rows to held-out ones when it knows the first by heart.
BY_HEART: Share = 0.5
#: Nats for answers that first weights give.
FIRST_WEIGHTS: Nats = 7.0


@dataclass(frozen=True)
class _Rival:
    """Who the teacher is held against. ahead: of the teacher, in points; error: its standard error."""

    name: str
    value: float
    ahead: float
    error: float


def _paired(name: str, pair: PairedRetention) -> _Rival:
    return _Rival(name, pair.student, pair.student - pair.teacher, pair.error_at(1.0))


def _twin(held_out: Gaps, rivals: Rivals | None) -> _Rival | None:
    name, accuracy = "the same student trained on labels alone", held_out.baseline_accuracy
    if rivals is not None and rivals.twin is not None:
        return _paired(name, rivals.twin)
    if accuracy is None:
        return None
    gaps = held_out.gaps
    error = (2 * max(accuracy * (1 - accuracy), 1 / gaps.n) / gaps.n) ** 0.5
    return _Rival(name, accuracy, accuracy - gaps.teacher_accuracy, error)


def _student(held_out: Gaps, rivals: Rivals | None) -> _Rival:
    if rivals is not None:
        return _paired("its own student", rivals.student)
    gaps = held_out.gaps
    value = gaps.student_accuracy
    error = (2 * max(value * (1 - value), 1 / gaps.n) / gaps.n) ** 0.5
    return _Rival("its own student", value, value - gaps.teacher_accuracy, error)


def _at_random(teacher: TeacherViews, merged: Merged | None) -> bool:
    """Whether a teacher without any skill shows as much on so few rows: then KD101 has the word.

    First weights tell some classes apart by accident, however many the rows are; but they are as unsure of every row,
    and lopsided.
    """
    own, train = teacher.own, teacher.own_train
    if own is None:
        return True
    return (
        (merged is None or not merged.renamed)
        and own.skill <= max(NO_SKILL if blank(own.validity) else 0.0, _accident(own))
        and (train is None or train.skill <= max(NO_SKILL, _accident(train)))
    )


def _accident(view: TeacherView) -> float:
    """Skill that a teacher without any may show on so few rows."""
    found = view.validity
    return ACCIDENT * math.sqrt(found.chance / max(1, found.n) / max(1e-9, 1 - found.chance))


@rule(
    "KD102",
    name="weak-or-off-task-teacher",
    family="pipeline",
    title="The teacher is weaker than a student trained on the labels alone",
    stage=14,
    reads=(TeacherViews, Gaps, Manifest),
    uses=(Rivals, ThresholdShifts, StudentPath, ClassRecalls, SurestRows),
    masks=(
        "KD302",
        "KD402",
        "KD502",
        "KD705",
    ),
)
def weak_or_off_task_teacher(
    teacher: TeacherViews,
    held_out: Gaps,
    config: Manifest,
    rivals: Rivals | None,
    scores: ThresholdShifts | None,
    path: StudentPath | None = None,
    recalls: ClassRecalls | None = None,
    surest: SurestRows | None = None,
) -> Finding:
    view = teacher.own
    finding = Finding()
    if view is None:
        return finding
    merged = merged_classes(view.validity)
    may_be = may_be_first_weights(teacher)
    untrained = may_be and not _has_learned(teacher, scores, path)
    if untrained and _at_random(teacher, merged):
        return finding
    twin, student = _twin(held_out, rivals), _student(held_out, rivals)
    if merged is not None:
        finding = _of_classes(finding, merged, view.validity.accuracy)
    else:
        finding = finding if recalls is None else _against_few_classes(finding, recalls)
        finding = _of_its_classes(finding, teacher)
        if surest is not None:
            finding = _hardly_trained(finding, surest, student)
        finding = _of_the_student(finding, student, twin)
    if twin is not None and (merged is None or twin.ahead > 0):
        finding = _of_the_twin(finding, twin, student)
    # At chance it may be anything that KD105 and KD108 know, whatever it has learned.
    if may_be and (untrained or view.skill <= NO_SKILL) and blank(view.validity):
        finding = _against_first_weights(finding, view)
    finding = _of_the_teacher(finding, teacher, path, hardly_behind=(twin or student).ahead > -(twin or student).error)
    alpha = config.distillation.alpha
    rival = twin or student
    # What a teacher says that is wrong on most rows, or of other classes, harms at a small weight, too.
    off_task = merged is not None or rival.value - rival.ahead < OFF_TASK * rival.value
    return finding.saying(
        f"The teacher is weaker than {(twin or student).name}."
        if merged is None
        else "The teacher was trained on coarser classes than the student is to tell apart.",
        where="the choice of the teacher",
        # Its small weight is what is prescribed: then the teacher is worth a word, and no alarm.
        severity="note" if alpha is not None and alpha <= SMALL_ALPHA else "error",
    ).prescribe(
        f"a teacher trained on this task; until then {'the labels alone' if off_task else 'a small alpha'}",
        safety="careful",
        distillation__alpha=0.0 if off_task else SMALL_ALPHA,
    )


def _has_learned(teacher: TeacherViews, scores: ThresholdShifts | None, path: StudentPath | None) -> bool:
    """Whether a teacher at chance was trained all the same; the permutations of names are the dearest question."""
    return knows_base_rate(scores) or (path is not None and has_learned(path)) or names_are_right(teacher)


def _of_classes(finding: Finding, merged: Merged, accuracy: float) -> Finding:
    names = ", ".join(f"{number} (called {other})" for number, other in merged.pairs[:5])
    what = "has one name for several classes, as for" if merged.renamed else "never answers"
    return finding.supported_by(
        "teacher-validity",
        "merged_accuracy",
        merged.accuracy,
        f"the teacher {what} {names}; with these as one class each it is right on {merged.accuracy:.1%}, and "
        f"on {accuracy:.1%} as it is",
        threshold=RIGHT,
        grade=Grade.INTERVENTIONAL,
    )


def _against_few_classes(finding: Finding, recalls: ClassRecalls) -> Finding:
    """A teacher that lacks some classes and is as good as anyone on all others is no weak one: KD604 says which."""
    lacking = unknown_to_the_teacher(recalls)
    if not lacks_these_alone(recalls, lacking):
        return finding
    names = ", ".join(map(str, np.flatnonzero(lacking)[:5]))
    return finding.against(
        "class-recall",
        "teacher",
        share_of(recalls.held_out.teacher, recalls.held_out.rows, ~lacking),
        f"all that it lacks are rows of the classes {names}; of all others it finds as many as its student",
        origin="identity",
        weight=8.0,
    )


def _of_its_classes(finding: Finding, teacher: TeacherViews) -> Finding:
    parts = [view.validity for view in (teacher.own, teacher.own_train) if view is not None]
    never, share = unanswered_classes(parts)
    if share < UNANSWERED:
        return finding
    return finding.supported_by(
        "teacher-validity",
        "unanswered",
        share,
        f"the teacher never answers {len(never)} classes ({', '.join(map(str, never[:5]))}), which {share:.0%} of the "
        "rows belong to, and knows others: it was trained where they hardly occur",
        threshold=UNANSWERED,
        origin="convention",
        weight=5.0,
    )


def _hardly_trained(finding: Finding, surest: SurestRows, student: _Rival) -> Finding:
    """A teacher that was stopped early is right more often than sure, and its student nearly as good as it is."""
    nearly = student.ahead > -max(CLEARLY, SIGNIFICANT * student.error)
    if not nearly or surest.surely_kept_back < STOPPED_EARLY:
        return finding
    return finding.supported_by(
        "surest-rows",
        "kept_back",
        surest.kept_back,
        f"of the tenth of held-out rows that it is surest of, the teacher has {surest.right:.0%} right and is "
        f"{surest.confidence:.0%} sure, as networks are that were hardly trained, and its student is about as good",
        threshold=STOPPED_EARLY,
        origin="identity of a teacher that minimised a cross-entropy",
        weight=5.0,
        group=HARDLY_TRAINED,
    )


def _of_the_student(finding: Finding, student: _Rival, twin: _Rival | None) -> Finding:
    own = student.value - student.ahead
    text = (
        f"the teacher scores {own:.1%} on held-out rows, {student.name} {student.value:.1%}, with a standard error of "
        f"the difference of {student.error:.1%}"
    )
    clearly = student.ahead > max(CLEARLY, CLEAR_ERRORS * student.error)
    # Beside a twin, what self-distillation may gain says nothing yet.
    least = ONE_POINT if twin is None else CLEARLY
    if student.ahead > max(least, SIGNIFICANT * student.error):
        return finding.supported_by(
            PROBE,
            "student_ahead",
            student.ahead,
            text,
            threshold=least,
            origin="paper",
            weight=5.0 if clearly else None,
        )
    # What a student that follows it falls behind it does not make up for classes that it never answers.
    if twin is None and student.ahead < -student.error and not finding.supporting:
        return finding.against(PROBE, "student_ahead", student.ahead, text, threshold=-student.error, grade=Grade.PROOF)
    return finding


def _of_the_twin(finding: Finding, twin: _Rival, student: _Rival) -> Finding:
    own = twin.value - twin.ahead
    gained = student.value - twin.value
    text = f"the teacher scores {own:.1%} on held-out rows, {twin.name} {twin.value:.1%}"
    if twin.ahead > max(ONE_POINT, SIGNIFICANT * twin.error):
        finding = finding.supported_by(
            PROBE,
            "twin_ahead",
            twin.ahead,
            text,
            threshold=ONE_POINT,
            grade=Grade.INTERVENTIONAL,
        )
    elif twin.ahead < -twin.error:
        return finding.against(PROBE, "twin_ahead", twin.ahead, text, threshold=-twin.error, grade=Grade.PROOF)
    elif own < GOOD and (gained <= 0 or student.ahead > CLEARLY):
        finding = finding.supported_by(
            PROBE,
            "twin_ahead",
            twin.ahead,
            f"{text}, and distilling made one of {student.value:.1%}",
            threshold=-twin.error,
            origin="taxonomy",
            weight=5.0 if gained <= 0 else 3.0,
        )
    if gained > SIGNIFICANT * twin.error and student.ahead <= 0:
        return finding.against(
            PROBE,
            "gained",
            gained,
            "distilling still gained on the labels-only student",
            threshold=SIGNIFICANT * twin.error,
            weight=6.0,
        )
    return finding


def _against_first_weights(finding: Finding, view: TeacherView) -> Finding:
    return finding.against(
        "teacher-validity",
        "entropy_ratio",
        view.validity.entropy_ratio_median,
        f"its entropy is {view.validity.entropy_ratio_median:.2f} of the largest possible and its answers are "
        "lopsided, as those of first weights: a teacher of another task is sure of itself",
        weight=FIRST_WEIGHTS,
    )


def _of_the_teacher(
    finding: Finding, teacher: TeacherViews, path: StudentPath | None, *, hardly_behind: bool
) -> Finding:
    view = teacher.own
    assert view is not None
    matched = view.validity.hungarian_accuracy
    if matched is not None and matched >= MATCHED > view.validity.accuracy:
        finding = finding.against(
            "teacher-validity",
            "hungarian_accuracy",
            matched,
            f"after the best matching of classes it is right on {matched:.1%}",
            threshold=MATCHED,
            weight=8.0,
        )
    unsure = view.validity.accuracy - view.validity.top1_mean
    if unsure > UNSURE and hardly_behind:
        finding = finding.supported_by(
            "teacher-validity",
            "top1_mean",
            view.validity.top1_mean,
            f"it is right on {view.validity.accuracy:.1%} and only {view.validity.top1_mean:.1%} sure: its training "
            "had hardly begun",
            threshold=UNSURE,
            origin="convention",
            weight=2.0,
            group=HARDLY_TRAINED,
        )
    if path is not None and better_at_first(path, view):
        finding = finding.against(
            "student-path",
            "teacher_right",
            float(path.teacher_right[0]),
            f"at the first step it was right on {path.teacher_right[0]:.1%}, and is on {view.validity.accuracy:.1%} of "
            f"{view.source}: it was better, and has changed",
            threshold=view.validity.accuracy,
            weight=8.0,
        )
    by_heart = 0.0 if teacher.own_train is None else teacher.own_train.skill - view.skill
    if by_heart > BY_HEART:
        finding = finding.against(
            "teacher-validity",
            "by_heart",
            by_heart,
            f"it has {by_heart:.0%} more of the possible skill on training rows than on held-out ones: it, or a model "
            "that it is made of, knows those by heart",
            threshold=BY_HEART,
            origin="convention",
            weight=4.0,
        )
    return finding
