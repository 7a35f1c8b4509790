"""Values of loss formulas that somebody wrote by mistake, on one recorded step: what the loop would have returned.

Each formula is one of a kind and lies outside of the grammar of ``loss_forms``, which stays small for that. Values are
means over the rows that count unless a name says otherwise; a scanned parameter makes an array of them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kddoctor.probes.loss_sums import BLOCK_ELEMENTS, row_blocks

Array = NDArray[np.float64]
Kind = Literal["classes", "yes-or-no", "labels", "tokens"]

#: Classes beyond this many are not tried as a top-k.
MOST_KEPT = 1024
#: Padding tokens that are tried at first; finer values are searched between them.
PADS = np.unique(np.concatenate([np.arange(1, 65), np.geomspace(64, 1e7, 120).round()])).astype(np.float64)


#: Rows that a loss may take at a time.
CHUNKS = (2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 25, 32, 48, 50, 64, 100, 128, 256)


@dataclass(frozen=True)
class StepRows:
    """One step: student, teacher [n, C] logits and labels [n] of every row, counts [n] those that are not masked.

    shape: of the rows before they were flattened, (B, L) of tokens and (B,) otherwise; with several labels a row (B, L)
    rows of two classes each.
    """

    student: Array
    teacher: Array
    labels: NDArray[np.int64]
    counts: NDArray[np.bool_]
    shape: tuple[int, ...]
    kind: Kind

    @property
    def classes(self) -> int:
        """Number of classes."""
        return int(self.student.shape[1])

    @property
    def small(self) -> bool:
        """Whether all rows fit in memory several times."""
        return self.student.size <= BLOCK_ELEMENTS


def log_partition(z: Array, axis: int = 1) -> Array:
    """log Σ exp(z), with the axis kept."""
    top = z.max(axis=axis, keepdims=True)
    return np.asarray(top + np.log(np.exp(z - top).sum(axis=axis, keepdims=True)))


def divergences(teacher: Array, student: Array, axis: int = 1) -> Array:
    """[n] Σ p (log p − log q) of softmaxes along the axis, summed over the last axis."""
    log_p, log_q = teacher - log_partition(teacher, axis), student - log_partition(student, axis)
    return np.asarray((np.exp(log_p) * (log_p - log_q)).sum(axis=-1))


def values_by_row(rows: StepRows, t: float) -> dict[str, Array]:
    """Formulas that are a mean over rows, each as an array of its parameter's values (one where there is none)."""
    total: dict[str, Array] = {}
    counted = int(rows.counts.sum())
    for block in row_blocks(*rows.student.shape):
        keep = rows.counts[block]
        if not keep.any():
            continue
        s, z, y = rows.student[block][keep] / t, rows.teacher[block][keep] / t, rows.labels[block][keep]
        for name, value in _of_block(s, z, y, t, rows.kind):
            total[name] = total[name] + value if name in total else value
    return {name: value / max(1, counted) for name, value in total.items()}


def _of_block(s: Array, z: Array, y: NDArray[np.int64], t: float, kind: Kind) -> Iterator[tuple[str, Array]]:
    log_z_s, log_z_t = log_partition(s), log_partition(z)
    log_q, log_p = s - log_z_s, z - log_z_t
    p, q = np.exp(log_p), np.exp(log_q)
    yield "teacher-entropy", np.array([-(p * log_p).sum()])
    yield "student-entropy", np.array([-(q * log_q).sum()])
    yield "own top class", np.array([-log_q.max(axis=1).sum()])
    yield from _of_constant_targets(s, q, log_q)
    yield from _not_logged(s, z, log_q, log_p)
    good = y >= 0
    if good.all():
        at_label = log_q[np.arange(len(y)), y]
        yield "labels", np.array([-at_label.sum()])
        yield "labels-as-logits", np.array([_one_hot_softened(log_q, at_label, t)])
    yield from _softened_again(p, q, log_p, log_q, t)
    yield from _sigmoids(s, z, log_p, log_q, t)
    yield from _other_distances(s, z, p, q, log_p, log_q, t)
    if kind in ("yes-or-no", "labels"):
        yield "yes-without-no", np.array([(p[:, 1] * (log_p[:, 1] - log_q[:, 1])).sum()])
        yield "yes-without-no, cross-entropy", np.array([-(p[:, 1] * log_q[:, 1]).sum()])
        yield from _scores_for_probabilities(s[:, 1], z[:, 1], t)
    if kind == "tokens":
        yield "cropped", _cropped(s, z)
        yield from _piled_up(p, log_p, log_q)
        shared = (p * (z - s)).sum(axis=1, keepdims=True)
        yield "padded", padded(log_z_s, log_z_t, shared, PADS)
    if kind in ("classes", "tokens"):
        yield from _yes_or_no_for_each_class(s, z, p, log_q, t)
        yield from _top(s, z, log_z_s, log_z_t)


