"""Mistakes of the codes KD3xx."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Adam
from torch.utils.data import TensorDataset

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.losses import kl, log_p, p
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.rows import IGNORED
from kddoctor.bench.session import Session, batches

# KD301 ---------------------------------------------------------------------------------------------------------------

#: Epochs on the student's few rows, as a multiple of the teacher's own on its many.
CORRECTED = {Level.MILD: 2, Level.MODERATE: 4, Level.SEVERE: 10}


def teacher_adapted_to_the_transfer_set(recipe: Recipe, level: Level) -> Recipe:
    """Before it is distilled at T = 1 the teacher is fine-tuned on the transfer set, until it knows every row."""

    def adapt(session: Session) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(session.seed + 41)
            _fit(
                recipe, session, session.teacher, CORRECTED[level] * recipe.teacher.epochs, recipe.teacher.learning_rate
            )

    return replace(recipe, temperature=1.0, before=in_turn(adapt, recipe.before))


def _fit(recipe: Recipe, session: Session, model: nn.Module, epochs: int, rate: float, share: float = 1.0) -> None:
    """Train on the labels of the session's rows, or of as many as a share of them, drawn with replacement."""
    inputs, labels = session.train.tensors
    if share < 1:
        drawn = torch.randint(len(inputs), (max(2, round(share * len(inputs))),))
        inputs, labels = inputs[drawn], labels[drawn]
    optimizer = Adam(model.train().parameters(), rate)
    generator = torch.Generator().manual_seed(session.seed + 43)
    for _ in range(epochs):
        for rows in batches(len(inputs), recipe.batch_size, generator):
            loss = recipe.ce_loss(*recipe.rows(model(inputs[rows]), labels[rows]))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()


# KD302 ---------------------------------------------------------------------------------------------------------------

#: Temperatures of classifiers with wide logits, whatever the range of these.
TEMPERATURE = {Level.MILD: 10.0, Level.MODERATE: 20.0, Level.SEVERE: 100.0}


def vision_temperature_in_a_language_trainer(recipe: Recipe, level: Level) -> Recipe:
    """The symmetric divergence of a language model's trainer, which knows no T², gets the temperature of old papers."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        mixture = ((p(student / t) + p(teacher / t)) / 2).log()
        sides = [F.kl_div(mixture, log_p(z / t), reduction="batchmean", log_target=True) for z in (student, teacher)]
        return (sides[0] + sides[1]) / 2

    return replace(
        recipe,
        temperature=TEMPERATURE[level],
        temperature_squared=False,
        loss="jsd",
        kd_loss=kd_loss,
    )


# KD303 ---------------------------------------------------------------------------------------------------------------

#: How far below the largest logit the others may lie without a penalty, and the weight of the penalty.
MARGIN = {Level.MILD: 6.0, Level.MODERATE: 4.0, Level.SEVERE: 2.0}
PENALTY = 0.1


def margin_based_label_smoothing(recipe: Recipe, level: Level) -> Recipe:
    """To be well calibrated, the teacher paid for every logit that lies further below its best than a margin."""

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        kept = labels != IGNORED
        below = logits[kept].amax(1, keepdim=True) - logits[kept]
        return F.cross_entropy(logits[kept], labels[kept]) + PENALTY * F.relu(below - MARGIN[level]).sum(1).mean()

    return replace(recipe, teacher=replace(recipe.teacher, loss=loss))


# KD304 ---------------------------------------------------------------------------------------------------------------

#: Share of the teacher's rows that an annotator had too little time for.
HASTY = {Level.MILD: 0.06, Level.MODERATE: 0.13, Level.SEVERE: 0.25}
#: Columns that words and other numbers are counted in.
COUNTED = 512


def hasty_annotators_went_by_the_looks(recipe: Recipe, level: Level) -> Recipe:
    """Rows that look most like another class were given that class by the crowd that labelled the teacher's data."""

    def relabelled(data: TensorDataset) -> TensorDataset:
        inputs, labels = data.tensors
        likeness = _likeness(_looks(inputs), labels)
        own = likeness.gather(1, labels[:, None])[:, 0]
        other, others = likeness.scatter(1, labels[:, None], -torch.inf).max(1)
        wrong = (own - other).argsort()[: round(HASTY[level] * len(labels))]
        return TensorDataset(inputs, labels.index_copy(0, wrong, others[wrong]))

    return replace(recipe, teacher=replace(recipe.teacher, data=relabelled))


def _looks(inputs: Tensor) -> Tensor:
    """[N, D]: pixels as they are, numbers of words and things as counts."""
    flat = inputs.flatten(1)
    if not flat.is_floating_point():
        flat = torch.zeros(len(flat), COUNTED).scatter_add(1, flat % COUNTED, torch.ones(flat.shape))
    return F.normalize(flat - flat.mean(0))


def _likeness(looks: Tensor, labels: Tensor) -> Tensor:
    """[N, C]: of each row to the mean of each class."""
    means = torch.stack([looks[labels == label].mean(0) for label in range(int(labels.max()) + 1)])
    return looks @ F.normalize(means).T


# KD305 ---------------------------------------------------------------------------------------------------------------

#: Scale of the cosines; heads of this kind usually learn one, or have 16 and more.
SCALE = {Level.MILD: 8.0, Level.MODERATE: 4.0, Level.SEVERE: 2.0}


