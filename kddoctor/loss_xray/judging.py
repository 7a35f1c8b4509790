"""From what was measured to what is wrong. Each check yields problems; the more specific code comes first."""

from collections.abc import Iterator

from kddoctor.loss_xray.result import Facts, Problem
from kddoctor.loss_xray.term import Term
from kddoctor.loss_xray.weights import UNSQUARED
from kddoctor.probes.loss_results import Declared
from kddoctor.rules.registry import all_rules

#: A mixture this close to one side has a divergence that vanishes (catalogue, KD210).
VANISHING = 0.05
#: Relative difference of temperatures or weights that are one.
SAME = 0.01
#: Relative strength of the terms, against the declared one, that is an imbalance and not a drift.
IMBALANCE = 10.0
#: Relative error in fp32 near the teacher that is no rounding of a sound formula.
WRONG = 0.05
REVERSE = frozenset({"reverse-kl", "reverse-cross-entropy", "skew-reverse-kl"})
FORWARD = frozenset({"kl", "soft-cross-entropy", "skew-kl"})
NOT_LOG = frozenset({"kl-input-not-log", "reverse-kl-input-not-log", "kl-target-not-log"})
DIVERGENCES = frozenset({"kl", "reverse-kl", "jsd", "skew-kl", "skew-reverse-kl", "jeffreys"})
SUMMED_OVER_CLASSES = DIVERGENCES | {"soft-cross-entropy", "reverse-cross-entropy", "dkd"}


def judge(
    facts: Facts, declared: Declared, loss: str | None, *, teacher_frozen: bool, precision: str
) -> tuple[Problem, ...]:
    """Every problem, each code once."""
    found: dict[str, Problem] = {}
    for code, evidence in _problems(facts, declared, loss, teacher_frozen=teacher_frozen, precision=precision):
        found.setdefault(code, Problem(code, all_rules()[code].name, evidence))
    return tuple(found.values())


def _problems(
    facts: Facts, declared: Declared, loss: str | None, *, teacher_frozen: bool, precision: str
) -> Iterator[tuple[str, str]]:
    yield from _disconnected(facts)
    if facts.dependence.teacher and facts.dependence.pull:
        yield from _form(facts, loss)
        yield from _temperature(facts, declared)
        yield from _weights(facts, declared)
    yield from _teacher_gradient(facts, teacher_frozen=teacher_frozen)
    yield from _numerics(facts, precision)
    yield from _tokens(facts)


def _disconnected(facts: Facts) -> Iterator[tuple[str, str]]:
    sees = facts.dependence
    if not sees.student:
        if sees.teacher or sees.touched:
            yield "KD209", "the loss does not change with the student: the teacher is compared with something else"
        else:
            yield "KD110", "the loss changes neither with the student nor with the teacher"
    elif not sees.teacher:
        if sees.touched and not sees.met:
            yield "KD209", "the teacher is compared with itself: it enters the loss, cancels out, and meets no student"
        else:
            yield "KD110", "the loss is the same for any teacher: the distillation term never enters it"
    elif not sees.pull:
        yield "KD111", "the loss changes with the teacher, and the student's gradient does not"


def _form(facts: Facts, loss: str | None) -> Iterator[tuple[str, str]]:
    term = facts.term
    if facts.symmetry is not None and facts.symmetry.wrong_axis:
        sides = " and ".join(facts.symmetry.wrong_axis)
        yield "KD206", f"{sides}: shifting one class over the whole batch changes nothing, shifting one row does"
    elif term is not None and term.axis == "batch":
        yield "KD206", f"it is the {term.text}"
    if facts.symmetry is not None and not facts.symmetry.row_order and not facts.features:
        yield "KD206", "the loss changes with the order of the rows: rows are cut across classes"
    if term is None:
        return
    if term.family in NOT_LOG:
        yield "KD203", f"{term.text}; its lowest value seen is {facts.smallest:.3g}, where a divergence has 0"
    if term.twice:
        yield "KD205", f"softmax is taken twice on the {' and the '.join(term.twice)}'s side"
    if facts.reduction.name in ("mean", "class-mean") and term.family in SUMMED_OVER_CLASSES:
        yield "KD201", "classes that nobody has make the term weaker: it is divided by their number"
    vanishing = term.share is not None and not VANISHING < term.share < 1 - VANISHING
    if term.family == "jsd" and vanishing:
        yield "KD210", f"beta is {term.share:g}: the mixture is all but one of the sides, and the divergence vanishes"
    if term.family == "reverse-cross-entropy" and loss is None:
        yield "KD204", "cross-entropy of the student's probabilities with the teacher's: lowest at one class, not there"
    yield from _declared_form(term, loss)


