"""Sound distillations of another author: optimisation, data, models and evaluation as papers and repositories do it."""

import math
from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim import Adam
from torch.utils.data import TensorDataset

from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Batch, Session, batches
from kddoctor.bench.task import Data, Kind
from kddoctor.bench.variant import Variant
from kddoctor.bench.words import UNKNOWN

#: Share of the steps over which a rate rises, and where in the rise it begins.
WARM_UP, OFFSET = 0.1, 0.01
#: Decay of the running mean of weights.
EMA_DECAY = 0.98
#: Rate and epochs of a teacher's adaptation.
ADAPTING_RATE, ADAPTING_EPOCHS = 1e-4, 2
#: Share of the epochs after which all layers learn.
UNFROZEN_AFTER = 0.2
#: Share of a teacher's weights that its pruned copy keeps.
KEPT = 0.5
#: Largest whole number of eight bits with a sign.
LEVELS = 127
#: Noise on numbers, share of words or measurements left out, and the side of a square cut out of an image.
INPUT_NOISE, DROPPED, CUT = 0.05, 0.05, 2
#: Both parameters of the beta distribution that shares in a mixture are drawn from.
MIXED = 0.4
#: Kinds of tasks that these were measured on; on tokens none was.
MEASURED: tuple[Kind, ...] = ("multiclass", "ranking")


# Schedules and steps --------------------------------------------------------------------------------------


