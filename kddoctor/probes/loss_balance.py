"""Which term leads: shares of the gradient and of the total, and how far apart the two models are."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kddoctor.probes.loss_candidates import View
from kddoctor.probes.loss_results import Mix, TermFit
from kddoctor.probes.loss_steps import StepSums

Array = NDArray[np.float64]


def divergence(steps: Sequence[StepSums], temperatures: Sequence[float]) -> float:
    """Mean KL(teacher ‖ student) at T = 1 over the recorded rows, nats."""
    i = temperatures.index(1.0)
    totals = []
    for step in steps:
        sums = step.pairs[View()]
        total = float(sums.t_entropy[i] + sums.s_log_z[i] - sums.t_cross[i])
        totals.append(total / step.denominators["batchmean"])
    return float(np.mean(totals))


def gradient_share(
    steps: Sequence[StepSums], temperatures: Sequence[float], term: TermFit | None, mix: Mix | None
) -> Array | None:
    """[steps] ‖g_kd‖ / (‖g_kd‖ + ‖g_ce‖) at the student's logits; None unless the term is a plain KL.

    The gradient of KL at temperature T is (p_student − p_teacher) / T a row, that of the hard-label term
    p_student − onehot(label); both sums of squares were accumulated.
    """
    if term is None or mix is None or mix.schedule or term.form.temperature is None:
        return None
    form = term.form
    if form.objective.family != "kl" or form.axis != "class":
        return None
    if (form.teacher_transform, form.student_transform) != ("logits", "logits"):
        return None
    index = temperatures.index(term.form.temperature)
    weight = mix.kd_weight if term.source == "kd_loss" else 1.0
    rows = np.array([s.denominators["batchmean"] for s in steps])
    soft = np.sqrt([s.pairs[View()].square[index] for s in steps]) / term.form.temperature
    hard = np.sqrt([max(s.labels.gradient_square, 0.0) for s in steps])
    kd = soft / rows * abs(term.factor * weight)
    ce = hard / rows * abs(mix.ce_weight)
    total = kd + ce
    return np.asarray(np.divide(kd, total, out=np.zeros_like(kd), where=total > 0))


def feature_share(total: Array, feature: Array | None, mix: Mix | None) -> float | None:
    """Median share of the weighted feature term in the total."""
    if mix is None or feature is None or "feature" not in mix.fit.weights:
        return None
    part = np.abs(mix.fit.weights["feature"] * feature)
    return float(np.median(part / np.maximum(np.abs(total), part)))
