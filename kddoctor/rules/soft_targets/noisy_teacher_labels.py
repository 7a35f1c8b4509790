"""The teacher learned wrong labels: it is wrong in a way that no lack of skill explains.

What it checks
    Whether the teacher is right on fewer of the rows that it was trained on than of new ones, although it is as sure of
    them or surer; or whether it knows those rows by heart, is wrong on many that it is sure of, and is worse than the
    labels-only twin on new ones; or whether most classes have one wrong answer of their own that no other class
    returns; or whether rows of several classes get one wrong answer, of which it is sure. Then: whether the student
    repeats these answers more often than its labels-only twin. And whether the teacher is right far more often than it
    is sure on the tenth of rows that it is surest of, with no class out of the question, as labels that were wrong at
    random leave it.

Why it hurts
    The teacher's mistakes become targets. The student follows the systematic ones, and the labels contradict them.

What it looks like
    Teacher and student are wrong on the same rows. Filtering the teacher's mistakes out of the transfer set helps.

Told apart from
    KD102, a teacher that knows too little: it is better on what it has seen, and its mistakes pile up on few classes.
    KD105, where whole classes are exchanged. KD303, whose other classes are all alike. KD307, whose teacher keeps what
    it holds back for a few decoys. KD305, whose teacher keeps back more than half of what it is right on. KD605, where
    the twin makes the teacher's mistakes as well. KD601, whose wrong labels are the student's: there the teacher is as
    sure of the rows that it has "wrong". KD603, whose rows are strange to the teacher, which is unsure of all of them.
    A transfer set that is harder than the held-out rows: a teacher that never saw it is less sure of it.

Fix
    - loss = kl(student, teacher)
    + keep = (teacher.argmax(-1) == labels) | (teacher_confidence < 0.5)
    + loss = kl(student[keep], teacher[keep])
    Better: clean the teacher's labels and train it again. For pseudo-labels, drop the worst tenth by loss.

Treat automatically
    In part: the student is retrained with a small alpha. Clean labels have to come from you.

Read more
    Arpit et al. 2017, arXiv:1706.05394, on learning wrong labels by heart. Gandhi et al. 2023, arXiv:2311.00430.
"""

import math

import numpy as np

from kddoctor.probes.data_measurements import SplitDifference
from kddoctor.probes.measurements import Gaps, TeacherView, TeacherViews
from kddoctor.probes.proportions import SURE, noise_of_difference, standard_error
from kddoctor.probes.surest_rows import SurestRows
from kddoctor.probes.teacher_errors import ENOUGH_ERRORS, TeacherErrors, TeacherErrorsBySplit
from kddoctor.probes.teacher_validity import TeacherValidity
from kddoctor.rules.data.transfer_set_shift import ALIKE
from kddoctor.rules.finding import Finding, Grade
from kddoctor.rules.loss.declared import distils
from kddoctor.rules.pipeline.merged_classes import merged_classes
from kddoctor.rules.registry import rule
from kddoctor.rules.settings import Count, Deviations, Factor, Share
from kddoctor.rules.soft_targets.kept_back import ALL_OF_THEM, ahead, unscaled
from kddoctor.rules.soft_targets.label_smoothed_teacher import ALIKE_WHERE_SURE
from kddoctor.run.manifest import Manifest

PROBE = "teacher-errors"
#: Standard errors, and points, by which learned rows must be worse than new ones.
ERRORS: Deviations = 2.8
POINTS: Share = 0.03
#: Of the share of held-out rows that it is not sure of, what is left on rows that it knows by heart (taxonomy: of their
#: entropy).
BY_HEART: Factor = 0.3
#: A teacher is no surer than this times its usual share of what it has learned wrongly.
SURE_OF_WRONG: Factor = 0.5
#: A wrong answer of its own: share of a class's errors, different ones over classes, share that are returned, and
#: classes read. Weak teachers were at 0.7, 0.7 and 0.3 (calibrated on digits).
DIRECTED: Share = 0.75
DIFFERENT: Share = 0.8
RETURNED: Share = 0.2
ENOUGH_CLASSES: Count = 4
#: What a teacher keeps back where it is surest, for certain; without wrong labels it was 0.03 at most, with them 0.05
#: to 0.3.
KEPT_BACK: Share = 0.04
#: Classes whose rows a wrong rule drains into another, the share of mistakes that the teacher is then sure of, and the
#: share of wrong answers among sure ones that no calibrated teacher exceeds (taxonomy).
SOURCES: Count = 2
SURE_OF_MOST: Share = 0.5
WRONG_WHERE_SURE: Share = 0.1
#: Share of the teacher's wrong answers that a student without a teacher gives as well only where the labels are wrong.
REPEATED_WITHOUT: Share = 0.3
#: Accuracy that the best matching of classes may add before it is the classes that are exchanged.
MATCHED: Share = 0.1
#: Accuracy below which nothing is known of what the teacher learned.
KNOWS: Share = 0.4
#: Points by which the student repeats the teacher's wrong answers more often than its twin (taxonomy).
REPEATS: Share = 0.1
#: Wrong answers from which that share is read.
ENOUGH_WRONG: Count = 20
#: Weight at which a wrong teacher does little harm.
SMALL_ALPHA: Share = 0.1


