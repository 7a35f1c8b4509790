"""The teacher's targets rest on something that the student does not get: context, or the answer itself.

What it checks
    Whether the targets say more about the label than the teacher does on the same input (in the limit, whether they
    differ from its answer by the label's logit alone); whether, where a label is a yes or a no, they rank the rows of
    the loop better than the teacher ranks the whole training split; whether the student's inputs lack entries that the
    teacher's inputs have, or are shorter; and whether the teacher knows every next token of texts that nobody has shown
    it, where a student is far from that.

Why it hurts
    The student is asked for what cannot be known from its own input. It learns to sound as sure as the teacher,
    and guesses.

What it looks like
    The teacher is nearly perfect inside the loop. The student is confident and wrong.

Told apart from
    KD107, where the teacher sees another view of the same example, and knows no more than it does on the whole one.
    KD805, where different inputs make the teacher worse. KD301, where targets are sharp about what the teacher
    believes, right or wrong. Context distillation on purpose, where the student comes up to the teacher, and targets
    that labels are mixed into, by less than half of what the teacher did not know: notes.

Fix
    - teacher(prompt + reference_solution + answer)
    + teacher(prompt + answer)
    Or give the student the same context, in training and in use.

Treat automatically
    In part: targets that were told the answer are replaced by the teacher's own on the student's batch. What the
    student's inputs lack has to come from you.

Read more
    Snell et al. 2022, arXiv:2209.15189: distillation of context, where the student can make up for it.
"""

from kddoctor.probes.measurements import Gaps, TeacherViews
from kddoctor.probes.proportions import noise_of_difference, standard_error
from kddoctor.probes.targets_against_own import TargetsAgainstOwn
from kddoctor.rules.finding import Finding, Grade, NotExamined
from kddoctor.rules.record import RECORD
from kddoctor.rules.registry import rule
from kddoctor.rules.settings import Count, Factor, Share
from kddoctor.run.manifest import Manifest
from kddoctor.run.observations import InputFacts, Observations

PROBE = "targets-against-own"
GIVEN_MORE = "The teacher is given more than the student."
#: Share of the targets that must favour the label, where the teacher is right and where it is wrong. Noise gives a half
#: of both, another view of the example up to 0.85, another temperature next to none of one of them.
FAVOURS_LABEL: Share = 0.9
#: The same of targets that know more about most rows, and not of all; and by how much of what is possible above chance
#: they then have to be better than the teacher itself, on training rows that it knows as well as those of the loop.
FAVOURS_MOSTLY: Share = 0.7
BETTER: Share = 0.05
#: Rows without which a share says nothing, and those that may differ for another reason.
FEWEST_ROWS: Count = 20
STRAYS: Share = 0.05
#: The teacher's loss in the loop over its loss on the same rows outside, below which it knows more in the loop.
KNOWS_MORE: Factor = 0.8
#: What the label costs the targets, over what it costs the teacher, from which they were told a part of it alone, as by
#: a weight of the labels' term: told the answer, they leave next to nothing of it (convention).
TOLD_A_PART: Factor = 0.5
#: What the student's inputs must have of the entries of the teacher's, for both to have got the same.
SAME_ENTRIES: Share = 0.98
#: Accuracy on new texts of a teacher that reads ahead, and points by which one that knows texts by heart is worse on
#: new ones; share of it up to which a student that reads no further comes. Of English, even people are sure of
#: two letters of three at most (Shannon 1951).
SEES_AHEAD, BY_HEART, LEFT_BEHIND = 0.97, 0.02, 0.8
#: Share of the teacher's advantage over the most frequent class that a student keeps for whom nothing is missing.
COMES_UP: Share = 0.95


