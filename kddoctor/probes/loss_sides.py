"""What a divergence returns where one of its sides, or each, is something else than a softmax over classes.

kl_div(f, P) is Σ P (log P − f) whatever P and f are, and a cross-entropy −Σ P f. So each thing that may be taken for
the targets is paired with each that may be taken for the student's log-probabilities, in both directions.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kddoctor.probes.mistaken_forms import StepRows, log_partition

Array = NDArray[np.float64]

#: Elements of a step's logits beyond which sides are not paired: some fifty arrays of them are held.
MOST_ELEMENTS = 300_000
#: Which code names a pair of which each side is wrong: the first of these.
BEFORE = ("KD203", "KD206", "KD205", "KD211")


@dataclass(frozen=True)
class Side:
    """values: [rows, classes]. logs: log of the values where they are targets, as far as the loss takes it. code: None
    where it is right, up to its temperature."""

    name: str
    code: str | None
    values: Array
    logs: Array


@dataclass(frozen=True)
class Pair:
    """value: Σ over rows and classes, over the number of rows."""

    code: str
    name: str
    text: str
    wrong: int
    value: float


def pairs(rows: StepRows, t: float) -> Iterator[Pair]:
    """Every pair of sides of which one is wrong at least; nothing for steps beyond ``MOST_ELEMENTS``."""
    count = int(rows.counts.sum())
    if rows.student.size > MOST_ELEMENTS or not count:
        return
    sides = {who: list(_logarithms(z, rows, t)) for who, z in (("student", rows.student), ("teacher", rows.teacher))}
    for ours, theirs, back in (("student", "teacher", ""), ("teacher", "student", ", the roles exchanged")):
        answers = [Side(f"log-{s.name}", s.code, s.logs, s.logs) for s in sides[ours]]
        answers += _not_logged(getattr(rows, ours)[rows.counts], t)
        targets = [Side(s.name, s.code, np.exp(s.logs), s.logs) for s in sides[theirs]]
        targets += _no_distributions(getattr(rows, theirs)[rows.counts], t)
        table = np.stack([s.values.ravel() for s in targets]) @ np.stack([s.values.ravel() for s in answers]).T
        for target, line in zip(targets, table, strict=True):
            own = float(np.vdot(target.values, target.logs))
            for answer, crossed in zip(answers, line, strict=True):
                codes = [c for c in BEFORE if c in (target.code, answer.code)]
                if not codes or (back and codes[0] == "KD211"):
                    continue
                wrong = (target.code is not None) + (answer.code is not None) + bool(back)
                name = f"{'input' if answer.code == 'KD203' else 'target'}: {target.name} beside {answer.name}{back}"
                what = f"the {ours}'s {answer.name} and the {theirs}'s {target.name} for targets"
                yield Pair(codes[0], name, f"kl_div of {what}", wrong, (own - float(crossed)) / count)
                yield Pair(
                    codes[0],
                    f"{name}, cross-entropy",
                    f"the cross-entropy of {what}",
                    wrong,
                    -float(crossed) / count,
                )


def _logarithms(logits: Array, rows: StepRows, t: float) -> Iterator[Side]:
    """Logarithms of softmaxes, which either side may be."""
    kept = logits[rows.counts]
    undivided = [("", t)] if t == 1 else [("", t), (" at 1", 1.0)]
    for where, divisor in undivided:
        log_p = _log_softmax(kept / divisor, 1)
        yield _log(f"softmax{where}", None, log_p)
        for again, by in undivided:
            yield _log(f"softmax{again} of softmax{where}", "KD205", _log_softmax(np.exp(log_p) / by, 1))
            yield _log(f"softmax{again} of sigmoid{where}", "KD205", _log_softmax(_sigmoid(kept / divisor) / by, 1))
    z = kept / t
    n, classes = z.shape
    yield _log("softmax over the batch", "KD206", _log_softmax(z, 0))
    yield _log("softmax over everything", "KD206", _log_softmax(z.reshape(1, -1), 1).reshape(z.shape))
    turned, lines = np.ascontiguousarray(z.T), z.reshape(classes, n)
    for axis in (0, 1):
        yield _log(f"softmax over axis {axis} of a reshape", "KD206", _log_softmax(lines, axis).reshape(z.shape))
        across = _log_softmax(turned.reshape(n, classes), axis)
        yield _log(f"softmax over axis {axis} of a transposed reshape", "KD206", across.reshape(classes, n).T)
    yield _log("softmax of rows cut across classes", "KD206", _log_softmax(turned.reshape(n, classes), 1))
    yield _log("softmax of classes cut across rows", "KD206", _log_softmax(lines.T, 1))
    if rows.kind == "tokens":
        cube = logits.reshape(*rows.shape, classes) / t
        for axis, what in ((0, "sequences"), (1, "positions")):
            over = _log_softmax(cube, axis).reshape(-1, classes)[rows.counts]
            yield _log(f"softmax over {what}", "KD206", over)


def _not_logged(kept: Array, t: float) -> Iterator[Side]:
    """What is handed over where a logarithm of probabilities belongs."""
    for where, divisor in [("", t)] if t == 1 else [("", t), (" at 1", 1.0)]:
        z = kept / divisor
        log_q = _log_softmax(z, 1)
        q = np.exp(log_q)
        for name, values in (
            ("logits", z),
            ("softmax", q),
            ("sigmoid", _sigmoid(z)),
            ("log sigmoid", -np.logaddexp(0, -z)),
            ("log1p of softmax", np.log1p(q)),
            ("log2 of softmax", log_q / np.log(2)),
            ("log10 of softmax", log_q / np.log(10)),
            ("square root of softmax", np.sqrt(q)),
            ("exponentials", np.exp(np.minimum(z, 300))),
            ("softplus", np.logaddexp(0, z)),
            ("tanh", np.tanh(z)),
            ("positive part of logits", np.maximum(z, 0)),
        ):
            yield Side(f"{name}{where}", "KD203", values, values)


def _no_distributions(kept: Array, t: float) -> Iterator[Side]:
    """What is handed over as targets and is no distribution."""
    even = np.full_like(kept, 1 / kept.shape[1])
    yield Side("evenly spread", None, even, np.log(even))
    for where, divisor in [("", t)] if t == 1 else [("", t), (" at 1", 1.0)]:
        z = kept / divisor
        chance = _sigmoid(z)
        yield Side(f"sigmoid{where}", "KD211", chance, np.log(np.maximum(chance, 1e-300)))
        # With log_target the targets are taken for logarithms, and their exponentials for the targets.
        for name, given in (
            ("softmax", np.exp(_log_softmax(z, 1))),
            ("logits", np.minimum(z, 300)),
            ("sigmoid", chance),
        ):
            yield Side(f"exponentials of {name}{where}", "KD203", np.exp(given), given)


def _log(name: str, code: str | None, logs: Array) -> Side:
    return Side(name, code, logs, logs)


def _log_softmax(z: Array, axis: int) -> Array:
    return np.asarray(z - log_partition(z, axis))


def _sigmoid(z: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-np.clip(z, -500, 500))))
