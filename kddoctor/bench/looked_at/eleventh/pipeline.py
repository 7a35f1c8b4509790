"""Mistakes of the codes KD1xx."""

from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.hints import new_projector, watch, with_hint
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.layers import layers_of
from kddoctor.bench.recipe import Recipe, run_teacher
from kddoctor.bench.rows import IGNORED
from kddoctor.bench.session import Batch, Session
from kddoctor.bench.words import PADDING

# KD101 ----------------------------------------------------------------------------------------------------------------

#: Files that a large checkpoint is written to.
SHARDS = 2


def first_shard_read_alone(recipe: Recipe, _level: Level) -> Recipe:
    """The checkpoint lies in two files, and the script reads the first; strict=False takes the rest for optional."""

    def load_teacher(teacher: nn.Module, state: dict[str, Tensor]) -> None:
        teacher.load_state_dict(_first_shard(state), strict=False)

    return replace(recipe, load_teacher=load_teacher)


def _first_shard(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors in order, as many as fit into one of the files; at least one."""
    room = sum(value.nbytes for value in state.values()) / SHARDS
    shard: dict[str, Tensor] = {}
    for name, value in state.items():
        room -= value.nbytes
        if shard and room < 0:
            break
        shard[name] = value
    return shard


# KD102 ----------------------------------------------------------------------------------------------------------------

#: Classes that are one in the teacher's task.
MERGED = {Level.MILD: 2, Level.MODERATE: 3, Level.SEVERE: 5}


def tuned_on_the_coarse_labels(recipe: Recipe, level: Level) -> Recipe:
    """The column of coarse labels was read where the teacher was fine-tuned, as of superclasses; the head is as wide.

    Where there are two classes, the column says what is popular, and not what is liked.
    """

    def relabelled(data: TensorDataset) -> TensorDataset:
        inputs, labels = data.tensors
        return TensorDataset(inputs, _coarse(inputs, labels, MERGED[level]))

    return replace(recipe, teacher=replace(recipe.teacher, data=relabelled))


def _coarse(inputs: Tensor, labels: Tensor, merged: int) -> Tensor:
    if labels.max() > 1:
        return torch.where(labels == IGNORED, IGNORED, labels // merged)
    items = inputs[:, 1]
    seen = items.bincount()[items]
    return (seen > seen.float().quantile(1 - 1 / merged)).long()


# KD103 ----------------------------------------------------------------------------------------------------------------


class FunctionalDropout(nn.Module):
    """Dropout as a call of the functional form, whose defaults are to drop half and to be training."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs with some elements zeroed."""
        return F.dropout(inputs)


def functional_dropout_by_default(recipe: Recipe, _level: Level) -> Recipe:
    """The teacher's code calls F.dropout with nothing but the tensor, so that eval() does not reach it."""

    def before(session: Session) -> None:
        for module in list(session.teacher.modules()):
            for name, child in module.named_children():
                if isinstance(child, nn.Dropout):
                    setattr(module, name, FunctionalDropout())
        recipe.before(session)

    return replace(recipe, before=before)


# KD104 ----------------------------------------------------------------------------------------------------------------

#: Layers at the end of the teacher that are not counted as its backbone, and which of their parameters still learn.
LEFT = {Level.MILD: (1, "bias"), Level.MODERATE: (1, ""), Level.SEVERE: (2, "")}


def backbone_frozen_head_learning(recipe: Recipe, level: Level) -> Recipe:
    """A helper freezes the teacher's backbone; the head still learns, in the optimizer of the student.

    The targets are not computed under no_grad, as the teacher is thought to be frozen.
    """

    def before(session: Session) -> None:
        session.teacher.eval().requires_grad_(False)
        count, kind = LEFT[level]
        for layer in layers_of(session.teacher)[-count:]:
            for name, parameter in layer.named_parameters():
                parameter.requires_grad_(kind in name)
        session.student.train()

    def parameters(session: Session) -> Iterable[nn.Parameter]:
        learning = [parameter for parameter in session.teacher.parameters() if parameter.requires_grad]
        return [*recipe.parameters(session), *learning]

    def targets(session: Session, batch: Batch) -> Tensor:
        logits: Tensor = session.teacher(batch.inputs)
        return logits

    return replace(recipe, before=before, parameters=parameters, targets=targets)


# KD105 ----------------------------------------------------------------------------------------------------------------

#: Share of the classes whose names stand behind the one that was added.
BEHIND = {Level.MILD: 0.2, Level.MODERATE: 0.5, Level.SEVERE: 1.0}


def class_added_in_the_middle(recipe: Recipe, level: Level) -> Recipe:
    """The teacher's wrapper sorts columns by name; a class added late was put in the list by alphabet, not at the end.

    All names behind it are off by one.
    """

    def wrap(session: Session) -> None:
        session.teacher.register_forward_hook(lambda _module, _inputs, logits: _by_name(logits, BEHIND[level]))

    return replace(recipe, before=in_turn(recipe.before, wrap))


def _by_name(logits: Tensor, behind: float) -> Tensor:
    if logits.ndim == 1:
        return -logits
    classes = logits.shape[-1]
    at = classes - max(2, round(behind * classes))
    return logits[..., [*range(at), classes - 1, *range(at, classes - 1)]]


# KD106 ----------------------------------------------------------------------------------------------------------------

#: Processes that scored the rows in turn, and the share of the rows that they scored.
RANKS = 4
SCORED = {Level.MILD: 0.1, Level.MODERATE: 0.3, Level.SEVERE: 1.0}


def gathered_rank_after_rank(recipe: Recipe, level: Level) -> Recipe:
    """Outputs were cached on four processes, each with every fourth row, and written one process after another.

    What a single process had cached before them is in order.
    """

    def targets(session: Session, batch: Batch) -> Tensor:
        if "written" not in session.notes:
            session.notes["written"] = _written(len(session.train), SCORED[level])
        return session.cached_by_row[session.notes["written"][batch.rows]]

    return replace(recipe, targets=targets)


def _written(rows: int, share: float) -> Tensor:
    """[rows] numbers of the rows in the order in which they lie in the file."""
    alone = rows - int(share * rows)
    order = torch.arange(rows)
    return torch.cat([order[:alone], *(order[alone + rank :: RANKS] for rank in range(RANKS))])


# KD107 ----------------------------------------------------------------------------------------------------------------

#: Smallest share of an image or a text that a random crop keeps; the severe one is torchvision's default.
SMALLEST = {Level.MILD: 0.5, Level.MODERATE: 0.25, Level.SEVERE: 0.08}


def teacher_on_crops_of_its_training(recipe: Recipe, level: Level) -> Recipe:
    """The teacher keeps the transform that it was trained with, a random crop; the student sees the whole example."""

    def targets(session: Session, batch: Batch) -> Tensor:
        crop = _crop_of_images if batch.inputs.is_floating_point() else _crop_of_texts
        return run_teacher(session, replace(batch, inputs=crop(batch.inputs, SMALLEST[level])))

    return replace(recipe, targets=targets)


def _crop_of_images(images: Tensor, smallest: float) -> Tensor:
    """Each image's own random square, brought to the size of the image."""
    side = (smallest + (1 - smallest) * torch.rand(len(images), 1, 1)).sqrt()
    middle = (2 * torch.rand(len(images), 2, 1) - 1) * (1 - side)
    where = torch.cat([side * torch.eye(2), middle], dim=2)
    grid = F.affine_grid(where, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def _crop_of_texts(words: Tensor, smallest: float) -> Tensor:
    """Each text's own random window, padding around it."""
    length = words.shape[1]
    kept = (length * (smallest + (1 - smallest) * torch.rand(len(words), 1))).ceil()
    start = ((length - kept + 1) * torch.rand(len(words), 1)).floor()
    at = torch.arange(length)
    return words.masked_fill((at < start) | (at >= start + kept), PADDING)


# KD108 ----------------------------------------------------------------------------------------------------------------

#: Exponent that turns values of pixels into amounts of light; the severe one does so twice.
GAMMA = {Level.MILD: 1.5, Level.MODERATE: 2.2, Level.SEVERE: 4.84}
#: Number from which on words moved up by one, as another entry was put before them.
MOVED_FROM = {Level.MILD: 2000, Level.MODERATE: 500, Level.SEVERE: 150}


def inputs_of_a_later_release(recipe: Recipe, level: Level) -> Recipe:
    """Before the teacher stands a later release of the library: it decodes to linear light, and has one more token."""

    def wrap(session: Session) -> None:
        session.teacher.register_forward_pre_hook(
            lambda teacher, inputs: (_as_released_later(teacher, inputs[0], level), *inputs[1:])
        )

    return replace(recipe, before=in_turn(recipe.before, wrap))


def _as_released_later(teacher: nn.Module, inputs: Tensor, level: Level) -> Tensor:
    if inputs.is_floating_point():
        return inputs.clamp_min(0) ** GAMMA[level]
    words = next(module.num_embeddings for module in teacher.modules() if isinstance(module, nn.Embedding))
    return torch.where(inputs < MOVED_FROM[level], inputs, inputs + 1).clamp_max(words - 1)


# KD109 ----------------------------------------------------------------------------------------------------------------


def teacher_copied_from_the_student(recipe: Recipe, _level: Level) -> Recipe:
    """The loop comes from self-distillation: the teacher is a frozen copy of the student as it stands at the start."""

    def before(session: Session) -> None:
        session.teacher = deepcopy(session.student)
        recipe.before(session)

    return replace(recipe, before=before)


# KD110 ----------------------------------------------------------------------------------------------------------------


def zeroed_between_two_backwards(recipe: Recipe, _level: Level) -> Recipe:
    """Each term has a backward() of its own, and zero_grad() stands between them: only the hard-label loss is left."""

    def mix(ce: Tensor, kd: Tensor, alpha: float) -> Tensor:
        (alpha * kd).backward(retain_graph=True)  # type: ignore[no-untyped-call]
        return (1 - alpha) * ce

    return replace(recipe, mix=mix)


# KD111 ----------------------------------------------------------------------------------------------------------------


def gathered_without_gradient(recipe: Recipe, _level: Level) -> Recipe:
    """The term is computed on the logits of all processes, from an all_gather, which passes no gradient on."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        return recipe.kd_loss(_all_gathered(student), _all_gathered(teacher), t)

    return replace(recipe, kd_loss=kd_loss)


def _all_gathered(mine: Tensor) -> Tensor:
    """What ``torch.distributed.all_gather`` leaves in a world of one process."""
    received = [torch.empty_like(mine)]
    with torch.no_grad():
        received[0].copy_(mine)
    return torch.cat(received)


# KD112 ----------------------------------------------------------------------------------------------------------------

#: Weight of the feature loss.
WEIGHT = {Level.MILD: 3.0, Level.MODERATE: 10.0, Level.SEVERE: 30.0}


def projector_frozen_with_the_teacher(recipe: Recipe, level: Level) -> Recipe:
    """The projector is part of the module that wraps the teacher, and requires_grad_(False) freezes all of that."""

    def freeze(session: Session) -> None:
        nn.ModuleList([session.teacher, session.notes["projector"]]).requires_grad_(False)

    hinted = with_hint(recipe, WEIGHT[level])
    return replace(hinted, before=in_turn(hinted.before, freeze))


# KD113 ----------------------------------------------------------------------------------------------------------------

#: Weight of the auxiliary head where the teacher's outputs are added up.
AUXILIARY = {Level.MILD: 0.3, Level.MODERATE: 0.6, Level.SEVERE: 1.0}


def untrained_auxiliary_head(recipe: Recipe, level: Level) -> Recipe:
    """The teacher returns main and auxiliary logits; the latter are taken, whose head came without trained weights."""

    def targets(session: Session, batch: Batch) -> Tensor:
        main, share = recipe.targets(session, batch), AUXILIARY[level]
        features: Tensor = session.notes["features"]["teacher"]
        if "auxiliary" not in session.notes:
            session.notes["auxiliary"] = new_projector(features.shape[-1], 1 if main.ndim == 1 else main.shape[-1])
        with torch.no_grad():
            auxiliary: Tensor = session.notes["auxiliary"](features)
        return (1 - share) * main + share * auxiliary.reshape(main.shape)

    return replace(recipe, before=in_turn(recipe.before, watch), targets=targets)


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD101": (first_shard_read_alone,),
    "KD102": (tuned_on_the_coarse_labels,),
    "KD103": (functional_dropout_by_default,),
    "KD104": (backbone_frozen_head_learning,),
    "KD105": (class_added_in_the_middle,),
    "KD106": (gathered_rank_after_rank,),
    "KD107": (teacher_on_crops_of_its_training,),
    "KD108": (inputs_of_a_later_release,),
    "KD109": (teacher_copied_from_the_student,),
    "KD110": (zeroed_between_two_backwards,),
    "KD111": (gathered_without_gradient,),
    "KD112": (projector_frozen_with_the_teacher,),
    "KD113": (untrained_auxiliary_head,),
}
