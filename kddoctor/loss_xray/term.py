"""The distillation term: which formula it is, at which temperatures, and what multiplies it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import torch

from kddoctor.loss_xray.batches import Batch
from kddoctor.loss_xray.calling import LossCall
from kddoctor.loss_xray.kinds import FEATURE_KINDS, LOGIT_KINDS, OWN, SHARE, KindFit, T, recognise
from kddoctor.loss_xray.label_term import LabelTerm, cross_entropy
from kddoctor.probes.loss_forensics import Declared, LossForensics, LossForensicsProbe, RecordedSteps
from kddoctor.probes.loss_forms import LossForm

#: What a squared error means: averaged over classes as well.
OVER_ELEMENTS = frozenset({"mse", "l1", "smooth-l1"})


@dataclass(frozen=True)
class Term:
    """family: of ``loss_forms`` or ``kinds``. factors: what multiplies each part's mean over rows (a squared error's
    mean over elements). Temperatures are None for a formula that has none. share: beta of a mixture, or None.
    twice: sides whose softmax is taken twice. error: largest relative residual over the probes.
    """

    family: str
    text: str
    factors: Mapping[str, float]
    error: float
    teacher_temperature: float | None = None
    student_temperature: float | None = None
    share: float | None = None
    axis: str = "class"
    twice: tuple[str, ...] = field(default=())
    standardised: bool = False

    @property
    def temperature(self) -> float | None:
        """The common temperature, None where there is none or the sides differ."""
        same = self.teacher_temperature == self.student_temperature
        return self.teacher_temperature if same else None

    @property
    def factor(self) -> float | None:
        """The one factor of a term of one part."""
        return next(iter(self.factors.values())) if len(self.factors) == 1 else None


def find_term(
    call: LossCall, batches: Sequence[Batch], labels: LabelTerm, declared: Declared, *, features: bool
) -> Term | None:
    """Known kinds first, then the grammar of loss forensics; None where neither reproduces the loss."""
    kind = recognise(call, batches, FEATURE_KINDS if features else LOGIT_KINDS)
    if kind is not None:
        return _of_kind(kind)
    if features:
        return _projected(call, batches)
    if not labels.plain:
        return None
    # Temperatures off the grid need no finer search here: the kinds above have found those of the plain forms.
    found = _probe(call, batches, labels, declared).compute()
    return None if found.term is None else _of_form(found)


def _of_kind(fit: KindFit) -> Term:
    t = _round(fit.knobs.get(T))
    return Term(
        family=fit.kind.family,
        text=fit.kind.text,
        factors=fit.factors,
        error=fit.error,
        teacher_temperature=t,
        student_temperature=_round(fit.knobs.get(OWN, t)),
        share=_round(fit.knobs.get(SHARE)),
        axis="batch" if fit.kind.family.endswith("over-batch") else "class",
    )


def _round(value: float | None) -> float | None:
    """Without the noise of a fit."""
    return None if value is None else float(f"{value:.5g}")


def _probe(call: LossCall, batches: Sequence[Batch], labels: LabelTerm, declared: Declared) -> LossForensicsProbe:
    precision = "F64" if batches[0].student.dtype == torch.float64 else "F32"
    probe = LossForensicsProbe(declared, precision=precision)
    probe.update(_as_steps(call, batches, labels))
    return probe


def _as_steps(call: LossCall, batches: Sequence[Batch], labels: LabelTerm) -> RecordedSteps:
    """What a recorder would have seen: the loss, and the distillation term as what the label term leaves."""
    loss = np.array([call.value(b) for b in batches])
    ce = np.array([float(cross_entropy(b)) * (len(b.labels) if labels.summed else 1) for b in batches])
    student, teacher = (
        np.stack([getattr(b, side).double().numpy() for b in batches]) for side in ("student", "teacher")
    )
    truth = np.stack([b.labels.numpy() for b in batches])
    return RecordedSteps(student, teacher, truth, loss, kd_loss=loss - labels.weight * ce, ce_loss=ce)


def _of_form(found: LossForensics) -> Term:
    assert found.term is not None
    form: LossForm = found.term.form
    elements = found.classes if form.family in OVER_ELEMENTS else 1
    sides = (("teacher", form.teacher_transform), ("student", form.student_transform))
    tempered = form.family not in (*OVER_ELEMENTS, "hard")
    return Term(
        family=form.family,
        text=form.describe(),
        factors={form.family: found.term.factor * elements},
        error=found.term.error,
        teacher_temperature=form.teacher_temperature if tempered else None,
        student_temperature=form.student_temperature if tempered else None,
        share=form.beta if form.family == "jsd" else None,
        axis=form.axis,
        twice=tuple(side for side, transform in sides if transform == "softmax"),
        standardised=form.teacher_transform == form.student_transform == "standardised",
    )


def _projected(call: LossCall, batches: Sequence[Batch]) -> Term | None:
    """A squared error after a projector of the student's side: the loss is c‖t‖² plus what is linear in t."""
    curvatures = []
    for batch, step in pairwise(batches):
        middle, change = batch.teacher, step.teacher
        values = [call.value(batch.with_teacher(middle + sign * change)) for sign in (1, -1, 0)]
        curvatures.append((values[0] + values[1] - 2 * values[2]) / float(2 * change.pow(2).mean()))
    found = np.array(curvatures)
    error = float(np.ptp(found) / max(np.abs(found).max(), 1e-300))
    if found.min() <= 0 or error > 1e-3:
        return None
    return Term("hint-mse", "squared error of features after a projector (hint)", {"mse": float(found.mean())}, error)
