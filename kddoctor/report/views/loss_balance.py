"""How much of the gradient each loss term has, and whether the terms pull the same way."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kddoctor.engine.measuring import examined_steps
from kddoctor.probes.loss_forensics import LossForensics
from kddoctor.report.views.view import Missing, View
from kddoctor.rules.loss.loss_weight_imbalance import DOMINANT, INERT
from kddoctor.rules.record import RECORD
from kddoctor.run.directory import Run
from kddoctor.run.steps import Steps

QUESTION = "Is the loss listening to the teacher?"
Floats = NDArray[np.float64]
#: What the two terms' gradients may leave of the total's for their cosine to follow from the three norms.
EXPLAINED = 1e-3


def loss_balance(run: Run, measured: Mapping[type, object]) -> View | Missing:
    """Share of the distillation term over the recorded steps, and the cosine between the terms' gradients.

    From the recorded gradient norms; without them, from what loss forensics recomputes at the student's logits; without
    either, the terms' sizes. frame: step, of ("gradient" or "size"), kd_share, ce_share (sum to 1), cosine (NaN where
    unknown). marks: median of kd_share, inert and dominant (the limits of KD208), cosine (median), steps.
    """
    steps = run.steps
    table = None if steps is None else (_recorded(steps) or _recomputed(steps, measured) or _sizes(steps, measured))
    if table is None:
        return Missing("loss_balance", QUESTION, RECORD["TermGradients"][1])
    numbers, share, cosine, of, note = table
    frame = pd.DataFrame({"step": numbers, "of": of, "kd_share": share, "ce_share": 1 - share, "cosine": cosine})
    frame = frame.sort_values("step", kind="stable").reset_index(drop=True)
    marks = {"median": float(frame["kd_share"].median()), "inert": INERT, "dominant": DOMINANT, "steps": len(frame)}
    mean_cosine = run.observations.grad_cosine_kd_ce
    if frame["cosine"].notna().any():
        marks["cosine"] = float(frame["cosine"].median())
    elif mean_cosine is not None:
        marks["cosine"] = mean_cosine
    limits = "Limits are those of KD208: below the lower one a term is inert, above the upper one it drowns the other."
    return View("loss_balance", QUESTION, _answer(frame, marks), _alt(frame, marks), frame, marks, (note, limits))


Table = tuple[NDArray[np.int64], Floats, Floats, str, str]


def _recorded(steps: Steps) -> Table | None:
    """Norms of both terms' gradients, each with its weight in the total."""
    kd, ce = steps.kd_grad_norm, steps.ce_grad_norm
    if kd is None or ce is None:
        return None
    weighted = steps.weighted_terms or steps.kd_grad_weight is None or steps.ce_grad_weight is None
    if not weighted:
        assert steps.kd_grad_weight is not None
        assert steps.ce_grad_weight is not None
        kd, ce = np.abs(steps.kd_grad_weight) * kd, np.abs(steps.ce_grad_weight) * ce
    good = np.isfinite(kd) & np.isfinite(ce) & (kd + ce > 0)
    if not good.any():
        return None
    cosine = _cosine(steps, kd, ce)
    note = "Norms of the terms' gradients at the student's logits, as recorded"
    known = steps.kd_grad_weight is not None or steps.weighted_terms
    note += "." if known else ", without the terms' weights, which were not recorded."
    return steps.step[good], kd[good] / (kd + ce)[good], cosine[good], "gradient", note


def _cosine(steps: Steps, kd: Floats, ce: Floats) -> Floats:
    """From ‖a + b‖² = ‖a‖² + ‖b‖² + 2 ‖a‖ ‖b‖ cos, where the total's gradient is the sum of the two."""
    total, rest = steps.loss_grad_norm, steps.grad_weight_residual
    if total is None or rest is None:
        return np.full(len(kd), np.nan)
    with np.errstate(all="ignore"):
        cosine = (total**2 - kd**2 - ce**2) / (2 * kd * ce)
    return np.where(np.isfinite(cosine) & (rest < EXPLAINED), np.clip(cosine, -1, 1), np.nan)


def _recomputed(steps: Steps, measured: Mapping[type, object]) -> Table | None:
    loss = measured.get(LossForensics)
    if not isinstance(loss, LossForensics) or loss.kd_share is None:
        return None
    chosen = examined_steps(steps)
    chosen = chosen[np.isfinite(steps.loss[chosen])]
    if len(chosen) != len(loss.kd_share):
        # Some step's logits overflowed, and forensics left it out: places are known no more, their order is.
        chosen = np.linspace(chosen[0], chosen[-1], len(loss.kd_share)).round().astype(np.int64)
    note = "Gradients at the student's logits, recomputed from the recorded logits of each step."
    return steps.step[chosen], loss.kd_share, np.full(len(chosen), np.nan), "gradient", note


def _sizes(steps: Steps, measured: Mapping[type, object]) -> Table | None:
    if steps.kd_loss is None or steps.ce_loss is None:
        return None
    loss = measured.get(LossForensics)
    mix = loss.mix if isinstance(loss, LossForensics) else None
    known = steps.weighted_terms or (mix is not None and mix.schedule is None)
    weights = (abs(mix.kd_weight), abs(mix.ce_weight)) if mix is not None and not steps.weighted_terms else (1.0, 1.0)
    kd, ce = weights[0] * np.abs(steps.kd_loss), weights[1] * np.abs(steps.ce_loss)
    good = np.isfinite(kd) & np.isfinite(ce) & (kd + ce > 0)
    if not good.any():
        return None
    note = "Sizes of the terms, since gradients were not recorded; a large term may have a small gradient"
    note += "." if known else ". Their weights are not known, and left out."
    return steps.step[good], kd[good] / (kd + ce)[good], np.full(int(good.sum()), np.nan), "size", note


def _answer(frame: pd.DataFrame, marks: dict[str, float]) -> str:
    of = "gradient" if frame["of"].iloc[0] == "gradient" else "loss"
    said = f"The teacher's term has {marks['median']:.0%} of the {of} (median of {marks['steps']:.0f} steps)"
    if "cosine" in marks:
        said += f", and the terms' gradients have a cosine of {marks['cosine']:+.2f}"
    return f"{said}."


def _alt(frame: pd.DataFrame, marks: dict[str, float]) -> str:
    first, last = frame.iloc[0], frame.iloc[-1]
    return (
        f"The distillation term's share over the steps: {first['kd_share']:.0%} at step {first['step']}, "
        f"{last['kd_share']:.0%} at step {last['step']}, with limits at {marks['inert']:.0%} and "
        f"{marks['dominant']:.0%}."
    )
