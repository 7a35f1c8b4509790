"""The teacher learned along with the student.

What it checks
    Whether the teacher's parameters changed while it taught, whether it got gradients or stood in an optimizer, and
    whether the distillation term depends on its weights; where nobody compared them, whether its logits are of another
    size, or it is right far more seldom, after the first step. What no optimizer moved, another line of the loop
    did: a decay by hand, an average, a checkpoint that is read again.

Why it hurts
    Two models that may both move meet where it is easiest: the teacher forgets what it knew to come closer to the
    student. The loss falls to nothing and the student is no better for it.

What it looks like
    A distillation loss that falls suspiciously fast; twice the memory; another teacher checkpoint at the end.

Told apart from
    KD103, where only buffers move, because the teacher is in training mode. A student that really learns also lowers
    the loss, but its agreement with the first teacher rises.

Fix
    - optimizer = SGD([*student.parameters(), *teacher.parameters()], lr)
    + teacher.requires_grad_(False)
    + optimizer = SGD(student.parameters(), lr)
    And run the teacher under torch.no_grad().

Treat automatically
    Yes: the student is retrained with the teacher frozen.

Read more
    PyTorch documentation of Module.requires_grad_ and torch.no_grad.
"""

from kddoctor.probes.measurements import TeacherViews
from kddoctor.probes.proportions import standard_error
from kddoctor.probes.student_path import StudentPath
from kddoctor.probes.teacher_spread import TeacherSpread
from kddoctor.rules.finding import Finding, Grade, NotExamined
from kddoctor.rules.registry import rule
from kddoctor.rules.settings import Count, Deviations, Factor, Share
from kddoctor.run.observations import Observations

PROBE = "observations"
#: Relative change of a parameter that float32 round trips stay below.
FROZEN: Share = 1e-5
#: A teacher that moved by less than this is hardly another one: two decimals of every weight stand.
HARDLY: Share = 1e-3
#: Accuracy that a teacher loses between the first recorded step and its worst later one, in points and in standard
#: errors of one step, and share of rows of one class from which a step's rows are no sample of all.
LOST: Share = 0.3
LOST_ERRORS: Deviations = 5.0
SORTED: Share = 0.6
#: Points by which it has to be better at first, and worse later, than it is in the end: no order of rows takes a
#: teacher that stays the same below what it is on rows that are new to it.
AROUND: Share = 0.25
#: Factor between the size of its logits at the first step and at whichever later one is nearest to that: batches of one
#: teacher differ by far less, and an order of the rows from easy to hard changes it step by step.
OTHER_SIZE: Factor = 2.0
#: Recorded steps and rows of each from which these are read.
STEPS: Count = 5
ROWS: Count = 16


@rule(
    "KD104",
    name="teacher-not-frozen",
    family="pipeline",
    title="The teacher learned along with the student",
    stage=15,
    reads=(Observations,),
    uses=(StudentPath, TeacherViews, TeacherSpread),
    masks=("KD101", "KD102", "KD107", "KD208", "KD302", "KD401", "KD402", "KD501", "KD502", "KD505"),
)
def teacher_not_frozen(
    seen: Observations,
    path: StudentPath | None = None,
    teacher: TeacherViews | None = None,
    spread: TeacherSpread | None = None,
) -> Finding | NotExamined:
    drift, learns = seen.teacher_drift, seen.teacher_requires_grad
    found = Finding() if drift is not None else _by_spread(_by_answers(Finding(), path, teacher), spread)
    if drift is None and learns is None:
        if found.supporting:
            return _said(found, "error")
        return NotExamined(
            ("observations.teacher_drift",), "pass the live teacher to kddoctor.record, which compares its weights"
        )
    if drift is not None and drift <= FROZEN:
        return _at_rest(Finding(), drift, learns)
    if learns is False:
        return _moved_without_gradients(Finding(), drift, seen)
    finding = _reached(found, seen)
    if drift is not None:
        finding = finding.supported_by(
            PROBE,
            "teacher_drift",
            drift,
            f"a parameter of the teacher changed by {drift:.2g} of its size during the run",
            threshold=FROZEN,
            grade=Grade.PROOF,
        )
    return _said(finding, "note" if drift is not None and drift < HARDLY else "error")