@rule(
    "KD304",
    name="noisy-teacher-labels",
    family="soft-targets",
    title="The teacher learned wrong labels",
    # Before KD102: a teacher that learned wrong labels is weak because of it.
    stage=13,
    reads=(TeacherErrorsBySplit, Manifest),
    uses=(TeacherViews, Gaps, SplitDifference, SurestRows),
    masks=("KD102", "KD307", "KD402", "KD502"),
)
def noisy_teacher_labels(
    errors: TeacherErrorsBySplit,
    config: Manifest,
    teacher: TeacherViews | None,
    gaps: Gaps | None,
    difference: SplitDifference | None = None,
    surest: SurestRows | None = None,
) -> Finding:
    finding = Finding()
    held_out = errors.held_out
    own = None if teacher is None else teacher.own
    if own is not None and merged_classes(own.validity) is not None:
        return finding  # it learned other classes, not wrong labels
    if not distils(config) or held_out is None or held_out.accuracy < KNOWS or config.num_classes is None:
        return finding
    asked = held_out
    if errors.train is not None and _wrong_by_heart(errors.train, held_out, own, gaps):
        finding = _sure_and_wrong(finding, errors.train)
        asked = errors.train  # what is known by heart is not repeated elsewhere
    elif errors.train is not None and not _from_elsewhere(difference):
        finding = _worse_on_learned(finding, errors.train, held_out)
    finding = _directed(finding, held_out, teacher)
    if own is not None:
        finding = _drained(finding, held_out, own.validity)
    if any(e.supports for e in finding.evidence):
        finding = _repeated(finding, asked)
    if surest is not None and gaps is not None:
        finding = _unsure(finding, surest, gaps)  # that shows in what it has right, and not in its mistakes
    if not any(e.supports for e in finding.evidence):
        return finding
    return finding.saying(
        "The teacher's mistakes are those of wrong labels, not of too little skill.",
        where="the labels that the teacher was trained on",
    ).prescribe(
        "rows that the teacher has wrong left out, or a small alpha", safety="careful", distillation__alpha=SMALL_ALPHA
    )


def _from_elsewhere(difference: SplitDifference | None) -> bool:
    """Whether the transfer set looks different from held-out rows: of another kind a teacher may well know less."""
    inputs = None if difference is None else difference.inputs
    return inputs is not None and inputs.auc - SURE * inputs.standard_error >= ALIKE


def _wrong_by_heart(train: TeacherErrors, held_out: TeacherErrors, own: TeacherView | None, gaps: Gaps | None) -> bool:
    """Whether it learned wrong answers to these rows, and is the worse for it where the labels alone are better.

    Where it is better on new rows than whoever learned these labels, it is the labels that are wrong.
    """
    if gaps is None or gaps.baseline_accuracy is None or own is None or _exchanged(own):
        return False
    unsure, usually = (1 - e.confident_rows / e.rows for e in (train, held_out))
    error = standard_error(train.confident_wrong, max(1, train.confident_rows))
    wrong = train.confident_wrong - SURE * error > WRONG_WHERE_SURE
    ahead = gaps.baseline_accuracy - gaps.gaps.teacher_accuracy
    noise = noise_of_difference(standard_error(gaps.baseline_accuracy, gaps.gaps.n))
    return wrong and unsure < BY_HEART * usually and ahead > noise


def _sure_and_wrong(finding: Finding, train: TeacherErrors) -> Finding:
    return finding.supported_by(
        PROBE,
        "confident_wrong",
        train.confident_wrong,
        f"the teacher is sure of {train.confident_rows / train.rows:.0%} of the transfer set, of far fewer new rows; "
        f"on {train.confident_wrong:.0%} of those it is wrong: it knows wrong answers by heart, and on new rows the "
        "labels alone make a better student than it is",
        threshold=WRONG_WHERE_SURE,
        origin="taxonomy",
        grade=Grade.INTERVENTIONAL,
    )


def _exchanged(own: TeacherView) -> bool:
    """Whether it is right after a matching of classes: then these are exchanged."""
    matched = own.validity.hungarian_accuracy
    return matched is not None and matched - own.validity.accuracy > MATCHED


