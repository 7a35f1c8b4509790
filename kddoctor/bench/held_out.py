"""Mistakes made once more, in ways that the files below ``faults/`` do not have, written without sight of any rule."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.losses import kl, log_p, p
from kddoctor.bench.recipe import Recipe, run_teacher
from kddoctor.bench.session import Batch, Session, batches

# KD101 ----------------------------------------------------------------------------------------------------


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


# KD102 ----------------------------------------------------------------------------------------------------

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


# KD103 ----------------------------------------------------------------------------------------------------


def mode_of_the_student(recipe: Recipe, _level: Level) -> Recipe:
    """A helper keeps all models in one mode: at each step the teacher gets the student's."""

    def targets(session: Session, batch: Batch) -> Tensor:
        session.teacher.train(session.student.training)
        return run_teacher(session, batch)

    return replace(recipe, targets=targets)


# KD105 ----------------------------------------------------------------------------------------------------

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


# KD106 ----------------------------------------------------------------------------------------------------

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


# KD110 ----------------------------------------------------------------------------------------------------


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


# KD201 ----------------------------------------------------------------------------------------------------


def divided_by_all_elements(recipe: Recipe, _level: Level) -> Recipe:
    """A sum over everything, divided by numel() where the number of rows was meant."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        total = F.kl_div(log_p(student / t), log_p(teacher / t), reduction="sum", log_target=True)
        return total / student.numel() * t * t

    return replace(recipe, kd_loss=kd_loss)


# KD202 ----------------------------------------------------------------------------------------------------


def squared_twice(recipe: Recipe, _level: Level) -> Recipe:
    """A loss that has the factor already, multiplied by it once more."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        return t**2 * kl(student, teacher, t)

    return replace(recipe, kd_loss=kd_loss)


def two_t_squared(recipe: Recipe, _level: Level) -> Recipe:
    """The factor 2T² of an old code base, whose terms were weighted otherwise."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        divergence = F.kl_div(log_p(student / t), log_p(teacher / t), reduction="batchmean", log_target=True)
        return divergence * (t * t * 2.0)

    return replace(recipe, kd_loss=kd_loss)


# KD203 ----------------------------------------------------------------------------------------------------


def log_of_one_more(recipe: Recipe, _level: Level) -> Recipe:
    """log1p of the student's probabilities, so that none of them is zero."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        return F.kl_div(torch.log1p(p(student / t)), p(teacher / t), reduction="batchmean") * t * t

    return replace(recipe, kd_loss=kd_loss)


def log_of_the_target_alone(recipe: Recipe, _level: Level) -> Recipe:
    """log_target=True and the teacher's side changed for it, but the student's log_softmax became a softmax."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        return F.kl_div(p(student / t), log_p(teacher / t), reduction="batchmean", log_target=True) * t * t

    return replace(recipe, kd_loss=kd_loss)


# KD204 ----------------------------------------------------------------------------------------------------


def log_targets_exchanged(recipe: Recipe, _level: Level) -> Recipe:
    """Both sides as logarithms, where nobody sees any more which of them is the input."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        return F.kl_div(log_p(teacher / t), log_p(student / t), reduction="none", log_target=True).sum(1).mean() * t * t

    return replace(recipe, kd_loss=kd_loss)


