"""Sentences and checks that the loss rules share: what the manifest declares, and whether the declared form ran."""

from kddoctor.probes.loss_forensics import LossForensics
from kddoctor.probes.loss_forms import declared_form
from kddoctor.probes.loss_mistakes import LossMistakes, Mistake
from kddoctor.probes.student_path import StudentPath
from kddoctor.rules.finding import Finding, Grade
from kddoctor.run.manifest import Manifest
from kddoctor.run.observations import Observations

PROBE = "loss-forensics"
#: Declared losses whose form the grammar knows; "custom" and "none" leave nothing to compare with.
STANDARD_LOSSES = ("kl", "reverse-kl", "jsd", "mse")
#: Declared losses that may be a divergence with a share of its own inside.
MAY_VANISH = ("jsd", "custom", None)
#: Declared losses that leave rounding errors where a model is compared with itself: two sums of logarithms.
LEAVES_ROUNDING = ("kl", "reverse-kl")
#: Relative error of a weight that is read from rounded losses.
WEIGHT_ERROR = 1e-3
#: Weights of a factor that is known up to chance, where it is the fault's and where it is another: below any identity.
OF_A_PART, AGAINST_OF_A_PART = 7.0, 4.0
#: Tasks of one logit for each answer.
SINGLE_NUMBERS = ("binary", "ranking", "multilabel")


def distils(config: Manifest) -> bool:
    """Whether the run was meant to distil logits at all."""
    return config.distillation.loss != "none" and config.distillation.alpha != 0


def same_objective(loss: LossForensics, config: Manifest) -> bool:
    """Another form than the declared one, with the same gradient and the declared factor, here or in its weight."""
    meant, term = config.distillation, loss.term
    if loss.whole_as_declared:
        return True
    if term is None or term.rivals or not term.explanations:
        return False
    # With nothing to be balanced against, a factor only scales the learning rate.
    if not term.explanations[0].declared and meant.alpha != 1:
        return False
    return term.form.objective == declared_form(meant.loss, meant.temperature)


def reproduced(finding: Finding, loss: LossForensics, text: str) -> Finding:
    """Support by an identity: the fitted form equals the recorded loss at every step."""
    assert loss.term is not None
    return finding.supported_by(
        PROBE,
        "relative_error",
        loss.term.error,
        f"{text}, on every one of {loss.steps} steps",
        threshold=loss.tolerance,
        grade=Grade.PROOF,
        group="loss-identity",
    )


def lacking_in_part(loss: LossForensics, config: Manifest, name: str) -> Finding | None:
    """Support where steps hold a part of each batch, and the recorded term is this number too small, up to chance.

    A refutation where it is not: None where the steps hold whole batches, or nobody can tell.
    """
    part = loss.part
    if part is None or part.name is None or not distils(config):
        return None
    text = (
        f"the recorded term is {part.factor:.3g} times the declared one on {part.rows} of each batch's {part.batch} "
        f"rows, over {part.steps} steps: {part.first:.3g} in their first half and {part.second:.3g} in the second"
    )
    named = name in part.name.split(" and ")
    said = Finding().supported_by if named else Finding().against
    return said(
        "loss-of-a-part",
        "factor",
        part.factor,
        text,
        threshold=1.0,
        origin="identity, up to which rows of each batch were recorded",
        grade=Grade.STATISTICAL,
        group="loss-identity",
        weight=OF_A_PART if named else AGAINST_OF_A_PART,
    )


def as_declared(finding: Finding, loss: LossForensics) -> Finding:
    """Refuted where the declared form with its declared factor reproduces the recorded loss, stray steps left out."""
    errors = loss.declared_errors
    if errors is not None and loss.declared_holds:
        held = int((errors <= loss.tolerance).sum())
        share = f"all {held}" if held == len(errors) else f"{held} of {len(errors)}"
        return finding.against(
            PROBE,
            "declared_form_error",
            loss.declared_error,
            f"the declared loss reproduces the recorded one on {share} steps",
            threshold=loss.tolerance,
            grade=Grade.PROOF,
            group="loss-identity",
        )
    if not loss.whole_as_declared:
        return finding
    assert loss.term is not None
    return finding.against(
        PROBE,
        "relative_error",
        loss.term.error,
        f"term times weight is what was declared, on all {loss.steps} steps: the factor stands in the weight",
        threshold=loss.tolerance,
        grade=Grade.PROOF,
        group="loss-identity",
    )


