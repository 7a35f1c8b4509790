"""The grammar of distillation losses: every form that loss forensics can recognise.

A form says which divergence is taken, between which transforms of the logits, at which temperature on each
side and along which axis. What multiplies it (reduction, T² factor, weight) is not part of the form: see
``loss_factors``.
"""

from dataclasses import dataclass, replace
from typing import Literal

Family = Literal[
    "kl",  # KL(teacher ‖ student), Hinton et al. 2015
    "reverse-kl",  # KL(student ‖ teacher)
    "soft-cross-entropy",  # −Σ p_teacher log p_student: KL plus a constant, same gradient
    "kl-input-not-log",  # kl_div(input=p_student, target=p_teacher): the logarithm is missing
    "reverse-kl-input-not-log",
    "reverse-cross-entropy",  # −Σ p_student log p_teacher: no constant away from reverse KL
    "kl-target-not-log",  # kl_div(log p_student, p_teacher, log_target=True): the other logarithm is missing
    "jsd",  # β KL(teacher ‖ m) + (1−β) KL(student ‖ m), m = β teacher + (1−β) student; Agarwal et al. 2024
    "mse",  # Σ (z_student/T − z_teacher/T)²; Ba and Caruana 2014
    "mse-probabilities",
    "hard",  # cross-entropy with the teacher's argmax
]
Transform = Literal["logits", "softmax", "log", "standardised"]
Axis = Literal["class", "batch"]

FAMILY_TEXT: dict[str, str] = {
    "kl": "KL(teacher ‖ student)",
    "reverse-kl": "KL(student ‖ teacher)",
    "soft-cross-entropy": "cross-entropy with the soft targets",
    "kl-input-not-log": "kl_div of student probabilities that were never logged",
    "reverse-kl-input-not-log": "kl_div of teacher probabilities that were never logged",
    "reverse-cross-entropy": "cross-entropy of the student's probabilities with the teacher's",
    "kl-target-not-log": "kl_div of teacher probabilities that were taken for log-probabilities",
    "jsd": "Jensen-Shannon divergence",
    "mse": "squared error of logits",
    "mse-probabilities": "squared error of probabilities",
    "hard": "cross-entropy with the teacher's top class",
}

#: Families whose gradient for the student is the same, so that one may stand for the other.
SAME_GRADIENT: dict[str, str] = {"soft-cross-entropy": "kl"}


@dataclass(frozen=True)
class LossForm:
    """One point of the grammar. Temperatures divide the (transformed) logits of their side."""

    family: Family
    teacher_temperature: float = 1.0
    student_temperature: float = 1.0
    teacher_transform: Transform = "logits"
    student_transform: Transform = "logits"
    axis: Axis = "class"
    beta: float = 0.5
    masked: bool = True

    @property
    def temperature(self) -> float | None:
        """The common temperature, or None where the two sides differ."""
        same = self.teacher_temperature == self.student_temperature
        return self.teacher_temperature if same else None

    @property
    def objective(self) -> "LossForm":
        """The simplest form with the same gradient."""
        family = SAME_GRADIENT.get(self.family)
        return self if family is None else replace(self, family=family)  # type: ignore[arg-type]

    def describe(self) -> str:
        """One readable line, for messages."""
        text = FAMILY_TEXT[self.family]
        if self.family == "jsd" and self.beta != 0.5:
            text += f" with beta = {self.beta:g}"
        if self.family != "hard":
            if self.temperature is not None:
                text += f" at T = {self.temperature:.4g}"
            else:
                text += (
                    f" with T = {self.teacher_temperature:.4g} on the teacher's side"
                    f" and T = {self.student_temperature:.4g} on the student's"
                )
        if self.teacher_transform == self.student_transform == "standardised":
            text += ", on standardised logits"
        else:
            for side, transform in (
                ("teacher", self.teacher_transform),
                ("student", self.student_transform),
            ):
                if transform == "softmax":
                    text += f", softmax taken twice on the {side}'s side"
        if self.axis == "batch":
            text += ", softmax taken over the batch"
        if not self.masked:
            text += ", ignored positions included"
        return text

    def complexity(self, declared: "LossForm | None") -> int:
        """How far from the declared form (or from plain KL): simpler explanations are preferred."""
        reference = declared or LossForm("kl")
        pairs = (
            (self.objective.family != reference.objective.family, 2),
            (self.teacher_temperature != reference.teacher_temperature, 1),
            (self.student_temperature != reference.student_temperature, 1),
            (self.temperature is None, 1),
            (self.teacher_transform != reference.teacher_transform, 2),
            (self.student_transform != reference.student_transform, 2),
            (self.axis != reference.axis, 3),
            (self.masked != reference.masked, 2),
            (self.family == "jsd" and self.beta != reference.beta, 1),
            (self.family != self.objective.family, 1),
        )
        return sum(cost for differs, cost in pairs if differs)


def declared_form(loss: str | None, temperature: float | None) -> LossForm | None:
    """The form that the manifest declares, or None where it declares none that the grammar knows."""
    families: dict[str, Family] = {"kl": "kl", "reverse-kl": "reverse-kl", "jsd": "jsd", "mse": "mse"}
    if loss not in families:
        return None
    if loss == "mse":
        # A temperature in front of a squared error only rescales it; the plain form is the declared one.
        return LossForm("mse")
    if temperature is None:
        return None
    return LossForm(families[loss], temperature, temperature)
