"""Loss, gradients or logits became non-finite or exploded, and stayed so.

What it checks
    Non-finite values in the recorded losses, in the student's outputs and among the recorder's observations; a final
    loss far above the first, or, as where the first one was logged after it exploded, far above what a student has
    that knows nothing, with logits far beyond the teacher's; and a weight decay that, times the rate, exceeds two, in
    a student whose answers no longer depend on its input.

Why it hurts
    From that step on nothing is learned; what is evaluated is debris.

What it looks like
    NaN in the log, accuracy at chance, a loss that jumps by orders of magnitude.

Told apart from
    KD213, where the loss is non-finite although the logits are finite. KD501, where a learning rate is too high but
    values stay finite. KD208, whose weight can cause it.

Fix
    - learning_rate: 1.0
    + learning_rate: 0.05
    + torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)

Treat automatically
    Yes: the student is retrained with a tenth of the learning rate and clipped gradients.

Read more
    Pascanu et al. 2013, arXiv:1211.5063.
"""

import math

from kddoctor.probes.learning_curve import LearningCurve
from kddoctor.probes.logit_scale import LogitScale
from kddoctor.probes.loss_forensics import LossForensics
from kddoctor.probes.loss_numerics import LossNumerics
from kddoctor.probes.output_health import OutputHealth
from kddoctor.probes.student_path import StudentPath
from kddoctor.rules.finding import Finding, Grade
from kddoctor.rules.loss.loss_numerics_unstable import loss_broke_first
from kddoctor.rules.registry import rule
from kddoctor.rules.settings import Factor, Share
from kddoctor.run.manifest import Manifest
from kddoctor.run.observations import Observations

#: Share of the last losses that must be non-finite, and growth of the loss over the run.
LATE: Share = 0.5
EXPLODED: Factor = 10.0
#: Rate times weight decay above which a step throws a weight further past zero than it was away from it.
THROWN: Factor = 2.0
#: Optimizers whose steps take off rate times decay times the weight.
BY_THE_RATE = ("sgd", "adamw")
#: Share of the variance between rows of answers that do not depend on the input.
CONSTANT: Share = 1e-6
#: Share of rows without a finite output.
DEAD_ROWS: Share = 0.5


@rule(
    "KD505",
    name="training-diverged",
    family="optimisation",
    title="Training diverged",
    stage=50,
    reads=(OutputHealth, Manifest),
    uses=(LearningCurve, Observations, LossForensics, LossNumerics, StudentPath, LogitScale),
    masks=(
        "KD102",
        "KD208",
        "KD305",
        "KD307",
        "KD401",
        "KD402",
        "KD405",
        "KD501",
        "KD502",
        "KD504",
        # From one step to the next it is another student, and so after the last one.
        "KD701",
        "KD702",
    ),
)
def training_diverged(
    outputs: OutputHealth,
    config: Manifest,
    curve: LearningCurve | None,
    seen: Observations | None,
    loss: LossForensics | None,
    numerics: LossNumerics | None,
    path: StudentPath | None,
    scale: LogitScale | None = None,
) -> Finding:
    finding = _of_size(_of_decay(Finding(), config, path), path, scale)
    # That everything is NaN in the end proves nothing where the loss broke first, at ordinary values: it follows.
    proof = Grade.STATISTICAL if loss_broke_first(numerics, curve) else Grade.PROOF
    if outputs.student_nonfinite_rows > DEAD_ROWS:
        finding = finding.supported_by(
            "output-health",
            "student_nonfinite_rows",
            outputs.student_nonfinite_rows,
            f"the student's output is not finite on {outputs.student_nonfinite_rows:.0%} of the rows",
            threshold=DEAD_ROWS,
            grade=proof,
        )
    if curve is not None:
        finding = _by_curve(finding, curve, proof)
    count = seen.nonfinite_count if seen is not None else 0
    if count:
        finding = finding.supported_by(
            "observations",
            "nonfinite_steps",
            float(count),
            f"the recorder saw {count} steps with non-finite values",
            threshold=0,
            weight=3.0,
            group="nonfinite",
        )
    if loss is not None and loss.nonfinite_losses > LATE * (loss.steps + loss.nonfinite_losses):
        finding = finding.supported_by(
            "loss-forensics",
            "nonfinite_losses",
            float(loss.nonfinite_losses),
            f"{loss.nonfinite_losses} of {loss.steps + loss.nonfinite_losses} recorded losses are not finite",
            threshold=LATE,
            weight=5.0,
            group="nonfinite",
        )
    if loss is not None and loss.nonfinite_losses and loss.finite_logits_at_nonfinite_loss:
        finding = finding.against(
            "loss-forensics",
            "nonfinite_losses",
            float(loss.nonfinite_losses),
            "the logits of those steps are finite: the loss itself may be unstable",
            weight=4.0,
        )
    return finding.saying(
        "Training diverged: values became non-finite or exploded, and stayed so.",
        where="kd_run.yaml: training.learning_rate",
    ).prescribe(
        "a lower learning rate, found by a short probe, and clipped gradients",
        safety="careful",
        treatment__learning_rate="probe",
        treatment__clip_gradients=1.0,
    )