def entropy_of_the_student(recipe: Recipe, _level: Level) -> Recipe:
    """Cross-entropy less entropy, both taken under the student."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        weights = p(student / t)
        entropy: Tensor = torch.special.entr(weights).sum(1)
        return (F.cross_entropy(teacher / t, weights) - entropy.mean()) * t * t

    return replace(recipe, kd_loss=kd_loss)


# KD205 ----------------------------------------------------------------------------------------------------

#: Decimals in the answer of the teacher's service.
DECIMALS = 4


def scores_of_a_service(recipe: Recipe, _level: Level) -> Recipe:
    """The teacher is behind a service whose scores, probabilities with four decimals, are read as logits."""

    def targets(session: Session, batch: Batch) -> Tensor:
        logits = run_teacher(session, batch)
        scores = logits.sigmoid() if logits.ndim == 1 else logits.softmax(-1)
        answer = json.dumps({"scores": scores.double().round(decimals=DECIMALS).tolist()})
        read: Tensor = torch.tensor(json.loads(answer)["scores"], dtype=logits.dtype)
        return read

    return replace(recipe, targets=targets)


# KD207 ----------------------------------------------------------------------------------------------------


def terms_sorted_by_name(recipe: Recipe, _level: Level) -> Recipe:
    """Weights in the order (distillation, labels), terms in that of their names: ce, kd."""

    def mix(ce: Tensor, kd: Tensor, alpha: float) -> Tensor:
        terms, weights = {"kd": kd, "ce": ce}, (alpha, 1 - alpha)
        ordered = torch.stack([terms[name] for name in sorted(terms)])
        return ordered @ ordered.new_tensor(weights)

    return replace(recipe, mix=mix)


def ratio_of_the_other(recipe: Recipe, _level: Level) -> Recipe:
    """Weights from a ratio that is normalised, the ratio multiplied onto the labels' term."""

    def mix(ce: Tensor, kd: Tensor, alpha: float) -> Tensor:
        ratio = alpha / max(1 - alpha, 1e-6)
        return (kd + ratio * ce) / (1 + ratio)

    return replace(recipe, mix=mix)


# KD208 ----------------------------------------------------------------------------------------------------

#: Loss scale of mixed precision that only one term gets, and the log-variance of a weight that is never learnt.
LOSS_SCALE = {Level.MILD: 4.0, Level.MODERATE: 8.0, Level.SEVERE: 128.0}
LOG_VARIANCE = {Level.MILD: 3.0, Level.MODERATE: 5.0, Level.SEVERE: 7.0}


def one_term_scaled(recipe: Recipe, level: Level) -> Recipe:
    """A loss scale of mixed precision, applied to the distillation term alone."""

    def mix(ce: Tensor, kd: Tensor, alpha: float) -> Tensor:
        return alpha * (LOSS_SCALE[level] * kd) + (1 - alpha) * ce

    return replace(recipe, mix=mix)


def uncertainty_never_learnt(recipe: Recipe, level: Level) -> Recipe:
    """Weighted by an uncertainty that starts high and that no optimizer gets."""
    log_variance = torch.tensor(LOG_VARIANCE[level])

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        return torch.exp(-log_variance) * kl(student, teacher, t)

    return replace(recipe, kd_loss=kd_loss)


# KD211 ----------------------------------------------------------------------------------------------------


def jensen_shannon(recipe: Recipe, _level: Level) -> Recipe:
    """The trainer's default is the Jensen-Shannon divergence; nobody passed the declared one on."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        ours, theirs = log_p(student / t), log_p(teacher / t)
        middle = torch.logsumexp(torch.stack([ours, theirs]), dim=0) - torch.tensor(2.0).log()
        parts = [F.kl_div(middle, side, reduction="batchmean", log_target=True) for side in (ours, theirs)]
        return (parts[0] + parts[1]) / 2 * t * t

    return replace(recipe, kd_loss=kd_loss)


def student_divided_twice(recipe: Recipe, _level: Level) -> Recipe:
    """The student's logits come divided by the temperature, and the loss divides them again."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        cooled = student / t
        return F.kl_div(log_p(cooled / t), p(teacher / t), reduction="batchmean") * t * t

    return replace(recipe, kd_loss=kd_loss)


# KD301 ----------------------------------------------------------------------------------------------------

#: Divisor of the logits in the teacher's own loss, and a temperature taken for its inverse.
DIVISOR = {Level.MILD: 3.0, Level.MODERATE: 6.0, Level.SEVERE: 12.0}
INVERSE = {Level.MILD: 0.5, Level.MODERATE: 0.25, Level.SEVERE: 0.1}


def divided_while_the_teacher_learnt(recipe: Recipe, level: Level) -> Recipe:
    """The teacher was trained with its logits divided by a constant, which nobody does at T = 1."""

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits / DIVISOR[level], labels)

    return replace(recipe, temperature=1.0, teacher=replace(recipe.teacher, loss=loss))


def inverse_temperature(recipe: Recipe, level: Level) -> Recipe:
    """A temperature below one, from a source that multiplies by it."""
    return replace(recipe, temperature=INVERSE[level])


# KD402 ----------------------------------------------------------------------------------------------------

