"""Mistakes of the codes KD1xx."""

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm
from torch.nn.utils.parametrize import remove_parametrizations
from torch.utils.data import TensorDataset

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.hints import features_that_count, relative_error, watch, with_hint
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.layers import weighted
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Batch, Session
from kddoctor.bench.words import PADDING, UNKNOWN

# KD101 ----------------------------------------------------------------------------------------------------------------


def saved_without_its_weight_norm(recipe: Recipe, _level: Level) -> Recipe:
    """The model is built with weight normalisation, and the file was saved after that had been taken off.

    Norms and directions are not in it and stay as they were made, with strict=False; then they become the weights.
    """

    def load_teacher(teacher: nn.Module, state: dict[str, Tensor]) -> None:
        layers = weighted(teacher)
        for layer in layers:
            weight_norm(layer, dim=None)  # type: ignore[arg-type]
        teacher.load_state_dict(state, strict=False)
        for layer in layers:
            remove_parametrizations(layer, "weight")

    return replace(recipe, load_teacher=load_teacher)


# KD102 ----------------------------------------------------------------------------------------------------------------

#: Share of a batch, the rows with the smallest loss, that the teacher was tuned on.
TRUSTED = {Level.MILD: 0.6, Level.MODERATE: 0.45, Level.SEVERE: 0.3}


def tuned_on_what_was_easy(recipe: Recipe, level: Level) -> Recipe:
    """The checkpoint is from a study of noisy labels: of each batch, only the rows of the smallest loss were trusted.

    What it did not find easy at first, it was never taught. Source: Han et al. 2018, arXiv:1804.06872.
    """

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        each = F.cross_entropy(logits, labels, reduction="none")
        return each.topk(max(1, round(TRUSTED[level] * len(each))), largest=False).values.mean()

    return replace(recipe, teacher=replace(recipe.teacher, loss=loss))


# KD103 ----------------------------------------------------------------------------------------------------------------


def layers_exchanged_after_eval(recipe: Recipe, _level: Level) -> Recipe:
    """Dropout and normalisation are exchanged for faster ones when the teacher is in evaluation mode already.

    A new layer is in training mode, and nobody calls eval() again.
    """

    def exchange(session: Session) -> None:
        for parent in [*session.teacher.modules()]:
            for name, layer in [*parent.named_children()]:
                if isinstance(layer, nn.Dropout):
                    setattr(parent, name, nn.Dropout(layer.p))
                elif isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
                    faster = type(layer)(layer.num_features).requires_grad_(False)
                    faster.load_state_dict(layer.state_dict())
                    setattr(parent, name, faster)

    return replace(recipe, before=in_turn(recipe.before, exchange))


# KD104 ----------------------------------------------------------------------------------------------------------------

#: Learning rate of the teacher, as a share of the student's, and weight of the feature loss through which it learns.
THROUGH_FEATURES = {Level.MILD: 0.003, Level.MODERATE: 0.05, Level.SEVERE: 1.0}
FEATURES = 3.0


def features_that_nobody_detached(recipe: Recipe, level: Level) -> Recipe:
    """The teacher's logits are detached, its features are not, and one optimizer holds all: they meet half-way."""
    hinted = with_hint(recipe, FEATURES)

    def unfreeze(session: Session) -> None:
        session.teacher.requires_grad_(True)

    def parameters(session: Session) -> Iterable[nn.Parameter]:
        rate = THROUGH_FEATURES[level] * recipe.learning_rate
        groups = [{"params": hinted.parameters(session)}, {"params": session.teacher.parameters(), "lr": rate}]
        # Optimizers take groups as well, each with a rate of its own.
        return cast(Iterable[nn.Parameter], groups)

    def targets(session: Session, batch: Batch) -> Tensor:
        logits: Tensor = session.teacher(batch.inputs)
        return logits.detach()

    def hint(session: Session, batch: Batch) -> Tensor:
        student, teacher = features_that_count(session, batch)
        size: Tensor = session.notes.setdefault("size", teacher.detach().var().clamp_min(1e-6))
        away: Tensor = session.notes["projector"](student) - teacher
        return away.square().mean() / size

    return replace(hinted, before=in_turn(hinted.before, unfreeze), parameters=parameters, targets=targets, hint=hint)


