"""The distillation term does not carry the factor T² that was declared.

What it checks
    Which power of the temperature multiplies the recorded divergence: T² belongs there once; 1, T, 2T² and T⁴ are
    what loops are found to use instead. Whether the factor moves steadily between T² and 1. Where a part of each
    batch's rows was recorded, a missing T² is read from the means over all steps, up to chance.

Why it hurts
    Gradients of soft targets shrink with 1/T². Without the factor the balance between teacher and labels moves
    whenever the temperature is changed: at T = 4 the teacher has a sixteenth of the weight that alpha says.

What it looks like
    Raising the temperature makes distillation fade; settings from papers do not transfer.

Told apart from
    KD201, whose factor is the number of classes: where T² = C one run cannot separate them. KD211, where the
    temperature itself is another one: of that the factor is the smaller part. With alpha = 1 there is no other term,
    and T² only scales the learning rate: then this is a note.

Fix
    - loss = alpha * kl + (1 - alpha) * ce
    + loss = alpha * T**2 * kl + (1 - alpha) * ce

Treat automatically
    Yes: the student is retrained with T² in front of the divergence.

Read more
    Hinton et al. 2015, arXiv:1503.02531, section 2.
"""

from kddoctor.probes.loss_forensics import LossForensics
from kddoctor.probes.loss_schedule import LossSchedule
from kddoctor.rules.finding import Finding, Grade
from kddoctor.rules.loss.declared import ambiguous_factor, as_declared, distils, excluded, lacking_in_part, reproduced
from kddoctor.rules.loss.moving_factor import loses_t_squared
from kddoctor.rules.loss.strength import lacking_in_total
from kddoctor.rules.registry import rule
from kddoctor.rules.settings import Share
from kddoctor.run.manifest import Manifest

#: Temperatures closer than this are one.
SAME: Share = 0.005
TOO_SMALL = "The distillation loss carries no temperature factor where T² was declared."


@rule(
    "KD202",
    name="missing-t-squared",
    family="loss",
    title="The distillation loss lacks its factor T²",
    stage=31,
    reads=(LossForensics, Manifest),
    uses=(LossSchedule,),
    masks=(
        "KD102",
        "KD208",
        "KD301",
        "KD302",
        "KD402",
        "KD502",
    ),
)
def missing_t_squared(loss: LossForensics, config: Manifest, schedule: LossSchedule | None = None) -> Finding:
    if schedule is not None and loses_t_squared(schedule, config):
        return _by_course(schedule, config)
    in_part = lacking_in_part(loss, config, "T²")
    if in_part is not None:
        return _said(in_part, TOO_SMALL, config) if in_part.evidence[0].supports else in_part
    return _by_value(loss, config)


def _by_value(loss: LossForensics, config: Manifest) -> Finding:
    in_total = lacking_in_total(loss, config, "T²")
    if in_total is not None:
        return _said(in_total, "What is added up is not the logged term: T² is in one of them alone.", config)
    finding = as_declared(Finding(), loss)
    term = loss.term
    if loss.whole_as_declared:
        return finding
    if term is None or not distils(config) or not config.distillation.temperature_squared:
        return finding
    if config.distillation.loss == "custom":
        return finding  # its author, not the default, decides about T²
    if config.distillation.temperature == 1.0 or term.form.objective.family in ("mse", "hard"):
        return finding
    wrong = [e for e in term.explanations if e.scale != "T²"]
    if not wrong:
        return excluded(finding, loss) if term.explanations else finding
    if term.form.temperature in (None, 1.0):
        return finding  # two temperatures have no common square
    if config.distillation.temperature and abs(term.form.temperature / config.distillation.temperature - 1) > SAME:
        return finding  # another temperature than the declared one, of which the factor is the smaller part (KD211)
    scale = wrong[0].scale
    text = "no temperature factor" if scale == "1" else f"the factor {scale}"
    finding = reproduced(finding, loss, f"recorded = {term.form.describe()} with {text}")
    if len(wrong) < len(term.explanations):
        finding = ambiguous_factor(finding, loss, "T² = C here, so an average over classes gives the same number")
    return _said(finding, f"The distillation loss carries {text} where T² was declared.", config)


def _by_course(schedule: LossSchedule, config: Manifest) -> Finding:
    """A factor that is the square of a temperature that moves, while that of the divergence rests."""
    finding = Finding().supported_by(
        "loss-schedule",
        "last",
        schedule.last,
        f"the factor inside the term moves from {schedule.first:.3g} to {schedule.last:.3g} times the declared one, of "
        "which the end is 1 / T² exactly: the divergence keeps its temperature, and its factor does not",
        threshold=SAME,
        origin="identity",
        grade=Grade.PROOF,
    )
    return _said(finding, "T² in the loss is that of another temperature, which falls to 1.", config)


def _said(finding: Finding, summary: str, config: Manifest) -> Finding:
    alone = config.distillation.alpha == 1.0
    return finding.saying(
        summary,
        where="kd_run.yaml: distillation.temperature_squared",
        severity="note" if alone else "error",
    ).prescribe("multiply the divergence by T², once", distillation__temperature_squared=True)