def _scheduled(recipe: Recipe, factor: Callable[[float], float]) -> Recipe:
    """The recipe with a rate that is the peak times a factor of the share of steps that are done."""

    def parameters(session: Session) -> Iterable[nn.Parameter]:
        session.notes["group"] = {"params": list(recipe.parameters(session))}
        return cast("Iterable[nn.Parameter]", [session.notes["group"]])

    def answers(session: Session, batch: Batch) -> Tensor:
        steps = recipe.epochs * (len(session.train) // min(recipe.batch_size, len(session.train)))
        session.notes["group"]["lr"] = recipe.learning_rate * factor(batch.step / steps)
        return recipe.answers(session, batch)

    return replace(recipe, schedule="constant", parameters=parameters, answers=answers)


def linear_warm_up_and_decay(recipe: Recipe) -> Recipe:
    """The rate rises over the first tenth of the steps and falls in a straight line to zero, as for BERT."""

    def factor(done: float) -> float:
        return min((done + OFFSET) / (WARM_UP + OFFSET), (1 - done) / (1 - WARM_UP))

    return _scheduled(replace(recipe, epochs=recipe.epochs * 3 // 2), factor)


def gradual_unfreezing(recipe: Recipe) -> Recipe:
    """Only the head learns at first, then layer after layer from the top, within the first fifth of the epochs."""

    def before_epoch(session: Session) -> None:
        recipe.before_epoch(session)
        epoch = session.notes["epoch"] = session.notes.get("epoch", -1) + 1
        layers = [child for child in session.student.children() if list(child.parameters())]
        learning = 1 + int((len(layers) - 1) * min(1.0, epoch / (UNFROZEN_AFTER * recipe.epochs)))
        for depth, layer in enumerate(reversed(layers)):
            layer.requires_grad_(depth < learning)

    return replace(recipe, before_epoch=before_epoch, epochs=recipe.epochs * 3 // 2)


# Which weights are evaluated ------------------------------------------------------------------------------


@torch.no_grad()
def _towards(session: Session, share: float) -> None:
    """The mean of weights that a session keeps, moved a share of the way to the student's."""
    mean = session.notes.setdefault("mean", deepcopy(session.student.state_dict()))
    for name, value in session.student.state_dict().items():
        if value.is_floating_point():
            mean[name].lerp_(value, share)


def moving_average(recipe: Recipe) -> Recipe:
    """An exponential moving average of the weights, which is what is evaluated and kept."""

    def answers(session: Session, batch: Batch) -> Tensor:
        _towards(session, max(1 - EMA_DECAY, 9 / (10 + batch.step)))
        return recipe.answers(session, batch)

    def after(session: Session) -> None:
        _towards(session, 1 - EMA_DECAY)
        session.student.load_state_dict(session.notes["mean"])

    return replace(recipe, answers=answers, after=after)


@torch.no_grad()
def _keep_the_better(recipe: Recipe, session: Session) -> None:
    """The student's weights, where its loss on validation labels is the lowest so far."""
    session.student.eval()
    inputs, labels = session.val.tensors
    loss = float(nn.functional.cross_entropy(*recipe.rows(session.student(inputs), labels)))
    session.student.train()
    if loss < session.notes.get("lowest", math.inf):
        session.notes["lowest"], session.notes["best"] = loss, deepcopy(session.student.state_dict())


def best_epoch(recipe: Recipe) -> Recipe:
    """Half as long again, and the epoch of the lowest validation loss is kept."""

    def before_epoch(session: Session) -> None:
        if session.notes.get("begun"):
            _keep_the_better(recipe, session)
        session.notes["begun"] = True
        recipe.before_epoch(session)

    def after(session: Session) -> None:
        _keep_the_better(recipe, session)
        session.student.load_state_dict(session.notes["best"])

    return replace(recipe, epochs=recipe.epochs * 3 // 2, before_epoch=before_epoch, after=after)


# Models ---------------------------------------------------------------------------------------------------


def _fit_to_labels(recipe: Recipe, session: Session, model: nn.Module, epochs: int, rate: float) -> None:
    """Train a model on the labels of the training set."""
    model.train()
    optimizer = Adam(model.parameters(), rate)
    generator = torch.Generator().manual_seed(session.seed + 1)
    inputs, labels = session.train.tensors
    for _ in range(epochs):
        for rows in batches(len(inputs), session.batch_size, generator):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(*recipe.rows(model(inputs[rows]), labels[rows]))
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()


def teacher_adapted(recipe: Recipe) -> Recipe:
    """The teacher is first fine-tuned a little on the student's rows (Minitron's teacher correction)."""

    def before(session: Session) -> None:
        _fit_to_labels(recipe, session, session.teacher, ADAPTING_EPOCHS, ADAPTING_RATE)
        recipe.before(session)

    return replace(recipe, before=before)


def pruned_copy(recipe: Recipe) -> Recipe:
    """The student is the teacher with the smaller half of each weight matrix pruned away, and heals by distillation."""

    def before(session: Session) -> None:
        recipe.before(session)
        matrices = [parameter for parameter in session.student.parameters() if parameter.ndim > 1]
        session.notes["masks"] = [
            (matrix, (matrix.abs() >= matrix.abs().flatten().quantile(1 - KEPT)).float()) for matrix in matrices
        ]
        prune(session)

    @torch.no_grad()
    def prune(session: Session) -> None:
        for matrix, mask in session.notes["masks"]:
            matrix.mul_(mask)

    def answers(session: Session, batch: Batch) -> Tensor:
        prune(session)
        return recipe.answers(session, batch)

    return replace(
        recipe,
        make_student=deepcopy,
        optimizer="adam",
        weight_decay=0.0,
        learning_rate=recipe.teacher.learning_rate,
        before=before,
        answers=answers,
        after=prune,
    )


def _in_eight_bits(weight: Tensor) -> Tensor:
    """A matrix rounded to eight bits with a straight-through gradient; a vector as it is."""
    if weight.ndim < 2:
        return weight
    step = weight.detach().abs().max().clamp_min(1e-8) / LEVELS
    return weight + (torch.round(weight.detach() / step) * step - weight.detach())


def quantisation_aware(recipe: Recipe) -> Recipe:
    """Forward passes with weights rounded to eight bits, gradients straight through, and rounded weights kept."""

    def answers(session: Session, batch: Batch) -> Tensor:
        rounded = {name: _in_eight_bits(weight) for name, weight in session.student.named_parameters()}
        logits: Tensor = functional_call(session.student, rounded, (batch.inputs,))
        return logits

    @torch.no_grad()
    def after(session: Session) -> None:
        for weight in session.student.parameters():
            weight.copy_(_in_eight_bits(weight))

    return replace(recipe, answers=answers, after=after)


def _last_linear(model: nn.Module) -> str:
    return str([name for name, module in model.named_modules() if isinstance(module, nn.Linear)][-1])


def teacher_classifier_reused(recipe: Recipe) -> Recipe:
    """The student's features go through a projection into the teacher's own classifier, frozen (SimKD, 2022)."""

    def before(session: Session) -> None:
        recipe.before(session)
        name = _last_linear(session.student)
        classifier = deepcopy(session.teacher.get_submodule(_last_linear(session.teacher)))
        width = cast("nn.Linear", session.student.get_submodule(name)).in_features
        projection = nn.Linear(width, cast("nn.Linear", classifier).in_features)
        session.student.set_submodule(name, nn.Sequential(projection, classifier))

    def parameters(session: Session) -> Iterable[nn.Parameter]:
        return [parameter for parameter in session.student.parameters() if parameter.requires_grad]

    return replace(recipe, before=before, parameters=parameters)


def embeddings_of_the_teacher(recipe: Recipe) -> Recipe:
    """The student's embeddings start as the leading components of the teacher's."""

    @torch.no_grad()
    def before(session: Session) -> None:
        recipe.before(session)
        theirs = dict(session.teacher.named_modules())
        for name, table in session.student.named_modules():
            if isinstance(table, nn.Embedding):
                weight = cast("nn.Embedding", theirs[name]).weight[: table.num_embeddings]
                components = torch.linalg.svd(weight, full_matrices=False)[2][: table.embedding_dim]
                reduced = weight @ components.T
                table.weight.copy_(reduced / reduced.std() * table.weight.std())

    return replace(recipe, before=before)


# Data -----------------------------------------------------------------------------------------------------


def mixed_inputs(recipe: Recipe) -> Recipe:
    """Both models answer to mixed rows, labels unused, for twice as long (Beyer et al. 2022, the patient teacher)."""

    def targets(session: Session, batch: Batch) -> Tensor:
        size = (len(batch.inputs), *[1] * (batch.inputs.ndim - 1))
        share = torch.distributions.Beta(MIXED, MIXED).sample(size)
        session.notes["mixed"] = batch.inputs.lerp(batch.inputs.flip(0), share)
        with torch.no_grad():
            logits: Tensor = session.teacher(session.notes["mixed"])
        return logits

    def answers(session: Session, _batch: Batch) -> Tensor:
        logits: Tensor = session.student(session.notes["mixed"])
        return logits

    return replace(recipe, alpha=1.0, epochs=2 * recipe.epochs, targets=targets, answers=answers)


def _without_words(inputs: Tensor, share: float) -> Tensor:
    return inputs.where(torch.rand(inputs.shape) >= share, UNKNOWN)


def noisy_student(recipe: Recipe) -> Recipe:
    """The teacher's answers to clean rows, taken once; the student sees light noise (Xie et al. 2020)."""

    def targets(session: Session, batch: Batch) -> Tensor:
        return session.cached_by_row[batch.rows]

    def answers(session: Session, batch: Batch) -> Tensor:
        clean = batch.inputs
        numbers = clean.is_floating_point()
        noisy = clean + INPUT_NOISE * torch.randn_like(clean) if numbers else _without_words(clean, DROPPED)
        logits: Tensor = session.student(noisy)
        return logits

    return replace(recipe, targets=targets, answers=answers)


def parts_cut_out(recipe: Recipe) -> Recipe:
    """For both models, a square cut out of every image, words blanked out of texts, measurements out of tables."""

    def augment(inputs: Tensor) -> Tensor:
        if not inputs.is_floating_point():
            return _without_words(inputs, DROPPED)
        if inputs.ndim == 2:
            return inputs * (torch.rand_like(inputs) >= DROPPED)
        rows, columns = torch.arange(inputs.shape[-2])[:, None], torch.arange(inputs.shape[-1])
        top, left = (torch.randint(side - CUT + 1, (len(inputs), 1, 1, 1)) for side in inputs.shape[-2:])
        square = (rows >= top) & (rows < top + CUT) & (columns >= left) & (columns < left + CUT)
        return inputs.masked_fill(square, 0.0)

    return replace(recipe, augment=augment, epochs=recipe.epochs * 3 // 2)


def rare_classes_oversampled(recipe: Recipe) -> Recipe:
    """Rows of rare classes repeated until every class is as frequent as the most frequent one."""

    def train_set(data: TensorDataset) -> TensorDataset:
        inputs, labels = data.tensors
        by_class = [torch.nonzero(labels == kind)[:, 0] for kind in labels.unique()]  # type: ignore[no-untyped-call]
        most = max(len(rows) for rows in by_class)
        chosen = torch.cat([rows.repeat(-(-most // len(rows)))[:most] for rows in by_class])
        return TensorDataset(inputs[chosen], labels[chosen])

    return replace(recipe, train_set=train_set)


def unlabelled_rows_added(recipe: Recipe) -> Recipe:
    """As many rows again out of the teacher's training set, and the teacher alone says what they are."""

    def split(data: Data) -> Data:
        more = len(data.train)
        pairs = zip(data.train.tensors, data.teacher.tensors, strict=True)
        joined = (torch.cat([own, other[-more:]]) for own, other in pairs)
        return replace(data, train=TensorDataset(*joined))

    return replace(recipe, alpha=1.0, split=split)


VARIANTS: tuple[Variant, ...] = (
    Variant("linear warm-up and decay", linear_warm_up_and_decay, kinds=MEASURED),
    Variant("gradual unfreezing", gradual_unfreezing, kinds=MEASURED),
    Variant("moving average of weights", moving_average, kinds=MEASURED),
    Variant("best epoch kept", best_epoch, kinds=MEASURED),
    Variant("teacher adapted first", teacher_adapted, kinds=MEASURED),
    Variant("pruned copy of the teacher", pruned_copy, kinds=MEASURED),
    Variant("quantisation-aware", quantisation_aware, kinds=MEASURED),
    # Where both models end in a linear classifier.
    Variant("teacher's classifier reused", teacher_classifier_reused, tasks=("digits", "newsgroups", "profiles")),
    # Where both models embed the same numbers under the same name.
    Variant("embeddings of the teacher", embeddings_of_the_teacher, tasks=("newsgroups", "movielens")),
    # Where inputs are numbers and no column is an id.
    Variant("mixed inputs", mixed_inputs, tasks=("digits", "profiles")),
    # MovieLens' rows are ids and bits of genres.
    Variant("noisy student", noisy_student, tasks=("digits", "newsgroups", "profiles", "clicks")),
    # Where no column is an id.
    Variant("parts cut out", parts_cut_out, tasks=("digits", "newsgroups", "profiles")),
    # Elsewhere classes are about equally frequent already.
    Variant("rare classes oversampled", rare_classes_oversampled, tasks=("movielens", "profiles", "clicks")),
    Variant("unlabelled rows added", unlabelled_rows_added, kinds=MEASURED),
)
