"""Loss forensics: which formula reproduces the losses that the training loop recorded?

The recorded logits of a step determine what every candidate formula would have returned. The formula whose
value is one constant times the recorded loss *on every step* is the one that ran; the constant then names
reduction, temperature factor and weight. Identities, not correlations: the tolerance is numerical noise.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kddoctor.probes.loss_candidates import Candidates, View, candidates_of
from kddoctor.probes.loss_factors import Explanation, explain_factor
from kddoctor.probes.loss_fit import (
    MixFit,
    errors_at,
    fit_constants,
    fit_mix,
    mix_errors,
    smooth_schedule,
)
from kddoctor.probes.loss_forms import LossForm
from kddoctor.probes.loss_sums import (
    BLOCK_ELEMENTS,
    LabelSums,
    PairSums,
    add_labels,
    label_sums,
    pair_sums,
    row_blocks,
    transformed,
)

Array = NDArray[np.float64]
Link = Literal["softmax", "sigmoid"]

#: Largest relative error of an identity, by the precision in which the logits were recorded.
TOLERANCE: Mapping[str, float] = {"F64": 1e-4, "F32": 1e-4, "F16": 2e-2, "BF16": 5e-2}
#: Forms whose error is this many times the smallest one do not compete with it.
DISTINGUISHABLE = 20.0
#: Below this, errors are rounding and not compared any further.
ROUNDING = 2e-6
#: A single constant is identified from this many steps; two weights and a form need more.
MIN_STEPS = 3
MIN_STEPS_TOTAL_ONLY = 5

#: A grid point this close to the truth is worth a finer look, in so many passes.
NEAR_MISS = 0.05
REFINEMENTS = 10

COMMON_TEMPERATURES = (
    0.25, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0,
    12.0, 15.0, 16.0, 20.0, 25.0, 30.0, 32.0, 40.0, 50.0,
)  # fmt: skip
#: The rarer views are searched at fewer temperatures: they cost a pass each.
FEW_TEMPERATURES = (1.0, 2.0, 3.0, 4.0, 5.0, 8.0, 10.0)


@dataclass(frozen=True)
class Declared:
    """What the manifest says the loss is."""

    form: LossForm | None
    alpha: float | None
    temperature: float | None
    temperature_squared: bool = True


@dataclass(frozen=True)
class RecordedSteps:
    """A chunk of recorded steps.

    student_logits, teacher_logits: [K, B, C] (binary [K, B]; tokens [K, B, L, V]). labels: [K, B] (multilabel
    [K, B, C]; tokens [K, B, L], -100 ignored). mask: like labels, true = counts. Losses: [K].
    """

    student_logits: NDArray[np.floating]
    teacher_logits: NDArray[np.floating]
    labels: NDArray[np.int64]
    loss: Array
    kd_loss: Array | None = None
    ce_loss: Array | None = None
    feature_loss: Array | None = None
    mask: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class TermFit:
    """The distillation term: the form that ran and what multiplies its sum over rows.

    ``rivals``: other forms that fit as well, so that the record cannot tell them apart. ``explanations``: the
    equally cheap products that equal ``factor`` (after dividing by the weight where only the total is known).
    """

    form: LossForm
    factor: float
    errors: Array
    explanations: tuple[Explanation, ...]
    rivals: tuple[LossForm, ...]
    source: Literal["kd_loss", "total"]

    @property
    def error(self) -> float:
        """Largest relative error over the steps."""
        return float(self.errors.max())


@dataclass(frozen=True)
class Mix:
    """Effective weights in the total. ``schedule``: (first, last) weight where it moves steadily."""

    fit: MixFit
    schedule: tuple[float, float] | None = None

    @property
    def ce_weight(self) -> float:
        """Weight of the hard-label term."""
        return self.fit.weights.get("ce", 0.0)

    @property
    def kd_weight(self) -> float:
        """Weight of the distillation term."""
        return self.fit.weights.get("kd", 0.0)


@dataclass(frozen=True)
class LossForensics:
    """What the recorded losses are.

    term: None where no form of the grammar reproduces them. declared_errors: [steps] relative errors of the
    declared form with its declared factor, None where nothing is declared or nothing recorded to compare.
    mix: None where no fixed weights (or schedule) reproduce the total. ``kd_share``: [steps] share of the
    weighted distillation term's logit gradient, ‖g_kd‖ / (‖g_kd‖ + ‖g_ce‖), where it can be computed. feature_share:
    median share of the feature term in the total. factor_beyond_names: what multiplies the term beside its declared
    factor once a mean over classes and a wrong power of T are divided out (both have codes of their own).
    """

    steps: int
    classes: int
    tolerance: float
    term: TermFit | None
    closest: LossForm | None
    closest_error: float
    declared_errors: Array | None
    mix: Mix | None
    declared_mix_error: float | None
    hard_term: str | None
    kd_recorded: bool
    kd_always_zero: bool
    divergence: float
    kd_share: Array | None
    feature_share: float | None
    factor_beyond_names: float | None
    nonfinite_losses: int
    finite_logits_at_nonfinite_loss: bool


@dataclass
class _Step:
    pairs: dict[View, PairSums]
    labels: LabelSums
    rows: int
    counted: int
    denominators: dict[str, float]
    losses: dict[str, float] = field(default_factory=dict)


class LossForensicsProbe:
    """Accumulates recorded steps; ``compute`` searches the grammar."""

    def __init__(
        self,
        declared: Declared,
        *,
        link: Link = "softmax",
        precision: str = "F32",
        weighted_terms: bool = False,
        temperatures: Sequence[float] = (),
    ) -> None:
        self.declared = declared
        self.link: Link = link
        self.precision = precision
        self.weighted_terms = weighted_terms
        extra = [t for t in (declared.temperature, *temperatures) if t]
        self.temperatures = tuple(sorted({*COMMON_TEMPERATURES, *extra}))
        self.few = tuple(sorted({*FEW_TEMPERATURES, *extra}))
        self.steps: list[_Step] = []
        self.classes = 0

    def update(self, chunk: RecordedSteps) -> None:
        """Add a chunk of steps."""
        for k in range(len(chunk.loss)):
            step = self._read(
                np.asarray(chunk.student_logits[k], np.float64),
                np.asarray(chunk.teacher_logits[k], np.float64),
                chunk.labels[k],
                None if chunk.mask is None else chunk.mask[k],
            )
            for name in ("loss", "kd_loss", "ce_loss", "feature_loss"):
                column = getattr(chunk, name)
                if column is not None:
                    step.losses[name] = float(column[k])
            self.steps.append(step)

    def merge(self, other: "LossForensicsProbe") -> None:
        """Add another worker's steps."""
        self.steps.extend(other.steps)
        self.classes = max(self.classes, other.classes)

    def compute(self) -> LossForensics:
        """Search the grammar. Raises ValueError when no step was added."""
        if not self.steps:
            raise ValueError("loss forensics needs at least one recorded step")
        return _Search(self).run()

    def _read(
        self, z_s: Array, z_t: Array, labels: NDArray[np.int64], mask: NDArray[np.bool_] | None
    ) -> _Step:
        z_s, z_t, labels, counts, denominators = _as_rows(z_s, z_t, labels, mask, self.link)
        self.classes = z_s.shape[1]
        views = self._views(z_t, z_s, every_position=not counts.all())
        pairs: dict[View, PairSums] = {}
        hard: LabelSums | None = None
        for block in row_blocks(*z_s.shape):
            s, t, y, c = z_s[block], z_t[block], labels[block], counts[block]
            has_label = c & (y >= 0)
            part = label_sums(s[has_label], t[has_label], y[has_label])
            hard = part if hard is None else add_labels(hard, part)
            for view, temperatures in views.items():
                keep = c if view.masked else np.ones_like(c)
                if not keep.any():
                    continue
                sums = pair_sums(
                    transformed(s[keep], view.student),
                    transformed(t[keep], view.teacher),
                    temperatures,
                    axis=1 if view.axis == "class" else 0,
                )
                pairs[view] = pairs[view] + sums if view in pairs else sums
        assert hard is not None
        return _Step(pairs, hard, len(z_s), int(counts.sum()), denominators)

    def _views(self, z_t: Array, z_s: Array, *, every_position: bool) -> dict[View, Sequence[float]]:
        views: dict[View, Sequence[float]] = {View(): self.temperatures}
        views[View(teacher="softmax")] = self.few
        views[View(student="softmax")] = self.few
        views[View(teacher="softmax", student="softmax")] = self.few
        if z_t.min() >= 0 and z_t.max() <= 1:
            # Recorded probabilities: the loop may have taken their logarithm, which is right.
            views[View(teacher="log")] = self.few
        if z_s.shape[1] > 2:
            views[View(teacher="standardised", student="standardised")] = self.few
        if z_s.size <= BLOCK_ELEMENTS and not every_position:
            views[View(axis="batch")] = self.few
        if every_position:
            views[View(masked=False)] = self.few
        return views


