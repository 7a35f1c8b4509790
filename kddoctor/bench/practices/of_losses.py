"""Sound practices with losses, targets and labels, as papers and public repositories have them; none is a mistake."""

from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass, replace
from math import log

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kddoctor.bench import losses
from kddoctor.bench.losses import log_p, p
from kddoctor.bench.recipe import Recipe, eval_and_freeze
from kddoctor.bench.rows import class_rows
from kddoctor.bench.session import Batch, Session, batches
from kddoctor.bench.variant import Variant

SMOOTHING = 0.1
#: What DKD gives the classes beside the true one, against 1 for the true one (Zhao et al. 2022).
BESIDE = 2.0
#: Temperature and weight of Sun et al. 2024 for standardised logits (0.1 on the labels and 9 on the distillation).
STANDARD_TEMPERATURE, STANDARD_ALPHA = 2.0, 0.99
#: The part of the epochs in which the distillation term gains its weight.
WARM_UP = 0.2
#: How long, and how fast, a second member of an ensemble is trained further.
MORE_EPOCHS, MORE_RATE = 2, 5e-4
#: Weights of terms beside the distillation.
HINT_WEIGHT, PAIR_WEIGHT = 0.5, 1.0
#: Of every row that is divided by its own deviation.
EPSILON = 1e-7
#: Tasks that augment no batch, so that the teacher's answers can be kept row by row.
UNAUGMENTED = ("digits", "newsgroups", "movielens", "sentiment", "clicks", "profiles", "spelling", "language", "vowels")
#: Tasks on which the Jensen-Shannon divergence was measured and is sound.
MEASURED_FOR_JSD = ("digits", "newsgroups", "profiles", "clicks", "language", "clothes")


@dataclass
class Step:
    """What losses need beside their rows. Written before each step, and as at first again after the run.

    done: the part of the epochs that is over. labels: of the rows.
    """

    done: float = 0.0
    labels: Tensor | None = None


def followed(recipe: Recipe, step: Step) -> Recipe:
    """The recipe, with the step kept up to date."""

    def targets(session: Session, batch: Batch) -> Tensor:
        logits = recipe.targets(session, batch)
        step.done = batch.epoch / recipe.epochs
        step.labels = class_rows(logits, batch.labels)[1]
        return logits

    def after(session: Session) -> None:
        recipe.after(session)
        step.done, step.labels = 0.0, None

    return replace(recipe, targets=targets, after=after)


# The labels' term -----------------------------------------------------------------------------------------