def _of_constant_targets(s: Array, q: Array, log_q: Array) -> Iterator[tuple[str, Array]]:
    """Against targets that are the same for every row and class, as a buffer that was never filled gives them."""
    even = np.log(s.shape[1])
    crossed = -log_q.mean(axis=1).sum()
    yield "even targets", np.array([crossed - len(s) * even])
    yield "even targets, cross-entropy", np.array([crossed])
    yield "even targets, reverse", np.array([(q * log_q).sum() + len(s) * even])
    yield "zero targets, squared error", np.array([(s**2).sum()])


def _not_logged(s: Array, z: Array, log_q: Array, log_p: Array) -> Iterator[tuple[str, Array]]:
    """Σ p (log p − f), what kl_div returns for any f that was given in place of log q; and −Σ p f."""
    p, q = np.exp(log_p), np.exp(log_q)
    negative_entropy = (p * log_p).sum()
    for name, given in (
        ("logits", s),
        ("log(1 + q)", np.log1p(q)),
        ("log sigmoid", -np.logaddexp(0, -s)),
        ("log2 q", log_q / np.log(2)),
        ("log10 q", log_q / np.log(10)),
    ):
        crossed = -(p * given).sum()
        yield f"input {name}", np.array([negative_entropy + crossed])
        if not name.endswith(" q"):
            # To another base, a cross-entropy is the ordinary one times a constant.
            yield f"input {name}, cross-entropy", np.array([crossed])
    yield "input q, cross-entropy", np.array([-(p * q).sum()])
    # With log_target both arguments have to be logarithms: exp(target) (target − input).
    yield "neither logged", np.array([(np.exp(p) * (p - q)).sum()])
    yield "target logits", np.array([(np.exp(z) * (z - log_q)).sum()])


def _softened_again(p: Array, q: Array, log_p: Array, log_q: Array, t: float) -> Iterator[tuple[str, Array]]:
    """Divergences of softmaxes that were taken of softened probabilities, at the same temperature or at 1."""
    for divisor, where in ((t, ""), (1.0, ", at 1")):
        again_p, again_q = p / divisor, q / divisor
        yield f"targets softened again{where}", np.array([divergences(again_p, log_q).sum()])
        yield f"answers softened again{where}", np.array([divergences(log_p, again_q).sum()])
        yield f"both softened again{where}", np.array([divergences(again_p, again_q).sum()])


def _sigmoids(s: Array, z: Array, log_p: Array, log_q: Array, t: float) -> Iterator[tuple[str, Array]]:
    """Divergences of softmaxes that were taken of sigmoids."""
    sides = [_sigmoid(x * t) / t for x in (s, z)]
    yield "targets from sigmoids", np.array([divergences(sides[1], log_q).sum()])
    yield "answers from sigmoids", np.array([divergences(log_p, sides[0]).sum()])
    yield "both from sigmoids", np.array([divergences(sides[1], sides[0]).sum()])


