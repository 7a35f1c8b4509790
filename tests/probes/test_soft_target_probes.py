"""Probes of the soft targets against closed forms in float64, and against themselves in parts."""

from __future__ import annotations

import numpy as np
import pytest

from kddoctor.probes.ensemble import ensemble_means
from kddoctor.probes.logit_gradient import LogitGradientProbe
from kddoctor.probes.logit_scale import LogitScaleProbe
from kddoctor.probes.loop_teacher import loop_teacher
from kddoctor.probes.non_target_structure import ClassPatterns, NonTargetStructureProbe, RowPatterns
from kddoctor.probes.popularity import popularity_lean
from kddoctor.probes.positives_kept import positives_kept
from kddoctor.probes.score_link import link_of, mixed_units, ordered_in_steps
from kddoctor.probes.surest_rows import SurestRowsProbe
from kddoctor.probes.teacher_errors import TeacherErrorsProbe
from kddoctor.probes.truncated_teacher import FORMS, TruncatedTeacherProbe

ROWS, CLASSES = 400, 7


@pytest.fixture
def logits():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, ROWS)
    teacher = rng.normal(scale=2.0, size=(ROWS, CLASSES)) + 5 * np.eye(CLASSES)[labels]
    return teacher, 0.5 * teacher + rng.normal(size=teacher.shape), labels


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def by_hand(form, student, teacher, k, temperature):
    """One form of a shortened teacher, row by row."""
    total = 0.0
    for z, s in zip(teacher, student, strict=True):
        p, q = softmax(z[None] / temperature)[0], softmax(s[None] / temperature)[0]
        top = np.argsort(-z)[:k]
        kept, own = p[top], q[top]
        parts = (kept * np.log(kept / own)).sum()
        if form == "renormalised":
            parts = (kept / kept.sum() * np.log(kept / kept.sum() / own)).sum()
        elif form == "renormalised on both sides":
            parts = (kept / kept.sum() * np.log(kept / kept.sum() / (own / own.sum()))).sum()
        elif form == "tail ignored, clamped at zero":
            parts = max(parts, 0)
        elif form == "cross-entropy, tail ignored":
            parts = -(kept * np.log(own)).sum()
        elif form == "cross-entropy, renormalised":
            parts = -(kept / kept.sum() * np.log(own)).sum()
        elif form in ("zero-filled", "least-filled"):
            filled = np.full_like(z, 0.0 if form == "zero-filled" else z[top[-1]])
            filled[top] = z[top]
            f = softmax(filled[None] / temperature)[0]
            parts = (f * np.log(f / q)).sum()
        elif form.endswith("tail spread evenly"):
            spread = np.full_like(p, (1 - kept.sum()) / (len(p) - k))
            spread[top] = kept
            parts = -(spread * np.log(q)).sum()
            parts += 0 if form.startswith("cross-entropy") else (spread * np.log(spread)).sum()
        elif form == "tail bucket":
            parts += (1 - kept.sum()) * np.log((1 - kept.sum()) / (1 - own.sum()))
        total += parts
    return total / len(teacher)


@pytest.mark.parametrize(("kind", "value"), [("share", 0.9), ("within", 0.75), ("least", 0.05), ("part", 0.2)], ids=str)
def test_a_list_whose_length_hangs_on_the_row_is_recognised(kind, value, logits):
    teacher, student, _ = logits

    def kept(p):
        order = np.argsort(-p)
        total = np.cumsum(p[order])
        wanted = {
            "share": total - p[order] < value,
            "within": total <= value,
            "least": p[order] >= value,
            "part": p[order] >= value * p.max(),
        }[kind]
        return order[: max(1, int(wanted.sum()))]

    probe = TruncatedTeacherProbe(CLASSES, (1.0, 3.0))
    for part in np.array_split(np.arange(ROWS), 8):
        p, q = softmax(teacher[part] / 3), softmax(student[part] / 3)
        tops = [kept(row) for row in p]
        each = [a[i] / a[i].sum() @ np.log(a[i] / a[i].sum() / b[i]) for a, b, i in zip(p, q, tops, strict=True)]
        probe.update(student[part], teacher[part], float(np.mean(each)), float(np.mean(each)), None)
    found = probe.compute()
    assert found is not None
    assert (found.form, found.temperature) == ("renormalised", 3.0)
    assert str(value) in found.kept


