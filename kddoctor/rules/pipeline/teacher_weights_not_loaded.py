"""The teacher's weights were never loaded: it answers at random.

What it checks
    Whether the teacher is right no more often than chance, unsure of everything, and prefers a few classes whatever
    the input; and whether the checkpoint left keys unmatched. Answers that have one name for several classes each, and
    are sure of it, were learned; sure ones alone need not be: so are those of first embeddings, or of a trained body
    under a first head.

Why it hurts
    The student is taught noise. A checkpoint that is silently not applied (strict=False, a "module." prefix, another
    variant of the backbone) raises no error.

What it looks like
    The distillation loss levels out at a high or oddly constant value; nobody ever evaluated the teacher.

Told apart from
    KD102: a teacher that has learnt how often the answer is yes was trained, and so was one that calls the little it
    tells apart by the right names: to first weights, all names are alike. KD105: there some permutation of the classes
    makes the teacher right, and it is sure of itself. KD106: there entropy and class histogram are normal. An untrained
    teacher also gains from the best permutation (0.12 to 0.28 in a check), so that alone proves nothing.

Fix
    - teacher.load_state_dict(state, strict=False)
    + teacher.load_state_dict({k.removeprefix("module."): v for k, v in state.items()})
    Then assert the teacher's accuracy before the first step.

Treat automatically
    No: the right weights have to come from you.

Read more
    PyTorch documentation of load_state_dict: the returned missing and unexpected keys.
"""

import math

import numpy as np

from kddoctor.probes.deployment_measurements import ThresholdShifts
from kddoctor.probes.measurements import TeacherView, TeacherViews
from kddoctor.probes.student_path import StudentPath
from kddoctor.probes.teacher_validity import TeacherValidity
from kddoctor.rules.finding import Finding, Grade
from kddoctor.rules.pipeline.base_rate import knows_base_rate
from kddoctor.rules.pipeline.merged_classes import RIGHT, merged_classes
from kddoctor.rules.registry import rule
from kddoctor.rules.settings import Count, Deviations, Distance, Nats, Share
from kddoctor.run.observations import Observations

PROBE = "teacher-validity"
#: Accuracy above chance, as a share of the possible, that a network may have without any training: the largest of 200
#: untrained ones on digits had 0.093, of 120 on clothes 0.085, of 120 on newsgroups 0.018.
NO_SKILL: Share = 0.10
#: Standard errors above chance from which a teacher that is sure of itself knows something.
KNOWS: Deviations = 4.0
#: A body with its weights under a head without: a little skill, and most answers in a few classes (digits: 0.15 and
#: 1.5; the least trained of useful teachers had 0.67).
LITTLE_SKILL: Share = 0.25
LOPSIDED: Distance = 1.0
#: Nats a label below those of a fair draw that first weights do not reach.
LEARNED: Nats = 0.2
#: Orders of the classes that are tried, and the share of them that may fit as well as the given one: two answered
#: classes of ten bear the right names by an accident of one in ninety. The smallest of untrained teachers of digits,
#: newsgroups and language was 0.05.
ORDERS: Count = 1999
AS_GOOD: Share = 0.02
#: From the taxonomy's checks: an untrained head has H/lnC >= .85 and a histogram .77 off the labels'; trained ones
#: with permuted classes reach .8 and more after matching, untrained ones at most .44.
UNSURE: Share = 0.8
SURE_OF_ITSELF: Share = 0.5
SKEWED: Distance = 0.5
MATCHED: Share = 0.6