@rule(
    "KD811",
    name="privileged-teacher-context",
    family="sequence-LM",
    title="The teacher's targets rest on something that the student does not get",
    stage=16,
    reads=(Manifest,),
    uses=(TargetsAgainstOwn, TeacherViews, Observations, Gaps),
    masks=(
        "KD107",
        "KD208",
        "KD211",
        "KD301",
        "KD401",
        "KD402",
        "KD502",
        "KD603",
    ),
)
def privileged_teacher_context(
    config: Manifest,
    targets: TargetsAgainstOwn | None,
    teacher: TeacherViews | None,
    seen: Observations | None,
    held_out: Gaps | None,
) -> Finding | NotExamined:
    inputs = (seen.inputs if seen is not None else None) or {}
    student, teachers = inputs.get("loop_student"), inputs.get("loop_teacher")
    symbols = config.task in ("tokens", "ranking")
    ahead = config.task == "tokens" and _sees_ahead(teacher, held_out)
    if targets is None and not ahead and not (symbols and student is not None and teachers is not None):
        return NotExamined(*RECORD["TargetsAgainstOwn"])
    finding = Finding()
    if ahead:
        finding = _of_certainty(finding, teacher, held_out)
    differing = seen is not None and seen.same_inputs is False
    if symbols and differing and student is not None and teachers is not None:
        finding = _of_inputs(finding, student, teachers, inputs.get("train"), teacher)
    told = targets is not None and _told(targets)
    part = targets is not None and targets.label_loss >= TOLD_A_PART * targets.own_label_loss
    if targets is not None and told:
        finding = _of_targets(finding, targets, teacher)
    elif targets is not None and teacher is not None and targets.changed > FAVOURS_MOSTLY:
        finding = _of_ranking(finding, targets, teacher)
    elif targets is not None and targets.changed < STRAYS and not differing and not finding.evidence:
        finding = finding.against(
            PROBE,
            "changed",
            targets.changed,
            f"on {1 - targets.changed:.1%} of {targets.rows} rows the targets are the teacher's own answer",
            threshold=STRAYS,
            grade=Grade.PROOF,
        )
    return finding.saying(
        f"The targets were told {'a part of ' if part else ''}the answer." if told else GIVEN_MORE,
        where="the training loop: inputs of the teacher",
        severity="note" if (part if told else _comes_up(held_out)) else "error",
    ).prescribe(
        "the same input for teacher and student",
        automatic=told,
        safety="careful",
        **({"treatment__pairing": "online"} if told else {}),
    )


def _sees_ahead(teacher: TeacherViews | None, held_out: Gaps | None) -> bool:
    """Whether the teacher is right on texts that it does not know by heart, as no reader of what came before can be."""
    if teacher is None or teacher.own is None or teacher.own_train is None or held_out is None:
        return False
    own, known = teacher.own.validity.accuracy, teacher.own_train.validity.accuracy
    return own >= SEES_AHEAD and known - own <= BY_HEART and held_out.gaps.student_accuracy <= LEFT_BEHIND * own


def _of_certainty(finding: Finding, teacher: TeacherViews | None, held_out: Gaps | None) -> Finding:
    assert teacher is not None
    assert teacher.own is not None
    assert held_out is not None
    accuracy = teacher.own.validity.accuracy
    return finding.supported_by(
        "teacher-validity",
        "accuracy",
        accuracy,
        f"the teacher is right on {accuracy:.1%} of the tokens of new texts, the student on "
        f"{held_out.gaps.student_accuracy:.1%}: it reads what is still to come",
        threshold=SEES_AHEAD,
        origin="paper",
        weight=7.0,
    )


def _told(targets: TargetsAgainstOwn) -> bool:
    if targets.changed < STRAYS or targets.wrong < FEWEST_ROWS:
        return False
    return min(targets.gained_right, targets.gained_wrong) > FAVOURS_LABEL