def _other_distances(
    s: Array, z: Array, p: Array, q: Array, log_p: Array, log_q: Array, t: float
) -> Iterator[tuple[str, Array]]:
    """What people also take for the distance of two models; right by themselves, and not what was declared."""
    yield "both directions", np.array([((p - q) * (log_p - log_q)).sum()])
    yield "squared error of log-probabilities", np.array([((log_p - log_q) ** 2).sum()])
    yield "absolute error of log-probabilities", np.array([np.abs(log_p - log_q).sum()])
    yield "absolute error of logits", np.array([np.abs(z - s).sum()])
    yield "absolute error of probabilities", np.array([np.abs(p - q).sum()])
    apart = np.abs(z - s) * t
    yield "smooth absolute error of logits", np.array([np.where(apart < 1, apart**2 / 2, apart - 0.5).sum()])
    yield "distance of Hellinger", np.array([((np.exp(log_p / 2) - np.exp(log_q / 2)) ** 2).sum()])
    yield "length of the difference of logits", np.array([np.sqrt(((z - s) ** 2).sum(axis=1)).sum()])
    yield "length of the difference of probabilities", np.array([np.sqrt(((p - q) ** 2).sum(axis=1)).sum()])
    for name, a, b in (("logits", z, s), ("probabilities", p, q)):
        yield f"cosine of {name}", np.array([(1 - _cosines(a, b)).sum()])
        centred = (x - x.mean(axis=1, keepdims=True) for x in (a, b))
        yield f"correlation of {name}", np.array([(1 - _cosines(*centred)).sum()])
    # Divided after the logarithm: these are no probabilities' logarithms any more.
    if t != 1:
        cooled_q = (s * t - log_partition(s * t)) / t
        yield "answers divided after the logarithm", np.array([(p * (log_p - cooled_q)).sum()])


def _yes_or_no_for_each_class(s: Array, z: Array, p: Array, log_q: Array, t: float) -> Iterator[tuple[str, Array]]:
    """Classes that exclude one another, compared as if each were a question of its own."""
    at_1 = np.exp(z * t - log_partition(z * t))
    answers = {"sigmoids": s, "sigmoids at 1": s * t, "softmax": log_q - np.log(-np.expm1(np.minimum(log_q, -1e-12)))}
    targets = {"sigmoids": _sigmoid(z), "sigmoids at 1": _sigmoid(z * t), "softmax": p, "softmax at 1": at_1}
    for theirs, yes in targets.items():
        entropy = -(_times_log(yes) + _times_log(1 - yes)).sum()
        for ours, x in answers.items():
            # −y log σ(x) − (1 − y) log σ(−x) = softplus(x) − y x
            crossed = (np.logaddexp(0, x) - yes * x).sum()
            yield f"yes or no, {theirs} and {ours}", np.array([crossed - entropy])
            yield f"yes or no, {theirs} and {ours}, cross-entropy", np.array([crossed])


def _times_log(x: Array) -> Array:
    return np.asarray(x * np.log(np.maximum(x, 1e-300)))


def _sigmoid(z: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-np.clip(z, -500, 500))))


#: What a row may be weighted by; the complement 1 − w of each is tried too.
ROW_WEIGHTS = (
    "the teacher's largest probability",
    "the teacher's largest probability at T = 1",
    "the student's largest probability",
    "the student's largest probability at T = 1",
    "the entropy of the targets",
    "the entropy of the targets at T = 1",
    "the entropy of the student's answers",
    "the teacher's probability of the label",
    "the teacher's probability of the label at T = 1",
    "the student's probability of the label",
    "the student's probability of the label at T = 1",
    "whether the student has the row right",
    "whether both models agree",
)


def values_by_weight(rows: StepRows, t: float) -> Iterator[tuple[str, Array]]:
    """Divergences weighted by row, over the number of rows and over the sum of the weights."""
    if not rows.small:
        return
    s, z, y = rows.student[rows.counts], rows.teacher[rows.counts], rows.labels[rows.counts]
    each = divergences(z / t, s / t)
    for name, weight in zip(ROW_WEIGHTS, _row_weights(s, z, y, t), strict=False):
        for which, w in ((name, weight), (f"one minus {name}", 1 - weight)):
            total = float(w.sum())
            yield f"weighted by {which}", np.array([float((w * each).mean())])
            yield f"weighted by {which}, over the weights", np.array([float((w * each).sum()) / max(total, 1e-300)])


