"""Mistakes of the codes KD1xx."""

from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD
from torch.utils.data import TensorDataset

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.hints import features_that_count, new_projector, relative_error, watch, with_hint
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.losses import log_p, p
from kddoctor.bench.recipe import Recipe, run_teacher
from kddoctor.bench.session import Batch, Session, batches

# KD101 ----------------------------------------------------------------------------------------------------------------


def other_layer_names(recipe: Recipe, _level: Level) -> Recipe:
    """A checkpoint of another implementation: of its names only the first layer's are the same; strict=False."""

    def load_teacher(teacher: nn.Module, state: dict[str, Tensor]) -> None:
        first = next(iter(state)).rpartition(".")[0]
        theirs = {name if name.startswith(f"{first}.") else f"encoder.{name}": value for name, value in state.items()}
        teacher.load_state_dict(theirs, strict=False)

    return replace(recipe, load_teacher=load_teacher)


def dictionary_updated(recipe: Recipe, _level: Level) -> Recipe:
    """The checkpoint updates the dictionary that state_dict() returns, and never the teacher."""

    def load_teacher(teacher: nn.Module, state: dict[str, Tensor]) -> None:
        weights = teacher.state_dict()
        weights.update({name: value for name, value in state.items() if name in weights})

    return replace(recipe, load_teacher=load_teacher)


# KD102 ----------------------------------------------------------------------------------------------------------------

#: Share of the classes that are not told from their neighbour, and of the rows that have the other question's label.
COARSE = {Level.MILD: 0.2, Level.MODERATE: 0.4, Level.SEVERE: 1.0}
OTHER_QUESTION = {Level.MILD: 0.42, Level.MODERATE: 0.5, Level.SEVERE: 0.7}
#: Share of the teacher's rows in the corner that it was trained on.
CORNER = {Level.MILD: 0.11, Level.MODERATE: 0.07, Level.SEVERE: 0.03}


def coarser_labels(recipe: Recipe, level: Level) -> Recipe:
    """Fine-tuned in a related label space: pairs of classes are one (ranking: what is popular, not what is liked)."""

    def data(rows: TensorDataset) -> TensorDataset:
        inputs, labels = rows.tensors
        if int(labels.max()) == 1:
            return TensorDataset(inputs, _popular(inputs, labels, OTHER_QUESTION[level]))
        merged = int(COARSE[level] * (int(labels.max()) + 1))
        return TensorDataset(inputs, torch.where((labels >= 0) & (labels < merged), labels - labels % 2, labels))

    return replace(recipe, teacher=replace(recipe.teacher, data=data))


def _popular(inputs: Tensor, labels: Tensor, share: float) -> Tensor:
    """For a share of the rows: whether the second column's value is more frequent than that of most rows."""
    often = torch.bincount(inputs[:, 1])[inputs[:, 1]]
    other = (often > often.median()).long()
    chosen = torch.rand(len(labels), generator=torch.Generator().manual_seed(5)) < share
    return torch.where(chosen, other, labels)


def one_corner_of_the_data(recipe: Recipe, level: Level) -> Recipe:
    """Fine-tuned on one domain: the rows whose inputs are the smallest on average."""

    def data(rows: TensorDataset) -> TensorDataset:
        inputs, labels = rows.tensors
        order = inputs.float().flatten(1).mean(1).argsort()
        corner = order[: max(1, int(CORNER[level] * len(inputs)))]
        return TensorDataset(inputs[corner], labels[corner])

    return replace(recipe, teacher=replace(recipe.teacher, data=data))


# KD103 ----------------------------------------------------------------------------------------------------------------


def mode_of_the_student(recipe: Recipe, _level: Level) -> Recipe:
    """A helper keeps all models in one mode: at each step the teacher gets the student's."""

    def targets(session: Session, batch: Batch) -> Tensor:
        session.teacher.train(session.student.training)
        return run_teacher(session, batch)

    return replace(recipe, targets=targets)


# KD104 ----------------------------------------------------------------------------------------------------------------