def _worse_on_learned(finding: Finding, train: TeacherErrors, held_out: TeacherErrors) -> Finding:
    worse = held_out.accuracy - train.accuracy
    error = math.sqrt(sum(e.accuracy * (1 - e.accuracy) / e.rows for e in (train, held_out)))
    text = (
        f"the teacher is right on {train.accuracy:.1%} of the transfer set and on {held_out.accuracy:.1%} of held-out "
        "rows"
    )
    if worse <= 0:
        return finding.against(PROBE, "worse_on_learned", worse, text, threshold=0.0, weight=1.0)
    sure, usually = (e.confident_rows / e.rows for e in (train, held_out))
    wrongly_sure = train.confident_wrong * train.confident_rows / max(1, train.wrong)
    # What it was trained on, it is the surer of: where it is not, these rows may be new to it as well, and harder.
    strange = sure < usually
    if worse < max(POINTS, ERRORS * error) or strange or wrongly_sure > SURE_OF_WRONG * sure:
        return finding
    return finding.supported_by(
        PROBE,
        "worse_on_learned",
        worse,
        f"{text}, and is at least as sure of the former",
        threshold=ERRORS * error,
        origin="identity",
        weight=5.5,
    )


def _directed(finding: Finding, held_out: TeacherErrors, teacher: TeacherViews | None) -> Finding:
    share = held_out.directed
    if share is None or held_out.directed_classes < ENOUGH_CLASSES:
        return finding
    if teacher is not None and teacher.own is not None and _exchanged(teacher.own):
        return finding
    if share < DIRECTED or held_out.distinct < DIFFERENT or held_out.returned > RETURNED:
        return finding
    return finding.supported_by(
        PROBE,
        "directed",
        share,
        f"{share:.0%} of the teacher's mistakes in {held_out.directed_classes} classes go to one wrong class each, "
        f"another for each class, and {held_out.returned:.0%} of these are mutual",
        threshold=DIRECTED,
        origin="calibrated on digits",
        weight=6.0,
    )


def _unsure(finding: Finding, surest: SurestRows, held_out: Gaps) -> Finding:
    """Labels that were wrong at random: whoever learned them is right more often than sure, and has no decoys."""
    others = surest.relative_spread < ALIKE_WHERE_SURE or unscaled(surest, held_out)  # KD303, KD305
    if not ahead(held_out) or others or surest.evenness < ALL_OF_THEM or surest.surely_kept_back < KEPT_BACK:
        return finding
    return finding.supported_by(
        "surest-rows",
        "kept_back",
        surest.kept_back,
        f"of the tenth of held-out rows that it is surest of, the teacher has {surest.right:.0%} right and is "
        f"{surest.confidence:.0%} sure, and no class is out of the question: so it is for labels that were wrong at "
        "random",
        threshold=KEPT_BACK,
        origin="identity of a teacher that minimised a cross-entropy",
        weight=5.5,
    )


def _drained(finding: Finding, held_out: TeacherErrors, found: TeacherValidity) -> Finding:
    """A rule or a default that labelled rows of several classes as one: the teacher is sure of that one there."""
    table = found.confusion
    if table is None or held_out.wrong < ENOUGH_WRONG:
        return finding
    wrong = table - np.diag(np.diag(table))
    drain = int(wrong.sum(axis=1).argmax())
    sources = int((wrong[drain] >= ENOUGH_ERRORS).sum())
    share = float(wrong[drain].sum() / wrong.sum())
    sure = held_out.confident_wrong * held_out.confident_rows / held_out.wrong
    if share < DIRECTED or sources < SOURCES or sure < SURE_OF_MOST:
        return finding
    return finding.supported_by(
        PROBE,
        "drained",
        share,
        f"{share:.0%} of the teacher's {held_out.wrong} mistakes, in {sources} classes, are answers {drain}, and of "
        f"{sure:.0%} of its mistakes it is more than 90% sure",
        threshold=DIRECTED,
        origin="taxonomy",
        weight=6.0 if held_out.confident_wrong > WRONG_WHERE_SURE else 3.5,
    )


def _repeated(finding: Finding, errors: TeacherErrors) -> Finding:
    student, twin = errors.repeated, errors.twin_repeated
    if student is None or twin is None or errors.wrong < ENOUGH_WRONG:
        return finding
    text = (
        f"the student repeats {student:.0%} of the teacher's {errors.wrong} mistakes, the same student on labels "
        f"alone {twin:.0%}"
    )
    if twin > REPEATED_WITHOUT:
        return finding.against(
            PROBE,
            "twin_repeated",
            twin,
            f"{text}: these are mistakes of the labels",
            threshold=REPEATED_WITHOUT,
            weight=6.0,
        )
    if student - twin > REPEATS:
        return finding.supported_by(
            PROBE,
            "repeated",
            student - twin,
            text,
            threshold=REPEATS,
            origin="paper",
            grade=Grade.INTERVENTIONAL,
            weight=2.0,
        )
    return finding.against(PROBE, "repeated", student - twin, text, threshold=REPEATS, origin="paper", weight=2.0)
