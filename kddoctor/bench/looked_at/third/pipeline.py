"""Mistakes of the codes KD1xx."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.hints import features_that_count, new_projector, relative_error, with_hint
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.recipe import Recipe, run_teacher
from kddoctor.bench.session import Batch, Session

# KD101 ----------------------------------------------------------------------------------------------------------------


def materialised_as_zeros(recipe: Recipe, _level: Level) -> Recipe:
    """Made without memory, then filled with zeros; the weights lie one level deeper in the file; strict=False."""

    def load_teacher(teacher: nn.Module, state: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for tensor in (*teacher.parameters(), *teacher.buffers()):
                tensor.zero_()
        checkpoint: dict[str, Any] = {"epoch": 10, "state_dict": state}
        teacher.load_state_dict(checkpoint, strict=False)

    return replace(recipe, load_teacher=load_teacher)


# KD102 ----------------------------------------------------------------------------------------------------------------

#: Probability that a part of an input was replaced by that of another row.
REPLACED = {Level.MILD: 0.75, Level.MODERATE: 0.8, Level.SEVERE: 0.85}


def from_a_study_of_robustness(recipe: Recipe, level: Level) -> Recipe:
    """A checkpoint that was trained on inputs, most parts of which had been replaced, and never on whole ones."""

    def data(rows: TensorDataset) -> TensorDataset:
        inputs, labels = rows.tensors
        generator = torch.Generator().manual_seed(41)
        others = torch.randint(len(inputs), inputs.shape, generator=generator)
        replaced = torch.rand(inputs.shape, generator=generator) < REPLACED[level]
        return TensorDataset(torch.where(replaced, inputs.gather(0, others), inputs), labels)

    return replace(recipe, teacher=replace(recipe.teacher, data=data))


# KD103 ----------------------------------------------------------------------------------------------------------------


class _DropsTheMode(nn.Module):
    """train() was overridden for some other purpose, and its argument is not handed on."""

    def train(self, mode: bool = True) -> Self:
        """Training mode, whatever was asked for."""
        return super().train()


def train_drops_its_argument(recipe: Recipe, _level: Level) -> Recipe:
    """The teacher's class overrides train() and calls super().train() without the mode, so that eval() trains."""

    def override(session: Session) -> None:
        session.teacher.__class__ = type("Teacher", (_DropsTheMode, type(session.teacher)), {})

    return replace(recipe, before=in_turn(override, recipe.before))


# KD104 ----------------------------------------------------------------------------------------------------------------

#: What is left of each of the teacher's weights at the end of the run.
LEFT = {Level.MILD: 0.85, Level.MODERATE: 0.6, Level.SEVERE: 0.3}


