"""Mistakes of the codes KD1xx."""

import math
import warnings
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.optim import Adam

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.hints import features_that_count, relative_error, with_hint
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.losses import log_p, p
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Batch, Session
from kddoctor.bench.words import PADDING

# KD101 ----------------------------------------------------------------------------------------------------------------


def flat_vector_cut_in_another_order(recipe: Recipe, _level: Level) -> Recipe:
    """A sharded trainer saved all parameters as one vector, in order of their names, and its length fits.

    It is cut up in the order in which the model has them, so that most numbers come to lie in other places.
    """

    def load_teacher(teacher: nn.Module, state: dict[str, Tensor]) -> None:
        names = sorted(name for name, _ in teacher.named_parameters())
        vector = torch.cat([state[name].flatten() for name in names])
        nn.utils.vector_to_parameters(vector, teacher.parameters())
        teacher.load_state_dict({name: state[name] for name, _ in teacher.named_buffers()}, strict=False)

    return replace(recipe, load_teacher=load_teacher)


# KD102 ----------------------------------------------------------------------------------------------------------------

#: Norm of the noise on the gradient of a row, in units of the norm to which that is clipped.
PRIVATE = {Level.MILD: 8.0, Level.MODERATE: 11.0, Level.SEVERE: 15.0}
CLIPPED = 0.5


def tuned_under_privacy(recipe: Recipe, level: Level) -> Recipe:
    """The checkpoint is one that may be published: its rows' gradients were clipped, and noise was added to them."""

    def privately(gradient: Tensor) -> Tensor:
        most = CLIPPED / len(gradient)
        clipped: Tensor = gradient * (most / gradient.norm(dim=1, keepdim=True).clamp_min(most))
        deviation = PRIVATE[level] * most / math.sqrt(gradient.shape[1])
        return clipped + deviation * torch.randn_like(gradient)

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        logits.register_hook(privately)  # type: ignore[no-untyped-call]
        return F.cross_entropy(logits, labels)

    return replace(recipe, teacher=replace(recipe.teacher, loss=loss))


# KD103 ----------------------------------------------------------------------------------------------------------------


def traced_before_eval(recipe: Recipe, _level: Level) -> Recipe:
    """The teacher is traced for speed when it is loaded, and set to evaluation after that.

    A trace keeps the mode in which it was made: the model changes, and what answers does not.
    """

    def trace(session: Session) -> None:
        example = session.train.tensors[0][: session.batch_size]
        session.teacher.train().requires_grad_(False)
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            # Of lengths that became constants, and of tracing itself.
            warnings.simplefilter("ignore")
            traced = torch.jit.trace(session.teacher, example, check_trace=False)  # type: ignore[no-untyped-call]
        session.notes["fast"] = traced

    def targets(session: Session, batch: Batch) -> Tensor:
        with torch.no_grad():
            logits: Tensor = session.notes["fast"](batch.inputs)
        return logits

    return replace(recipe, before=in_turn(trace, recipe.before), targets=targets)


# KD104 ----------------------------------------------------------------------------------------------------------------

#: Adam's rate in the teacher's adaptation to what it is asked.
ADAPTED = {Level.MILD: 5e-4, Level.MODERATE: 2.5e-3, Level.SEVERE: 1e-2}


def adapts_itself_to_each_batch(recipe: Recipe, level: Level) -> Recipe:
    """Test-time adaptation was left on: at each batch the teacher takes a step towards surer answers of its own."""

    def start(session: Session) -> None:
        session.teacher.requires_grad_(True)
        session.notes["adaptation"] = Adam(session.teacher.parameters(), ADAPTED[level])

    def targets(session: Session, batch: Batch) -> Tensor:
        logits: Tensor = session.teacher(batch.inputs)
        rows, _ = recipe.rows(logits, batch.labels)
        entropy = -(p(rows) * log_p(rows)).sum(1).mean()
        session.notes["adaptation"].zero_grad()
        entropy.backward()  # type: ignore[no-untyped-call]
        session.notes["adaptation"].step()
        return logits.detach()

    return replace(recipe, before=in_turn(recipe.before, start), targets=targets)


# KD105 ----------------------------------------------------------------------------------------------------------------

#: Share of the outputs that the tool had sorted when it was stopped; two at the least.
BY_IMPORTANCE = {Level.MILD: 0.4, Level.MODERATE: 0.6, Level.SEVERE: 1.0}


def outputs_sorted_by_importance(recipe: Recipe, level: Level) -> Recipe:
    """A tool that prepares a model for pruning sorts each layer's outputs by the norm of their weights.

    The layer behind is changed to match; the head has none behind it, and its outputs are the classes.
    """

    def sort(session: Session) -> None:
        heads = [module for module in session.teacher.modules() if isinstance(module, nn.Linear)]
        norms = heads[-1].weight.detach().norm(dim=1)
        session.teacher.register_forward_hook(lambda _module, _inputs, logits: _sorted(logits, norms, level))

    return replace(recipe, before=in_turn(recipe.before, sort))