@pytest.mark.parametrize("form", FORMS)
def test_each_form_of_a_shortened_teacher_is_recognised(form, logits):
    teacher, student, _ = logits
    probe = TruncatedTeacherProbe(CLASSES, (1.0, 3.0))
    for part in np.array_split(np.arange(ROWS), 8):
        loss = 2.5 * by_hand(form, student[part], teacher[part], 3, 3.0)
        probe.update(student[part], teacher[part], loss, loss, None)
    found = probe.compute()
    assert found is not None
    assert (found.k, found.temperature) == (3, 3.0)
    # Where no row is below zero, clamping changes nothing.
    assert found.form in (form, form.removesuffix(", clamped at zero"))
    assert found.factor == pytest.approx(2.5)
    assert found.error < 1e-9 < found.whole_error


def test_a_shortened_teacher_is_recognised_in_the_total_alone(logits):
    teacher, student, labels = logits
    probe = TruncatedTeacherProbe(CLASSES, (3.0,))
    for part in np.array_split(np.arange(ROWS), 10):
        ce = -np.log(softmax(student[part])[np.arange(len(part)), labels[part]]).mean()
        kd = 9 * by_hand("renormalised", student[part], teacher[part], 2, 3.0)
        probe.update(student[part], teacher[part], 0.3 * ce + 0.7 * kd, None, ce)
    found = probe.compute()
    assert found is not None
    assert (found.form, found.k, found.factor) == ("renormalised", 2, pytest.approx(6.3))


def test_a_divergence_of_one_class_from_itself_fits_nothing(logits):
    teacher, student, _ = logits
    probe = TruncatedTeacherProbe(CLASSES, (1.0,))
    for k, part in enumerate(np.array_split(np.arange(ROWS), 8)):
        probe.update(student[part], teacher[part], 1.0 + 0.1 * k**2, 1.0 + 0.1 * k**2, None)
    found = probe.compute()
    assert found is None or found.error > 1e-3


def test_non_target_structure_by_hand(logits):
    teacher, _, labels = logits
    probe, halves = NonTargetStructureProbe(CLASSES), [NonTargetStructureProbe(CLASSES) for _ in range(2)]
    probe.update(teacher, labels)
    for half, part in zip(halves, np.array_split(np.arange(ROWS), 2), strict=True):
        half.update(teacher[part], labels[part])
    halves[0].merge(halves[1])
    found, merged = probe.compute(), halves[0].compute()
    assert found is not None
    assert merged is not None
    right = teacher.argmax(axis=1) == labels
    z = teacher[right]
    others = np.sort(z, axis=1)[:, :-1]
    margin = z.max(axis=1) - others.mean(axis=1)
    assert found.accuracy == pytest.approx(right.mean())
    assert found.margin == pytest.approx(margin.mean())
    assert found.others_sd == pytest.approx(others.std(axis=1).mean())
    assert found.relative_spread == pytest.approx((others.std(axis=1) / margin).mean())
    assert found.confidence == pytest.approx(softmax(z).max(axis=1).mean())
    assert (merged.margin, merged.mutual) == (pytest.approx(found.margin), found.mutual)


def test_class_patterns_ignore_what_rows_and_columns_share(logits):
    teacher, _, labels = logits
    patterns = ClassPatterns(CLASSES)
    patterns.update(teacher, 3 * teacher + np.arange(CLASSES) + 7 * np.eye(CLASSES)[labels], labels)
    assert patterns.correlation() == pytest.approx(1.0)