def smoothed_labels(recipe: Recipe) -> Recipe:
    """Label smoothing in the labels' term."""

    def ce_loss(student: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(student, labels, label_smoothing=SMOOTHING)

    return replace(recipe, ce_loss=ce_loss)


def weighted_classes(recipe: Recipe) -> Recipe:
    """Cross-entropy with weights that fall with the square root of a class's frequency in the training set."""
    frequencies: dict[str, Tensor] = {}

    def before(session: Session) -> None:
        recipe.before(session)
        labels = session.train.tensors[1]
        frequencies["of"] = torch.bincount(labels[labels >= 0]).clamp(min=1)

    def ce_loss(student: Tensor, labels: Tensor) -> Tensor:
        counts = frequencies["of"].to(student.dtype)
        weight = student.new_ones(student.shape[-1])
        weight[: len(counts)] = (counts.mean() / counts).sqrt()
        return F.cross_entropy(student, labels, weight=weight)

    def after(session: Session) -> None:
        recipe.after(session)
        frequencies.clear()

    return replace(recipe, before=before, ce_loss=ce_loss, after=after)


# Another distillation loss --------------------------------------------------------------------------------


def certain_rows_first(recipe: Recipe) -> Recipe:
    """Every row's divergence weighted by exp(-H), H the entropy of the teacher there; weights have mean 1."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        entropy = -(p(teacher) * log_p(teacher)).sum(-1)
        weight = torch.exp(-entropy)
        rows = F.kl_div(log_p(student / t), p(teacher / t), reduction="none").sum(-1)
        return (weight / weight.mean() * rows).mean() * t * t

    return replace(recipe, kd_loss=kd_loss, loss="custom")


def decoupled(recipe: Recipe) -> Recipe:
    """DKD: the true class against the rest, and the rest among themselves with a weight of its own (Zhao et al.)."""
    step = Step()

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        assert step.labels is not None
        true = F.one_hot(step.labels, student.shape[-1]).bool()
        ours, theirs = p(student / t)[true], p(teacher / t)[true]
        two = torch.stack([ours, 1 - ours], dim=1).clamp(min=EPSILON).log()
        of_true = F.kl_div(two, torch.stack([theirs, 1 - theirs], dim=1), reduction="batchmean")
        away = 1000.0 * true
        beside = F.kl_div(log_p(student / t - away), p(teacher / t - away), reduction="batchmean")
        return (of_true + BESIDE * beside) * t * t

    return replace(followed(recipe, step), kd_loss=kd_loss, loss="custom")


def standardised(recipe: Recipe) -> Recipe:
    """Both models' logits standardised row by row before the softmax (Sun et al. 2024)."""

    def standard(logits: Tensor) -> Tensor:
        return (logits - logits.mean(-1, keepdim=True)) / (logits.std(-1, keepdim=True) + EPSILON)

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        return losses.kl(standard(student), standard(teacher), t)

    return replace(
        recipe,
        kd_loss=kd_loss,
        loss="custom",
        temperature=STANDARD_TEMPERATURE,
        alpha=STANDARD_ALPHA,
        epochs=2 * recipe.epochs,
    )


def jensen_shannon(recipe: Recipe) -> Recipe:
    """The Jensen-Shannon divergence of the softened outputs, with twice the epochs as its gradients are smaller."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        log_q, log_r = log_p(student / t), log_p(teacher / t)
        middle = torch.logaddexp(log_q, log_r) - log(2)
        both = [F.kl_div(middle, one, reduction="batchmean", log_target=True) for one in (log_q, log_r)]
        return (both[0] + both[1]) / 2 * t * t

    return replace(recipe, kd_loss=kd_loss, loss="jsd", epochs=2 * recipe.epochs)


# Schedules of the loss ------------------------------------------------------------------------------------


def cooled(recipe: Recipe) -> Recipe:
    """Annealing: from the declared temperature down to 1 over the epochs (Jafari et al. 2021)."""
    step = Step()

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        return losses.kl(student, teacher, t + (1 - t) * step.done)

    return replace(followed(recipe, step), kd_loss=kd_loss, loss="custom")


def labels_gain(recipe: Recipe) -> Recipe:
    """The teacher alone at first, the labels more and more: over the epochs alpha falls, its mean is the declared."""
    step = Step()

    def mix(ce: Tensor, kd: Tensor, alpha: float) -> Tensor:
        return losses.weighted(ce, kd, 1 - 2 * (1 - alpha) * step.done)

    return replace(followed(recipe, step), mix=mix)


def warmed_up(recipe: Recipe) -> Recipe:
    """The weight of the distillation term rises from little to alpha over the first fifth of the epochs."""
    step = Step()

    def mix(ce: Tensor, kd: Tensor, alpha: float) -> Tensor:
        factor = min(1.0, (step.done + 1 / recipe.epochs) / WARM_UP)
        return factor * alpha * kd + (1 - alpha) * ce

    return replace(followed(recipe, step), mix=mix)


# Other targets --------------------------------------------------------------------------------------------


class Ensemble(nn.Module):
    """The mean of several models' logits."""

    def __init__(self, members: Iterable[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, inputs: Tensor) -> Tensor:
        """What the members take to what they give."""
        return torch.stack([member(inputs) for member in self.members]).mean(0)


def ensemble(recipe: Recipe) -> Recipe:
    """An ensemble as the teacher: the checkpoint, and a copy of it that is tuned to the student's data for a while."""

    def before(session: Session) -> None:
        tuned = deepcopy(session.teacher).train()
        optimizer = torch.optim.Adam(tuned.parameters(), MORE_RATE)
        generator = torch.Generator().manual_seed(session.seed)
        inputs, labels = session.train.tensors
        for _ in range(MORE_EPOCHS):
            for rows in batches(len(labels), recipe.batch_size, generator):
                optimizer.zero_grad()
                loss = F.cross_entropy(*class_rows(tuned(inputs[rows]), labels[rows]))
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
        session.teacher = Ensemble([session.teacher, tuned])
        eval_and_freeze(session)

    return replace(recipe, before=before)


def cached_in_half(recipe: Recipe) -> Recipe:
    """The teacher's logits computed once and kept in half precision."""

    def before(session: Session) -> None:
        recipe.before(session)
        session.notes["logits"] = session.cached_by_row.half()

    def targets(session: Session, batch: Batch) -> Tensor:
        logits: Tensor = session.notes["logits"][batch.rows]
        return logits.float()

    return replace(recipe, before=before, targets=targets)


def corrected(recipe: Recipe) -> Recipe:
    """Where the teacher is wrong, its logits of the class that it names and of the true one change places."""

    def targets(session: Session, batch: Batch) -> Tensor:
        logits = recipe.targets(session, batch)
        named, true = logits.argmax(-1, keepdim=True), batch.labels.unsqueeze(-1)
        return logits.scatter(-1, named, logits.gather(-1, true)).scatter(-1, true, logits.gather(-1, named))

    return replace(recipe, targets=targets)


# A term more ----------------------------------------------------------------------------------------------


def head_of(model: nn.Module) -> nn.Linear:
    """The linear layer that gives the logits."""
    return [module for module in model.modules() if isinstance(module, nn.Linear)][-1]


def with_features(recipe: Recipe) -> Recipe:
    """The recipe, with what enters either model's last layer noted at each pass."""

    def before(session: Session) -> None:
        recipe.before(session)
        for name, model in (("teacher", session.teacher), ("student", session.student)):
            session.notes[f"{name} hook"] = head_of(model).register_forward_pre_hook(
                lambda _module, inputs, name=name: session.notes.__setitem__(name, inputs[0])
            )

    def after(session: Session) -> None:
        recipe.after(session)
        for name in ("teacher hook", "student hook"):
            session.notes.pop(name).remove()

    return replace(recipe, before=before, after=after)


def hinted(recipe: Recipe) -> Recipe:
    """The student's last features, through a learnt projection, also learn the teacher's (Romero et al. 2015)."""
    noted = with_features(recipe)

    def before(session: Session) -> None:
        noted.before(session)
        ours, theirs = (head_of(model).in_features for model in (session.student, session.teacher))
        session.notes["projector"] = nn.Linear(ours, theirs)

    def parameters(session: Session) -> Iterable[nn.Parameter]:
        return [*recipe.parameters(session), *session.notes["projector"].parameters()]

    def hint(session: Session, _batch: Batch) -> Tensor:
        return F.mse_loss(session.notes["projector"](session.notes["student"]), session.notes["teacher"])

    return replace(noted, before=before, parameters=parameters, hint=hint, hint_weight=HINT_WEIGHT)


def in_pairs(recipe: Recipe) -> Recipe:
    """Which of two rows of a batch is the better one, and how surely, as the teacher has it: a soft RankNet term."""

    def targets(session: Session, batch: Batch) -> Tensor:
        logits = session.notes["teacher"] = recipe.targets(session, batch)
        return logits

    def answers(session: Session, batch: Batch) -> Tensor:
        logits = session.notes["student"] = recipe.answers(session, batch)
        return logits

    def hint(session: Session, _batch: Batch) -> Tensor:
        ours, theirs = (session.notes[name][:, None] - session.notes[name] for name in ("student", "teacher"))
        return F.binary_cross_entropy_with_logits(ours, theirs.sigmoid())

    return replace(recipe, targets=targets, answers=answers, hint=hint, hint_weight=PAIR_WEIGHT)


#: Measured at seed 1 on digits, newsgroups, movielens, profiles, clicks, language and clothes, where the kind fits.
VARIANTS: tuple[Variant, ...] = (
    Variant("labels smoothed", smoothed_labels),
    Variant("classes weighted in the labels term", weighted_classes),
    Variant("certain rows weigh more", certain_rows_first),
    # On clothes 0.011 below the plain recipe; two classes have nothing beside the true one and its rest.
    Variant(
        "decoupled distillation",
        decoupled,
        kinds=("multiclass", "tokens"),
        tasks=("digits", "newsgroups", "profiles", "language"),
    ),
    # Two logits of a row have nothing left but their order.
    Variant("logits standardised", standardised, kinds=("multiclass", "tokens")),
    # On MovieLens 0.027 below the plain recipe.
    Variant("Jensen-Shannon divergence", jensen_shannon, tasks=MEASURED_FOR_JSD),
    Variant("temperature cooled", cooled),
    Variant("labels gain weight", labels_gain),
    Variant("distillation warmed up", warmed_up),
    Variant("ensemble with a tuned copy", ensemble),
    Variant("logits cached in half precision", cached_in_half, tasks=UNAUGMENTED),
    # On language 0.015 below the plain recipe; on digits the teacher has nothing to correct.
    Variant("targets corrected", corrected, kinds=("multiclass",), tasks=("newsgroups", "profiles", "clothes")),
    Variant("hint through a projection", hinted, kinds=("multiclass",)),
    Variant("pairs of rows", in_pairs, kinds=("ranking",)),
)
