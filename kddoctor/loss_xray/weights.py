"""How the two terms are weighed, and whether the distillation term carries T²."""

from dataclasses import dataclass

from kddoctor.loss_xray.label_term import LabelTerm
from kddoctor.loss_xray.reduction import Reduction
from kddoctor.loss_xray.term import OVER_ELEMENTS, Term
from kddoctor.probes.loss_factors import explain_factor
from kddoctor.probes.loss_results import Declared

#: Relative difference of weights that are one. A temperature read off a fit is known to five digits.
SAME = 1e-3
#: Terms whose temperature asks for no T².
UNSQUARED = frozenset({*OVER_ELEMENTS, "mse-probabilities", "hard", "cosine", "normalised-mse"})


@dataclass(frozen=True)
class Weights:
    """labels, distillation: what multiplies each term. scale: the temperature factor beside it ("T²", "1", …), None
    where weight and factor cannot be told apart. product: weight times scale, which is always known.
    """

    labels: float
    distillation: float
    scale: str | None
    product: float


def weigh(term: Term, labels: LabelTerm, reduction: Reduction, declared: Declared, classes: int) -> Weights | None:
    """Split the factor of a term of one part: reduction out first, then the likeliest weight. None for several."""
    if term.factor is None:
        return None
    # A squared error is summed over classes or averaged, as its author likes: neither is wrong.
    over = classes if term.family in OVER_ELEMENTS else 1
    product = term.factor * reduction.denominator / over
    squared = declared.temperature_squared and term.family not in UNSQUARED
    temperatures = [t for t in (term.student_temperature, term.teacher_temperature, declared.temperature) if t]
    options = []
    for order, weight in enumerate(_likely(labels.weight, declared.alpha)):
        found = explain_factor(product / weight, temperatures or [1.0], squared, {"batchmean": 1.0}, SAME)
        options += [(e.cost + order, order, weight, e.scale) for e in found]
    if options:
        _, _, weight, scale = min(options)
        return Weights(labels.weight, weight, scale, product)
    t = term.student_temperature or 1.0
    return Weights(labels.weight, product / (t * t if squared else 1.0), None, product)


def _likely(labels: float, alpha: float | None) -> list[float]:
    """Weights of the distillation term, the likeliest first."""
    weights = [] if alpha is None else [alpha]
    if 0 < labels < 1:
        weights.append(1 - labels)
    weights.append(1.0)
    return [w for w in dict.fromkeys(round(w, 9) for w in weights) if w > 0]
