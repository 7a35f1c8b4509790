"""Mistakes in the formula of the loss and in the weights of its terms."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.losses import log_p, p
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Batch, Session

# KD201 ----------------------------------------------------------------------------------------------------


def criterion_built_without_arguments(recipe: Recipe, _level: Level) -> Recipe:
    """Wrote nn.KLDivLoss() with nothing in the brackets, as one does with nn.CrossEntropyLoss()."""
    return replace(recipe, kd_loss=_default_criterion)


def _default_criterion(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    criterion = nn.KLDivLoss()
    loss: Tensor = criterion(log_p(student / temperature), p(teacher / temperature))
    return loss * temperature**2


# KD202 ----------------------------------------------------------------------------------------------------


def softened_divergence_taken_as_it_comes(recipe: Recipe, _level: Level) -> Recipe:
    """Wrote the divergence of the softened outputs from memory and did not remember the factor in front of it."""
    return replace(recipe, kd_loss=_bare_divergence)


def _bare_divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    return F.kl_div(log_p(student / temperature), p(teacher / temperature), reduction="batchmean")


# KD203 ----------------------------------------------------------------------------------------------------


def both_sides_through_the_same_soften_helper(recipe: Recipe, _level: Level) -> Recipe:
    """Put both models' logits through one helper that softens them to probabilities, then into F.kl_div."""
    return replace(recipe, kd_loss=_of_softened)


def _soften(logits: Tensor, temperature: float) -> Tensor:
    return F.softmax(logits / temperature, dim=-1)


