"""The search itself: from sums per step to the formula that reproduces every recorded loss."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kddoctor.probes.loss_balance import divergence, feature_share, gradient_share
from kddoctor.probes.loss_candidates import Candidates, View, candidates_of
from kddoctor.probes.loss_factors import Explanation, explain_factor
from kddoctor.probes.loss_fit import (
    MixFit,
    MixFits,
    errors_at,
    fit_constants,
    fit_mix,
    fit_mixes,
    mix_errors,
    smooth_schedule,
)
from kddoctor.probes.loss_forms import LossForm
from kddoctor.probes.loss_results import Declared, LossForensics, Mix, TermFit
from kddoctor.probes.loss_steps import StepSums

Array = NDArray[np.float64]

#: Forms whose error is this many times the smallest one do not compete with it.
DISTINGUISHABLE = 20.0
#: Below this, errors are rounding and not compared any further.
ROUNDING = 2e-6
#: Largest relative error of a form whose value is not protected from rounding.
STRICT = 1e-3
#: Temperatures closer than this are one: neighbours on a refined grid are no rivals.
SAME_TEMPERATURE = 0.005
#: Precision of the hard-label term's weight where the other one holds a factor.
WHOLE_WEIGHT = 1e-3
#: Steps from which a term that hardly counts is told from rounding, and how many times more exact the sum is with it.
MIN_STEPS_TRACE, TRACE = 8, 20.0
#: A single constant is identified from this many steps; two weights and a form need more.
MIN_STEPS = 3
MIN_STEPS_TOTAL_ONLY = 5
MIN_STEPS_SMOOTHED = 8


@dataclass(frozen=True)
class SearchSpace:
    """What a search needs to know beside the steps; see ``LossForensicsProbe``."""

    declared: Declared
    tolerance: float
    weighted_terms: bool
    temperatures: tuple[float, ...]
    few: tuple[float, ...]
    classes: int


class Search:
    """One search over accumulated steps; apart from the probe, so that ``compute`` leaves no state there."""

    def __init__(self, space: SearchSpace, steps: Sequence[StepSums]) -> None:
        self.space = space
        self.declared = space.declared
        self.tolerance = space.tolerance
        loss = np.array([s.losses.get("loss", np.nan) for s in steps])
        self.finite = [s for s, value in zip(steps, loss, strict=True) if np.isfinite(value) and s.finite]
        self.nonfinite = len(steps) - len(self.finite)
        broken = [s for s, value in zip(steps, loss, strict=True) if not np.isfinite(value)]
        self.finite_logits = bool(broken) and all(s.finite for s in broken)
        self.loss = self._column("loss")
        self.kd = self._column("kd_loss")
        self.ce_recorded = self._column("ce_loss")
        self.feature = self._column("feature_loss")

    def _column(self, name: str) -> Array | None:
        values = [s.losses.get(name, np.nan) for s in self.finite]
        array = np.array(values)
        return array if len(array) and np.isfinite(array).all() else None

    def run(self) -> LossForensics:
        """The best explanation of the recorded losses."""
        if not self.finite or self.loss is None:
            return self._nothing()
        candidates = self._candidates()
        zero = self.kd is not None and bool(np.abs(self.kd).max() <= 1e-9)
        ce, hard_term = self._hard_label_term()
        term: TermFit | None = None
        if self.kd is not None and not zero:
            term, closest, closest_error = self._search_term(self.kd, candidates)
            mix, declared_mix_error = self._mix_of_terms(ce)
            if self.space.weighted_terms and mix is not None:
                term, mix = self._unweighted(term, mix)
        else:
            mix, declared_mix_error = self._mix_without_kd(ce)
            closest, closest_error = None, float("inf")
            if mix is None and self.kd is None:
                term, mix, closest, closest_error = self._search_total(ce, candidates)
        return LossForensics(
            steps=len(self.finite),
            classes=self.space.classes,
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
            divergence=divergence(self.finite, self.space.temperatures),
            kd_share=gradient_share(self.finite, self.space.temperatures, term, mix),
            feature_share=feature_share(self.loss, self.feature, mix),
            factor_beyond_names=None if term is None else self._factor_beyond_names(term),
            nonfinite_losses=self.nonfinite,
            finite_logits_at_nonfinite_loss=self.finite_logits,
            whole_as_declared=self._whole_as_declared(term, mix),
        )

    def _whole_as_declared(self, term: TermFit | None, mix: Mix | None) -> bool:
        """Whether a factor that the term lacks, such as T², stands in front of it in the total.

        Or the other way round: whether weights stand in the terms of a record that does not say so.
        """
        alpha = self.declared.alpha
        if term is None or mix is None or mix.schedule or not alpha or term.source != "kd_loss":
            return False
        weight = mix.ce_weight
        if self.ce_recorded is not None:
            inside = fit_mix(self.ce_recorded, {"ce": self._plain_cross_entropy()})
            weight *= inside.weights["ce"] if inside.worst <= self.tolerance else 1.0
        if self.space.weighted_terms or abs(weight - (1 - alpha)) > WHOLE_WEIGHT:
            return False
        return self._is_declared(term.form, term.factor * mix.kd_weight / alpha)

    def _nothing(self) -> LossForensics:
        return LossForensics(
            steps=0,
            classes=self.space.classes,
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
                few = self.space.temperatures if view == View() else self.space.few
                # Means over the rows that count: where positions are masked, their number differs between steps.
                rows = np.array([s.denominators["batchmean"] if view.masked else s.rows for s in self.finite])
                table = candidates_of(view, steps, few)
                tables.append(Candidates(table.forms, table.values / rows, table.noise / rows))
        total = tables[0]
        for table in tables[1:]:
            total = total + table
        hard = np.array([[s.labels.log_z - s.labels.at_teacher_top for s in self.finite]])
        hard = hard / np.array([s.denominators["batchmean"] for s in self.finite])
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
        uniform = self._uniform_cross_entropy()
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

    def _uniform_cross_entropy(self) -> Array:
        values = [(s.labels.log_z - s.labels.mean_logit) / max(1, s.counted) for s in self.finite]
        return np.array(values)

    def _reproduces(self, recorded: Array, terms: dict[str, Array]) -> bool:
        return fit_mix(recorded, terms).worst <= self.tolerance

    # The distillation term -------------------------------------------------------------------------------

    def _search_term(self, recorded: Array, candidates: Candidates) -> tuple[TermFit | None, LossForm | None, float]:
        weight = (self.declared.alpha or 1.0) if self.space.weighted_terms else 1.0
        fits = fit_constants(recorded, candidates.values, candidates.noise)
        strict = fit_constants(recorded, candidates.values, np.zeros_like(candidates.noise)).worst
        # Where a divergence drowns in rounding any loss would fit it: only the declared loss gets that benefit.
        benefit = np.array(
            [self._is_declared(f, k / weight) for f, k in zip(candidates.forms, fits.factors, strict=True)]
        )
        worst = np.where(benefit | (strict <= STRICT), fits.worst, strict)
        closest, closest_error = _closest_plain(candidates.forms, strict)
        limit = min(self.tolerance, max(DISTINGUISHABLE * float(worst.min()), ROUNDING))
        accepted: list[tuple[int, int, TermFit]] = []
        for index in np.flatnonzero(worst <= limit):
            form, factor = candidates.forms[index], float(fits.factors[index])
            if len(recorded) < MIN_STEPS and not benefit[index]:
                # One number equals some product of some form by chance: few steps can only confirm.
                continue
            explanations = self._explain(form, factor / weight)
            if not explanations and not self._identifies(recorded):
                continue
            cost = form.complexity(self.declared.form) + (explanations[0].cost if explanations else 6)
            fit = TermFit(form, factor, fits.errors[index], explanations, (), "kd_loss")
            accepted.append((cost, int(index), fit))
        if not accepted:
            return None, closest, closest_error
        accepted.sort(key=lambda item: item[:2])
        return _with_rivals(accepted), closest, closest_error

    def _is_declared(self, form: LossForm, factor: float) -> bool:
        """Whether this is the declared loss, factor included."""
        if self.declared.form is None or form.objective != self.declared.form:
            return False
        explanations = self._explain(form, factor)
        return bool(explanations) and explanations[0].declared

    def _precision_of(self, fit: MixFit) -> float:
        """Relative precision of the fitted constant: a term that is a small part of the total is known less well."""
        assert self.loss is not None
        rest = np.abs(self.loss - fit.weights.get("ce", 0.0) * self._plain_cross_entropy())
        part = float(np.median(rest / np.maximum(np.abs(self.loss), 1e-12)))
        return min(1e-2, 10 * max(fit.worst, 1e-7) / max(part, 1e-6))

    def _identifies(self, recorded: Array) -> bool:
        """Whether a free constant can be told: enough steps, and losses that differ by more than the noise.

        Nearly constant losses fit any nearly constant form.
        """
        spread = float(np.ptp(recorded) / max(float(np.abs(recorded).max()), 1e-12))
        return len(recorded) >= MIN_STEPS and spread > DISTINGUISHABLE * self.tolerance

    def _explain(self, form: LossForm, factor: float, precision: float = 0.0) -> tuple[Explanation, ...]:
        temperatures = [form.student_temperature, form.teacher_temperature]
        if self.declared.temperature:
            temperatures.append(self.declared.temperature)
        squared = self.declared.temperature_squared and form.family not in ("mse", "hard")
        denominators = self._relative_denominators()
        if form.family in ("mse", "mse-probabilities") and "mean" in denominators:
            # A squared error is ordinarily averaged over classes too: both are the declared form.
            denominators["per-label"] = denominators.pop("mean")
        return explain_factor(factor, temperatures, squared, denominators, max(2 * self.tolerance, precision))

    def _relative_denominators(self) -> dict[str, float]:
        """What each reduction divides by, relative to a mean over rows; only those that are the same at every step."""
        relative: dict[str, float] = {}
        for name in self.finite[0].denominators:
            ratios = {s.denominators[name] / s.denominators["batchmean"] for s in self.finite}
            if len(ratios) == 1:
                relative[name] = ratios.pop()
        return relative

    def _declared_errors(self, candidates: Candidates, ce: Array) -> Array | None:
        """[steps] errors of the declared form with its declared factor, on kd_loss or on the total."""
        form = self.declared.form
        if form is None or form not in candidates.forms:
            return None
        index = candidates.forms.index(form)
        t = self.declared.temperature or 1.0
        scale = t * t if self.declared.temperature_squared and form.family != "mse" else 1.0
        relative = self._relative_denominators()
        rows = relative.get("per-label", 1.0)
        if form.family == "mse":
            rows = relative.get("mean", rows)
            if self.space.classes == 2 and self._closer_without(candidates.values[index], rows):
                rows = 1.0  # one logit a row: nothing to average over
        value, noise = candidates.values[index] / rows, candidates.noise[index] / rows
        if self.kd is not None:
            weight = (self.declared.alpha or 1.0) if self.space.weighted_terms else 1.0
            return errors_at(scale * weight, self.kd, value, noise)
        if self.declared.alpha is None or self.loss is None:
            return None
        terms = {"ce": ce, "kd": scale * value} | ({} if self.feature is None else {"feature": self.feature})
        alpha = self.declared.alpha
        if self.feature is not None:
            return None
        return mix_errors(self.loss, terms, {"ce": 1 - alpha, "kd": alpha})

    def _closer_without(self, value: Array, rows: float) -> bool:
        """Whether the recorded term is nearer to a value than to its mean over so many classes."""
        if self.kd is None:
            return False
        return bool(np.abs(self.kd - value).sum() < np.abs(self.kd - value / rows).sum())

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
            weights = {"ce": 1.0, "kd": 1.0} if self.space.weighted_terms else {"ce": 1 - alpha, "kd": alpha}
            errors = mix_errors(self.loss, terms, weights)
            declared_error = float(errors.max())
            if declared_error <= self.tolerance:
                return Mix(MixFit(weights, errors)), declared_error
        for names in _subsets(terms):
            if len(self.finite) <= len(names):
                continue
            fit = fit_mix(self.loss, {name: terms[name] for name in names})
            if fit.worst <= self.tolerance:
                return Mix(self._with_a_trace(fit, terms)), declared_error
        return self._smoothed_mix(terms) or self._schedule(ce, self.kd), declared_error

    def _with_a_trace(self, fit: MixFit, terms: dict[str, Array]) -> MixFit:
        """The mixture with the distillation term, where it is far more exact than one that does well without it."""
        assert self.loss is not None
        if "kd" in fit.weights or len(self.finite) < MIN_STEPS_TRACE:
            return fit
        richer = fit_mix(self.loss, {name: terms[name] for name in (*fit.weights, "kd")})
        return richer if richer.weights["kd"] > 0 and richer.worst * TRACE < fit.worst else fit

    def _smoothed_mix(self, terms: dict[str, Array]) -> Mix | None:
        """The same with label smoothing in a hard-label term that was not recorded by itself."""
        assert self.loss is not None
        if self.ce_recorded is not None or len(self.finite) <= len(terms) + 1:
            return None
        merged = _merged(fit_mixes(self.loss, "uniform", self._uniform_cross_entropy()[None], terms)).of(0)
        return Mix(merged) if merged.worst <= self.tolerance else None

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
        fits: _Totals | MixFits = self._fit_totals(ce, candidates.values)
        closest, closest_error = _closest_plain(candidates.forms, fits.worst)
        if fits.worst.min() > self.tolerance and self._may_be_smoothed():
            fits = self._fit_smoothed(ce, candidates.values)
        worst = fits.worst
        limit = min(self.tolerance, max(DISTINGUISHABLE * float(worst.min()), ROUNDING))
        for index in map(int, np.flatnonzero(worst <= limit)):
            form = candidates.forms[index]
            cost, term, mix = self._weigh_total(form, fits.of(index))
            best.append((cost + form.complexity(self.declared.form), index, term, mix))
        if not best:
            return None, None, closest, closest_error
        best.sort(key=lambda item: item[:2])
        term = _with_rivals([item[:3] for item in best])
        return term, best[0][3], closest, closest_error

    def _fit_totals(self, ce: Array, values: Array) -> "_Totals":
        """By the term alone where that is enough, beside the others where it is not."""
        assert self.loss is not None
        alone = fit_mixes(self.loss, "kd", values, {})
        return _Totals(alone, fit_mixes(self.loss, "kd", values, self._terms(ce, None)), alone.worst <= self.tolerance)

    def _may_be_smoothed(self) -> bool:
        """Label smoothing is one constant more, so it takes more steps to tell."""
        return self.ce_recorded is None and len(self.finite) >= MIN_STEPS_SMOOTHED

    def _fit_smoothed(self, ce: Array, values: Array) -> MixFits:
        """The same with a hard-label term that spreads a part of itself over all classes."""
        assert self.loss is not None
        terms = {"uniform": self._uniform_cross_entropy()} | self._terms(ce, None)
        return _merged(fit_mixes(self.loss, "kd", values, terms))

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
            ranked.append((cost + (explanations[0].cost if explanations else 6), ce_weight, kd_weight, explanations))
        if not ranked:
            ranked = [(10, a, 1.0, self._explain(form, b, self._precision_of(fit)))]
        cost, ce_weight, kd_weight, explanations = min(ranked, key=lambda item: item[0])
        if not explanations:
            # The constant has no name: give it to the weight of the declared term.
            kd_weight = b / self._declared_factor(form)
        term = TermFit(form, b, fit.errors, explanations, (), "total")
        weights = {"ce": ce_weight, "kd": kd_weight} | {k: v for k, v in fit.weights.items() if k == "feature"}
        return cost, term, Mix(MixFit(weights, fit.errors))

    def _declared_factor(self, form: LossForm) -> float:
        t = form.student_temperature
        return t * t if self.declared.temperature_squared else 1.0

    def _unweighted(self, term: TermFit | None, mix: Mix) -> tuple[TermFit | None, Mix]:
        """Read the weights out of terms that were recorded with them."""
        alpha = self.declared.alpha
        ce_weight = mix.ce_weight if self.ce_recorded is None else self._weight_inside(self.ce_recorded, mix.ce_weight)
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

    def _weight_inside(self, recorded: Array, in_total: float) -> float:
        """Weight of the labels in a term that was recorded with it, smoothed or not.

        in_total: what the total holds of that term. Of a form that is not known, such as one with weights of classes,
        the weight is the declared one where the total holds all of it: nothing else is to be read.
        """
        plain = {"ce": self._plain_cross_entropy()}
        hard = fit_mix(recorded, plain)
        if hard.worst <= self.tolerance:
            return hard.weights["ce"]
        smoothed = fit_mix(recorded, {**plain, "uniform": self._uniform_cross_entropy()})
        if len(recorded) >= MIN_STEPS and smoothed.worst <= self.tolerance:
            return sum(smoothed.weights.values())
        declared = None if self.declared.alpha is None else 1 - self.declared.alpha
        return declared if declared and abs(in_total - 1) <= WHOLE_WEIGHT else in_total

    def _factor_beyond_names(self, term: TermFit) -> float:
        """1 where reduction and scale have a name of their own."""
        if term.explanations:
            reduction = term.explanations[0].reduction
            if reduction in ("batchmean", "mean", "per-label"):
                return 1.0
            return 1 / self._relative_denominators()[reduction]
        if term.source == "total":
            return 1.0  # already given to the weight
        return abs(term.factor) / self._declared_factor(term.form)


@dataclass(frozen=True)
class _Totals:
    """Fits of the total by every candidate: by the first of two mixtures where that is enough."""

    alone: MixFits
    beside: MixFits
    enough: NDArray[np.bool_]

    @property
    def worst(self) -> Array:
        """[forms] largest relative error over the steps."""
        return np.where(self.enough, self.alone.worst, self.beside.worst)

    def of(self, index: int) -> MixFit:
        """The fit by one candidate."""
        return (self.alone if self.enough[index] else self.beside).of(index)


def _merged(fits: MixFits) -> MixFits:
    """Label smoothing counted into the hard-label term; no fit where the smoothing is none."""
    at = {name: fits.weights[:, k] for k, name in enumerate(fits.names)}
    smoothing, hard = at.pop("uniform"), at["ce"]
    sound = (smoothing > 0) & (smoothing < hard)
    merged = at | {"ce": np.where(sound, hard + smoothing, hard)}
    return MixFits(tuple(merged), np.stack(list(merged.values()), 1), np.where(sound[:, None], fits.errors, np.inf))


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
        fit.form for other, _, fit in accepted[1:] if other <= cost + 1 and not _same_form(fit.form, winner.form)
    )
    return TermFit(winner.form, winner.factor, winner.errors, winner.explanations, rivals[:3], winner.source)


def _same_form(a: LossForm, b: LossForm) -> bool:
    """Equal up to what the fit can tell of the temperatures."""
    near = all(
        abs(x / y - 1) < SAME_TEMPERATURE
        for x, y in (
            (a.teacher_temperature, b.teacher_temperature),
            (a.student_temperature, b.student_temperature),
        )
    )
    at_b = replace(a.objective, teacher_temperature=b.teacher_temperature, student_temperature=b.student_temperature)
    return near and at_b == b.objective


def _subsets(terms: Mapping[str, Array]) -> list[tuple[str, ...]]:
    """Sets of terms, fewest first: the simplest mixture that reproduces the total is the one that ran."""
    names = tuple(terms)
    singles = [(name,) for name in names]
    doubles = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    return [*singles, *doubles, *([names] if len(names) > 2 else [])]