def _as_rows(
    z_s: Array, z_t: Array, labels: NDArray[np.int64], mask: NDArray[np.bool_] | None, link: Link
) -> tuple[Array, Array, NDArray[np.int64], NDArray[np.bool_], dict[str, float]]:
    """One step as rows of class logits, with what each reduction divides a sum over rows by."""
    batch = len(z_s)
    if link == "sigmoid" or z_s.ndim == 1:
        # A sigmoid is a softmax over [0, z]; a squared error of [0, z] is that of z.
        flat_s, flat_t = z_s.reshape(-1), z_t.reshape(-1)
        zero = np.zeros_like(flat_s)
        elements = float(len(flat_s))
        denominators = {"batchmean": elements, "sum": 1.0}
        if elements != batch:
            denominators = {"batchmean": float(batch), "per-label": elements, "sum": 1.0}
        y = np.asarray(labels, np.int64).reshape(-1)
        rows_s, rows_t = np.stack([zero, flat_s], 1), np.stack([zero, flat_t], 1)
        return rows_s, rows_t, y, np.ones(len(y), bool), denominators
    classes = z_s.shape[-1]
    y = np.asarray(labels, np.int64).reshape(-1)
    counts = y != -100 if mask is None else np.asarray(mask, bool).reshape(-1)
    valid = float(max(1, counts.sum()))
    denominators = {"batchmean": valid, "mean": valid * classes, "sum": 1.0}
    if z_s.ndim == 3:
        denominators |= {"per-sequence": float(batch), "all-positions": float(len(y))}
    else:
        denominators["class-mean"] = float(classes)
    return z_s.reshape(-1, classes), z_t.reshape(-1, classes), y, counts, denominators