def test_what_rows_have_in_common_beyond_their_class_is_pearsons_correlation(logits):
    teacher, student, labels = logits
    right = teacher.argmax(axis=1) == labels

    def left(z):
        rows, truth = np.asarray(z[right], float), labels[right]
        others = np.where(np.eye(CLASSES, dtype=bool)[truth], np.nan, rows)
        others -= np.nanmean(others, axis=1, keepdims=True)
        for c in np.unique(truth):
            others[truth == c] -= others[truth == c].mean(axis=0)
        return others[~np.isnan(others)]

    one, other = left(teacher), left(student)
    whole, halves = RowPatterns(CLASSES), [RowPatterns(CLASSES) for _ in range(2)]
    whole.update(teacher, student, labels)
    for half, part in zip(halves, np.array_split(np.arange(ROWS), 2), strict=True):
        half.update(teacher[part], student[part], labels[part])
    halves[0].merge(halves[1])
    expected = float((one * other).sum() / np.sqrt((one**2).sum() * (other**2).sum()))
    assert whole.correlation() == pytest.approx(expected)
    assert halves[0].correlation() == pytest.approx(expected)
    assert RowPatterns(CLASSES).correlation() is None


def test_directions_of_mistakes_are_counted():
    labels = np.repeat(np.arange(6), 20)
    answers = labels.copy()
    answers[::2] = (labels[::2] + 1) % 6
    probe = TeacherErrorsProbe(6)
    probe.update(9 * np.eye(6)[answers], labels, 9 * np.eye(6)[answers], 9 * np.eye(6)[labels])
    found = probe.compute()
    assert found is not None
    assert (found.accuracy, found.directed, found.distinct, found.returned) == (0.5, 1.0, 1.0, 0.0)
    assert (found.repeated, found.twin_repeated) == (1.0, 0.0)


def test_scales_and_ranks_of_logits(logits):
    teacher, _, _ = logits
    probe = LogitScaleProbe()
    for part in np.array_split(np.arange(ROWS), 3):
        probe.update(teacher[part], np.tanh(20 * teacher[part]))
    found = probe.compute()
    assert found is not None
    assert found.teacher_sd == pytest.approx(teacher.std(axis=1).mean())
    assert found.student_bound == pytest.approx(1.0)
    assert found.at_bound > 0.9
    assert found.both_ends


def test_ensembles_are_told_apart():
    members = np.random.default_rng(0).normal(scale=3.0, size=(3, 50, 5))
    p = np.mean([softmax(z) for z in members], axis=0)
    for teacher, name in ((members.mean(0), "mean_error"), (members.sum(0) + 4, "sum_error"), (np.log(p), "")):
        found = ensemble_means(members, teacher)
        assert found is not None
        errors = {n: getattr(found, n) for n in ("mean_error", "sum_error", "probability_error")}
        assert min(errors, key=lambda n: errors[n]) == (name or "probability_error")
        assert min(errors.values()) < 1e-9


@pytest.mark.parametrize(
    ("together", "name"),
    [
        (lambda z: z[0] + 4 * z[1] + 4 * z[2], "weighted_error"),
        (lambda z: z.max(0), "chosen_error"),
        (lambda z: np.median(z, axis=0), "chosen_error"),
        (lambda z: np.logaddexp.reduce(z, axis=0), "exponential_error"),
        (lambda z: (np.abs(z).max(2, keepdims=True) * z).sum(0), "row_error"),
    ],
    ids=["scaled members", "the largest", "the median", "exponentials", "the loudest counts twice"],
)
def test_logits_that_were_put_together_in_any_way_are_told_from_probabilities(together, name):
    members = np.random.default_rng(0).normal(scale=3.0, size=(3, 50, 9))
    p = np.mean([softmax(z) for z in members], axis=0)
    wrong, right = ensemble_means(members, together(members)), ensemble_means(members, np.log(p))
    assert wrong is not None
    assert right is not None
    assert getattr(wrong, name) < 1e-9
    assert getattr(right, name) > 0.01
    assert wrong.probability_error > 0.01