@rule(
    "KD101",
    name="teacher-weights-not-loaded",
    family="pipeline",
    title="The teacher answers at random: its weights were not loaded",
    stage=10,
    reads=(TeacherViews,),
    uses=(Observations, ThresholdShifts, StudentPath),
    masks=(
        "KD102",
        "KD106",
        "KD208",
        "KD301",
        "KD302",
        "KD402",
        "KD502",
        "KD605",
        "KD705",
    ),
)
def teacher_weights_not_loaded(
    teacher: TeacherViews,
    seen: Observations | None,
    scores: ThresholdShifts | None,
    path: StudentPath | None = None,
) -> Finding:
    view = teacher.own or teacher.in_loop
    assert view is not None
    finding = Finding()
    missing = len((seen.missing_keys if seen else None) or ())
    if not may_be_first_weights(teacher):
        return finding.against(
            PROBE,
            "accuracy",
            view.validity.accuracy,
            f"{view.source}: {view.validity.accuracy:.1%} right where chance is {view.validity.chance:.1%}",
            threshold=view.validity.chance,
            grade=Grade.PROOF,
        )
    if teacher.in_loop is not None and teacher.in_loop.skill > LITTLE_SKILL:
        # What it is now, it was not while it taught.
        return finding.against(
            PROBE,
            "in_loop_accuracy",
            teacher.in_loop.validity.accuracy,
            f"{teacher.in_loop.source}: it was right on {teacher.in_loop.validity.accuracy:.1%} of the rows that it "
            "taught",
            threshold=LITTLE_SKILL,
            origin="calibrated on untrained networks",
            grade=Grade.PROOF,
        )
    finding = _learned(_at_random(finding, view, own=teacher.own is not None), path)
    merged = merged_classes(view.validity)
    if merged is not None and merged.renamed:
        finding = finding.against(
            PROBE,
            "merged_accuracy",
            merged.accuracy,
            f"with several classes as one each it is right on {merged.accuracy:.1%}",
            threshold=RIGHT,
            origin="convention",
            weight=8.0,
        )
    if seen is not None and seen.same_inputs is False and view.validity.entropy_ratio_median < SURE_OF_ITSELF:
        finding = finding.against(
            PROBE,
            "entropy_ratio",
            view.validity.entropy_ratio_median,
            "it is sure of itself, which first weights are not, and is given other tensors than the student",
            threshold=SURE_OF_ITSELF,
            origin="taxonomy",
            weight=4.0,
        )
    if names_are_right(teacher):
        finding = finding.against(
            PROBE,
            "accuracy",
            view.validity.accuracy,
            f"the little that it tells apart it calls by the right names: of {ORDERS} other orders of its outputs, at "
            f"most {AS_GOOD:.0%} make as much right as {view.validity.accuracy:.1%}, and first weights know no names",
            threshold=view.validity.chance,
            origin="identity of exchangeable names",
            weight=8.0,
        )
    if knows_base_rate(scores):
        assert scores is not None
        finding = finding.against(
            "threshold-shift",
            "predicted",
            scores.teacher.predicted,
            f"it has learnt how often the answer is yes: {scores.teacher.predicted:.1%}, where "
            f"{scores.teacher.base_rate:.1%} are",
            threshold=scores.teacher.base_rate,
            weight=6.0,
        )
    if missing:
        finding = finding.supported_by(
            "observations",
            "missing_keys",
            float(missing),
            f"{missing} keys of the model had no value in the checkpoint that was loaded",
            threshold=0,
            grade=Grade.PROOF,
        )
    return finding.saying(
        f"The teacher is right on {view.validity.accuracy:.1%} of {view.source}, as often as chance.",
        where="the training loop: loading of the teacher's checkpoint",
    ).prescribe(
        "load the checkpoint with strict=True and check the teacher's accuracy first",
        automatic=False,
        safety="manual",
    )


def may_be_first_weights(teacher: TeacherViews) -> bool:
    """Whether the teacher knows no more of any rows than a network may that was never trained."""
    view = teacher.own or teacher.in_loop
    assert view is not None
    skill = max(v.skill for v in (view, teacher.own_train) if v is not None)
    lopsided = skill <= LITTLE_SKILL and view.validity.histogram_l1 > LOPSIDED
    return skill <= NO_SKILL or lopsided


def _learned(finding: Finding, path: StudentPath | None) -> Finding:
    if path is None or not has_learned(path):
        return finding
    loss, fair = float(path.teacher_loss.mean()), math.log(path.classes)
    return finding.against(
        "student-path",
        "teacher_loss",
        loss,
        f"a label costs it {loss:.2f} nats on the recorded steps, where a fair draw costs {fair:.2f}: it has learned",
        threshold=fair,
        origin="identity",
        weight=7.0,
    )