def _of_size(finding: Finding, path: StudentPath | None, scale: LogitScale | None) -> Finding:
    """A hard-label loss of many times ln C, in the end, with logits that no teacher's asked for."""
    if path is None or scale is None or path.classes < 2:
        return finding
    times = 1 + path.late("excess") / math.log(path.classes)
    if not times > EXPLODED or not scale.ratio > EXPLODED:
        return finding
    return finding.supported_by(
        "student-path",
        "excess",
        times,
        f"in the end the hard-label loss is {times:.3g} times that of a student that knows nothing, and the student's "
        f"logits are {scale.ratio:.3g} times as large as the teacher's",
        threshold=EXPLODED,
        origin="convention",
        grade=Grade.INTERVENTIONAL,
    )


def _of_decay(finding: Finding, config: Manifest, path: StudentPath | None) -> Finding:
    """A decay that overshoots zero at every step; with a momentum the weights may end there, and not beyond bounds."""
    set_up = config.training
    rate, decay = set_up.learning_rate or 0.0, set_up.weight_decay or 0.0
    named = (set_up.optimizer or "").lower().startswith(BY_THE_RATE)
    if not named or rate * decay <= THROWN or path is None or path.late("dependence") > CONSTANT:
        return finding
    return finding.supported_by(
        "manifest",
        "weight_decay",
        rate * decay,
        f"rate {rate:g} times weight decay {decay:g} is {rate * decay:.2g}: each step throws every weight past zero, "
        "further than it was away, and the student's answers no longer depend on its input",
        threshold=THROWN,
        origin="identity of gradient descent",
        grade=Grade.INTERVENTIONAL,
    )


def _by_curve(finding: Finding, curve: LearningCurve, proof: Grade) -> Finding:
    if curve.nonfinite_late > LATE:
        return finding.supported_by(
            "learning-curve",
            "nonfinite_late",
            curve.nonfinite_late,
            f"{curve.nonfinite_late:.0%} of the last training losses are not finite",
            threshold=LATE,
            grade=proof,
            group="nonfinite",
        )
    if curve.explosion > EXPLODED:
        return finding.supported_by(
            "learning-curve",
            "explosion",
            curve.explosion,
            f"the training loss ended {curve.explosion:.3g} times as high as it began",
            threshold=EXPLODED,
            origin="convention",
            grade=Grade.INTERVENTIONAL,
        )
    if curve.logged and not curve.nonfinite and not finding.supporting:
        return finding.against(
            "learning-curve",
            "nonfinite",
            0.0,
            f"all {curve.logged} logged losses are finite and the loss did not grow",
            grade=Grade.PROOF,
        )
    return finding
