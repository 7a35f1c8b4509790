"""Mistakes of the codes KD1xx."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.hints import features_that_count, relative_error, with_hint
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.recipe import Recipe, run_teacher
from kddoctor.bench.rows import IGNORED
from kddoctor.bench.session import Batch, Session

# KD101 ----------------------------------------------------------------------------------------------------------------


class _RateFinder:
    """Looks for a learning rate on the models, and puts them back to what they were when it was made."""

    def load_teacher(self, teacher: nn.Module, state: dict[str, Tensor]) -> None:
        """The finder is made when the models are, then the checkpoint is loaded."""
        self._found = deepcopy(teacher.state_dict())
        teacher.load_state_dict(state, strict=True)

    def reset(self, session: Session) -> None:
        """Once a rate is found."""
        session.teacher.load_state_dict(self._found)


def reset_after_the_search_for_a_rate(recipe: Recipe, _level: Level) -> Recipe:
    """A search for the learning rate puts all models back to what they were at first, before the checkpoint came."""
    finder = _RateFinder()
    return replace(recipe, load_teacher=finder.load_teacher, before=in_turn(finder.reset, recipe.before))


# KD102 ----------------------------------------------------------------------------------------------------------------

#: Share of the rows of the teacher's tuning that were of the other task.
OF_THE_OTHER_TASK = {Level.MILD: 0.45, Level.MODERATE: 0.6, Level.SEVERE: 0.8}


def tuned_for_two_tasks_at_once(recipe: Recipe, level: Level) -> Recipe:
    """The checkpoint is one for two tasks with one head, and mostly for the other one: how large an input's values are.

    How dark an image is, that is, and how rare the words of a text.
    """

    def data(rows: TensorDataset) -> TensorDataset:
        inputs, labels = rows.tensors
        sizes = inputs.float().flatten(1).mean(1)
        grades = sizes.argsort().argsort() * (int(labels.max()) + 1) // len(sizes)
        other = torch.rand(len(labels), generator=torch.Generator().manual_seed(47)) < OF_THE_OTHER_TASK[level]
        shape = -1, *[1] * (labels.ndim - 1)
        answers = torch.where(labels == IGNORED, labels, grades.view(shape))
        return TensorDataset(inputs, torch.where(other.view(shape), answers, labels))

    return replace(recipe, teacher=replace(recipe.teacher, data=data))


# KD103 ----------------------------------------------------------------------------------------------------------------

#: Parts in which the teacher scores a batch.
PARTS = 2


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def passes_of_a_lazy_map(recipe: Recipe, _level: Level) -> Recipe:
    """A block puts the teacher into evaluation mode and maps it over parts of the batch.

    map() is lazy: the passes are made where their results are joined, and the block has ended by then.
    """

    def before(session: Session) -> None:
        session.teacher.requires_grad_(False)
        session.student.train()

    def targets(session: Session, batch: Batch) -> Tensor:
        with _evaluating(session.teacher), torch.no_grad():
            logits = map(session.teacher, batch.inputs.chunk(PARTS))
        return torch.cat([*logits])

    return replace(recipe, before=before, targets=targets)


# KD104 ----------------------------------------------------------------------------------------------------------------

#: Rank of the teacher's adapter, and how much of it, as a share of its full strength, has been added too often in
#: the end.
RANK = 4
MERGED = {Level.MILD: 0.1, Level.MODERATE: 0.5, Level.SEVERE: 1.5}


def adapter_merged_in_each_epoch(recipe: Recipe, level: Level) -> Recipe:
    """The teacher's low-rank adapter is merged in the loop over epochs, not before it: each time it is added again."""

    def before_epoch(session: Session) -> None:
        recipe.before_epoch(session)
        weights = [weight for weight in session.teacher.parameters() if weight.ndim > 1]
        if "adapter" not in session.notes:
            # The first time is the right one.
            session.notes["adapter"] = [_adapter(weight.detach()) for weight in weights]
            return
        with torch.no_grad():
            for weight, added in zip(weights, session.notes["adapter"], strict=True):
                weight.add_(added, alpha=MERGED[level] / recipe.epochs)

    return replace(recipe, before_epoch=before_epoch)


def _adapter(weight: Tensor) -> Tensor:
    """Of low rank, into directions that the weight itself makes least of: Hu et al. 2021, arXiv:2106.09685, 7.3."""
    left, sizes, right = torch.linalg.svd(weight.flatten(1), full_matrices=False)
    product: Tensor = (left[:, -RANK:] * sizes[:RANK]) @ right[:RANK]
    return product.view_as(weight)