def names_are_right(teacher: TeacherViews) -> bool:
    """Whether what a teacher tells apart bears the right names, which first weights can only hit by chance.

    To them every order of their outputs is as likely as any other: a permutation test of the names over all rows that
    it was asked of (Fisher 1935). A few classes have too few orders.
    """
    own = [view for view in (teacher.own, teacher.own_train) if view is not None]
    tables = [view.validity.confusion for view in own or teacher.all]
    known = [table for table in tables if table is not None]
    if not known:
        return False
    table = np.sum(known, axis=0)
    every = np.arange(len(table))
    orders = np.random.default_rng(0).permuted(np.tile(every, (ORDERS, 1)), axis=1)
    as_good = int((table[every, orders].sum(axis=1) >= np.trace(table)).sum())
    return as_good + 1 <= AS_GOOD * (ORDERS + 1)


def _knows_something(view: TeacherView) -> bool:
    """Whether the little skill is no accident of these rows."""
    found = view.validity
    error = math.sqrt(found.chance * (1 - found.chance) / max(1, found.n))
    return found.accuracy - found.chance > KNOWS * error


def _beyond_one_answer(found: TeacherValidity) -> bool:
    """Whether the best matching does more than to call the only class that is ever answered by the commonest name."""
    assert found.hungarian_accuracy is not None
    error = math.sqrt(found.majority * (1 - found.majority) / max(1, found.n))
    return found.hungarian_accuracy - found.majority > KNOWS * error


def _at_random(finding: Finding, view: TeacherView, *, own: bool) -> Finding:
    found = view.validity
    # Run by the recorder on the rows themselves, a teacher at chance cannot be a matter of pairing.
    in_place = own and view.skill <= NO_SKILL
    finding = finding.supported_by(
        PROBE,
        "accuracy",
        found.accuracy,
        f"{view.source}: accuracy {found.accuracy:.1%} where chance is {found.chance:.1%}",
        threshold=NO_SKILL,
        origin="calibrated on untrained networks",
        weight=5.0 if in_place else 3.0,
    )
    unsure, skewed = found.entropy_ratio_median > UNSURE, found.histogram_l1 > SKEWED
    if unsure or skewed:
        finding = finding.supported_by(
            PROBE,
            "entropy_ratio" if unsure else "histogram_l1",
            found.entropy_ratio_median if unsure else found.histogram_l1,
            f"its entropy is {found.entropy_ratio_median:.2f} of the largest possible, and its class histogram is "
            f"{found.histogram_l1:.2f} off the labels'",
            threshold=UNSURE if unsure else SKEWED,
            origin="calibrated on toy checks",
            weight=5.0 if unsure and skewed else 3.0,
        )
    elif not in_place or _knows_something(view):
        finding = finding.against(
            PROBE,
            "histogram_l1",
            found.histogram_l1,
            "it is sure of itself and predicts every class as often as the labels do",
            threshold=SKEWED,
            origin="calibrated on toy checks",
            weight=6.0,
        )
    if found.hungarian_accuracy is not None and found.hungarian_accuracy >= MATCHED and _beyond_one_answer(found):
        finding = finding.against(
            PROBE,
            "hungarian_accuracy",
            found.hungarian_accuracy,
            f"after the best matching of classes it is right on {found.hungarian_accuracy:.1%}",
            threshold=MATCHED,
            origin="calibrated on toy checks",
            weight=8.0,
        )
    return finding


def has_learned(path: StudentPath) -> bool:
    """First weights know no label better than a fair draw does; whoever is below ln C has learned, if not much."""
    return float(path.teacher_loss.mean()) < math.log(path.classes) - LEARNED


def blank(found: TeacherValidity) -> bool:
    """Whether a teacher is as unsure of every row, and as lopsided, as first weights are."""
    return found.entropy_ratio_median > UNSURE and found.histogram_l1 > SKEWED