def excluded(finding: Finding, loss: LossForensics) -> Finding:
    """Refuted where one form, without a rival and without this fault, reproduces the recorded loss at every step."""
    term = loss.term
    if finding.evidence or term is None or term.rivals:
        return finding
    factor = f", factor {term.explanations[0].scale}" if term.explanations else ""
    return finding.against(
        PROBE,
        "relative_error",
        term.error,
        f"recorded = {term.form.describe()}{factor}, on all {loss.steps} steps",
        threshold=loss.tolerance,
        grade=Grade.PROOF,
        group="loss-identity",
    )


def undecided(finding: Finding, loss: LossForensics) -> Finding:
    """Weakened where other forms fit the record as well."""
    assert loss.term is not None
    if not loss.term.rivals:
        return finding
    names = "; ".join(form.describe() for form in loss.term.rivals[:2])
    return finding.against(
        PROBE,
        "rival_forms",
        float(len(loss.term.rivals)),
        f"the recorded precision cannot exclude: {names}",
        grade=Grade.STATISTICAL,
        group="rivals",
        weight=9.0,
    )


def ambiguous_factor(finding: Finding, loss: LossForensics, text: str) -> Finding:
    """Weakened where two equally simple products equal the measured factor (T² = C)."""
    return finding.against(
        PROBE,
        "factor",
        loss.term.factor if loss.term else None,
        text,
        grade=Grade.STATISTICAL,
        group="ambiguous",
        weight=8.0,
    )


def mistaken(finding: Finding, loss: LossMistakes, mistake: Mistake, *, alone: bool = True) -> Finding:
    """Support by an identity: a formula that is a mistake equals the recorded loss at every step.

    alone: whether no other mistake has the same values on these rows, of which it would be no proof.
    """
    what = mistake.text if mistake.factor is None else f"{mistake.factor:.6g} x {mistake.text}"
    return finding.supported_by(
        "loss-mistakes",
        "relative_error",
        mistake.error,
        f"recorded = {what}, at T = {mistake.temperature:g} on every one of {loss.steps} steps",
        threshold=loss.tolerance,
        grade=Grade.PROOF if alone else Grade.INTERVENTIONAL,
        group="loss-identity",
    )


def single_numbers(config: Manifest) -> bool:
    """Whether a softmax over an answer's logits is 1, whatever they are."""
    return config.task in SINGLE_NUMBERS


def filtered_out(mistakes: LossMistakes, config: Manifest, seen: Observations | None) -> bool:
    """Whether the term was made from the student and is exactly zero all the same: no row of it was let through.

    Its gradient is zero as well then, where that was looked at; a model beside itself still pulls. Where nobody knows
    what the term was made from, it may be the teacher beside itself, which leaves the student no gradient either.
    """
    term = seen.graph.kd_loss if seen is not None and seen.graph is not None else None
    made = mistakes.still if mistakes.still is not None else term is not None and term.student > 0
    known = term is not None
    return (
        mistakes.zero == "exact"
        and made
        and known
        and not single_numbers(config)
        and config.distillation.loss in LEAVES_ROUNDING
    )


def zero_in_place(loss: LossForensics, mistakes: LossMistakes | None, config: Manifest) -> bool:
    """Whether a term that is exactly zero stands in the total as declared: the labels' weight is what alpha leaves it.

    A term that was never added, or never came about, leaves the labels the whole of the total.
    """
    alpha, mix = config.distillation.alpha, loss.mix
    if mistakes is None or mistakes.zero != "exact" or alpha is None or mix is None or not 0 < alpha < 1:
        return False
    return abs(mix.ce_weight - (1 - alpha)) <= WEIGHT_ERROR * (1 - alpha)


def named_elsewhere(mistakes: LossMistakes | None, config: Manifest, loss: LossForensics | None = None) -> bool:
    """Whether a formula with a code of its own reproduces the recorded loss: what else fits it is a coincidence.

    A vanishing divergence equals a small weight of the plain one, and has its own code only where one was meant.
    Weights by row (KD211) are the coincidence where the plain form fits as well: a student that answers all rows alike
    weighs them alike.
    """
    if mistakes is None or not mistakes.found:
        return False
    first, vanishing_meant = mistakes.found[0], config.distillation.loss in MAY_VANISH
    plain = loss.term if loss is not None else None
    if first.code == "KD211" and plain is not None and float(plain.errors.max()) <= first.error:
        return False
    return first.code != "KD210" or vanishing_meant


def part_of_the_batch(config: Manifest, path: StudentPath | None) -> bool:
    """Whether recorded steps may hold a part of the rows of their batches alone, so that their loss is of others, too.

    Asked of a loss that nothing reproduces: one that is reproduced is of these rows, as where batches are accumulated.
    """
    batch = config.training.batch_size
    return batch is not None and path is not None and int(path.rows.max()) < batch and config.task != "tokens"