def _row_weights(s: Array, z: Array, y: NDArray[np.int64], t: float) -> Iterator[Array]:
    p, p_1, q, q_1 = (np.exp(x - log_partition(x)) for x in (z / t, z, s / t, s))
    for values in (p, p_1, q, q_1):
        yield values.max(axis=1)
    for values in (p, p_1, q):
        yield -_times_log(values).sum(axis=1) / np.log(values.shape[1])
    at = np.arange(len(y))
    # A row without a label has no probability of it.
    labelled = np.maximum(y, 0)
    for values in (p, p_1, q, q_1):
        yield np.where(y >= 0, values[at, labelled], 0.0)
    yield (s.argmax(axis=1) == y).astype(np.float64)
    yield (s.argmax(axis=1) == z.argmax(axis=1)).astype(np.float64)


def _cosines(a: Array, b: Array) -> Array:
    size = np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    return np.asarray(np.divide((a * b).sum(axis=1), size, out=np.zeros(len(a)), where=size > 0))


def _scores_for_probabilities(x: Array, score: Array, t: float) -> Iterator[tuple[str, Array]]:
    """Losses of yes or no that take the teacher's score, [n] a logit divided by t, for the probability of a yes.

    −z log σ(x) − (1 − z) log σ(−x) = softplus(x) − z x for any number z.
    """
    soft, answer = np.logaddexp(0, x), 1 / (1 + np.exp(-x))
    for z, where in ((score, ""), (score * t, ", undivided")):
        yield f"scores as probabilities{where}", np.array([(soft - x * z).sum()])
        clamped = np.clip(z, 0, 1)
        yield f"scores clamped to probabilities{where}", np.array([(soft - x * clamped).sum()])
        yield f"probabilities regressed on scores{where}", np.array([((answer - z) ** 2).sum()])
        chance = 1 / (1 + np.exp(-z))
        yield f"scores regressed on probabilities{where}", np.array([((x - chance) ** 2).sum()])
        yield f"undivided scores regressed on probabilities{where}", np.array([((x * t - chance) ** 2).sum()])


def _one_hot_softened(log_q: Array, at_label: Array, t: float) -> float:
    """Σ KL(softmax(onehot / T) ‖ q)."""
    classes = log_q.shape[1]
    one = np.exp(1 / t)
    high, low = one / (one + classes - 1), 1 / (one + classes - 1)
    entropy = high * np.log(high) + (classes - 1) * low * np.log(low)
    return float((entropy - high * at_label - low * (log_q.sum(axis=1) - at_label)).sum())


def _cropped(s: Array, z: Array) -> Array:
    """[C − 2] Σ KL over the first k classes alone, k from 2 to C − 1."""
    top_s, top_z = s.max(axis=1, keepdims=True), z.max(axis=1, keepdims=True)
    weight = np.exp(z - top_z)
    mass, own = np.cumsum(weight, axis=1), np.cumsum(np.exp(s - top_s), axis=1)
    shared = np.cumsum(weight * (z - s), axis=1) / np.maximum(mass, 1e-300)
    floor = 1e-300
    each = shared - np.log(np.maximum(mass, floor)) - top_z + np.log(np.maximum(own, floor)) + top_s
    return np.asarray(each.sum(axis=0)[1:-1])


def _piled_up(p: Array, log_p: Array, log_q: Array) -> Iterator[tuple[str, Array]]:
    """[C − 2] Over the first k tokens, k from 2 to C − 1, of which the last has the mass of all that follow or not."""
    part = np.cumsum(p * (log_p - log_q), axis=1)
    yield "first tokens, unnormalised", part.sum(axis=0)[1:-1]
    rest = 1 - np.cumsum(p, axis=1)[:, :-2]
    tail = np.maximum(rest, 1e-300)
    yield "rest on the last token", (part[:, :-2] + tail * (np.log(tail) - log_q[:, 1:-1])).sum(axis=0)


def padded(log_z_s: Array, log_z_t: Array, shared: Array, pads: Array) -> Array:
    """[pads] Σ KL where both sides got so many logits of zero beside their own.

    log_z_s, log_z_t: [n, 1] log partition functions. shared: [n, 1] Σ p (z_t − z_s) / T. The padding's own terms cancel
    but for the partition functions.
    """
    many = np.log(pads)[None, :]
    z_t, z_s = np.logaddexp(log_z_t, many), np.logaddexp(log_z_s, many)
    return np.asarray((np.exp(log_z_t - z_t) * shared - z_t + z_s).sum(axis=0))