def test_ranks_of_a_batch_keep_the_order_of_each_step():
    own = np.random.default_rng(0).normal(size=(4, 20))
    ranks = own.argsort(axis=1).argsort(axis=1).astype(float)
    unscored = np.vstack([own, np.full((1, 20), np.nan)])
    assert ordered_in_steps(ranks, own)
    assert ordered_in_steps(np.vstack([ranks, ranks[:1]]), unscored)
    assert not ordered_in_steps(ranks[:, ::-1], own)
    assert not ordered_in_steps(ranks, np.full_like(own, np.nan))


def test_any_mean_of_logits_lies_between_them_and_mixtures_of_probabilities_are_known():
    members = np.random.default_rng(0).normal(scale=3.0, size=(3, 50, 9))
    inner, mixed = np.tanh(members / 5).mean(axis=0), np.tensordot([0.2, 0.3, 0.5], [softmax(z) for z in members], 1)
    mean, mixture = ensemble_means(members, 5 * np.arctanh(inner)), ensemble_means(members, np.log(mixed))
    assert mean is not None
    assert mixture is not None
    assert mean.between == 1
    assert mean.mixed_error > 0.01
    assert mixture.mixed_error < 1e-9


def test_a_bias_gets_the_whole_gradient_of_its_logits():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    inputs, labels = torch.tensor(rng.normal(size=(64, 6))), torch.tensor(np.arange(64) % 5)
    teacher = torch.tensor(rng.normal(scale=3.0, size=(64, 5)))
    found = {}
    for multiplier in (1.0, 0.01):
        head = torch.nn.Linear(6, 5).double()
        student = multiplier * head(inputs)
        soft = torch.nn.functional.kl_div((student / 4).log_softmax(1), (teacher / 4).softmax(1), reduction="batchmean")
        (0.9 * 16 * soft + 0.1 * torch.nn.functional.cross_entropy(student, labels)).backward()
        norm = float(torch.sqrt(sum((p.grad**2).sum() for p in head.parameters())))
        probe = LogitGradientProbe(4.0, 0.9, squared=True)
        probe.update(student.detach().numpy(), teacher.numpy(), labels.numpy(), norm)
        measured = probe.compute()
        assert measured is not None
        found[multiplier] = measured.arrives
    assert found[1.0] >= 1
    assert found[0.01] < 0.1


def test_lines_and_curves_of_scores():
    own = np.random.default_rng(0).normal(size=500)
    line, curve, noise = (link_of(f, own) for f in (6 * own + 1, 1 / (1 + np.exp(-own)), own[::-1]))
    assert line is not None
    assert curve is not None
    assert noise is not None
    assert (line.slope, line.intercept) == (pytest.approx(6.0), pytest.approx(1.0))
    assert (line.unexplained < 1e-12, curve.unexplained > 1e-3, curve.monotone, noise.monotone) == (
        True,
        True,
        True,
        False,
    )


def test_units_that_do_not_meet_are_found():
    rng = np.random.default_rng(0)
    student, teacher = rng.normal(size=(2, 9, 40))
    found = mixed_units(student, teacher, 0.5 * ((student - 1 / (1 + np.exp(-teacher))) ** 2).mean(axis=1))
    assert found is not None
    assert found[0].startswith("the student's raw score")
    assert found[1] < 1e-12


def test_a_lean_to_popular_items_is_taken_beyond_the_teacher():
    rng = np.random.default_rng(0)
    items = rng.choice(50, 2000, p=np.arange(1, 51) / np.arange(1, 51).sum())
    shown = rng.choice(50, 2000, p=np.arange(1, 51) / np.arange(1, 51).sum())
    popular = np.log1p(np.bincount(shown, minlength=50))[items]
    teacher = popular + rng.normal(size=2000)
    found = popularity_lean(items, shown, teacher, 2 * teacher + 0.1 * rng.normal(size=2000), None)
    assert found is not None
    assert found.student == pytest.approx(0.0, abs=0.08)
    assert found.unseen < 0.01