class _Search:
    """One search over the accumulated steps; split from the probe so that ``compute`` leaves no state."""

    def __init__(self, probe: LossForensicsProbe) -> None:
        self.probe = probe
        self.declared = probe.declared
        self.tolerance = TOLERANCE.get(probe.precision, TOLERANCE["F32"])
        loss = np.array([s.losses.get("loss", np.nan) for s in probe.steps])
        self.finite = [
            s for s, value in zip(probe.steps, loss, strict=True) if np.isfinite(value) and _finite(s)
        ]
        self.nonfinite = len(probe.steps) - len(self.finite)
        broken = [s for s, value in zip(probe.steps, loss, strict=True) if not np.isfinite(value)]
        self.finite_logits = bool(broken) and all(_finite(s) for s in broken)
        self.loss = self._column("loss")
        self.kd = self._column("kd_loss")
        self.ce_recorded = self._column("ce_loss")
        self.feature = self._column("feature_loss")

    def _column(self, name: str) -> Array | None:
        values = [s.losses.get(name, np.nan) for s in self.finite]
        array = np.array(values)
        return array if len(array) and np.isfinite(array).all() else None

    def run(self) -> LossForensics:
        if not self.finite or self.loss is None:
            return self._nothing()
        candidates = self._candidates()
        zero = self.kd is not None and bool(np.abs(self.kd).max() <= 1e-9)
        ce, hard_term = self._hard_label_term()
        term: TermFit | None = None
        if self.kd is not None and not zero:
            term, closest, closest_error = self._search_term(self.kd, candidates)
            mix, declared_mix_error = self._mix_of_terms(ce)
            if self.probe.weighted_terms and mix is not None:
                term, mix = self._unweighted(term, mix)
        else:
            mix, declared_mix_error = self._mix_without_kd(ce)
            closest, closest_error = None, float("inf")
            if mix is None and self.kd is None:
                term, mix, closest, closest_error = self._search_total(ce, candidates)
        return LossForensics(
            steps=len(self.finite),
            classes=self.probe.classes,
            tolerance=self.tolerance,
            term=term,
            closest=closest,
            closest_error=closest_error,
            declared_errors=self._declared_errors(candidates, ce),
            mix=mix,
            declared_mix_error=declared_mix_error,
            hard_term=hard_term,
            kd_recorded=self.kd is not None,
            kd_always_zero=zero,
            divergence=self._divergence(),
            kd_share=self._gradient_share(term, mix),
            feature_share=self._feature_share(mix),
            factor_beyond_names=None if term is None else self._factor_beyond_names(term),
            nonfinite_losses=self.nonfinite,
            finite_logits_at_nonfinite_loss=self.finite_logits,
        )

    def _nothing(self) -> LossForensics:
        return LossForensics(
            steps=0,
            classes=self.probe.classes,
            tolerance=self.tolerance,
            term=None,
            closest=None,
            closest_error=float("inf"),
            declared_errors=None,
            mix=None,
            declared_mix_error=None,
            hard_term=None,
            kd_recorded=False,
            kd_always_zero=False,
            divergence=float("nan"),
            kd_share=None,
            feature_share=None,
            factor_beyond_names=None,
            nonfinite_losses=self.nonfinite,
            finite_logits_at_nonfinite_loss=self.finite_logits,
        )

    def _candidates(self) -> Candidates:
        tables = []
        for view in self.finite[0].pairs:
            steps = [s.pairs[view] for s in self.finite if view in s.pairs]
            if len(steps) == len(self.finite):
                few = self.probe.temperatures if view == View() else self.probe.few
                tables.append(candidates_of(view, steps, few))
        total = tables[0]
        for table in tables[1:]:
            total = total + table
        hard = np.array([[s.labels.log_z - s.labels.at_teacher_top for s in self.finite]])
        return total + Candidates((LossForm("hard"),), hard, np.abs(hard))

    # The hard-label term ---------------------------------------------------------------------------------

    def _hard_label_term(self) -> tuple[Array, str | None]:
        """(mean cross-entropy a step, what the recorded ce_loss is), the recorded one where there is one."""
        sums = [s.labels for s in self.finite]
        counted = np.array([max(1, s.counted) for s in self.finite], float)
        plain = self._plain_cross_entropy()
        if self.ce_recorded is None:
            return plain, None
        recorded = self.ce_recorded
        twice = np.array([s.twice_log_z - s.twice_at_label for s in sums]) / counted
        uniform = np.array([s.log_z - s.mean_logit for s in sums]) / counted
        if self._reproduces(recorded, {"plain": plain}):
            return recorded, "cross-entropy"
        if self._reproduces(recorded, {"twice": twice}):
            return recorded, "cross-entropy of softmax(softmax(z))"
        if len(recorded) >= MIN_STEPS and self._reproduces(recorded, {"plain": plain, "uniform": uniform}):
            return recorded, "label-smoothed cross-entropy"
        return recorded, "another form"

    def _plain_cross_entropy(self) -> Array:
        values = [(s.labels.log_z - s.labels.at_label) / max(1, s.counted) for s in self.finite]
        return np.array(values)

    def _reproduces(self, recorded: Array, terms: dict[str, Array]) -> bool:
        return fit_mix(recorded, terms).worst <= self.tolerance

    # The distillation term -------------------------------------------------------------------------------

    def _search_term(
        self, recorded: Array, candidates: Candidates
    ) -> tuple[TermFit | None, LossForm | None, float]:
        fits = fit_constants(recorded, candidates.values, candidates.noise)
        worst = fits.worst
        closest, closest_error = _closest_plain(candidates.forms, worst)
        limit = min(self.tolerance, max(DISTINGUISHABLE * float(worst.min()), ROUNDING))
        weight = (self.declared.alpha or 1.0) if self.probe.weighted_terms else 1.0
        accepted: list[tuple[int, int, TermFit]] = []
        for index in np.flatnonzero(worst <= limit):
            form, factor = candidates.forms[index], float(fits.factors[index])
            explanations = self._explain(form, factor / weight)
            if len(self.finite) < MIN_STEPS and not explanations:
                continue
            cost = form.complexity(self.declared.form) + (explanations[0].cost if explanations else 6)
            fit = TermFit(form, factor, fits.errors[index], explanations, (), "kd_loss")
            accepted.append((cost, int(index), fit))
        if not accepted:
            return None, closest, closest_error
        accepted.sort(key=lambda item: item[:2])
        return _with_rivals(accepted), closest, closest_error

    def _precision_of(self, fit: MixFit) -> float:
        """Relative precision of the fitted constant: a term that is a small part of the total is known less well."""
        assert self.loss is not None
        rest = np.abs(self.loss - fit.weights.get("ce", 0.0) * self._plain_cross_entropy())
        part = float(np.median(rest / np.maximum(np.abs(self.loss), 1e-12)))
        return min(1e-2, 10 * max(fit.worst, 1e-7) / max(part, 1e-6))

    def _explain(self, form: LossForm, factor: float, precision: float = 0.0) -> tuple[Explanation, ...]:
        temperatures = [form.student_temperature, form.teacher_temperature]
        if self.declared.temperature:
            temperatures.append(self.declared.temperature)
        squared = self.declared.temperature_squared and form.family not in ("mse", "hard")
        step = self.finite[0]
        if any(s.denominators != step.denominators for s in self.finite):
            # Masked tokens: the number of rows that count changes from step to step.
            return ()
        denominators = dict(step.denominators)
        if form.family in ("mse", "mse-probabilities") and "mean" in denominators:
            # A squared error is ordinarily averaged over classes too: both are the declared form.
            denominators["per-label"] = denominators.pop("mean")
        return explain_factor(factor, temperatures, squared, denominators, max(2 * self.tolerance, precision))

    def _declared_errors(self, candidates: Candidates, ce: Array) -> Array | None:
        """[steps] errors of the declared form with its declared factor, on kd_loss or on the total."""
        form = self.declared.form
        if form is None or form not in candidates.forms:
            return None
        index = candidates.forms.index(form)
        t = self.declared.temperature or 1.0
        scale = t * t if self.declared.temperature_squared and form.family != "mse" else 1.0
        reduction = "per-label" if "per-label" in self.finite[0].denominators else "batchmean"
        if form.family == "mse" and "mean" in self.finite[0].denominators:
            reduction = "mean"
        rows = np.array([s.denominators[reduction] for s in self.finite])
        value, noise = candidates.values[index] / rows, candidates.noise[index] / rows
        if self.kd is not None:
            weight = (self.declared.alpha or 1.0) if self.probe.weighted_terms else 1.0
            return errors_at(scale * weight, self.kd, value, noise)
        if self.declared.alpha is None or self.loss is None:
            return None
        terms = {"ce": ce, "kd": scale * value} | ({} if self.feature is None else {"feature": self.feature})
        alpha = self.declared.alpha
        if self.feature is not None:
            return None
        return mix_errors(self.loss, terms, {"ce": 1 - alpha, "kd": alpha})

    # The total -------------------------------------------------------------------------------------------

    def _terms(self, ce: Array, kd: Array | None) -> dict[str, Array]:
        terms = {"ce": ce}
        if kd is not None:
            terms["kd"] = kd
        if self.feature is not None and np.abs(self.feature).max() > 0:
            terms["feature"] = self.feature
        return terms

    def _mix_of_terms(self, ce: Array) -> tuple[Mix | None, float | None]:
        """Weights of the recorded terms in the recorded total, the declared ones first."""
        assert self.loss is not None
        assert self.kd is not None
        terms = self._terms(ce, self.kd)
        declared_error: float | None = None
        alpha = self.declared.alpha
        if alpha is not None and "feature" not in terms:
            weights = {"ce": 1.0, "kd": 1.0} if self.probe.weighted_terms else {"ce": 1 - alpha, "kd": alpha}
            errors = mix_errors(self.loss, terms, weights)
            declared_error = float(errors.max())
            if declared_error <= self.tolerance:
                return Mix(MixFit(weights, errors)), declared_error
        for names in _subsets(terms):
            if len(self.finite) <= len(names):
                continue
            fit = fit_mix(self.loss, {name: terms[name] for name in names})
            if fit.worst <= self.tolerance:
                return Mix(fit), declared_error
        return self._schedule(ce, self.kd), declared_error

    def _schedule(self, ce: Array, kd: Array) -> Mix | None:
        """A weight that moves steadily: total = (1−w) ce + w kd, or total = a ce + w kd."""
        assert self.loss is not None
        alpha = self.declared.alpha
        numerators = [(self.loss - ce, kd - ce)]
        if alpha is not None:
            numerators.append((self.loss - (1 - alpha) * ce, kd))
        numerators.append((self.loss - ce, kd))
        for top, bottom in numerators:
            with np.errstate(divide="ignore", invalid="ignore"):
                weights = top / bottom
            if smooth_schedule(weights):
                mean = float(weights.mean())
                fit = MixFit({"ce": 1 - mean, "kd": mean}, np.zeros_like(weights))
                return Mix(fit, (float(weights[0]), float(weights[-1])))
        return None

    def _mix_without_kd(self, ce: Array) -> tuple[Mix | None, float | None]:
        """Whether the hard-label term (and the feature term) alone reproduce the total."""
        assert self.loss is not None
        terms = self._terms(ce, None)
        for names in _subsets(terms):
            if "ce" in names and len(self.finite) > len(names):
                fit = fit_mix(self.loss, {name: terms[name] for name in names})
                if fit.worst <= self.tolerance:
                    return Mix(fit), None
        return None, None

    def _search_total(
        self, ce: Array, candidates: Candidates
    ) -> tuple[TermFit | None, Mix | None, LossForm | None, float]:
        """Form and both weights at once, from the total alone."""
        assert self.loss is not None
        best: list[tuple[int, int, TermFit, Mix]] = []
        if len(self.finite) < MIN_STEPS_TOTAL_ONLY:
            return None, None, None, float("inf")
        fits = [self._fit_total(ce, value) for value in candidates.values]
        worst = np.array([fit.worst for fit in fits])
        closest, closest_error = _closest_plain(candidates.forms, worst)
        limit = min(self.tolerance, max(DISTINGUISHABLE * float(worst.min()), ROUNDING))
        for index, fit in enumerate(fits):
            if fit.worst <= limit:
                form = candidates.forms[index]
                cost, term, mix = self._weigh_total(form, fit)
                best.append((cost + form.complexity(self.declared.form), index, term, mix))
        if not best:
            return None, None, closest, closest_error
        best.sort(key=lambda item: item[:2])
        term = _with_rivals([item[:3] for item in best])
        return term, best[0][3], closest, closest_error

    def _fit_total(self, ce: Array, value: Array) -> MixFit:
        assert self.loss is not None
        terms = {"kd": value} | self._terms(ce, None)
        alone = fit_mix(self.loss, {"kd": value})
        return alone if alone.worst <= self.tolerance else fit_mix(self.loss, terms)

    def _weigh_total(self, form: LossForm, fit: MixFit) -> tuple[int, TermFit, Mix]:
        """Split the fitted constant into weight and factor, the declared weights first."""
        a, b = fit.weights.get("ce", 0.0), fit.weights["kd"]
        alpha = self.declared.alpha
        options: list[tuple[int, float, float]] = [(4, a, 1.0)]
        if alpha is not None:
            near = 1e3 * self.tolerance * 0.05
            named = [(0, 1 - alpha, alpha), (1, alpha, 1 - alpha), (1, 1.0, alpha), (2, 1.0, 1.0)]
            options = [o for o in named if abs(a - o[1]) <= near * max(1.0, abs(a))] or options
        ranked = []
        for cost, ce_weight, kd_weight in options:
            if kd_weight == 0:
                continue
            explanations = self._explain(form, b / kd_weight, self._precision_of(fit))
            ranked.append(
                (cost + (explanations[0].cost if explanations else 6), ce_weight, kd_weight, explanations)
            )
        if not ranked:
            ranked = [(10, a, 1.0, self._explain(form, b, self._precision_of(fit)))]
        cost, ce_weight, kd_weight, explanations = min(ranked, key=lambda item: item[0])
        if not explanations:
            # The constant has no name: give it to the weight of the declared term.
            kd_weight = b / self._declared_factor(form)
        term = TermFit(form, b, fit.errors, explanations, (), "total")
        weights = {"ce": ce_weight, "kd": kd_weight} | {
            k: v for k, v in fit.weights.items() if k == "feature"
        }
        return cost, term, Mix(MixFit(weights, fit.errors))

    def _declared_factor(self, form: LossForm) -> float:
        t = form.student_temperature
        scale = t * t if self.declared.temperature_squared else 1.0
        return scale / self.finite[0].denominators["batchmean"]

    def _unweighted(self, term: TermFit | None, mix: Mix) -> tuple[TermFit | None, Mix]:
        """Read the weights out of terms that were recorded with them."""
        alpha = self.declared.alpha
        plain = self._plain_cross_entropy()
        hard = fit_mix(self.ce_recorded, {"ce": plain}) if self.ce_recorded is not None else None
        ce_weight = hard.weights["ce"] if hard is not None and hard.worst <= self.tolerance else mix.ce_weight
        if term is None or alpha is None:
            return term, mix
        kd_weight, explanations = alpha, term.explanations
        if not explanations and 0 < alpha < 1:
            exchanged = self._explain(term.form, term.factor / (1 - alpha))
            if exchanged:
                kd_weight, explanations = 1 - alpha, exchanged
        if not explanations:
            kd_weight = term.factor / self._declared_factor(term.form)
        weights = mix.fit.weights | {"ce": ce_weight, "kd": kd_weight}
        return (
            TermFit(term.form, term.factor, term.errors, explanations, term.rivals, "total"),
            Mix(MixFit(weights, mix.fit.errors), mix.schedule),
        )

    def _factor_beyond_names(self, term: TermFit) -> float:
        """1 where reduction and scale have a name of their own."""
        if term.explanations:
            reduction = term.explanations[0].reduction
            if reduction in ("batchmean", "mean", "per-label"):
                return 1.0
            rows = self.finite[0].denominators
            return rows["batchmean"] / rows[reduction]
        if term.source == "total":
            return 1.0  # already given to the weight
        return abs(term.factor) / self._declared_factor(term.form)

    def _feature_share(self, mix: Mix | None) -> float | None:
        if mix is None or self.feature is None or self.loss is None or "feature" not in mix.fit.weights:
            return None
        part = np.abs(mix.fit.weights["feature"] * self.feature)
        return float(np.median(part / np.maximum(np.abs(self.loss), part)))

    # Gradients -------------------------------------------------------------------------------------------

    def _divergence(self) -> float:
        """Mean KL(teacher ‖ student) at T = 1 over the recorded rows, nats."""
        i = self.probe.temperatures.index(1.0)
        totals = [
            float(p.t_entropy[i] + p.s_log_z[i] - p.t_cross[i]) / max(1, s.counted)
            for s in self.finite
            for p in (s.pairs[View()],)
        ]
        return float(np.mean(totals))

    def _gradient_share(self, term: TermFit | None, mix: Mix | None) -> Array | None:
        if term is None or mix is None or mix.schedule or term.form.temperature is None:
            return None
        if term.form.objective.family != "kl" or term.form.axis != "class":
            return None
        if (term.form.teacher_transform, term.form.student_transform) != ("logits", "logits"):
            return None
        t = term.form.temperature
        index = self.probe.temperatures.index(t)
        weight = mix.kd_weight if term.source == "kd_loss" else 1.0
        kd = np.array([np.sqrt(s.pairs[View()].square[index]) / t for s in self.finite])
        kd = kd * abs(term.factor * weight)
        ce = np.array([np.sqrt(max(s.labels.gradient_square, 0.0)) / max(1, s.counted) for s in self.finite])
        ce = ce * abs(mix.ce_weight)
        total = kd + ce
        return np.asarray(np.divide(kd, total, out=np.zeros_like(kd), where=total > 0))


