"""The mixing weights are exchanged: alpha sits on the labels, 1 − alpha on the teacher.

What it checks
    The weights with which the two terms add up to the recorded total, against the declared ones.

Why it hurts
    alpha = 0.9 acts like 0.1: the run that was to follow the teacher follows the labels.

What it looks like
    Distillation "does little" although it dominates on paper; settings from papers behave the other way round.

Told apart from
    KD201, which makes the distillation term C times smaller but leaves the weight of the labels at 1 − alpha.
    KD208, where the weights are neither the declared nor the exchanged ones. At alpha = 0.5 nothing is visible.

Fix
    - loss = alpha * ce + (1 - alpha) * kd
    + loss = alpha * kd + (1 - alpha) * ce

Treat automatically
    Yes: the student is retrained with the declared weights.

Read more
    Conventions differ between code bases; kd_run.yaml says that alpha weighs the distillation term.
"""

from kddoctor.probes.loss_forensics import LossForensics, Mix
from kddoctor.probes.loss_schedule import LossSchedule
from kddoctor.rules.finding import Finding, Grade
from kddoctor.rules.loss.declared import PROBE, distils
from kddoctor.rules.loss.drawn import Drawn, drawn_terms
from kddoctor.rules.registry import rule
from kddoctor.rules.settings import Share
from kddoctor.run.manifest import Manifest

#: Weights this close to one half are the same either way round.
SYMMETRIC: Share = 0.02
#: Relative precision of a fitted weight; identities leave 1e-4 and less.
SAME_WEIGHT = 0.01


@rule(
    "KD207",
    name="alpha-inverted",
    family="loss",
    title="The weights of the two loss terms are exchanged",
    stage=33,
    reads=(LossForensics, Manifest),
    uses=(LossSchedule,),
    masks=(
        "KD102",
        "KD208",
        "KD402",
        "KD502",
        "KD602",
    ),
)
def alpha_inverted(loss: LossForensics, config: Manifest, schedule: LossSchedule | None = None) -> Finding:
    alpha = config.distillation.alpha
    mix, drawn = loss.mix, drawn_terms(schedule)
    if drawn is not None and alpha is not None and distils(config):
        return _of_draws(drawn, alpha)
    if alpha is None or not distils(config) or mix is None or mix.schedule or not mix.kd_weight:
        return Finding()
    if weights_are(mix, 1 - alpha, alpha):
        return Finding().against(
            PROBE,
            "weights",
            mix.kd_weight,
            f"the total is {1 - alpha:g} x labels + {alpha:g} x teacher, as declared",
            threshold=alpha,
            grade=Grade.PROOF,
        )
    if abs(alpha - 0.5) <= SYMMETRIC or not weights_are(mix, alpha, 1 - alpha):
        return Finding()
    return (
        Finding()
        .supported_by(
            PROBE,
            "kd_weight",
            mix.kd_weight,
            f"the total is {alpha:g} x labels + {1 - alpha:g} x teacher on every one of {loss.steps} steps",
            threshold=alpha,
            grade=Grade.PROOF,
        )
        .saying(
            f"The teacher's term has weight {1 - alpha:g} and the labels' {alpha:g}: the two are exchanged.",
            where="kd_run.yaml: distillation.alpha",
        )
        .prescribe("put alpha on the distillation term", loss__weights="declared")
    )


def _of_draws(drawn: Drawn, alpha: float) -> Finding:
    text = f"{drawn.text}, where alpha = {alpha:g} of them were to be"
    if drawn.may_be(alpha):
        return Finding().against(PROBE, "drawn", drawn.teacher / drawn.steps, text, threshold=alpha, weight=6.0)
    if abs(alpha - 0.5) <= SYMMETRIC or not drawn.may_be(1 - alpha):
        return Finding()
    return (
        Finding()
        .supported_by(
            PROBE,
            "drawn",
            drawn.teacher / drawn.steps,
            text,
            threshold=alpha,
            grade=Grade.INTERVENTIONAL,
            weight=8.0,
        )
        .saying(
            f"The teacher's term is drawn with the chance {1 - alpha:g} of the labels': the two are exchanged.",
            where="the training loop: the draw between the two terms",
        )
        .prescribe("draw the distillation term with the chance alpha", loss__weights="declared")
    )


def weights_are(mix: Mix, ce: float, kd: float) -> bool:
    """Whether the fitted weights equal the given pair."""
    return abs(mix.ce_weight - ce) <= SAME_WEIGHT * max(abs(ce), 0.1) and abs(mix.kd_weight - kd) <= SAME_WEIGHT * max(
        abs(kd), 0.1
    )