def _of_softened(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    loss = F.kl_div(_soften(student, temperature), _soften(teacher, temperature), reduction="batchmean")
    return loss * temperature**2


# KD204 ----------------------------------------------------------------------------------------------------


def arguments_ordered_as_the_paper_prints_them(recipe: Recipe, _level: Level) -> Recipe:
    """Called F.kl_div in the order of the formula KL(teacher, student), though it takes the prediction first."""
    return replace(recipe, kd_loss=_in_printed_order)


def _in_printed_order(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    of_teacher, of_student = log_p(teacher / temperature), log_p(student / temperature)
    return F.kl_div(of_teacher, of_student, reduction="batchmean", log_target=True) * temperature**2


# KD205 ----------------------------------------------------------------------------------------------------


def exported_teacher_ends_in_its_own_softmax(recipe: Recipe, _level: Level) -> Recipe:
    """Used the teacher as exported for serving, whose last layer is a softmax (a sigmoid for one score) already."""

    def served(session: Session, batch: Batch) -> Tensor:
        logits = recipe.targets(session, batch)
        return logits.sigmoid() if logits.ndim == 1 else logits.softmax(-1)

    return replace(recipe, targets=served)


# KD206 ----------------------------------------------------------------------------------------------------


def softmax_over_the_first_dimension(recipe: Recipe, _level: Level) -> Recipe:
    """Carried dim=0 over from a notebook that softened the logits of a single example."""
    return replace(recipe, kd_loss=_of_first_dimension)


def _of_first_dimension(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    predicted = F.log_softmax(student / temperature, dim=0)
    wanted = F.softmax(teacher / temperature, dim=0)
    return F.kl_div(predicted, wanted, reduction="batchmean") * temperature**2


# KD207 ----------------------------------------------------------------------------------------------------


def lerp_started_from_the_wrong_end(recipe: Recipe, _level: Level) -> Recipe:
    """Mixed the terms by torch.lerp(kd, ce, alpha), which weighs its second argument with alpha."""
    return replace(recipe, mix=_interpolated)


def _interpolated(ce: Tensor, kd: Tensor, alpha: float) -> Tensor:
    return torch.lerp(kd, ce, alpha)


# KD208 ----------------------------------------------------------------------------------------------------

#: What the summed losses of the earlier project were brought down by.
_BROUGHT_DOWN = {Level.MILD: 0.03, Level.MODERATE: 0.003, Level.SEVERE: 0.0003}


def factor_kept_from_when_terms_were_summed(recipe: Recipe, level: Level) -> Recipe:
    """Kept the small factor on the soft term from a project that summed it over everything rather than averaged."""

    def total(ce: Tensor, kd: Tensor, alpha: float) -> Tensor:
        return alpha * _BROUGHT_DOWN[level] * kd + (1 - alpha) * ce

    return replace(recipe, mix=total)


# KD209 ----------------------------------------------------------------------------------------------------


def target_line_pasted_with_the_students_name(recipe: Recipe, _level: Level) -> Recipe:
    """Pasted the line that softens the student's logits to make the target of it, and left the name as it was."""
    return replace(recipe, kd_loss=_pasted)


def _pasted(student: Tensor, _teacher: Tensor, temperature: float) -> Tensor:
    predicted = F.log_softmax(student / temperature, dim=-1)
    wanted = F.softmax(student / temperature, dim=-1).detach()
    return F.kl_div(predicted, wanted, reduction="batchmean") * temperature**2


# KD210 ----------------------------------------------------------------------------------------------------

#: The weight of the teacher in the mixture, and of its divergence.
_BETA = {Level.MILD: 0.1, Level.MODERATE: 0.01, Level.SEVERE: 0.001}


def beta_lowered_to_come_close_to_forward_kl(recipe: Recipe, level: Level) -> Recipe:
    """Took the generalised Jensen-Shannon loss with a small beta, having read that it then becomes forward KL."""
    return replace(recipe, loss="jsd", kd_loss=_jensen_shannon(_BETA[level]))


def _jensen_shannon(beta: float) -> Callable[[Tensor, Tensor, float], Tensor]:
    def loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        of_student, of_teacher = log_p(student / temperature), log_p(teacher / temperature)
        mixture = (beta * of_teacher.exp() + (1 - beta) * of_student.exp()).log()
        from_teacher = F.kl_div(mixture, of_teacher, reduction="batchmean", log_target=True)
        from_student = F.kl_div(mixture, of_student, reduction="batchmean", log_target=True)
        return (beta * from_teacher + (1 - beta) * from_student) * temperature**2

    return loss


# KD211 ----------------------------------------------------------------------------------------------------


def fused_loss_called_with_its_default_temperature(recipe: Recipe, _level: Level) -> Recipe:
    """Changed to a fused loss for speed, whose temperature is a keyword of default 1 that the call does not pass."""
    return replace(recipe, kd_loss=_by_the_fused_loss)


def _fused(student: Tensor, teacher: Tensor, *, temperature: float = 1.0) -> Tensor:
    predicted, wanted = log_p(student / temperature), log_p(teacher / temperature)
    return F.kl_div(predicted, wanted, reduction="batchmean", log_target=True) * temperature**2


def _by_the_fused_loss(student: Tensor, teacher: Tensor, _temperature: float) -> Tensor:
    return _fused(student, teacher)


# KD212 ----------------------------------------------------------------------------------------------------

#: Small batches whose gradients are added up before a step.
_ACCUMULATED = {Level.MILD: 4, Level.MODERATE: 16, Level.SEVERE: 64}


def soft_term_divided_by_script_and_by_launcher(recipe: Recipe, level: Level) -> Recipe:
    """Divided the soft term by the accumulation steps on its way back, though the launcher does that for the total."""

    def divided(gradient: Tensor) -> Tensor:
        return gradient / _ACCUMULATED[level]

    def on_its_way_back(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        kd = recipe.kd_loss(student, teacher, temperature)
        if kd.requires_grad:
            kd.register_hook(divided)  # type: ignore[no-untyped-call]
        return kd

    return replace(recipe, kd_loss=on_its_way_back)


# KD213 ----------------------------------------------------------------------------------------------------


def temperature_as_a_power_of_half_precision_shares(recipe: Recipe, _level: Level) -> Recipe:
    """Softened by raising half-precision probabilities to the power 1/T, and took the logarithm of what came out."""
    return replace(recipe, kd_loss=_in_half_precision)


def _powered(logits: Tensor, temperature: float) -> Tensor:
    powers = F.softmax(logits.half(), dim=-1) ** (1 / temperature)
    return powers / powers.sum(-1, keepdim=True)


def _in_half_precision(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    predicted, wanted = _powered(student, temperature), _powered(teacher, temperature)
    rows = (wanted * (wanted / predicted).log()).sum(-1)
    return rows.mean().float() * temperature**2


# KD214 ----------------------------------------------------------------------------------------------------


def sigmoid_put_where_the_softmax_stood(recipe: Recipe, _level: Level) -> Recipe:
    """Kept F.kl_div for a head of one score, and only put sigmoids where the softmax over classes had stood."""
    return replace(recipe, kd_loss=_of_sigmoids)


def _of_sigmoids(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    ours, theirs = ((rows[:, 1] - rows[:, 0]) / temperature for rows in (student, teacher))
    return F.kl_div(F.logsigmoid(ours), theirs.sigmoid(), reduction="batchmean") * temperature**2


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD201": (criterion_built_without_arguments,),
    "KD202": (softened_divergence_taken_as_it_comes,),
    "KD203": (both_sides_through_the_same_soften_helper,),
    "KD204": (arguments_ordered_as_the_paper_prints_them,),
    "KD205": (exported_teacher_ends_in_its_own_softmax,),
    "KD206": (softmax_over_the_first_dimension,),
    "KD207": (lerp_started_from_the_wrong_end,),
    "KD208": (factor_kept_from_when_terms_were_summed,),
    "KD209": (target_line_pasted_with_the_students_name,),
    "KD210": (beta_lowered_to_come_close_to_forward_kl,),
    "KD211": (fused_loss_called_with_its_default_temperature,),
    "KD212": (soft_term_divided_by_script_and_by_launcher,),
    "KD213": (temperature_as_a_power_of_half_precision_shares,),
    "KD214": (sigmoid_put_where_the_softmax_stood,),
}
