"""The student was sound until it was quantised.

What it checks
    Whether a weight of the student has a handful of different values, or the student's logits or activations are whole
    multiples of one step and pile up at the ends; or whether, after the last step, matrices alone were written to and
    no bias was; and whether it is worse than the loop had logged. Quantisation without a loss is no fault.

Why it hurts
    Distilled students are small, and use all the range that they have: few bits cost them more than they cost others.

What it looks like
    In float the student is fine; after the export it is not, and only then.

Told apart from
    KD701, where the weights are another checkpoint's, biases included. KD702, where the same inputs reach the model in
    another form. A student trained with rounded weights, which is as good as what was logged.

Fix
    One scale for each channel, ranges from many rows, and training that knows of the rounding, with the teacher's
    targets.

Treat automatically
    No: quantise anew, or retrain with the rounding in the loop.

Read more
    Krishnamoorthi 2018, arXiv:1806.08342. Polino et al. 2018, arXiv:1802.05668: distillation and quantisation.
"""

from kddoctor.probes.deployment_measurements import EvaluatedStudent
from kddoctor.rules.deployment.ending import LACKING, PROBE, drop, grid, is_quantised, values_of
from kddoctor.rules.finding import Finding, Grade, NotExamined
from kddoctor.rules.record import RECORD
from kddoctor.rules.registry import rule
from kddoctor.rules.settings import Nats

#: Nats for matrices that were rewritten without their biases, which pruning does as well.
REWRITTEN: Nats = 6.0


@rule(
    "KD703",
    name="post-distill-quantisation-drop",
    family="deployment",
    title="The student was sound until it was quantised",
    stage=71,
    reads=(EvaluatedStudent,),
    masks=(*LACKING, "KD701", "KD702"),
)
def post_distill_quantisation_drop(student: EvaluatedStudent) -> Finding | NotExamined:
    found = grid(student)
    quantised = is_quantised(student)
    finding = Finding().saying("The student was sound until it was quantised.", where="the export of the student")
    finding = finding.prescribe("a scale for each channel, and ranges from many rows", automatic=False, safety="manual")
    rewritten = not quantised and found is None and student.matrices_alone
    if not quantised and found is None and not rewritten:
        if student.weights is None and not student.outputs:
            return NotExamined(*RECORD["EvaluatedStudent"])
        return finding.against(
            PROBE,
            "weights",
            None if student.weights is None else float(student.weights),
            "neither weights nor outputs lie on a grid",
            weight=8.0,
        )
    worse = drop(student)
    if worse.how in ("none", "unknown"):
        what = "its matrices were rewritten, and it is" if rewritten else "it is quantised, and"
        return finding.against(PROBE, "drop", worse.points, f"{what} no worse for it: {worse.text}", weight=5.0)
    if rewritten:
        # Values that are no grid any more, as after a scale and an offset for each channel.
        return finding.supported_by(
            PROBE,
            "matrices_alone",
            float(student.written or 0),
            f"after the last optimizer step {student.written} matrices of the student were written to and no bias, as "
            f"an export does; {worse.text}",
            grade=Grade.INTERVENTIONAL,
            weight=REWRITTEN,
        )
    where = values_of(student) if quantised else ""
    if found is not None and not quantised:
        name, steps = found
        where = (
            f"its {name} have {steps.distinct} different values, all multiples of {steps.step:.3g}, and "
            f"{steps.at_ends:.0%} "
            "of them lie at the ends"
        )
    return finding.supported_by(
        PROBE,
        "weights" if quantised else "grid",
        float(student.weights or 0) if quantised and student.weights is not None else None,
        f"{where}; {worse.text}",
        grade=Grade.PROOF if worse.how == "certainly" else Grade.STATISTICAL,
        weight=None if worse.how == "certainly" else 6.5,
    )