def _at_rest(finding: Finding, drift: float, learns: bool | None) -> Finding:
    finding = finding.against(
        PROBE,
        "teacher_drift",
        drift,
        "no parameter of the teacher changed during the run",
        threshold=FROZEN,
        grade=Grade.PROOF,
    )
    return _said(finding, "note") if learns else finding


def _moved_without_gradients(finding: Finding, drift: float | None, seen: Observations) -> Finding:
    """A moving average, a decay by hand, or statistics of normalisation layers: it moved, and did not learn."""
    finding = finding.against(
        PROBE, "teacher_requires_grad", 0.0, "the teacher had no gradients and stood in no optimizer", weight=6.0
    )
    if drift is not None and not seen.teacher_training:
        finding = finding.supported_by(
            PROBE,
            "teacher_drift",
            drift,
            f"the teacher changed by {drift:.2g} of its size during the run",
            threshold=FROZEN,
            # In evaluation mode nothing but somebody's own line changes a model; otherwise it may be its statistics.
            grade=Grade.PROOF if seen.teacher_training is False else Grade.INTERVENTIONAL,
        )
    return _said(finding, "warning")


def _reached(finding: Finding, seen: Observations) -> Finding:
    if seen.teacher_requires_grad:
        finding = finding.supported_by(
            PROBE,
            "teacher_requires_grad",
            1.0,
            "the teacher's parameters had gradients, or stood in the optimizer",
            threshold=0.0,
        )
    graph = seen.graph
    if graph is not None and graph.loss is not None and graph.loss.teacher:
        finding = finding.supported_by(
            PROBE,
            "graph.loss.teacher",
            float(graph.loss.teacher),
            f"the loss depends on {graph.loss.teacher} of the teacher's parameters",
            threshold=0.0,
        )
    return finding


def _by_answers(finding: Finding, path: StudentPath | None, teacher: TeacherViews | None) -> Finding:
    """Where nobody compared its weights: a teacher that is far better at the first step than at a later one."""
    own = None if teacher is None else teacher.own
    if path is None or own is None or len(path.step) < STEPS or int(path.rows.min()) < ROWS:
        return finding
    first, worst = float(path.teacher_right[0]), float(path.teacher_right[1:].min())
    noise = LOST_ERRORS * standard_error(first, int(path.rows[0]))
    ends = own.validity.accuracy
    around = first > ends + AROUND and worst < ends - AROUND
    if path.begins_late or first - worst < max(LOST, noise) or not around or float(path.commonest.max()) > SORTED:
        return finding
    return finding.supported_by(
        "student-path",
        "teacher_right",
        worst,
        f"the teacher is right on {first:.1%} of the rows of the first step, on {worst:.1%} of those of a later "
        f"one, and on {ends:.1%} of {own.source} in the end",
        threshold=first - LOST,
        origin="convention",
        group="in-loop",
        weight=6.0,
    )


def _by_spread(finding: Finding, spread: TeacherSpread | None) -> Finding:
    """A teacher whose logits are of another size at all later steps than at the first, whatever rows these drew."""
    if spread is None or spread.begins_late or len(spread.spread) < STEPS or int(spread.rows.min()) < ROWS:
        return finding
    if spread.apart < OTHER_SIZE:
        return finding
    later = spread.spread[1:]
    return finding.supported_by(
        "teacher-spread",
        "apart",
        spread.apart,
        f"the teacher's logits spread by {spread.spread[0]:.2g} at the first step, and by {later.min():.2g} to "
        f"{later.max():.2g} at the {len(later)} later ones that were recorded",
        threshold=OTHER_SIZE,
        origin="convention",
        grade=Grade.INTERVENTIONAL,
        group="in-loop",
        weight=6.0,
    )


def _said(finding: Finding, severity: str) -> Finding:
    return finding.saying(
        "The teacher changed while it taught.",
        where="the training loop: parameters of the optimizer, and torch.no_grad() around the teacher",
        severity="note" if severity == "note" else "warning" if severity == "warning" else "error",
    ).prescribe("freeze the teacher and keep it out of the optimizer", treatment__teacher_mode="eval")