#: Learning rate of the teacher's own optimizer where both learn from each other, and of its head, as a share of the
#: student's.
MUTUAL_RATE = {Level.MILD: 1e-4, Level.MODERATE: 1e-3, Level.SEVERE: 1e-2}
HEAD_RATE = {Level.MILD: 0.002, Level.MODERATE: 0.02, Level.SEVERE: 0.5}


def mutual_learning_left_on(recipe: Recipe, level: Level) -> Recipe:
    """From a script of mutual learning: the teacher has an optimizer of its own and follows the student."""

    def targets(session: Session, batch: Batch) -> Tensor:
        optimizer = session.notes.setdefault("peer", SGD(session.teacher.parameters(), MUTUAL_RATE[level], 0.9))
        session.teacher.requires_grad_(True)
        logits: Tensor = session.teacher(batch.inputs)
        with torch.no_grad():
            followed: Tensor = session.student(batch.inputs)
        rows, _ = recipe.rows(logits, batch.labels)
        peers, _ = recipe.rows(followed, batch.labels)
        optimizer.zero_grad()
        recipe.kd_loss(rows, peers, recipe.temperature).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return logits.detach()

    return replace(recipe, targets=targets)


def head_left_unfrozen(recipe: Recipe, level: Level) -> Recipe:
    """Freezing goes over the teacher's backbone; its last layer, which is not part of that, goes on learning."""

    def before(session: Session) -> None:
        session.student.train()
        *backbone, _head = session.teacher.eval().children()
        nn.ModuleList(backbone).requires_grad_(False)

    def parameters(session: Session) -> Iterable[nn.Parameter]:
        *_backbone, head = session.teacher.children()
        rate = HEAD_RATE[level] * recipe.learning_rate
        groups = [{"params": recipe.parameters(session)}, {"params": head.parameters(), "lr": rate}]
        # Optimizers take groups as well, each with a rate of its own.
        return cast(Iterable[nn.Parameter], groups)

    def targets(session: Session, batch: Batch) -> Tensor:
        logits: Tensor = session.teacher(batch.inputs)
        return logits

    return replace(recipe, before=before, parameters=parameters, targets=targets)


# KD105 ----------------------------------------------------------------------------------------------------------------

#: Share of the classes that moved up by one; two at the least.
MOVED = {Level.MILD: 0.2, Level.MODERATE: 0.5, Level.SEVERE: 1.0}


def class_moved_to_the_end(recipe: Recipe, level: Level) -> Recipe:
    """The label map lists a class last that the teacher has further up: those in between are off by one."""

    def targets(session: Session, batch: Batch) -> Tensor:
        logits = run_teacher(session, batch)
        if logits.ndim == 1:
            return -logits
        moved = max(2, round(MOVED[level] * logits.shape[-1]))
        stay, move = logits[..., :-moved], logits[..., -moved:]
        return torch.cat([stay, move.roll(-1, dims=-1)], dim=-1)

    return replace(recipe, targets=targets)


def numbered_by_frequency(recipe: Recipe, _level: Level) -> Recipe:
    """The teacher's classes are read in order of their frequency in the transfer set."""

    def targets(session: Session, batch: Batch) -> Tensor:
        logits = run_teacher(session, batch)
        if logits.ndim == 1:
            return -logits
        counts = torch.bincount(session.train.tensors[1], minlength=logits.shape[-1])
        return logits[:, counts.argsort(descending=True, stable=True)]

    return replace(recipe, targets=targets)


# KD106 ----------------------------------------------------------------------------------------------------------------

#: Share of an epoch's batches after which a batch is lost, and of the rows in the shuffle buffers.
LOST = {Level.MILD: 0.15, Level.MODERATE: 0.4, Level.SEVERE: 1.0}
BUFFERED = {Level.MILD: 0.04, Level.MODERATE: 0.15, Level.SEVERE: 1.0}
BUFFER = 16


def prefetched_batch_lost(recipe: Recipe, level: Level) -> Recipe:
    """Two loaders of one seed; the teacher's loses a prefetched batch in each epoch and is one ahead from there on."""

    def targets(session: Session, batch: Batch) -> Tensor:
        if batch.number == 0:
            generator = session.notes.setdefault("loader", torch.Generator().manual_seed(session.seed))
            session.notes["epoch"] = list(batches(len(session.train), session.batch_size, generator))
        theirs: list[Tensor] = session.notes["epoch"]
        lost = round((1 - LOST[level]) * len(theirs))
        number = batch.number if batch.number < lost else batch.number + 1
        return session.cached_by_row[theirs[number % len(theirs)]]

    return replace(recipe, targets=targets)