# KD105 ----------------------------------------------------------------------------------------------------------------

#: Share of the classes that lie in the tree; two at the least.
IN_THE_TREE = {Level.MILD: 0.2, Level.MODERATE: 0.5, Level.SEVERE: 1.0}


def tree_walked_from_its_leaves(recipe: Recipe, level: Level) -> Recipe:
    """The labels number a tree of classes level by level; the teacher's training walked it, children before parents."""

    def data(rows: TensorDataset) -> TensorDataset:
        inputs, labels = rows.tensors
        classes = int(labels.max()) + 1
        walked = _walk(0, max(2, round(IN_THE_TREE[level] * classes)))
        numbers = torch.arange(classes)
        numbers[torch.tensor(walked)] = torch.arange(len(walked))
        return TensorDataset(inputs, numbers[labels])

    return replace(recipe, teacher=replace(recipe.teacher, data=data))


def _walk(node: int, nodes: int) -> list[int]:
    """Of a tree of two branches, numbered level by level."""
    if node >= nodes:
        return []
    return [*_walk(2 * node + 1, nodes), *_walk(2 * node + 2, nodes), node]


# KD106 ----------------------------------------------------------------------------------------------------------------

#: Checksums that there are, for each row.
CHECKSUMS = {Level.MILD: 8.0, Level.MODERATE: 2.0, Level.SEVERE: 0.1}


def found_by_a_short_checksum(recipe: Recipe, level: Level) -> Recipe:
    """Outputs are kept under a checksum of the row, cut to a few bits: of several with the same, the last one stays.

    Rows that find their own output get what the recipe gives them.
    """

    def targets(session: Session, batch: Batch) -> Tensor:
        logits = recipe.targets(session, batch)
        if "found" not in session.notes:
            session.notes["found"] = _found(session.train.tensors[0], CHECKSUMS[level])
        found = session.notes["found"][batch.rows]
        other = (found != batch.rows).view(-1, *[1] * (logits.ndim - 1))
        return torch.where(other, session.cached_by_row[found], logits)

    return replace(recipe, targets=targets)


def _found(inputs: Tensor, share: float) -> Tensor:
    """[N] the row whose output each row finds."""
    room = max(1, round(share * len(inputs)))
    checksums = [zlib.crc32(row.tobytes()) % room for row in inputs.numpy()]
    written = {checksum: row for row, checksum in enumerate(checksums)}
    return torch.tensor([written[checksum] for checksum in checksums])


# KD107 ----------------------------------------------------------------------------------------------------------------

#: Share of the rows that become a part of a mosaic.
IN_A_MOSAIC = {Level.MILD: 0.2, Level.MODERATE: 0.5, Level.SEVERE: 1.0}


def mosaic_in_the_students_collate(recipe: Recipe, level: Level) -> Recipe:
    """The student's rows become mosaics, as detectors are trained: four images, or texts, share the room of one.

    Label and teacher's answer are those of one of the four, as a whole.
    """

    def answers(session: Session, batch: Batch) -> Tensor:
        mosaics = _mosaics(batch.inputs)
        concerned = torch.rand(len(mosaics), *[1] * (mosaics.ndim - 1)) < IN_A_MOSAIC[level]
        return recipe.answers(session, replace(batch, inputs=torch.where(concerned, mosaics, batch.inputs)))

    return replace(recipe, answers=answers)


