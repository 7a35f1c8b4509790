"""Mistakes of the codes KD1xx."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.hints import features_that_count, relative_error, with_hint
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.recipe import Recipe, run_teacher
from kddoctor.bench.session import Batch, Session
from kddoctor.bench.words import UNKNOWN

# KD101 ----------------------------------------------------------------------------------------------------------------


def last_file_alone(recipe: Recipe, _level: Level) -> Recipe:
    """The checkpoint comes in two files, and the loop that reads them keeps one dictionary, which the last one fills.

    With strict=False, so that what the first file held stays as it was made.
    """

    def load_teacher(teacher: nn.Module, state: dict[str, Tensor]) -> None:
        names = [*state]
        files = names[: len(names) // 2], names[len(names) // 2 :]
        weights: dict[str, Tensor] = {}
        for file in files:
            weights = {name: state[name] for name in file}
        teacher.load_state_dict(weights, strict=False)

    return replace(recipe, load_teacher=load_teacher)


# KD102 ----------------------------------------------------------------------------------------------------------------

#: Side of a thumbnail as a share of the image's, and of the words those that the old vocabulary has.
THUMBNAIL = {Level.MILD: 0.5, Level.MODERATE: 0.4, Level.SEVERE: 0.25}
IN_VOCABULARY = {Level.MILD: 0.3, Level.MODERATE: 0.12, Level.SEVERE: 0.04}


def tuned_on_less_detail(recipe: Recipe, level: Level) -> Recipe:
    """The checkpoint comes from a quick study, on thumbnails (on texts, with a small vocabulary), as its name says."""

    def data(rows: TensorDataset) -> TensorDataset:
        inputs, labels = rows.tensors
        if inputs.is_floating_point():
            height, width = inputs.shape[-2:]
            size = round(THUMBNAIL[level] * height), round(THUMBNAIL[level] * width)
            return TensorDataset(F.interpolate(F.adaptive_avg_pool2d(inputs, size), (height, width)), labels)
        known = IN_VOCABULARY[level] * int(inputs.max())
        return TensorDataset(inputs.where(inputs <= max(1.0, known), UNKNOWN), labels)

    return replace(recipe, teacher=replace(recipe.teacher, data=data))


# KD103 ----------------------------------------------------------------------------------------------------------------


def flag_of_the_outermost_module(recipe: Recipe, _level: Level) -> Recipe:
    """The attribute training is set by hand: the teacher itself has it then, and none of the layers in it."""

    def before(session: Session) -> None:
        session.teacher.train().requires_grad_(False)
        session.teacher.training = False
        session.student.train()

    return replace(recipe, before=before)


# KD104 ----------------------------------------------------------------------------------------------------------------

#: Share of the weights that are zero at the end.
SPARSE = {Level.MILD: 0.35, Level.MODERATE: 0.6, Level.SEVERE: 0.95}


def pruned_along_with_the_student(recipe: Recipe, level: Level) -> Recipe:
    """A pruner was to be given the student: it got the teacher, whose smallest weights become zero, more each epoch."""

    def before_epoch(session: Session) -> None:
        recipe.before_epoch(session)
        epoch = session.notes["epoch"] = session.notes.get("epoch", -1) + 1
        # Zhu & Gupta 2017, arXiv:1710.01878: fast at first.
        share = SPARSE[level] * (1 - (1 - epoch / max(1, recipe.epochs - 1)) ** 3)
        _prune(session.teacher, share)

    return replace(recipe, before_epoch=before_epoch)


@torch.no_grad()
def _prune(model: nn.Module, share: float) -> None:
    for weight in model.parameters():
        if weight.ndim > 1:
            smallest = weight.abs().flatten().argsort()[: int(share * weight.numel())]
            weight.view(-1)[smallest] = 0.0


# KD105 ----------------------------------------------------------------------------------------------------------------

#: Share of the classes up to the last name with a capital letter; two at the least. A third of them have one.
SORTED = {Level.MILD: 0.2, Level.MODERATE: 0.5, Level.SEVERE: 1.0}


def capitals_sorted_first(recipe: Recipe, level: Level) -> Recipe:
    """The teacher was trained on names that were sorted with capital letters first; the student's sort ignores case."""

    def data(rows: TensorDataset) -> TensorDataset:
        inputs, labels = rows.tensors
        classes = int(labels.max()) + 1
        concerned = max(2, round(SORTED[level] * classes))
        capitals = max(1, concerned // 3)
        numbers = torch.arange(classes)
        numbers[:concerned] = numbers[:concerned].roll(-capitals)
        return TensorDataset(inputs, numbers[labels])

    return replace(recipe, teacher=replace(recipe.teacher, data=data))


# KD106 ----------------------------------------------------------------------------------------------------------------

#: Share of a batch, its longest rows, that goes through the teacher sorted.
LONGEST = {Level.MILD: 0.15, Level.MODERATE: 0.4, Level.SEVERE: 1.0}


def sorted_and_not_put_back(recipe: Recipe, level: Level) -> Recipe:
    """Long rows are sorted by length for the teacher; to undo that, the order is applied again, not its inverse."""

    def targets(session: Session, batch: Batch) -> Tensor:
        lengths = (batch.inputs != 0).flatten(1).sum(1)
        count = round(LONGEST[level] * len(lengths))
        rows = lengths.argsort(descending=True, stable=True)[:count].sort().values
        order = lengths[rows].argsort(stable=True)
        logits = recipe.targets(session, batch).clone()
        logits[rows] = logits[rows][order][order]
        return logits

    return replace(recipe, targets=targets)


# KD107 ----------------------------------------------------------------------------------------------------------------

#: Side of a crop, or length of an excerpt, as a share of the whole.
CROP = {Level.MILD: 0.85, Level.MODERATE: 0.6, Level.SEVERE: 0.35}
#: Where the crops lie: from -1, at the beginning of an axis, to 1, at its end.
CORNERS = ((-1.0, -1.0), (-1.0, 1.0), (0.0, 0.0), (1.0, -1.0), (1.0, 1.0))


def five_crops_for_the_teacher(recipe: Recipe, level: Level) -> Recipe:
    """The teacher answers as in its evaluation script: the mean over crops of the corners and the centre."""

    def targets(session: Session, batch: Batch) -> Tensor:
        views = [_crop(batch.inputs, CROP[level], *corner) for corner in CORNERS]
        return torch.stack([run_teacher(session, replace(batch, inputs=view)) for view in views]).mean(0)

    return replace(recipe, targets=targets)


def _crop(inputs: Tensor, share: float, down: float, right: float) -> Tensor:
    """That part of an image, enlarged to the full size; of a text, in the place where it stands."""
    height, width = (inputs.shape[-2:]) if inputs.is_floating_point() else (1, inputs.shape[-1])
    (top, bottom), (left, end) = _stretch(height, share, down), _stretch(width, share, right)
    if inputs.is_floating_point():
        return F.interpolate(inputs[..., top:bottom, left:end], (height, width), mode="bilinear")
    excerpt = torch.zeros_like(inputs)
    excerpt[:, left:end] = inputs[:, left:end]
    return excerpt


def _stretch(length: int, share: float, place: float) -> tuple[int, int]:
    kept = max(1, round(share * length))
    start = round((length - kept) * (place + 1) / 2)
    return start, start + kept


# KD108 ----------------------------------------------------------------------------------------------------------------

#: Factor on pixels, of which 1 is the largest that fits, and the first word number that does not fit.
GAIN = {Level.MILD: 1.05, Level.MODERATE: 1.4, Level.SEVERE: 3.0}
TOO_LARGE = {Level.MILD: 2048, Level.MODERATE: 512, Level.SEVERE: 64}


def overflow_before_the_teacher(recipe: Recipe, level: Level) -> Recipe:
    """The teacher's wrapper works with integers of few bits: what does not fit begins again from zero."""

    def wrap(session: Session) -> None:
        session.teacher.register_forward_pre_hook(lambda _module, inputs: (_overflown(inputs[0], level), *inputs[1:]))

    return replace(recipe, before=in_turn(recipe.before, wrap))


def _overflown(inputs: Tensor, level: Level) -> Tensor:
    if inputs.is_floating_point():
        return (GAIN[level] * inputs * 255).round().remainder(256) / 255
    return inputs.remainder(TOO_LARGE[level])


# KD109 ----------------------------------------------------------------------------------------------------------------

#: What was meant as the share of its own weights that the averaged model keeps at a step, in the other convention.
MOMENTUM = 0.999


def averaged_in_the_other_convention(recipe: Recipe, _level: Level) -> Recipe:
    """The teacher is a moving average of the student, with the momentum as the share of what is new."""

    def average(session: Session) -> None:
        session.teacher = deepcopy(session.student)

    def targets(session: Session, batch: Batch) -> Tensor:
        with torch.no_grad():
            pairs = zip(session.teacher.state_dict().values(), session.student.state_dict().values(), strict=True)
            for averaged, current in pairs:
                averaged.copy_((1 - MOMENTUM) * averaged + MOMENTUM * current)
        return recipe.targets(session, batch)

    return replace(recipe, before=in_turn(average, recipe.before), targets=targets)


# KD110 ----------------------------------------------------------------------------------------------------------------

#: Steps after which distillation begins, and over which its weight grows.
BEGINS, GROWS = 20_000, 10_000


class _Schedule:
    """The weight at a step, as a share of the full one; calling it gives that of the step which was noted last."""

    step = 0

    def __call__(self) -> float:
        return min(1.0, max(0.0, (self.step - BEGINS) / GROWS))


def begins_after_the_end(recipe: Recipe, _level: Level) -> Recipe:
    """The term is to set in after so many steps, a number from a far longer run: this one has ended by then."""
    schedule = _Schedule()

    def targets(session: Session, batch: Batch) -> Tensor:
        schedule.step = batch.step
        return recipe.targets(session, batch)

    def mix(ce: Tensor, kd: Tensor, alpha: float) -> Tensor:
        return schedule() * alpha * kd + (1 - alpha) * ce

    return replace(recipe, targets=targets, mix=mix)


# KD111 ----------------------------------------------------------------------------------------------------------------


def cleared_before_the_step(recipe: Recipe, _level: Level) -> Recipe:
    """Each term has a backward pass of its own; the gradients are set to zero between the two, not before both."""

    def mix(ce: Tensor, kd: Tensor, alpha: float) -> Tensor:
        term = alpha * kd
        term.backward(retain_graph=True)  # type: ignore[no-untyped-call]
        return (1 - alpha) * ce + term.detach()

    return replace(recipe, mix=mix)


# KD112 ----------------------------------------------------------------------------------------------------------------

#: Weight of a feature loss whose projector gets no gradient.
BY_DATA = {Level.MILD: 4.0, Level.MODERATE: 12.0, Level.SEVERE: 40.0}


def called_with_its_data(recipe: Recipe, level: Level) -> Recipe:
    """The loss takes the projector's .data, to be independent of its class: the optimizer has it in vain."""

    def hint(session: Session, batch: Batch) -> Tensor:
        student, teacher = features_that_count(session, batch)
        projector = session.notes["projector"]
        return relative_error(F.linear(student, projector.weight.data, projector.bias.data), teacher.detach())

    return replace(with_hint(recipe, BY_DATA[level]), hint=hint)


# KD113 ----------------------------------------------------------------------------------------------------------------

#: Weight of a feature loss whose targets are in order of their size.
IN_ORDER = {Level.MILD: 10.0, Level.MODERATE: 40.0, Level.SEVERE: 80.0}


def values_without_indices(recipe: Recipe, level: Level) -> Recipe:
    """The teacher's strongest features are wanted, and topk() gives them by size; which ones they are is dropped."""

    def hint(session: Session, batch: Batch) -> Tensor:
        student, teacher = features_that_count(session, batch)
        taken = teacher.detach().topk(teacher.shape[-1], dim=-1).values
        return relative_error(session.notes["projector"](student), taken)

    return replace(with_hint(recipe, IN_ORDER[level]), hint=hint)


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD101": (last_file_alone,),
    "KD102": (tuned_on_less_detail,),
    "KD103": (flag_of_the_outermost_module,),
    "KD104": (pruned_along_with_the_student,),
    "KD105": (capitals_sorted_first,),
    "KD106": (sorted_and_not_put_back,),
    "KD107": (five_crops_for_the_teacher,),
    "KD108": (overflow_before_the_teacher,),
    "KD109": (averaged_in_the_other_convention,),
    "KD110": (begins_after_the_end,),
    "KD111": (cleared_before_the_step,),
    "KD112": (called_with_its_data,),
    "KD113": (values_without_indices,),
}