def investigate(make_probe: Callable[[tuple[float, ...]], LossForensicsProbe]) -> LossForensics:
    """Search; where nothing on the grid of temperatures fits, look between its points and search again.

    make_probe: builds a probe with these extra temperatures and feeds it the recorded steps.
    """
    result = make_probe(()).compute()
    closest = result.closest
    if result.term is not None or closest is None or closest.temperature is None:
        return result
    if result.closest_error > NEAR_MISS:
        return result
    low, high = np.log(closest.temperature / 1.4), np.log(closest.temperature * 1.4)
    for _ in range(REFINEMENTS):
        # A bracket of seven temperatures a pass: each pass narrows it threefold, to 1e-6 at the end.
        grid = np.exp(np.linspace(low, high, 7))
        found = make_probe(tuple(map(float, grid))).compute()
        if found.closest is None or found.closest.temperature is None:
            return result
        middle, reach = np.log(found.closest.temperature), (high - low) / 6
        low, high = middle - reach, middle + reach
        result = found
    return result


def _finite(step: _Step) -> bool:
    return bool(np.isfinite(step.labels.log_z)) and all(
        np.isfinite(p.t_entropy).all() and np.isfinite(p.s_log_z).all() for p in step.pairs.values()
    )


def _closest_plain(forms: Sequence[LossForm], worst: Array) -> tuple[LossForm | None, float]:
    """The ordinary KL that comes closest, with its worst error: where a finer search may start."""
    plain = [
        i
        for i, form in enumerate(forms)
        if form.temperature is not None
        and form == LossForm(form.family, form.temperature, form.temperature)
        and form.family in ("kl", "reverse-kl", "soft-cross-entropy")
    ]
    best = min(plain, key=lambda i: float(worst[i]))
    return forms[best], float(worst[best])


def _with_rivals(accepted: Sequence[tuple[int, int, TermFit]]) -> TermFit:
    cost, _, winner = accepted[0]
    rivals = tuple(
        fit.form
        for other, _, fit in accepted[1:]
        if other <= cost + 1 and fit.form.objective != winner.form.objective
    )
    return TermFit(winner.form, winner.factor, winner.errors, winner.explanations, rivals[:3], winner.source)


def _subsets(terms: Mapping[str, Array]) -> list[tuple[str, ...]]:
    """Sets of terms, fewest first: the simplest mixture that reproduces the total is the one that ran."""
    names = tuple(terms)
    singles = [(name,) for name in names]
    doubles = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    return [*singles, *doubles, *([names] if len(names) > 2 else [])]