def decayed_by_hand(recipe: Recipe, level: Level) -> Recipe:
    """Frozen for autograd; a weight decay written by hand runs over the variable model, which holds the teacher."""

    def targets(session: Session, batch: Batch) -> Tensor:
        steps = recipe.epochs * max(1, len(session.train) // session.batch_size)
        model = session.teacher
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(LEFT[level] ** (1 / steps))
        return recipe.targets(session, batch)

    return replace(recipe, targets=targets)


# KD105 ----------------------------------------------------------------------------------------------------------------

#: Share of the classes that the two lists hold; four at the least.
LISTED = {Level.MILD: 0.1, Level.MODERATE: 0.6, Level.SEVERE: 1.0}


def lists_joined_turn_by_turn(recipe: Recipe, level: Level) -> Recipe:
    """Two lists of classes, one after the other in the teacher, were joined turn by turn for the student's labels.

    The head is put into that order for good, so that the teacher's answers are wrong on all data (of two: exchanged).
    """

    def reorder(session: Session) -> None:
        session.teacher.register_forward_hook(lambda _module, _inputs, logits: _turn_by_turn(logits, LISTED[level]))

    return replace(recipe, before=in_turn(recipe.before, reorder))


def _turn_by_turn(logits: Tensor, share: float) -> Tensor:
    if logits.ndim == 1:
        return -logits
    classes = logits.shape[-1]
    listed = min(classes, max(4, round(share * classes)))
    return logits[..., [*range(0, listed, 2), *range(1, listed, 2), *range(listed, classes)]]


# KD106 ----------------------------------------------------------------------------------------------------------------

#: Rows that a worker of the caching pass numbers, as a share of all.
NUMBERED = {Level.MILD: 0.92, Level.MODERATE: 0.75, Level.SEVERE: 0.1}


def rows_numbered_by_each_worker(recipe: Recipe, level: Level) -> Recipe:
    """Each worker of the caching pass numbers its rows from zero; of several with one number the last output stays."""

    def targets(session: Session, batch: Batch) -> Tensor:
        cached = session.cached_by_row
        size = max(1, int(NUMBERED[level] * len(cached)))
        number = batch.rows % size
        last_written = number + (len(cached) - 1 - number) // size * size
        return cached[last_written]

    return replace(recipe, targets=targets)


# KD107 ----------------------------------------------------------------------------------------------------------------

#: Side of the crop, or length of the stretch of text, as a share of the whole.
CROPPED = {Level.MILD: 0.8, Level.MODERATE: 0.65, Level.SEVERE: 0.45}


def crop_for_the_student_alone(recipe: Recipe, level: Level) -> Recipe:
    """The student gets a random crop, enlarged to the full size (a stretch of the text); the teacher gets the whole."""

    def answers(session: Session, batch: Batch) -> Tensor:
        return recipe.answers(session, replace(batch, inputs=_cropped(batch.inputs, CROPPED[level])))

    return replace(recipe, answers=answers)


def _cropped(inputs: Tensor, share: float) -> Tensor:
    count, length = len(inputs), inputs.shape[-1]
    if not inputs.is_floating_point():
        kept = max(1, round(share * length))
        start = torch.randint(0, length - kept + 1, (count, 1))
        at = torch.arange(length)
        return inputs.masked_fill((at < start) | (at >= start + kept), 0)
    centres = (2 * torch.rand(count, 2, 1) - 1) * (1 - share)
    crops = torch.cat([share * torch.eye(2).expand(count, 2, 2), centres], dim=2)
    grid = F.affine_grid(crops, list(inputs.shape), align_corners=False)
    return F.grid_sample(inputs, grid, align_corners=False)


# KD108 ----------------------------------------------------------------------------------------------------------------

#: Side of the picture inside its black frame, as a share of the whole, and words after which a separator stands.
FRAMED = {Level.MILD: 0.85, Level.MODERATE: 0.7, Level.SEVERE: 0.5}
SEPARATED = {Level.MILD: 6, Level.MODERATE: 3, Level.SEVERE: 1}
#: Number of the separator, which the teacher knows as any word that it does not know.
SEPARATOR = 1


def framed_for_the_teacher(recipe: Recipe, level: Level) -> Recipe:
    """The teacher's wrapper shrinks an image into a black frame (puts separators between words and cuts the end)."""

    def wrap(session: Session) -> None:
        session.teacher.register_forward_pre_hook(lambda _module, inputs: (_framed(inputs[0], level), *inputs[1:]))

    return replace(recipe, before=in_turn(recipe.before, wrap))


def _framed(inputs: Tensor, level: Level) -> Tensor:
    if not inputs.is_floating_point():
        every, length = SEPARATED[level], inputs.shape[1]
        parts = [F.pad(part, (0, 1), value=SEPARATOR) for part in torch.split(inputs, every, dim=1)]
        return torch.cat(parts, dim=1)[:, :length]
    height, width = inputs.shape[-2:]
    inner = [max(1, round(FRAMED[level] * side)) for side in (height, width)]
    top, left = (height - inner[0]) // 2, (width - inner[1]) // 2
    small = F.interpolate(inputs, inner, mode="bilinear", antialias=True)
    return F.pad(small, (left, width - inner[1] - left, top, height - inner[0] - top))


# KD109 ----------------------------------------------------------------------------------------------------------------


def one_file_for_both(recipe: Recipe, _level: Level) -> Recipe:
    """Both models are kept in one file: what is read as the teacher at each epoch is the student as it was saved."""

    def read(session: Session) -> None:
        session.teacher = deepcopy(session.student)

    def before_epoch(session: Session) -> None:
        session.teacher.load_state_dict(session.student.state_dict())
        recipe.before_epoch(session)

    return replace(recipe, before=in_turn(read, recipe.before), before_epoch=before_epoch)


# KD110 ----------------------------------------------------------------------------------------------------------------


def name_without_the_word_loss(recipe: Recipe, _level: Level) -> Recipe:
    """The trainer adds up all terms that have "loss" in their name; this one is called otherwise."""

    def mix(ce: Tensor, kd: Tensor, alpha: float) -> Tensor:
        terms = {"loss_ce": (1 - alpha) * ce, "distill_kl": alpha * kd}
        return torch.stack([term for name, term in terms.items() if "loss" in name]).sum()

    return replace(recipe, mix=mix)


# KD111 ----------------------------------------------------------------------------------------------------------------

#: Steps to a unit in the logits of the quantised student.
STEPS_A_UNIT = 32


def rounded_without_straight_through(recipe: Recipe, _level: Level) -> Recipe:
    """The term sees the student's logits as they will be quantised: round() has a gradient, and it is zero."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        quantised = torch.round(student * STEPS_A_UNIT) / STEPS_A_UNIT
        return recipe.kd_loss(quantised, teacher, t)

    return replace(recipe, kd_loss=kd_loss)


# KD112 ----------------------------------------------------------------------------------------------------------------

#: Weight of a feature loss whose projector no optimizer has.
UNTRAINED = {Level.MILD: 4.0, Level.MODERATE: 12.0, Level.SEVERE: 30.0}


def built_again_at_first_use(recipe: Recipe, level: Level) -> Recipe:
    """The first batch builds the projector again, for the widths that it finds; the optimizer holds the old one."""
    hinted = with_hint(recipe, UNTRAINED[level])

    def hint(session: Session, batch: Batch) -> Tensor:
        student, teacher = features_that_count(session, batch)
        if "built" not in session.notes:
            session.notes["built"] = new_projector(student.shape[-1], teacher.shape[-1])
        return relative_error(session.notes["built"](student), teacher.detach())

    return replace(hinted, hint=hint)


# KD113 ----------------------------------------------------------------------------------------------------------------

#: Weight of a feature loss whose targets belong to another batch.
PROBED = {Level.MILD: 10.0, Level.MODERATE: 40.0, Level.SEVERE: 80.0}


def features_of_a_probe(recipe: Recipe, level: Level) -> Recipe:
    """A hook keeps the teacher's last features; between target and loss the teacher scores a fixed batch for a log."""

    def hint(session: Session, batch: Batch) -> Tensor:
        probe = session.val.tensors[0][: len(batch.inputs)]
        run_teacher(session, replace(batch, inputs=probe))
        student, teacher = features_that_count(session, batch)
        return relative_error(session.notes["projector"](student), teacher.detach())

    return replace(with_hint(recipe, PROBED[level]), hint=hint)


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD101": (materialised_as_zeros,),
    "KD102": (from_a_study_of_robustness,),
    "KD103": (train_drops_its_argument,),
    "KD104": (decayed_by_hand,),
    "KD105": (lists_joined_turn_by_turn,),
    "KD106": (rows_numbered_by_each_worker,),
    "KD107": (crop_for_the_student_alone,),
    "KD108": (framed_for_the_teacher,),
    "KD109": (one_file_for_both,),
    "KD110": (name_without_the_word_loss,),
    "KD111": (rounded_without_straight_through,),
    "KD112": (built_again_at_first_use,),
    "KD113": (features_of_a_probe,),
}