def test_positives_below_the_cut():
    scores = np.linspace(-3, 3, 1000)
    found = positives_kept(scores, scores > 1, scores, np.arange(1000) % 2 == 0)
    assert found is not None
    assert (found.rate_below < 0.01, found.held_out_rate_below) == (True, pytest.approx(0.5, abs=0.01))


def free(rows: int, seed: int, classes: int = 10) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 3, (rows, classes))


@pytest.mark.parametrize("factor", [0.05, 0.5, 1.0, 8.0])
def test_a_factor_on_all_logits_of_the_loop_is_measured_on_other_rows(factor):
    found = loop_teacher(factor * free(600, 1), free(800, 2), 4.0, same_split=True)
    assert found is not None
    assert found.multiple == pytest.approx(factor, rel=0.05)


def test_logits_that_grew_for_some_rows_have_no_factor():
    loop = free(600, 1)
    loop[::2] *= 5
    found = loop_teacher(loop, free(800, 2), 4.0, same_split=True)
    assert found is not None
    assert found.multiple is None


def test_a_filled_row_is_one_in_which_half_of_the_classes_or_more_have_its_smallest_value():
    loop, own = free(600, 1), free(800, 2)
    cut = np.where(loop >= np.sort(loop, axis=1)[:, -3][:, None], loop, -30.0)
    found = loop_teacher(cut, own, 1.0, same_split=True)
    assert found is not None
    likely = np.sort(np.exp(own) / np.exp(own).sum(1, keepdims=True), axis=1)[:, -3:].sum(1).mean()
    assert (found.levelled, found.own_levelled, found.kept) == (1.0, 0.0, 3)
    assert found.kept_mass == pytest.approx(likely)
    seven = loop_teacher(
        np.where(loop >= np.sort(loop, axis=1)[:, -7][:, None], loop, -30.0), own, 1.0, same_split=True
    )
    assert seven is not None
    assert seven.levelled == 0.0


def test_of_a_few_rows_nothing_is_said():
    assert loop_teacher(free(199, 1), free(800, 2), 4.0, same_split=True) is None


def drawn(scale: float, smoothing: float, rows: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Logits of a teacher that is as sure as it is right, and labels; then mixed with an even share of all classes."""
    rng = np.random.default_rng(5)
    p = softmax(rng.normal(scale=scale, size=(rows, 10)))
    labels = np.array([rng.choice(10, p=row) for row in p])
    return np.log((1 - smoothing) * p + smoothing / 10), labels


@pytest.mark.parametrize("scale", [1.0, 3.0, 8.0])
def test_who_minimised_a_cross_entropy_is_as_sure_as_right_where_it_is_surest(scale):
    probe = SurestRowsProbe()
    for start in range(0, 4000, 700):
        probe.update(*(part[start : start + 700] for part in drawn(scale, 0.0)))
    found = probe.compute()
    assert found is not None
    assert found.rows == 400
    assert abs(found.kept_back) < 3 * found.noise


@pytest.mark.parametrize("smoothing", [0.2, 0.4])
def test_what_was_smoothed_is_kept_back_there(smoothing):
    probe = SurestRowsProbe()
    probe.update(*drawn(8.0, smoothing))
    found = probe.compute()
    assert found is not None
    assert found.kept_back == pytest.approx(0.9 * smoothing, abs=0.03)
    assert found.evenness > 0.9
    assert found.relative_spread < 0.01


def test_of_a_few_rows_none_are_the_surest():
    probe = SurestRowsProbe()
    probe.update(*drawn(3.0, 0.0, rows=199))
    assert probe.compute() is None
