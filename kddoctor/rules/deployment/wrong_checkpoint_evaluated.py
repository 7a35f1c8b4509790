"""The student that is evaluated is not the one that training ended with.

What it checks
    Whether the student's weights were written to after the last optimizer step; whether it answers its last training
    batch otherwise than it did; and whether it is worse on held-out rows than the loop had logged. A checkpoint that
    is as good as what was logged is a choice and no fault. And whether it gives the very answers of the teacher,
    which it did not in the loop: a copy of the teacher is no student, however good.

Why it hurts
    Everything is measured on another model: an early one, one that was filled in part, or the teacher.

What it looks like
    A good curve, and a final evaluation that has nothing to do with it.

Told apart from
    KD702, where the weights are those of the last step and the answers are not. KD703, where the weights were written
    to in order to give them fewer values. Averaged weights and the best checkpoint, which are no worse than the last
    one.

Fix
    - student.load_state_dict(checkpoint, strict=False)
    + student.load_state_dict(checkpoint, strict=True), and choose the checkpoint by the student's own metric

Treat automatically
    No: nothing has to be retrained. Evaluate the right weights.

Read more
    PyTorch documentation of Module.load_state_dict, on strict.
"""

from kddoctor.probes.deployment_measurements import EvaluatedStudent
from kddoctor.rules.deployment.ending import (
    EARLIER,
    LACKING,
    PROBE,
    answers_change,
    drop,
    grade_of,
    is_quantised,
    other_weights,
    values_of,
)
from kddoctor.rules.finding import Finding, Grade, NotExamined
from kddoctor.rules.record import RECORD
from kddoctor.rules.registry import rule
from kddoctor.rules.settings import Nats

#: Nats against a checkpoint, where no bias was written to.
PARTLY: Nats = 10.0


@rule(
    "KD701",
    name="wrong-checkpoint-evaluated",
    family="deployment",
    title="The student that is evaluated is not the one that training ended with",
    stage=70,
    reads=(EvaluatedStudent,),
    masks=(*LACKING, "KD702"),
)
def wrong_checkpoint_evaluated(student: EvaluatedStudent) -> Finding | NotExamined:
    copied = student.is_teacher and student.logged != student.evaluated
    if student.logged is None and student.then is None and not copied:
        return NotExamined(*RECORD["EvaluatedStudent"])
    finding = Finding().saying(
        "The student that is evaluated is not the one that training ended with.", where="what is loaded after training"
    )
    finding = finding.prescribe("evaluate the weights of the last step", automatic=False, safety="manual")
    if copied:
        return _of_the_teacher(finding, student)
    if student.written is None:
        return _by_answers(finding, student)
    if student.written == 0:
        return finding.against(
            PROBE,
            "written",
            0.0,
            "no weight of the student was written to after the last optimizer step",
            grade=Grade.PROOF,
        )
    worse = drop(student)
    changed = answers_change(student)
    if not changed or worse.how == "none":
        return finding.against(
            PROBE,
            "drop",
            worse.points,
            f"weights were written to after the last step, and the student is no worse for it: {worse.text}",
            weight=5.0,
        )
    if worse.how != "unknown":
        finding = finding.supported_by(
            PROBE,
            "written",
            float(student.written),
            f"{student.written} of the student's parameters were written to after the last optimizer step, and it got "
            f"worse: {worse.text}",
            threshold=0.0,
            grade=Grade.PROOF if worse.how == "certainly" else Grade.STATISTICAL,
            weight=None if worse.how == "certainly" else 5.5,
        )
    if is_quantised(student):
        finding = finding.against(
            PROBE,
            "weights",
            float(student.weights or 0),
            f"a quantisation: {values_of(student)}",
            weight=12.0,
        )
    elif student.matrices_alone:
        finding = finding.against(
            PROBE,
            "matrices_alone",
            float(student.written),
            "matrices alone were written to: a checkpoint would have brought their biases as well",
            weight=PARTLY,
        )
    return finding


def _of_the_teacher(finding: Finding, student: EvaluatedStudent) -> Finding:
    logged = "" if student.logged is None else f", where the loop had logged {student.logged:.1%}"
    return finding.supported_by(
        PROBE,
        "is_teacher",
        1.0,
        "on held-out rows its logits are the teacher's, to the last digit, and in the loop they were its own: the "
        f"teacher is evaluated in its place; it reaches {student.evaluated:.1%}{logged}",
        threshold=0.0,
        grade=Grade.PROOF,
    )


def _by_answers(finding: Finding, student: EvaluatedStudent) -> Finding | NotExamined:
    """From recorded steps alone: nobody watched the weights after the last one."""
    worse = drop(student)
    if worse.how == "none" or (student.answers is not None and not answers_change(student)):
        return finding.against(
            PROBE, "drop", worse.points, f"what is evaluated is what was trained: {worse.text}", weight=5.0
        )
    seen = other_weights(student)
    if worse.how == "unknown" or seen is None:
        return NotExamined(*RECORD["EvaluatedStudent"])
    if is_quantised(student):
        finding = finding.against(PROBE, "weights", None, f"it is quantised: {values_of(student)}", weight=12.0)
    return finding.supported_by(
        "answers-over-time",
        "nearest",
        None if student.answers is None else float(student.answers.distance.min()),
        f"it got worse, and {seen}: {worse.text}",
        threshold=EARLIER,
        origin="calibrated on digits",
        grade=grade_of(student, worse),
        weight=6.5,
    )