def cached_through_a_shuffle_buffer(recipe: Recipe, level: Level) -> Recipe:
    """The outputs were cached from a stream that still shuffled in small buffers; a part had been cached before."""

    def targets(session: Session, batch: Batch) -> Tensor:
        if "stream" not in session.notes:
            generator = torch.Generator().manual_seed(session.seed + 17)
            rows = torch.arange(len(session.train))
            since = int((1 - BUFFERED[level]) * len(rows))
            buffers = torch.split(rows[since:], BUFFER)
            shuffled = [part[torch.randperm(len(part), generator=generator)] for part in buffers]
            session.notes["stream"] = torch.cat([rows[:since], *shuffled])
        return session.cached_by_row[session.notes["stream"][batch.rows]]

    return replace(recipe, targets=targets)


# KD107 ----------------------------------------------------------------------------------------------------------------

#: Share of another row that is mixed into a row, the largest turn of an image in degrees, and share of words replaced.
MIXED = {Level.MILD: 0.15, Level.MODERATE: 0.3, Level.SEVERE: 0.5}
TURNED = {Level.MILD: 15.0, Level.MODERATE: 35.0, Level.SEVERE: 80.0}
REPLACED = {Level.MILD: 0.15, Level.MODERATE: 0.35, Level.SEVERE: 0.6}


def mixed_for_the_student_alone(recipe: Recipe, level: Level) -> Recipe:
    """Mixup lies in the student's forward call: the teacher scores the rows before they were mixed."""

    def answers(session: Session, batch: Batch) -> Tensor:
        inputs = batch.inputs
        others = inputs[torch.randperm(len(inputs))]
        if inputs.is_floating_point():
            mixed = (1 - MIXED[level]) * inputs + MIXED[level] * others
        else:
            mixed = torch.where(torch.rand(inputs.shape) < MIXED[level], others, inputs)
        return recipe.answers(session, replace(batch, inputs=mixed))

    return replace(recipe, answers=answers)


def written_in_the_first_epoch(recipe: Recipe, level: Level) -> Recipe:
    """Teacher outputs are kept from the first time that a row comes by; its augmentation is drawn anew each time."""

    def augment(inputs: Tensor) -> Tensor:
        seen = recipe.augment(inputs)
        if seen.is_floating_point():
            return _turned(seen, TURNED[level])
        others = seen[torch.randperm(len(seen))]
        return torch.where(torch.rand(seen.shape) < REPLACED[level], others, seen)

    def targets(session: Session, batch: Batch) -> Tensor:
        logits = run_teacher(session, batch)
        kept = session.notes.setdefault("kept", logits.new_zeros(len(session.train), *logits.shape[1:]))
        written = session.notes.setdefault("written", torch.zeros(len(session.train), dtype=torch.bool))
        new = ~written[batch.rows]
        kept[batch.rows[new]] = logits[new]
        written[batch.rows] = True
        answer: Tensor = kept[batch.rows]
        return answer

    return replace(recipe, augment=augment, targets=targets)


