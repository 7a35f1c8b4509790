"""The distillation term helps early and hurts late, and keeps its weight.

What it checks
    Whether the gradient of the distillation term opposes that of the labels (their mean cosine is negative) while the
    held-out metric peaks and then falls.

Why it hurts
    A teacher that the student has caught up with pulls it back.

What it looks like
    The best evaluation lies in the middle of the run; stopping there, or winding alpha down, is better than going on.

Told apart from
    KD602 and plain over-fitting, where both terms agree. KD102, whose teacher is weak from the start. KD208, where one
    term outweighs the other. A declared schedule of the weight.

Fix
    - loss = (1 - alpha) * ce + alpha * kd
    + loss = (1 - alpha * (1 - step / steps)) * ce + alpha * (1 - step / steps) * kd

Treat automatically
    Yes: the student is retrained with a weight that falls to zero.

Read more
    Jafari et al. 2021, arXiv:2104.07163: annealing distillation. Cho & Hariharan 2019, arXiv:1910.01348: early stop.
"""

from kddoctor.probes.learning_curve import LearningCurve
from kddoctor.probes.measurements import Gaps
from kddoctor.probes.proportions import noise_of_difference, standard_error
from kddoctor.rules.finding import Finding, NotExamined
from kddoctor.rules.optimisation.harm import severity
from kddoctor.rules.registry import rule
from kddoctor.rules.settings import Correlation
from kddoctor.run.observations import Observations

#: Mean cosine of the two gradients from which they oppose each other.
OPPOSED: Correlation = -0.1


@rule(
    "KD507",
    name="kd-not-annealed",
    family="optimisation",
    title="The distillation term helps early and hurts late",
    stage=53,
    reads=(LearningCurve, Observations),
    uses=(Gaps,),
)
def kd_not_annealed(curve: LearningCurve, seen: Observations, held_out: Gaps | None) -> Finding | NotExamined:
    cosine, trend = seen.grad_cosine_kd_ce, curve.quality
    if cosine is None or trend is None:
        return NotExamined(
            ("observations.grad_cosine_kd_ce", "metrics"),
            "pass kd_loss and ce_loss to run.step before backward(), and call run.log(split='val', …) once an epoch",
        )
    finding = Finding()
    text = f"the gradients of the two terms have a mean cosine of {cosine:+.2f}"
    if cosine < OPPOSED:
        finding = finding.supported_by(
            "observations", "grad_cosine_kd_ce", cosine, text, threshold=OPPOSED, origin="convention", weight=3.0
        )
    else:
        finding = finding.against(
            "observations", "grad_cosine_kd_ce", cosine, text, threshold=OPPOSED, origin="convention", weight=5.0
        )
    rows = held_out.gaps.n if held_out is not None else 1
    noise = noise_of_difference(standard_error(min(max(trend.last, 0.0), 1.0), rows))
    fallen = trend.best - trend.last
    if fallen > noise and trend.high < 0:
        finding = finding.supported_by(
            "learning-curve",
            "fallen",
            fallen,
            f"held-out {curve.quality_key} peaked at {trend.best:.3f} and ended at {trend.last:.3f}, still falling",
            threshold=noise,
            origin="two standard errors",
            weight=3.0,
        )
    else:
        finding = finding.against(
            "learning-curve",
            "fallen",
            fallen,
            f"held-out {curve.quality_key} ended within noise of its best",
            threshold=noise,
            origin="two standard errors",
            weight=6.0,
        )
    return finding.saying(
        "The distillation term opposes the labels while the held-out metric falls.",
        where="kd_run.yaml: distillation.alpha over time",
        severity=severity(held_out, "warning"),
    ).prescribe("a weight that falls to zero", safety="careful", treatment__alpha="annealed")
