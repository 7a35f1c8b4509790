"""Compares the declared configuration with that of the healthy twin; sees only faults that somebody wrote down."""

from collections import Counter, defaultdict
from collections.abc import Sequence

from kddoctor.bench.judged import HEALTHY, Example, Judge, Judgement, judgement_of

#: (key, how it differs) of every key that does.
Difference = frozenset[tuple[str, str]]


def fit(examples: Sequence[Example]) -> Judge:
    """What was most often true where the same keys differed in the same direction.

    A difference that was never seen is judged by the examples that share most of it. Where nothing differs the run is
    called healthy, whatever the examples say.
    """
    labels: dict[Difference, Counter[str]] = defaultdict(Counter)
    for example in examples:
        labels[difference(example)][example.label] += 1

    def judge(example: Example) -> Judgement:
        found = difference(example)
        if not found:
            return judgement_of({HEALTHY: 1.0})
        counts = labels.get(found) or _alike(found, labels)
        if not counts:
            return Judgement(True, (), 0.0)
        total = sum(counts.values())
        return judgement_of({label: counts[label] / total for label in sorted(counts)})

    return judge


def difference(example: Example) -> Difference:
    """Keys of which the run's value is not the twin's: higher, lower, missing, added, or other."""
    keys = set(example.config) | set(example.twin_config)
    return frozenset(
        (key, _direction(example.config.get(key), example.twin_config.get(key)))
        for key in keys
        if example.config.get(key) != example.twin_config.get(key)
    )


def _direction(value: object, twin: object) -> str:
    if value is None or twin is None:
        return "missing" if value is None else "added"
    if _is_number(value) and _is_number(twin):
        return "higher" if value > twin else "lower"  # type: ignore[operator]
    return f"other: {value}"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _alike(found: Difference, labels: dict[Difference, Counter[str]]) -> Counter[str]:
    """The labels of all examples that share the largest number of differing keys; none where no key is shared."""
    most = max((len(found & known) for known in labels), default=0)
    counts: Counter[str] = Counter()
    if most:
        for known, there in labels.items():
            if len(found & known) == most:
                counts += there
    return counts
