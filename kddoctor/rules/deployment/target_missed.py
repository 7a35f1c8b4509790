"""The run's own target is not met, and nothing else is wrong.

What it checks
    The targets of the manifest against what was reached: the student's share of the teacher's metric, the time of a
    batch, and the size of the checkpoint, or of its parameters. Any cause that is found explains a missed target, so
    this speaks last.

Why it hurts
    The student cannot be shipped, and no repair of the distillation will change that.

What it looks like
    Sound curves, a student ahead of its labels-only twin, and a number that is too small.

Told apart from
    Every other code: they say why. A miss that the number of held-out rows does not establish.

Fix
    A wider student, more transfer rows, a better teacher; or another target.

Treat automatically
    No: what to give up is a decision.

Read more
    Cho and Hariharan 2019, arXiv:1910.01348: on the efficacy of knowledge distillation.
"""

from kddoctor.probes.deployment_measurements import TargetOutcome
from kddoctor.probes.measurements import Rivals
from kddoctor.probes.proportions import SURE
from kddoctor.rules.finding import Finding
from kddoctor.rules.registry import rule

PROBE = "outcome"
#: Nats for a miss beyond the noise of so many rows, and for one within, which is a suspicion and no more.
CERTAINLY, PERHAPS = 6.0, 3.0


@rule(
    "KD704",
    name="target-missed",
    family="deployment",
    title="The run's own target is not met",
    stage=90,
    last=True,
    reads=(TargetOutcome,),
    uses=(Rivals,),
)
def target_missed(outcome: TargetOutcome, rivals: Rivals | None = None) -> Finding:
    takes = "the checkpoint takes"
    if outcome.parameters is not None:
        takes = f"{outcome.parameters:,} parameters in the number format of the logits take"
    judged = Finding()
    judged = _of_retention(judged, outcome, rivals)
    judged = _within(judged, "latency_ms", "a batch takes", "ms", outcome.reached_ms, outcome.wanted_ms)
    judged = _within(judged, "size_mb", takes, "MB", outcome.reached_mb, outcome.wanted_mb)
    # Every target has to be met: one that is does not make up for another.
    finding = Finding(evidence=judged.supporting or judged.opposing)
    if outcome.behind_twin:
        finding = finding.against(
            PROBE,
            "behind_twin",
            None,
            "the same student without a teacher is better: the distillation is not sound",
            weight=3.0,
        )
    return finding.saying(
        "The run's own target is not met.", where="kd_run.yaml: targets", severity="warning"
    ).prescribe("a wider student, more transfer rows, or another target", automatic=False, safety="manual")


def _of_retention(finding: Finding, outcome: TargetOutcome, rivals: Rivals | None) -> Finding:
    if outcome.wanted is None or outcome.reached is None:
        return finding
    missing = outcome.wanted - outcome.reached
    text = (
        f"the student reaches {outcome.reached:.1%} of its teacher's {outcome.metric}, {outcome.wanted:.1%} is wanted"
    )
    if missing <= 0:
        return finding.against(PROBE, "retention", outcome.reached, text, threshold=outcome.wanted, weight=6.0)
    # Both are right and wrong on the same rows, so that the share is surer than either of them.
    certain = missing > SURE * outcome.error if rivals is None else rivals.student.margin(outcome.wanted) < -SURE
    weight = CERTAINLY if certain else PERHAPS
    return finding.supported_by(PROBE, "retention", outcome.reached, text, threshold=outcome.wanted, weight=weight)


def _within(
    finding: Finding, measure: str, said: str, unit: str, reached: float | None, wanted: float | None
) -> Finding:
    if wanted is None or reached is None:
        return finding
    text = f"{said} {reached:.3g} {unit}, {wanted:.3g} {unit} are wanted"
    if reached > wanted:
        return finding.supported_by(PROBE, measure, reached, text, threshold=wanted, weight=6.0)
    return finding.against(PROBE, measure, reached, text, threshold=wanted, weight=1.0)