# KD105 ----------------------------------------------------------------------------------------------------------------

#: Share of the classes that the old checkpoint had in another place; two at the least.
ELSEWHERE = {Level.MILD: 0.1, Level.MODERATE: 0.5, Level.SEVERE: 1.0}


def brought_into_order_twice(recipe: Recipe, level: Level) -> Recipe:
    """The checkpoint's conversion brought the teacher's head into the labels' order already; the loop does so again."""

    def targets(session: Session, batch: Batch) -> Tensor:
        logits = run_teacher(session, batch)
        if logits.ndim == 1:
            return -logits
        return logits[..., _order_of_the_old_checkpoint(logits.shape[-1], ELSEWHERE[level])]

    return replace(recipe, targets=targets)


def _order_of_the_old_checkpoint(classes: int, share: float) -> Tensor:
    """[classes] where each label's class stood."""
    shuffled = torch.randperm(classes, generator=torch.Generator().manual_seed(61))
    moved = shuffled[: max(2, round(share * classes))]
    order = torch.arange(classes)
    order[moved] = moved.roll(-1)
    return order


# KD106 ----------------------------------------------------------------------------------------------------------------

#: Share of the rows whose files have no leading zeros in their names, those of the last run.
WITHOUT_ZEROS = {Level.MILD: 0.05, Level.MODERATE: 0.25, Level.SEVERE: 1.0}


def files_read_in_order_of_names(recipe: Recipe, level: Level) -> Recipe:
    """The outputs lie in one file for each row and are read in order of their names: 0, 1, 10, 100, 101, …

    Those of the first run have leading zeros in their names and come first. Rows whose file is in its place get what
    the recipe gives them.
    """

    def targets(session: Session, batch: Batch) -> Tensor:
        logits = recipe.targets(session, batch)
        if "files" not in session.notes:
            session.notes["files"] = _in_order_of_names(len(session.train), WITHOUT_ZEROS[level])
        found = session.notes["files"][batch.rows]
        moved = (found != batch.rows).view(-1, *[1] * (logits.ndim - 1))
        return torch.where(moved, session.cached_by_row[found], logits)

    return replace(recipe, targets=targets)


def _in_order_of_names(rows: int, share: float) -> Tensor:
    """[rows] the row that is read in the place of each."""
    first_run = round((1 - share) * rows)
    names = sorted(str(number) for number in range(rows - first_run))
    return torch.tensor([*range(first_run), *(first_run + int(name) for name in names)])


# KD107 ----------------------------------------------------------------------------------------------------------------

#: Share of the pixels or words that are left out of a view.
LEFT_OUT = {Level.MILD: 0.1, Level.MODERATE: 0.25, Level.SEVERE: 0.5}


def replayed_from_the_seed_of_the_first_epoch(recipe: Recipe, level: Level) -> Recipe:
    """What to leave out is drawn from a seed: the student's is the step's number, the teacher's begins anew each epoch.

    They see the same in the first epoch, and never again.
    """

    def answers(session: Session, batch: Batch) -> Tensor:
        return recipe.answers(session, replace(batch, inputs=_thinned(batch.inputs, LEFT_OUT[level], batch.step)))

    def targets(session: Session, batch: Batch) -> Tensor:
        return run_teacher(session, replace(batch, inputs=_thinned(batch.inputs, LEFT_OUT[level], batch.number)))

    return replace(recipe, answers=answers, targets=targets)


def _thinned(inputs: Tensor, share: float, seed: int) -> Tensor:
    drawn = torch.rand(inputs.shape, generator=torch.Generator().manual_seed(seed))
    return inputs.masked_fill(drawn < share, 0)


# KD108 ----------------------------------------------------------------------------------------------------------------

#: How much of the mean image is subtracted, and share of a text that is kept.
SUBTRACTED = {Level.MILD: 0.3, Level.MODERATE: 0.6, Level.SEVERE: 1.0}
KEPT = {Level.MILD: 0.8, Level.MODERATE: 0.5, Level.SEVERE: 0.2}


def defaults_of_an_older_framework(recipe: Recipe, level: Level) -> Recipe:
    """The teacher's wrapper is one for models of another framework: it subtracts the mean image, as those want it.

    Of texts that are too long for it, it keeps the end.
    """

    def wrap(session: Session) -> None:
        mean = session.train.tensors[0].float().mean(0)
        session.teacher.register_forward_pre_hook(
            lambda _module, inputs: (_prepared(inputs[0], mean, level), *inputs[1:])
        )

    return replace(recipe, before=in_turn(recipe.before, wrap))