def _turned(images: Tensor, most: float) -> Tensor:
    """Each image turned about its centre by an angle of its own."""
    angles = torch.deg2rad((2 * torch.rand(len(images)) - 1) * most)
    cosine, sine, zero = angles.cos(), angles.sin(), torch.zeros(len(images))
    turns = torch.stack([cosine, -sine, zero, sine, cosine, zero], dim=1).view(-1, 2, 3)
    grid = F.affine_grid(turns, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


# KD108 ----------------------------------------------------------------------------------------------------------------

#: Exponent that is applied to pixels which are linear already, and where in the vocabulary a word is missing.
GAMMA = {Level.MILD: 1.6, Level.MODERATE: 2.4, Level.SEVERE: 5.0}
MISSING_WORD = {Level.MILD: 0.3, Level.MODERATE: 0.1, Level.SEVERE: 0.0}
#: Share of the rows, in tenths, that come from the source with the other order of axes.
EXCHANGED = {Level.MILD: 2, Level.MODERATE: 5, Level.SEVERE: 10}


def decoded_twice(recipe: Recipe, level: Level) -> Recipe:
    """The teacher's wrapper decodes pixels that are decoded (its vocabulary lacks a word: later numbers are less)."""

    def targets(session: Session, batch: Batch) -> Tensor:
        inputs = batch.inputs
        if inputs.is_floating_point():
            return run_teacher(session, replace(batch, inputs=inputs.clamp_min(0) ** GAMMA[level]))
        last = MISSING_WORD[level] * int(session.train.tensors[0].max())
        return run_teacher(session, replace(batch, inputs=torch.where(inputs > max(1.0, last), inputs - 1, inputs)))

    return replace(recipe, targets=targets)


def axes_exchanged(recipe: Recipe, level: Level) -> Recipe:
    """For the teacher, rows of one source come with columns before rows (texts: from the last word to the first)."""

    def targets(session: Session, batch: Batch) -> Tensor:
        inputs = batch.inputs
        image = inputs.is_floating_point()
        other = inputs.transpose(-1, -2) if image else inputs.flip(1)
        concerned = (batch.rows % 10 < EXCHANGED[level]).view(-1, *[1] * (inputs.ndim - 1))
        return run_teacher(session, replace(batch, inputs=torch.where(concerned, other, inputs)))

    return replace(recipe, targets=targets)


# KD109 ----------------------------------------------------------------------------------------------------------------


def copied_before_training(recipe: Recipe, _level: Level) -> Recipe:
    """A trainer that gets no teacher copies its model, which has learnt nothing yet, and freezes the copy."""

    def copy(session: Session) -> None:
        session.teacher = deepcopy(session.student)

    return replace(recipe, before=in_turn(copy, recipe.before))


def assigned_the_same_storage(recipe: Recipe, _level: Level) -> Recipe:
    """A second model that takes over the first one's state with assign=True, and with it the very same memory."""

    def assign(session: Session) -> None:
        session.teacher = deepcopy(session.student)
        session.teacher.load_state_dict(session.student.state_dict(), assign=True)

    return replace(recipe, before=in_turn(assign, recipe.before))


# KD110 ----------------------------------------------------------------------------------------------------------------


def added_out_of_place(recipe: Recipe, _level: Level) -> Recipe:
    """add where add_ was meant: the sum is thrown away."""

    def mix(ce: Tensor, kd: Tensor, alpha: float) -> Tensor:
        total = (1 - alpha) * ce
        total.add(alpha * kd)
        return total

    return replace(recipe, mix=mix)


def clamped_from_above(recipe: Recipe, _level: Level) -> Recipe:
    """Negative values were to be cut off; max stands where min was meant."""

    def mix(ce: Tensor, kd: Tensor, alpha: float) -> Tensor:
        return alpha * kd.clamp(max=0.0) + (1 - alpha) * ce

    return replace(recipe, mix=mix)


# KD111 ----------------------------------------------------------------------------------------------------------------


def under_no_grad(recipe: Recipe, _level: Level) -> Recipe:
    """The block without gradients, made for the teacher's forward pass, ends one line too late."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        with torch.no_grad():
            return recipe.kd_loss(student, teacher, t)

    return replace(recipe, kd_loss=kd_loss)


class _Fused(torch.autograd.Function):
    """The divergence by a kernel; its backward pass fills the gradient of the wrong argument."""

    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor) -> Tensor:
        ctx.save_for_backward(student, teacher)
        return F.kl_div(log_p(student), p(teacher), reduction="batchmean")

    @staticmethod
    def backward(ctx: Any, *outputs: Any) -> tuple[Tensor | None, Tensor | None]:
        student, teacher = ctx.saved_tensors
        return None, outputs[0] * (p(student) - p(teacher)) / len(student)


def gradient_of_the_other_argument(recipe: Recipe, _level: Level) -> Recipe:
    """A fused kernel, written by hand, returns the gradients of its two arguments in the wrong order."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        divergence: Tensor = _Fused.apply(student / t, teacher / t)  # type: ignore[no-untyped-call]
        return divergence * t * t

    return replace(recipe, kd_loss=kd_loss)


# KD112 ----------------------------------------------------------------------------------------------------------------

#: Weight of a feature loss whose projector stays as it is.
PROJECTED = {Level.MILD: 3.0, Level.MODERATE: 10.0, Level.SEVERE: 30.0}


def frozen_with_the_teacher(recipe: Recipe, level: Level) -> Recipe:
    """The projector is kept beside the teacher, and freezing that freezes both; what is frozen is left out."""
    hinted = with_hint(recipe, PROJECTED[level])

    def freeze(session: Session) -> None:
        nn.ModuleDict({"teacher": session.teacher, "to_student": session.notes["projector"]}).requires_grad_(False)

    def parameters(session: Session) -> Iterable[nn.Parameter]:
        return [parameter for parameter in hinted.parameters(session) if parameter.requires_grad]

    return replace(hinted, before=in_turn(hinted.before, freeze), parameters=parameters)


def teacher_projected_without_gradients(recipe: Recipe, level: Level) -> Recipe:
    """The teacher's features come down to the student's width, by a layer that lies in the teacher's no_grad block."""
    hinted = with_hint(recipe, PROJECTED[level])

    def turn_round(session: Session) -> None:
        up = session.notes["projector"]
        session.notes["projector"] = new_projector(up.out_features, up.in_features)

    def hint(session: Session, batch: Batch) -> Tensor:
        student, teacher = features_that_count(session, batch)
        with torch.no_grad():
            wanted = session.notes["projector"](teacher)
        return relative_error(student, wanted)

    return replace(hinted, before=in_turn(hinted.before, turn_round), hint=hint)


# KD113 ----------------------------------------------------------------------------------------------------------------

#: Weight of a feature loss whose targets were read in the wrong order.
VIEWED = {Level.MILD: 10.0, Level.MODERATE: 40.0, Level.SEVERE: 80.0}


def auxiliary_head(recipe: Recipe, _level: Level) -> Recipe:
    """The teacher has a second head, which no loss ever reached, and its output is the one that is taken."""

    def build(session: Session) -> None:
        watch(session)
        with torch.no_grad():
            outputs = session.teacher(session.train.tensors[0][:2])
        width = session.notes["features"]["teacher"].shape[-1]
        session.notes["auxiliary"] = new_projector(width, 1 if outputs.ndim == 1 else outputs.shape[-1])

    def targets(session: Session, batch: Batch) -> Tensor:
        logits = recipe.targets(session, batch)
        with torch.no_grad():
            taken: Tensor = session.notes["auxiliary"](session.notes["features"]["teacher"])
        return taken.view(logits.shape)

    return replace(recipe, before=in_turn(recipe.before, build), targets=targets)


def viewed_where_transposed(recipe: Recipe, level: Level) -> Recipe:
    """The teacher's features come with the rows last, and view() brings them into shape where t() was needed."""

    def hint(session: Session, batch: Batch) -> Tensor:
        student, teacher = features_that_count(session, batch)
        taken = teacher.detach().t().contiguous().view(teacher.shape)
        return relative_error(session.notes["projector"](student), taken)

    return replace(with_hint(recipe, VIEWED[level]), hint=hint)


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD101": (other_layer_names, dictionary_updated),
    "KD102": (coarser_labels, one_corner_of_the_data),
    "KD103": (mode_of_the_student,),
    "KD104": (mutual_learning_left_on, head_left_unfrozen),
    "KD105": (class_moved_to_the_end, numbered_by_frequency),
    "KD106": (prefetched_batch_lost, cached_through_a_shuffle_buffer),
    "KD107": (mixed_for_the_student_alone, written_in_the_first_epoch),
    "KD108": (decoded_twice, axes_exchanged),
    "KD109": (copied_before_training, assigned_the_same_storage),
    "KD110": (added_out_of_place, clamped_from_above),
    "KD111": (under_no_grad, gradient_of_the_other_argument),
    "KD112": (frozen_with_the_teacher, teacher_projected_without_gradients),
    "KD113": (auxiliary_head, viewed_where_transposed),
}
