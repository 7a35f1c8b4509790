"""A generalised Jensen-Shannon divergence vanishes, because its weight lies at one of the ends.

What it checks
    Whether the recorded loss is a Jensen-Shannon divergence whose weight beta is at most 0.05 or at least 0.95, be it
    one for all rows or another one for each; where it differs, whether half of the steps are as small as with such a
    weight, and none is larger than with any.

Why it hurts
    At beta = 0 and at beta = 1 the mixture *is* one of the two distributions, and the divergence is zero and not the
    plain KL that people expect there. Near the ends it is beta times too small: the teacher has hardly any weight.

What it looks like
    A tiny, well-behaved distillation loss, as if the student had converged; beta acts like a learning rate.

Told apart from
    A student that matches its teacher, whose plain divergences are small as well. KD208, a constant in front of the
    right loss. beta of 0.1 and 0.9 are in use and no fault.

Fix
    - loss = jsd(student, teacher, beta=0.01)      # "almost the forward KL"
    + loss = kl(student, teacher)                  # the limit that was meant
    Or beta = 0.5; where the ends are wanted, branch to the plain divergences there, or divide by beta (1 - beta).

Treat automatically
    Yes: the student is retrained with beta = 0.5.

Read more
    Agarwal et al. 2024, arXiv:2306.13649, equation 1. Huszár 2015, arXiv:1511.05101, on the limits.
"""

from kddoctor.probes.loss_forensics import LossForensics
from kddoctor.probes.loss_mistakes import LossMistakes
from kddoctor.rules.finding import Finding, Grade
from kddoctor.rules.loss.declared import MAY_VANISH, as_declared, distils, excluded, mistaken
from kddoctor.rules.registry import rule
from kddoctor.rules.settings import Nats, Share
from kddoctor.run.manifest import Manifest
from kddoctor.run.observations import Observations

#: Divergence, in nats, from which two models are not the same.
VISIBLE_DIVERGENCE: Nats = 1e-3
#: Distance of beta from 0 or 1 within which the divergence vanishes (catalogue).
AN_END: Share = 0.05


@rule(
    "KD210",
    name="jsd-beta-vanishing",
    family="loss",
    title="The weight inside the Jensen-Shannon divergence makes it vanish",
    stage=30,
    reads=(LossMistakes, LossForensics, Manifest),
    uses=(Observations,),
    masks=("KD102", "KD208", "KD211", "KD301", "KD402", "KD502", "KD110"),
)
def jsd_beta_vanishing(
    mistakes: LossMistakes, loss: LossForensics, config: Manifest, seen: Observations | None
) -> Finding:
    finding = as_declared(Finding(), loss)
    if not distils(config):
        return finding
    # Where a plain divergence was declared, a constant share and a factor have nearer names: T², a weight.
    meant = config.distillation.loss in MAY_VANISH
    found = mistakes.of("KD210") if meant else None
    at_an_end = _is_zero(mistakes, config, seen)
    near = mistakes.nearly_an_end if loss.term is None and not mistakes.found else None
    near = near if near is not None and near <= AN_END else None
    if found is None and not at_an_end and near is None:
        return finding if mistakes.found else excluded(finding, loss)
    if near is not None:
        finding = finding.supported_by(
            "loss-mistakes",
            "nearly_an_end",
            near,
            f"no single beta reproduces the recorded divergence; each of {mistakes.steps} steps has one that does, and "
            f"on half of them it lies within {near:.2g} of an end",
            threshold=AN_END,
            origin="paper",
            grade=Grade.INTERVENTIONAL,
            weight=6.0,
        )
        summary = "The Jensen-Shannon divergence has a weight that moves, and is mostly where it vanishes."
    elif found is not None:
        finding = mistaken(finding, mistakes, found)
        summary = f"The distillation loss is {found.text}, where it vanishes."
    else:
        finding = finding.supported_by(
            "loss-mistakes",
            "largest",
            mistakes.largest,
            f"the recorded Jensen-Shannon divergence is 0 where the models are {mistakes.divergence:.2g} nats apart",
            threshold=VISIBLE_DIVERGENCE,
            grade=Grade.INTERVENTIONAL,
            weight=8.0,
        )
        summary = "The Jensen-Shannon divergence is zero, as it is where its weight lies at an end."
    return finding.saying(summary, where="the training loop: beta of the divergence").prescribe(
        "beta = 0.5, or the plain divergence that the end was to stand for", safety="careful", loss__beta=0.5
    )


def _is_zero(mistakes: LossMistakes, config: Manifest, seen: Observations | None) -> bool:
    term = seen.graph.kd_loss if seen is not None and seen.graph is not None else None
    computed = mistakes.zero == "rounding" or bool(term is not None and term.student)
    apart = mistakes.divergence >= VISIBLE_DIVERGENCE
    return config.distillation.loss == "jsd" and mistakes.zero is not None and computed and apart