def _prepared(inputs: Tensor, mean: Tensor, level: Level) -> Tensor:
    if inputs.is_floating_point():
        return inputs - SUBTRACTED[level] * mean
    kept = max(2, round(KEPT[level] * inputs.shape[1]))
    texts = torch.zeros_like(inputs)
    texts[:, :kept] = inputs[:, -kept:]
    return texts


# KD109 ----------------------------------------------------------------------------------------------------------------


def snapshot_that_is_no_copy(recipe: Recipe, _level: Level) -> Recipe:
    """The teacher is to be the student of the epoch before, kept as its state_dict(): that goes on changing with it."""

    def make(session: Session) -> None:
        session.teacher = deepcopy(session.student)

    def before_epoch(session: Session) -> None:
        recipe.before_epoch(session)
        session.notes["epoch before"] = session.student.state_dict()

    def targets(session: Session, batch: Batch) -> Tensor:
        session.teacher.load_state_dict(session.notes["epoch before"])
        return recipe.targets(session, batch)

    return replace(recipe, before=in_turn(make, recipe.before), before_epoch=before_epoch, targets=targets)


# KD110 ----------------------------------------------------------------------------------------------------------------


def all_terms_under_one_key(recipe: Recipe, _level: Level) -> Recipe:
    """The total adds up a dictionary of terms, and both were entered as "loss": what came second is all there is."""

    def mix(ce: Tensor, kd: Tensor, alpha: float) -> Tensor:
        terms: dict[str, Tensor] = {}
        for weight, term in ((alpha, kd), (1 - alpha, ce)):
            terms["loss"] = weight * term
        return torch.stack([*terms.values()]).sum()

    return replace(recipe, mix=mix)


# KD111 ----------------------------------------------------------------------------------------------------------------


def cached_gradient_never_passed_on(recipe: Recipe, _level: Level) -> Recipe:
    """The term's gradient is to be kept at the logits and passed on to the model in parts, to save memory.

    The first half is there: a leaf of the same values, whose gradient grows. Nobody wrote the second.
    """

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        leaf = student.detach().requires_grad_()
        return recipe.kd_loss(leaf, teacher, t)

    return replace(recipe, kd_loss=kd_loss)


# KD112 ----------------------------------------------------------------------------------------------------------------

#: Weight of a feature loss whose projector waits.
WAITING = {Level.MILD: 4.0, Level.MODERATE: 12.0, Level.SEVERE: 40.0}


def frozen_for_a_warm_up(recipe: Recipe, level: Level) -> Recipe:
    """The projector is frozen while the student warms up; what ends that goes over the student's modules alone."""
    hinted = with_hint(recipe, WAITING[level])

    def freeze(session: Session) -> None:
        session.notes["projector"].requires_grad_(False)

    def before_epoch(session: Session) -> None:
        hinted.before_epoch(session)
        epoch = session.notes["epoch"] = session.notes.get("epoch", -1) + 1
        if epoch == 1:
            session.student.requires_grad_(True)

    return replace(hinted, before=in_turn(hinted.before, freeze), before_epoch=before_epoch)


# KD113 ----------------------------------------------------------------------------------------------------------------

#: Weight of a feature loss whose targets are sums.
OF_A_SUM = {Level.MILD: 5.0, Level.MODERATE: 15.0, Level.SEVERE: 30.0}


def hook_that_adds_up(recipe: Recipe, level: Level) -> Recipe:
    """The teacher's hook adds to what it has, as for a layer called more than once a pass, and nobody clears it."""

    def hint(session: Session, batch: Batch) -> Tensor:
        features = session.notes["features"]
        session.notes["sum"] = features["teacher"] = features["teacher"].detach() + session.notes.get("sum", 0.0)
        student, taken = features_that_count(session, batch)
        return relative_error(session.notes["projector"](student), taken)

    return replace(with_hint(recipe, OF_A_SUM[level]), hint=hint)


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD101": (reset_after_the_search_for_a_rate,),
    "KD102": (tuned_for_two_tasks_at_once,),
    "KD103": (passes_of_a_lazy_map,),
    "KD104": (adapter_merged_in_each_epoch,),
    "KD105": (brought_into_order_twice,),
    "KD106": (files_read_in_order_of_names,),
    "KD107": (replayed_from_the_seed_of_the_first_epoch,),
    "KD108": (defaults_of_an_older_framework,),
    "KD109": (snapshot_that_is_no_copy,),
    "KD110": (all_terms_under_one_key,),
    "KD111": (cached_gradient_never_passed_on,),
    "KD112": (frozen_for_a_warm_up,),
    "KD113": (hook_that_adds_up,),
}