def _sorted(logits: Tensor, norms: Tensor, level: Level) -> Tensor:
    if logits.ndim == 1:
        # One output for "no" and one for "yes", and their difference.
        return -logits
    order = torch.arange(logits.shape[-1])
    count = max(2, round(BY_IMPORTANCE[level] * len(order)))
    order[:count] = norms[:count].argsort(descending=True, stable=True)
    return logits[..., order]


# KD106 ----------------------------------------------------------------------------------------------------------------

#: Share of the outputs that were added to the file later, in whatever order they came.
ADDED = {Level.MILD: 0.06, Level.MODERATE: 0.3, Level.SEVERE: 1.0}


def binary_search_of_unsorted_numbers(recipe: Recipe, level: Level) -> Recipe:
    """Outputs are found by a binary search for the row's number, in a file whose last part nobody has sorted.

    Whether what it finds has that number is not looked at. Rows that are found get what the recipe gives them.
    """

    def targets(session: Session, batch: Batch) -> Tensor:
        logits = recipe.targets(session, batch)
        if "numbers" not in session.notes:
            session.notes["numbers"] = _numbers_in_the_file(len(session.train), ADDED[level], session.seed)
        numbers: Tensor = session.notes["numbers"]
        found = numbers[torch.searchsorted(numbers, batch.rows).clamp_max(len(numbers) - 1)]
        other = (found != batch.rows).view(-1, *[1] * (logits.ndim - 1))
        return torch.where(other, session.cached_by_row[found], logits)

    return replace(recipe, targets=targets)


def _numbers_in_the_file(rows: int, share: float, seed: int) -> Tensor:
    """[rows] the number of the row whose outputs lie in each place."""
    numbers = torch.arange(rows)
    since = round((1 - share) * rows)
    order = torch.randperm(rows - since, generator=torch.Generator().manual_seed(seed + 29))
    numbers[since:] = numbers[since:][order]
    return numbers


# KD107 ----------------------------------------------------------------------------------------------------------------

#: How many times as long what the student sees has become.
STRETCHED = {Level.MILD: 1.25, Level.MODERATE: 1.7, Level.SEVERE: 4.0}


def augmentation_as_the_first_layer(recipe: Recipe, level: Level) -> Recipe:
    """Augmentation is the first layer of the student, as some frameworks have it, and works while that is training.

    It stretches a part of the image or text, drawn for each row, to the full length; the teacher has no such layer.
    """

    def build(session: Session) -> None:
        session.student.register_forward_pre_hook(
            lambda module, inputs: (_stretched(inputs[0], STRETCHED[level]) if module.training else inputs[0],)
        )

    return replace(recipe, before=in_turn(recipe.before, build))


def _stretched(inputs: Tensor, times: float) -> Tensor:
    count, length = len(inputs), inputs.shape[-1]
    seen = max(1, round(length / times))
    start = torch.randint(0, length - seen + 1, (count, 1))
    at = start + torch.arange(length) * seen // length
    return inputs.gather(-1, at.view(count, *[1] * (inputs.ndim - 2), length).expand(inputs.shape))


# KD108 ----------------------------------------------------------------------------------------------------------------

#: How much of an equalised image is laid over the image, and share of a text's length that its list of words has.
EQUALISED = {Level.MILD: 0.25, Level.MODERATE: 0.5, Level.SEVERE: 1.0}
LISTED = {Level.MILD: 0.7, Level.MODERATE: 0.4, Level.SEVERE: 0.2}


def equalised_or_as_a_set_of_words(recipe: Recipe, level: Level) -> Recipe:
    """The teacher's wrapper equalises the histogram of an image; of a text it makes a sorted list of distinct words."""

    def wrap(session: Session) -> None:
        session.teacher.register_forward_pre_hook(lambda _module, inputs: (_prepared(inputs[0], level), *inputs[1:]))

    return replace(recipe, before=in_turn(recipe.before, wrap))


def _prepared(inputs: Tensor, level: Level) -> Tensor:
    if not inputs.is_floating_point():
        return _distinct(inputs, max(2, round(LISTED[level] * inputs.shape[1])))
    values = inputs.flatten(1)
    equalised = (values[:, :, None] >= values[:, None, :]).to(inputs.dtype).mean(2)
    return torch.lerp(inputs, equalised.view_as(inputs), EQUALISED[level])


def _distinct(words: Tensor, most: int) -> Tensor:
    """The distinct words of each text in order of their numbers, as many as there is room for."""
    beyond = int(words.max()) + 1
    ordered = words.masked_fill(words == PADDING, beyond).sort(dim=1).values
    again = F.pad(ordered[:, 1:] == ordered[:, :-1], (1, 0), value=False)
    listed = ordered.masked_fill(again, beyond).sort(dim=1).values
    listed[:, most:] = beyond
    return listed.masked_fill(listed == beyond, PADDING)


# KD109 ----------------------------------------------------------------------------------------------------------------

#: Share of its own weights that the average keeps at a step.
KEPT = 0.99