def _declared_form(term: Term, loss: str | None) -> Iterator[tuple[str, str]]:
    if loss in (None, "custom", "none") or term.family in NOT_LOG or term.axis == "batch":
        return
    if (loss == "kl" and term.family in REVERSE) or (loss == "reverse-kl" and term.family in FORWARD):
        yield "KD204", f"it is {term.text}; {loss} was declared"
        return
    same = {"kl": {"kl", "soft-cross-entropy"}, "reverse-kl": {"reverse-kl"}, "jsd": {"jsd"}, "mse": {"mse"}}
    if term.family not in same.get(loss or "", {term.family}) or term.standardised:
        yield "KD211", f"it is {term.text}; {loss} was declared"


def _temperature(facts: Facts, declared: Declared) -> Iterator[tuple[str, str]]:
    term = facts.term
    if term is None or term.student_temperature is None or term.teacher_temperature is None:
        return
    if abs(term.student_temperature / term.teacher_temperature - 1) > SAME:
        sides = f"T = {term.teacher_temperature:g} for the teacher, T = {term.student_temperature:g} for the student"
        yield "KD211", sides
    elif declared.temperature and abs(term.student_temperature / declared.temperature - 1) > SAME:
        yield "KD211", f"T is {term.student_temperature:g}; {declared.temperature:g} was declared"


def _weights(facts: Facts, declared: Declared) -> Iterator[tuple[str, str]]:
    term, weights, alpha = facts.term, facts.weights, declared.alpha
    if term is None or weights is None or term.family in NOT_LOG:
        return
    hot = term.student_temperature is not None and abs(term.student_temperature - 1) > SAME
    squared = declared.temperature_squared and term.family not in UNSQUARED
    # Without a declaration, a bare term leaves T² to whoever calls it.
    asked = declared.temperature is not None or 0 < weights.labels < 1
    if hot and squared and asked and weights.scale not in (None, "T²"):
        yield "KD202", f"the term is multiplied by {weights.scale}, not by T² (T = {term.student_temperature:g})"
        return
    if alpha is None or not facts.labels.plain:
        return
    if facts.labels.plain and facts.dependence.labels and facts.reduction.name == "sum" and not facts.labels.summed:
        yield "KD208", "the distillation term is summed over the batch, the label term averaged"
        return
    # A weight beside an unweighted label term is as common as a weighted mean; a bare term is weighed by its caller.
    pairs = {(1 - alpha, alpha), (1.0, alpha)} if facts.takes_labels else {(0.0, alpha), (0.0, 1.0)}
    if any(abs(weights.labels - a) <= SAME and abs(weights.distillation - b) <= SAME * max(b, SAME) for a, b in pairs):
        return
    mixed = f"{weights.labels:.3g} x labels + {weights.distillation:.3g} x teacher"
    if abs(weights.labels - alpha) <= SAME and abs(weights.distillation - (1 - alpha)) <= SAME:
        yield "KD207", f"the total is {mixed}; alpha = {alpha:g} was declared for the teacher"
        return
    ratio = (weights.distillation / max(weights.labels, 1e-12)) / (alpha / max(1 - alpha, 1e-12))
    apart = max(ratio, 1 / max(ratio, 1e-300)) >= IMBALANCE
    yield ("KD208" if apart else "KD211"), f"the total is {mixed}; alpha = {alpha:g} was declared"


def _teacher_gradient(facts: Facts, *, teacher_frozen: bool) -> Iterator[tuple[str, str]]:
    sees = facts.dependence
    if not sees.teacher_gradient:
        return
    if not teacher_frozen:
        yield "KD104", "a gradient reaches the teacher's logits, and nothing else stops it"
    elif sees.teacher and not sees.pull:
        yield "KD104", "a gradient reaches the teacher's logits and none the student's: detach() is on the wrong side"


def _numerics(facts: Facts, precision: str) -> Iterator[tuple[str, str]]:
    finite, error = facts.numerics.finite, facts.numerics.single_error
    for where in ("fp32 ordinary", "fp32 large", f"{precision} ordinary"):
        if finite.get(where) is False and not facts.features:
            yield "KD213", f"value or gradient is not finite for finite logits ({where})"
    if facts.numerics.coarse and facts.fixed_point is not None and not facts.fixed_point.lowest:
        yield "KD213", "a part of it is computed in half precision: near the teacher only rounding is left"
    if error is not None and error > WRONG and facts.dependence.teacher:
        yield "KD213", f"near the teacher the loss in fp32 is wrong by {error:.0%} of its change: rounding is left"
    point = facts.fixed_point
    negative = point is not None and point.smallest < -1e-6 and facts.term is not None
    if negative and facts.term is not None and facts.term.family in DIVERGENCES and facts.precision == "fp64":
        yield "KD213", f"a divergence falls to {facts.smallest:.3g}, below 0"


def _tokens(facts: Facts) -> Iterator[tuple[str, str]]:
    if facts.tokens is None:
        return
    if not facts.tokens.left_out:
        share = f"{facts.tokens.leak:.2g} of the largest"
        yield "KD801", f"a gradient comes from positions whose label is -100 ({share})"
    elif facts.tokens.diluted:
        yield "KD801", "more padding changes the loss: ignored positions are counted in the mean"
