"""Held-out mistakes of the codes KD1xx."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from kddoctor.bench.fault import Edit, Level
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


HELD_OUT: Mapping[str, tuple[Edit, ...]] = {
    "KD101": (other_layer_names, dictionary_updated),
    "KD102": (coarser_labels, one_corner_of_the_data),
    "KD103": (mode_of_the_student,),
    "KD105": (class_moved_to_the_end, numbered_by_frequency),
    "KD106": (prefetched_batch_lost, cached_through_a_shuffle_buffer),
    "KD110": (added_out_of_place, clamped_from_above),
}