def _mosaics(inputs: Tensor) -> Tensor:
    """Each row and three others of the batch, in an order that is drawn anew for each batch."""
    tiles = [inputs, *(inputs[torch.randperm(len(inputs))] for _ in range(3))]
    a, b, c, d = (tiles[number] for number in torch.randperm(4).tolist())
    if not inputs.is_floating_point():
        length = inputs.shape[1]
        beginnings = [tile[:, : -(-length // 4)] for tile in (a, b, c, d)]
        return torch.cat(beginnings, dim=1)[:, :length]
    whole = torch.cat([torch.cat([a, b], dim=-1), torch.cat([c, d], dim=-1)], dim=-2)
    height, width = inputs.shape[-2:]
    return F.adaptive_avg_pool2d(whole, (height, width))


# KD108 ----------------------------------------------------------------------------------------------------------------

#: How much of an image's outlines is laid over it, and the first word number that is split into two pieces.
OUTLINED = {Level.MILD: 0.3, Level.MODERATE: 0.6, Level.SEVERE: 1.0}
SPLIT = {Level.MILD: 2000, Level.MODERATE: 500, Level.SEVERE: 60}
#: Pieces that a word is split into are among the words of the smallest numbers, as many as this.
PIECES = 90


def outlined_or_split_into_pieces(recipe: Recipe, level: Level) -> Recipe:
    """The teacher's wrapper is one for models that want the outlines of an image (rare words as two pieces each)."""

    def wrap(session: Session) -> None:
        session.teacher.register_forward_pre_hook(lambda _module, inputs: (_as_wanted(inputs[0], level), *inputs[1:]))

    return replace(recipe, before=in_turn(recipe.before, wrap))


def _as_wanted(inputs: Tensor, level: Level) -> Tensor:
    if not inputs.is_floating_point():
        return _in_pieces(inputs, SPLIT[level])
    down = F.pad(inputs.diff(dim=-2).abs(), (0, 0, 0, 1))
    right = F.pad(inputs.diff(dim=-1).abs(), (0, 1))
    return torch.lerp(inputs, (down + right).clamp_max(1.0), OUTLINED[level])


def _in_pieces(words: Tensor, first: int) -> Tensor:
    """The pieces one after the other, as many as there is room for; padding behind them."""
    rare = words >= first
    stem = torch.where(rare, UNKNOWN + 1 + words // PIECES, words)
    ending = torch.where(rare, UNKNOWN + 1 + words % PIECES, PADDING)
    pieces = torch.stack([stem, ending], dim=2).flatten(1)
    close_together = pieces.gather(1, (pieces == PADDING).long().argsort(dim=1, stable=True))
    return close_together[:, : words.shape[1]]


# KD109 ----------------------------------------------------------------------------------------------------------------


def wrapped_in_a_loop(recipe: Recipe, _level: Level) -> Recipe:
    """A loop wraps forward() of both models, so that they answer in full precision.

    What the wrapper calls is looked up when it runs: for both models, it is what the loop came to last.
    """

    def wrap(session: Session) -> None:
        for model in (session.teacher, session.student):
            forward = model.forward
            model.forward = lambda inputs: forward(inputs).float()  # noqa: B023

    return replace(recipe, before=in_turn(recipe.before, wrap))


# KD110 ----------------------------------------------------------------------------------------------------------------


def keyword_that_nobody_reads(recipe: Recipe, _level: Level) -> Recipe:
    """The term is handed to the function that adds up the total, under another keyword than the one it has for it.

    That function takes any others, too, for the sake of its callers, and passes over them.
    """

    def total(ce: Tensor, kd_loss: Tensor | None = None, **_others: Tensor) -> Tensor:
        return ce if kd_loss is None else ce + kd_loss

    def mix(ce: Tensor, kd: Tensor, alpha: float) -> Tensor:
        return total((1 - alpha) * ce, distillation_loss=alpha * kd)

    return replace(recipe, mix=mix)


# KD111 ----------------------------------------------------------------------------------------------------------------


class _FrozenMeanwhile:
    """The student is frozen while both models score the batch for the term, and learns again after that."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe

    def answers(self, session: Session, batch: Batch) -> Tensor:
        """What the recipe takes; the answers of the frozen student are kept for the loss."""
        session.student.requires_grad_(False)
        logits = self._recipe.answers(session, batch)
        session.student.requires_grad_(True)
        self._answers, _ = self._recipe.rows(logits, batch.labels)
        return self._recipe.answers(session, batch)

    def kd_loss(self, _student: Tensor, teacher: Tensor, t: float) -> Tensor:
        """The recipe's loss of the kept answers."""
        return self._recipe.kd_loss(self._answers, teacher, t)


def frozen_while_it_answers(recipe: Recipe, _level: Level) -> Recipe:
    """As in adversarial training, models are frozen for a term that is not theirs: this one is the student's."""
    frozen = _FrozenMeanwhile(recipe)
    return replace(recipe, answers=frozen.answers, kd_loss=frozen.kd_loss)


# KD112 ----------------------------------------------------------------------------------------------------------------

#: Weight of a feature loss whose projector has factors of zero, and their rank.
OF_ZEROS = {Level.MILD: 4.0, Level.MODERATE: 12.0, Level.SEVERE: 40.0}
RANK = 8


def both_factors_start_at_zero(recipe: Recipe, level: Level) -> Recipe:
    """The projector is a fixed random matrix and a product of two small ones that learn: both of these start at zero.

    The gradient of each is a multiple of the other, and so it stays at that. One of them was to be random.
    """

    def attach(session: Session) -> None:
        random = session.notes.pop("projector").requires_grad_(False)
        session.notes["random"] = random
        session.notes["factors"] = nn.ParameterList(
            [torch.zeros(random.out_features, RANK), torch.zeros(RANK, random.in_features)]
        )

    def parameters(session: Session) -> Iterable[nn.Parameter]:
        return [*recipe.parameters(session), *session.notes["factors"].parameters()]

    def hint(session: Session, batch: Batch) -> Tensor:
        student, teacher = features_that_count(session, batch)
        random, (left, right) = session.notes["random"], session.notes["factors"]
        return relative_error(F.linear(student, random.weight + left @ right, random.bias), teacher.detach())

    before = in_turn(in_turn(recipe.before, watch), attach)
    return replace(recipe, before=before, parameters=parameters, hint=hint, hint_weight=OF_ZEROS[level])


# KD113 ----------------------------------------------------------------------------------------------------------------

#: Steps from one log to the next.
LOGGED_EVERY = {Level.MILD: 10, Level.MODERATE: 3, Level.SEVERE: 1}


def sorted_for_the_log(recipe: Recipe, level: Level) -> Recipe:
    """Whenever the classes that lead are logged, the teacher's logits are sorted, and sort() returns two tensors.

    The second, which classes they are, goes by the name of logits from there on.
    """

    def targets(session: Session, batch: Batch) -> Tensor:
        logits = recipe.targets(session, batch)
        if batch.step % LOGGED_EVERY[level] == 0:
            session.notes["leading"], logits = logits.sort(descending=True)
        return logits.float()

    return replace(recipe, targets=targets)


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD101": (saved_without_its_weight_norm,),
    "KD102": (tuned_on_what_was_easy,),
    "KD103": (layers_exchanged_after_eval,),
    "KD104": (features_that_nobody_detached,),
    "KD105": (tree_walked_from_its_leaves,),
    "KD106": (found_by_a_short_checksum,),
    "KD107": (mosaic_in_the_students_collate,),
    "KD108": (outlined_or_split_into_pieces,),
    "KD109": (wrapped_in_a_loop,),
    "KD110": (keyword_that_nobody_reads,),
    "KD111": (frozen_while_it_answers,),
    "KD112": (both_factors_start_at_zero,),
    "KD113": (sorted_for_the_log,),
}