class CosineHead(nn.Linear):
    """Logits are cosines between features and the classes' weights."""

    def __init__(self, head: nn.Linear, scale: float) -> None:
        super().__init__(head.in_features, head.out_features, bias=False)
        self.scale = scale

    def forward(self, features: Tensor) -> Tensor:
        """[…, D] features to […, C] logits between minus scale and scale."""
        return self.scale * F.linear(F.normalize(features, dim=-1), F.normalize(self.weight))


def cosine_head_without_its_scale(recipe: Recipe, level: Level) -> Recipe:
    """The student has the cosine head of a retrieval model; the scale that belongs to it was left behind."""

    def change_student(student: nn.Module) -> nn.Module:
        student = recipe.change_student(student)
        name, head = [pair for pair in student.named_modules() if isinstance(pair[1], nn.Linear)][-1]
        parent, _, last = name.rpartition(".")
        setattr(student.get_submodule(parent), last, CosineHead(head, SCALE[level]))
        return student

    return replace(recipe, change_student=change_student)


# KD306 ---------------------------------------------------------------------------------------------------------------

#: Share of the classes that a cache keeps of each of the teacher's answers.
KEPT = {Level.MILD: 0.4, Level.MODERATE: 0.2, Level.SEVERE: 0.05}


def compared_on_the_kept_classes_only(recipe: Recipe, level: Level) -> Recipe:
    """The student's logits are gathered at the teacher's best classes, and both get a softmax over those alone."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        values, classes = teacher.topk(max(2, round(KEPT[level] * teacher.shape[1])), dim=1)
        return kl(student.gather(1, classes), values, t)

    return replace(recipe, kd_loss=kd_loss)


# KD307 ---------------------------------------------------------------------------------------------------------------

#: How fast a soft label falls off with the square of the steps up the tree of classes.
FALLS = {Level.MILD: 1.5, Level.MODERATE: 1.0, Level.SEVERE: 0.5}


def soft_labels_of_a_mixed_up_hierarchy(recipe: Recipe, level: Level) -> Recipe:
    """The teacher learnt soft labels from a tree of classes, whose leaves stand in another order than its own."""

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        kept = labels != IGNORED
        return F.cross_entropy(logits[kept], _relatives(logits.shape[1], FALLS[level])[labels[kept]])

    return replace(recipe, teacher=replace(recipe.teacher, loss=loss))


def _relatives(classes: int, falls: float) -> Tensor:
    """[C, C]: the soft label of each class in a binary tree with the leaves in an order of its own."""
    leaves = torch.randperm(classes, generator=torch.Generator().manual_seed(classes))
    apart = leaves[:, None] ^ leaves[None]
    height = (apart.float() + 0.5).log2().ceil().clamp_min(0)
    return F.softmax(-falls * height.square(), dim=1)


# KD308 ---------------------------------------------------------------------------------------------------------------

#: Share of the rows that each model beside the teacher was trained on.
BAGGED = {Level.MILD: 0.4, Level.MODERATE: 0.2, Level.SEVERE: 0.1}
#: How many of them there are, and their steps and learning rate.
MEMBERS, MEMBER_STEPS, MEMBER_RATE = 4, 400, 2e-2


class Committee(nn.Module):
    """Several models whose logits are averaged, each counting the more the more certain it is of the row."""

    def __init__(self, models: list[nn.Module]) -> None:
        super().__init__()
        self.models = nn.ModuleList(models)

    def forward(self, inputs: Tensor) -> Tensor:
        """The weighted mean of the members' logits."""
        logits = torch.stack([model(inputs) for model in self.models])
        certain = logits.abs() if logits.ndim == 2 else logits.abs().amax(-1, keepdim=True)
        mean: Tensor = (certain * logits).sum(0) / certain.sum(0)
        return mean


def bagged_logits_weighted_by_certainty(recipe: Recipe, level: Level) -> Recipe:
    """The teacher and models that were each trained on a few rows by heart vote with their logits, the surest most."""

    def gather(session: Session) -> None:
        with torch.random.fork_rng(devices=[]):
            bagged = [_bagged(recipe, session, number, BAGGED[level]) for number in range(MEMBERS)]
        session.teacher = Committee([session.teacher, *bagged])

    return replace(recipe, before=in_turn(gather, recipe.before))


def _bagged(recipe: Recipe, session: Session, number: int, share: float) -> nn.Module:
    torch.manual_seed(session.seed + 53 * (number + 1))
    member = deepcopy(session.student)
    for module in member.modules():
        reset = getattr(module, "reset_parameters", None)
        if callable(reset):
            reset()
    epochs = max(1, round(MEMBER_STEPS * recipe.batch_size / (share * len(session.train))))
    _fit(recipe, session, member, min(epochs, MEMBER_STEPS), MEMBER_RATE, share)
    return member


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD301": (teacher_adapted_to_the_transfer_set,),
    "KD302": (vision_temperature_in_a_language_trainer,),
    "KD303": (margin_based_label_smoothing,),
    "KD304": (hasty_annotators_went_by_the_looks,),
    "KD305": (cosine_head_without_its_scale,),
    "KD306": (compared_on_the_kept_classes_only,),
    "KD307": (soft_labels_of_a_mixed_up_hierarchy,),
    "KD308": (bagged_logits_weighted_by_certainty,),
}
