"""What multiplies a loss form: reduction, temperature factor, weight. Names the product, or says it cannot.

A measured constant is compared with every product of a reduction and a scale. The cheapest product that
equals it is the explanation; where two equally cheap ones do (T² = C), both are returned.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Reduction = Literal["batchmean", "mean", "sum", "class-mean", "per-sequence", "all-positions", "per-label"]

#: Preference among reductions that equal the same number: 0 is what every textbook means.
REDUCTION_COST: dict[str, int] = {
    "batchmean": 0,
    "per-label": 0,
    "mean": 1,
    "sum": 2,
    "per-sequence": 2,
    "all-positions": 2,
    "class-mean": 3,
}


@dataclass(frozen=True)
class Explanation:
    """factor = weight × scale × reduction. ``cost`` counts the deviations from what was declared."""

    reduction: str
    scale: str
    cost: int

    @property
    def declared(self) -> bool:
        """Nothing deviates."""
        return self.cost == 0


def scales(temperature: float, squared: bool) -> list[tuple[str, float, int]]:
    """(name, value, cost) of every temperature factor that people write, the declared one first."""
    t = temperature
    named = [
        ("T²", t * t, 0 if squared else 1),
        ("1", 1.0, 1 if squared else 0),
        ("T", t, 2),
        ("2T²", 2 * t * t, 2),
        ("T⁴", t**4, 2),
        ("T²/2", t * t / 2, 3),
        ("1/T", 1 / t, 3),
        ("1/T²", 1 / (t * t), 3),
        ("2", 2.0, 3),
    ]
    if t == 1.0:
        # Every power of T is 1: only one can be named, and nothing deviates.
        return [("1", 1.0, 0), ("2", 2.0, 2)]
    return sorted(named, key=lambda item: item[2])


def explain_factor(
    factor: float,
    temperatures: Sequence[float],
    squared: bool,
    denominators: Mapping[str, float],
    tolerance: float,
) -> tuple[Explanation, ...]:
    """All cheapest products reduction × scale that equal ``factor``; empty where none does.

    factor: measured multiplier of the form's mean over rows. denominators: what each reduction divides by,
    relative to that mean. temperatures: candidates for T in T² (the fitted and the declared one).
    """
    found: dict[tuple[str, str], int] = {}
    for reduction, denominator in denominators.items():
        for order, temperature in enumerate(dict.fromkeys(temperatures)):
            for name, value, cost in scales(temperature, squared):
                expected = value / denominator
                if abs(factor - expected) <= tolerance * max(abs(factor), abs(expected)):
                    total = cost + REDUCTION_COST[reduction] + order
                    key = (reduction, name)
                    found[key] = min(total, found.get(key, total))
    if not found:
        return ()
    cheapest = min(found.values())
    return tuple(
        Explanation(reduction, scale, cost) for (reduction, scale), cost in sorted(found.items()) if cost == cheapest
    )