def _of_targets(finding: Finding, targets: TargetsAgainstOwn, teacher: TeacherViews | None) -> Finding:
    elsewhere = [v for v in (teacher.own, teacher.own_train) if v is not None] if teacher is not None else []
    best = min((v.validity.nll for v in elsewhere), default=None)
    if best is not None and targets.label_loss > KNOWS_MORE * best:
        # Better than on this input only: what was seen is the whole of it, as on every other occasion.
        return finding
    exact = targets.only_at_label > 1 - STRAYS
    return finding.supported_by(
        PROBE,
        "gained_wrong",
        targets.gained_wrong,
        f"of {targets.wrong} rows on which the teacher is wrong, the targets favour the label on "
        f"{targets.gained_wrong:.0%}; the label costs them {targets.label_loss:.2f} nats, and the teacher itself "
        f"{targets.own_label_loss:.2f}" + (": they differ by the label's logit alone" if exact else ""),
        threshold=FAVOURS_LABEL,
        origin="identity" if exact else "calibrated on the language task",
        grade=Grade.PROOF if exact else Grade.INTERVENTIONAL,
        weight=None if exact else 8.0,
    )


def _of_ranking(finding: Finding, targets: TargetsAgainstOwn, teacher: TeacherViews) -> Finding:
    """Targets that mostly favour the label and rank rows better than the teacher does, in yes-or-no tasks."""
    loop, own = teacher.in_loop, teacher.own_train
    if loop is None or own is None or loop.auc is None or own.auc is None or targets.wrong < FEWEST_ROWS:
        return finding
    gained = loop.skill - own.skill
    limit = max(BETTER, 2 * noise_of_difference(standard_error(own.auc, targets.rows)))  # skill is 2 AUC - 1
    if gained <= limit or min(targets.gained_right, targets.gained_wrong) <= FAVOURS_MOSTLY:
        return finding
    return finding.supported_by(
        "teacher-validity",
        "skill_gained",
        gained,
        f"inside the loop the teacher has {loop.skill:.0%} of what is possible above chance, and {own.skill:.0%} on "
        f"the training rows outside it; its targets favour the label on {targets.gained_right:.0%} of the rows on "
        f"which it is right and on {targets.gained_wrong:.0%} of the others",
        threshold=limit,
        origin="calibrated on movielens and clicks",
        grade=Grade.INTERVENTIONAL,
        weight=7.0,
    )


def _of_inputs(
    finding: Finding, student: InputFacts, teachers: InputFacts, raw: InputFacts | None, teacher: TeacherViews | None
) -> Finding:
    entries = _entries(student, teachers)
    longer = bool(student.shape and teachers.shape and student.shape[-1] < teachers.shape[-1])
    if entries is None and not longer:
        return finding
    if not longer and (entries or 0) >= SAME_ENTRIES:
        return finding
    # Where the teacher's inputs lack entries of the data set as well, both were given a part.
    part = None if raw is None else _entries(teachers, raw)
    if part is not None and part < SAME_ENTRIES:
        return finding
    if teacher is not None and teacher.in_loop is not None and teacher.own_train is not None:
        loop, own = teacher.in_loop.validity.nll, teacher.own_train.validity.nll
        if loop * KNOWS_MORE > own:
            return finding.against(
                "teacher-validity",
                "nll",
                loop,
                f"the teacher is worse with its inputs in the loop ({loop:.2f} nats) than elsewhere ({own:.2f})",
                threshold=own,
                weight=6.0,
            )
    found = (
        f"inputs of {teachers.shape} in place of {student.shape}"
        if longer
        else f"{1 - (entries or 0):.0%} of the entries that are set in the teacher's inputs are not in the student's"
    )
    return finding.supported_by(
        "observations",
        "inputs",
        entries,
        f"in the loop, on the same rows: {found}",
        threshold=SAME_ENTRIES,
        origin="identity",
        grade=Grade.INTERVENTIONAL,
        weight=8.0,
    )


def _entries(part: InputFacts, whole: InputFacts) -> float | None:
    """Share of the entries of ``whole`` that are no zeros which ``part`` has."""
    if part.zeros is None or whole.zeros is None or part.shape != whole.shape or whole.zeros >= 1:
        return None
    return (1 - part.zeros) / (1 - whole.zeros)


def _comes_up(held_out: Gaps | None) -> bool:
    if held_out is None:
        return False
    gaps = held_out.gaps
    counts = gaps.class_counts
    guessed = 0.0 if counts is None else float(counts.max() / counts.sum())
    return gaps.student_accuracy - guessed > COMES_UP * (gaps.teacher_accuracy - guessed)