def _top(s: Array, z: Array, log_z_s: Array, log_z_t: Array) -> Iterator[tuple[str, Array]]:
    """[K] what is left of the divergence after the teacher's k most probable classes, k from 1 to K."""
    classes = s.shape[1]
    most = min(classes - 1, MOST_KEPT)
    if most < 1:
        return
    order = np.argsort(-z, axis=1, kind="stable")[:, :most]
    kept, own = np.take_along_axis(z, order, 1), np.take_along_axis(s, order, 1)
    top = kept[:, :1]
    weight = np.exp(kept - top)
    mass, shared = np.cumsum(weight, axis=1), np.cumsum(weight * (kept - own), axis=1)
    log_mass = np.log(mass) + top
    yield "top-k renormalised", (shared / mass - log_mass + log_z_s).sum(axis=0)
    part = np.cumsum(np.exp(kept - log_z_t) * ((kept - log_z_t) - (own - log_z_s)), axis=1)
    yield "top-k, tail ignored", part.sum(axis=0)
    yield "top-k, tail ignored, clamped", np.maximum(part, 0).sum(axis=0)
    left = classes - np.arange(1, most + 1)
    full = np.logaddexp(log_mass, np.log(left)[None, :])
    rest = s.sum(axis=1, keepdims=True) - np.cumsum(own, axis=1)
    scattered = shared * np.exp(top - full) - rest * np.exp(-full) - full + log_z_s
    yield "top-k scattered into zeros", scattered.sum(axis=0)


def values_by_batch(rows: StepRows, t: float) -> Iterator[tuple[str, float]]:
    """Formulas in which rows meet: a softmax over another axis. Sums over the rows, divided by their number."""
    if not rows.small:
        return
    s, z = rows.student[rows.counts] / t, rows.teacher[rows.counts] / t
    count = len(s)
    if not count:
        return
    log_q, log_p = s - log_partition(s), z - log_partition(z)
    log_p_batch, log_q_batch = z - log_partition(z, 0), s - log_partition(s, 0)
    yield "both over the batch", float((np.exp(log_p_batch) * (log_p_batch - log_q_batch)).sum()) / count
    yield "targets over the batch", float((np.exp(log_p_batch) * (log_p_batch - log_q)).sum()) / count
    yield "answers over the batch", float((np.exp(log_p) * (log_p - log_q_batch)).sum()) / count
    each, labels = (np.exp(log_p) * (log_p - log_q)).sum(axis=1), rows.labels[rows.counts]
    right = z.argmax(axis=1) == labels
    if right.any() and not right.all():
        yield "rows that the teacher has right", float(each[right].mean())
        yield "rows that the teacher has right, over all", float(each[right].sum()) / count
    recut_t, recut_s = (np.ascontiguousarray(x.T).reshape(x.shape) for x in (z, s))
    yield "rows cut across classes", float(divergences(recut_t, recut_s).sum()) / count
    recut_t, recut_s = (np.ascontiguousarray(x).reshape(x.shape[::-1]).T for x in (z, s))
    yield "columns cut across rows", float(divergences(recut_t, recut_s).sum()) / count
    whole_p, whole_q = z - _log_sum_of_all(z), s - _log_sum_of_all(s)
    yield "both over everything", float((np.exp(whole_p) * (whole_p - whole_q)).sum()) / count
    yield "targets over everything", float((np.exp(whole_p) * (whole_p - log_q)).sum()) / count
    yield "answers over everything", float((np.exp(log_p) * (log_p - whole_q)).sum()) / count
    yield from _overlaps(*((np.exp(x) if x.shape[1] > 2 else np.exp(x[:, 1:])) for x in (log_p, log_q)))
    if rows.kind == "labels":
        over_s, over_t = (x[:, 1].reshape(rows.shape) for x in (rows.student / t, rows.teacher / t))
        yield "softmax over labels", float(divergences(over_t, over_s).mean())
    if rows.kind == "tokens":
        shape = (*rows.shape, rows.classes)
        cube_s, cube_t = rows.student.reshape(shape) / t, rows.teacher.reshape(shape) / t
        every = float(np.prod(rows.shape))
        for axis, name in ((0, "both over the batch, every position"), (1, "both over the positions")):
            # A softmax over the first axis of what was never flattened.
            yield name, float(divergences(cube_t, cube_s, axis).sum()) / every