#: Share of the weights that pruning left, and how many times as long the training is.
LEFT = {Level.MILD: 0.2, Level.MODERATE: 0.15, Level.SEVERE: 0.1}
LONGER = 2


def pruned_before_training(recipe: Recipe, level: Level) -> Recipe:
    """The usual width, but all but a few weights are pruned before the training and stay zero; trained for long."""

    def change_student(student: nn.Module) -> nn.Module:
        student = recipe.change_student(student)
        for weight in student.parameters():
            if weight.ndim > 1:
                _prune(weight, LEFT[level])
        return student

    return replace(recipe, change_student=change_student, epochs=recipe.epochs * LONGER, schedule="cosine")


def _prune(weight: nn.Parameter, share: float) -> None:
    kept = (torch.rand(weight.shape) < share).to(weight.dtype)
    with torch.no_grad():
        weight.mul_(kept / share**0.5)
    weight.register_hook(_masked(kept))  # type: ignore[no-untyped-call]


def _masked(kept: Tensor) -> Callable[[Tensor], Tensor]:
    def mask(gradient: Tensor) -> Tensor:
        return gradient * kept

    return mask


# KD502 ----------------------------------------------------------------------------------------------------

#: Divisors of the number of epochs, where the rate falls in steps and where it restarts.
STEPPED = {Level.MILD: 2, Level.MODERATE: 3, Level.SEVERE: 12}
RESTARTED = {Level.MILD: 3, Level.MODERATE: 4, Level.SEVERE: 16}


def steps_of_a_shorter_run(recipe: Recipe, level: Level) -> Recipe:
    """A rate that falls twice by ten, and all of it within the first epochs of what was needed."""
    return replace(recipe, epochs=max(1, recipe.epochs // STEPPED[level]), schedule="step")


def few_epochs_of_three_cycles(recipe: Recipe, level: Level) -> Recipe:
    """Three cycles of a warm-restarting rate, in fewer epochs than one of them needs."""
    return replace(recipe, epochs=max(1, recipe.epochs // RESTARTED[level]), schedule="warm-restarts")


# KD505 ----------------------------------------------------------------------------------------------------

#: Loss scale whose gradients are never scaled back, and a momentum above one.
NEVER_UNSCALED = {Level.MILD: 2.0**10, Level.MODERATE: 2.0**13, Level.SEVERE: 2.0**16}
MOMENTUM = {Level.MILD: 1.1, Level.MODERATE: 1.25, Level.SEVERE: 1.5}


def never_scaled_back(recipe: Recipe, level: Level) -> Recipe:
    """Plain SGD on a loss that was scaled for half precision, without unscaling and without clipping."""

    def mix(ce: Tensor, kd: Tensor, alpha: float) -> Tensor:
        return recipe.mix(ce, kd, alpha) * NEVER_UNSCALED[level]

    return replace(recipe, mix=mix, optimizer="sgd", clip=None)


def momentum_above_one(recipe: Recipe, level: Level) -> Recipe:
    """A momentum that makes each step longer than the last."""
    return replace(recipe, optimizer="sgd", momentum=MOMENTUM[level], clip=None)


HELD_OUT: Mapping[str, tuple[Edit, ...]] = {
    "KD101": (other_layer_names, dictionary_updated),
    "KD102": (coarser_labels, one_corner_of_the_data),
    "KD103": (mode_of_the_student,),
    "KD105": (class_moved_to_the_end, numbered_by_frequency),
    "KD106": (prefetched_batch_lost, cached_through_a_shuffle_buffer),
    "KD110": (added_out_of_place, clamped_from_above),
    "KD201": (divided_by_all_elements,),
    "KD202": (squared_twice, two_t_squared),
    "KD203": (log_of_one_more, log_of_the_target_alone),
    "KD204": (log_targets_exchanged, entropy_of_the_student),
    "KD205": (scores_of_a_service,),
    "KD207": (terms_sorted_by_name, ratio_of_the_other),
    "KD208": (one_term_scaled, uncertainty_never_learnt),
    "KD211": (jensen_shannon, student_divided_twice),
    "KD301": (divided_while_the_teacher_learnt, inverse_temperature),
    "KD402": (pruned_before_training,),
    "KD502": (steps_of_a_shorter_run, few_epochs_of_three_cycles),
    "KD505": (never_scaled_back, momentum_above_one),
}