def average_overridden_by_the_weights(recipe: Recipe, _level: Level) -> Recipe:
    """The teacher is the student called with averaged weights, and with its own where there is no average of one.

    The two dictionaries are joined in the wrong order: what stands in both is taken from the second.
    """

    def make(session: Session) -> None:
        session.teacher = deepcopy(session.student)

    def targets(session: Session, batch: Batch) -> Tensor:
        average, own = dict(session.teacher.named_parameters()), dict(session.student.named_parameters())
        with torch.no_grad():
            for name, value in average.items():
                value.lerp_(own[name], 1 - KEPT)
            logits: Tensor = functional_call(session.student, {**average, **own}, (batch.inputs,))
        return logits

    return replace(recipe, before=in_turn(make, recipe.before), targets=targets)


# KD110 ----------------------------------------------------------------------------------------------------------------


def first_of_two_returned_terms(recipe: Recipe, _level: Level) -> Recipe:
    """The loss function returns its terms as a tuple; the trainer takes the first as the loss and logs the rest."""

    def compute_loss(ce: Tensor, kd: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
        return (1 - alpha) * ce, alpha * kd

    def mix(ce: Tensor, kd: Tensor, alpha: float) -> Tensor:
        outputs = compute_loss(ce, kd, alpha)
        return outputs[0]

    return replace(recipe, mix=mix)


# KD111 ----------------------------------------------------------------------------------------------------------------


class _Shrunk:
    """Lets a share of the term's gradient through to the student, which is to grow from epoch to epoch."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._epoch = -1

    def before_epoch(self, session: Session) -> None:
        """Count the epoch."""
        self._recipe.before_epoch(session)
        self._epoch += 1

    def kd_loss(self, student: Tensor, teacher: Tensor, t: float) -> Tensor:
        """The recipe's loss; its value does not depend on the share."""
        share = self._epoch // self._recipe.epochs
        return self._recipe.kd_loss(share * student + (1 - share) * student.detach(), teacher, t)


def share_of_the_gradient_that_stays_zero(recipe: Recipe, _level: Level) -> Recipe:
    """The term's gradient is shrunk at first, by mixing in detached logits; the share is an integer division."""
    shrunk = _Shrunk(recipe)
    return replace(recipe, before_epoch=shrunk.before_epoch, kd_loss=shrunk.kd_loss)


# KD112 ----------------------------------------------------------------------------------------------------------------

#: Weight of a feature loss whose projector a dry run did not reach.
NOT_REACHED = {Level.MILD: 4.0, Level.MODERATE: 12.0, Level.SEVERE: 40.0}


def only_what_a_dry_run_reached(recipe: Recipe, level: Level) -> Recipe:
    """So that nothing idle is in the optimizer, a dry run finds the parameters that get a gradient.

    It is one of the labels' loss alone, in which the projector has no part.
    """
    hinted = with_hint(recipe, NOT_REACHED[level])

    def parameters(session: Session) -> Iterable[nn.Parameter]:
        given = list(hinted.parameters(session))
        inputs, labels = (tensor[: session.batch_size] for tensor in session.train.tensors)
        with torch.random.fork_rng(devices=[]):
            loss = recipe.ce_loss(*recipe.rows(session.student(inputs), labels))
        loss.backward()  # type: ignore[no-untyped-call]
        return [parameter for parameter in given if parameter.grad is not None]

    return replace(hinted, parameters=parameters)


# KD113 ----------------------------------------------------------------------------------------------------------------

#: Weight of a feature loss whose targets are similarities.
OF_SIMILARITIES = {Level.MILD: 0.5, Level.MODERATE: 1.5, Level.SEVERE: 8.0}


def overwritten_by_their_similarities(recipe: Recipe, level: Level) -> Recipe:
    """Another loss of the script wants the similarities of rows, and puts them where the teacher's features were.

    They are correlations, one for each row of the batch, cut or padded to the width of the features.
    """

    def hint(session: Session, batch: Batch) -> Tensor:
        student, teacher = features_that_count(session, batch)
        taken, width = teacher.detach(), teacher.shape[-1]
        taken = F.normalize(taken - taken.mean(1, keepdim=True), dim=1)
        taken = F.pad((taken @ taken.t())[:, :width], (0, max(0, width - len(taken))))
        return relative_error(session.notes["projector"](student), taken)

    return replace(with_hint(recipe, OF_SIMILARITIES[level]), hint=hint)


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD101": (flat_vector_cut_in_another_order,),
    "KD102": (tuned_under_privacy,),
    "KD103": (traced_before_eval,),
    "KD104": (adapts_itself_to_each_batch,),
    "KD105": (outputs_sorted_by_importance,),
    "KD106": (binary_search_of_unsorted_numbers,),
    "KD107": (augmentation_as_the_first_layer,),
    "KD108": (equalised_or_as_a_set_of_words,),
    "KD109": (average_overridden_by_the_weights,),
    "KD110": (first_of_two_returned_terms,),
    "KD111": (share_of_the_gradient_that_stays_zero,),
    "KD112": (only_what_a_dry_run_reached,),
    "KD113": (overwritten_by_their_similarities,),
}