def _overlaps(p: Array, q: Array) -> Iterator[tuple[str, float]]:
    """What a segmentation's masks are compared by, of the probabilities of a whole batch at once."""
    both, sizes, squares = float((p * q).sum()), float((p + q).sum()), float((p * p + q * q).sum())
    yield "overlap", 1 - 2 * both / sizes
    yield "overlap of squares", 1 - 2 * both / squares
    yield "intersection over union", 1 - both / max(sizes - both, 1e-300)


def _log_sum_of_all(z: Array) -> float:
    top = float(z.max())
    return top + float(np.log(np.exp(z - top).sum()))


def values_by_chunk(rows: StepRows, t: float) -> Array:
    """[CHUNKS] divergences of softmaxes over so many consecutive rows at a time, NaN where there are no more rows."""
    values = np.full(len(CHUNKS), np.nan)
    if not rows.small:
        return values
    s, z = rows.student[rows.counts] / t, rows.teacher[rows.counts] / t
    for i, size in enumerate(CHUNKS):
        if size >= len(s):
            break
        whole = len(s) // size * size
        cut_z, cut_s = (x[:whole].reshape(-1, size, x.shape[1]) for x in (z, s))
        total = float(divergences(cut_z, cut_s, 1).sum())
        if whole < len(s):
            total += float(divergences(z[whole:], s[whole:], 0).sum())
        values[i] = total / len(s)
    return values


def values_by_position(rows: StepRows, t: float) -> Iterator[tuple[str, Array]]:
    """Means of the divergence over other positions than the ones that count, for tokens [B, L]."""
    each = np.concatenate(
        [divergences(rows.teacher[b] / t, rows.student[b] / t) for b in row_blocks(*rows.student.shape)]
    )
    each, counts = each.reshape(rows.shape), rows.counts.reshape(rows.shape)
    valid, every = float(max(1, counts.sum())), float(counts.size)
    yield "every position", np.array([each.sum() / every])
    yield "every position, over those that count", np.array([each.sum() / valid])
    yield "those that count, over every position", np.array([(each * counts).sum() / every])
    by_place, number = (each * counts).sum(axis=0), counts.sum(axis=0)
    after, left = (np.cumsum(x[::-1])[::-1][1:] for x in (by_place, number))
    yield "from position", after / np.maximum(left, 1)
    before, so_far = np.cumsum(by_place)[:-1], np.cumsum(number)[:-1]
    yield "up to position", before / np.maximum(so_far, 1)
    if rows.shape[1] > 1 and rows.small:
        shape = (*rows.shape, rows.classes)
        s, z = rows.student.reshape(shape) / t, rows.teacher.reshape(shape) / t
        ahead, behind = divergences(z[:, 1:], s[:, :-1], -1), divergences(z[:, :-1], s[:, 1:], -1)
        for name, shifted, keep in (
            ("teacher one position ahead", ahead, counts[:, :-1]),
            ("teacher one position ahead, by its labels", ahead, counts[:, 1:]),
            ("teacher one position behind", behind, counts[:, 1:]),
            ("teacher one position behind, by its labels", behind, counts[:, :-1]),
        ):
            yield name, np.array([(shifted * keep).sum() / max(1, keep.sum())])


def jensen_shannon(rows: StepRows, t: float, betas: Array) -> Array:
    """[betas] mean of beta KL(T ‖ M) + (1 − beta) KL(S ‖ M), M = beta T + (1 − beta) S; Agarwal et al. 2024."""
    total = np.zeros(len(betas))
    for block in row_blocks(*rows.student.shape):
        keep = rows.counts[block]
        s, z = rows.student[block][keep] / t, rows.teacher[block][keep] / t
        if not len(s):
            continue
        log_q, log_p = s - log_partition(s), z - log_partition(z)
        p, q = np.exp(log_p), np.exp(log_q)
        for i, beta in enumerate(betas):
            log_m = np.logaddexp(log_p + np.log(beta), log_q + np.log1p(-beta))
            total[i] += float(beta * (p * (log_p - log_m)).sum() + (1 - beta) * (q * (log_q - log_m)).sum())
    return total / max(1, int(rows.counts.sum()))
