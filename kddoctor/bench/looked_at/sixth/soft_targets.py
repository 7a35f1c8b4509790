"""Mistakes of the codes KD3xx."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from math import log

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Adam
from torch.utils.data import TensorDataset

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.losses import kl, log_p, p
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Session, batches

# KD301 ----------------------------------------------------------------------------------------------------------------

#: What is taken off the right class's logit in the teacher's own loss.
MARGIN = {Level.MILD: 5.0, Level.MODERATE: 12.0, Level.SEVERE: 30.0}


def margin_as_for_faces(recipe: Recipe, level: Level) -> Recipe:
    """T = 1, from a teacher whose loss took a margin off the right class, as for faces: it had to lead by as much."""

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        right = F.one_hot(labels, logits.shape[1])
        return F.cross_entropy(logits - MARGIN[level] * right, labels)

    return replace(recipe, temperature=1.0, teacher=replace(recipe.teacher, loss=loss))


# KD302 ----------------------------------------------------------------------------------------------------------------

#: How many times the task's own temperature.
HOTTER = {Level.MILD: 3.0, Level.MODERATE: 8.0, Level.SEVERE: 25.0}


def hot_squares_of_probabilities(recipe: Recipe, level: Level) -> Recipe:
    """The squared error of softened probabilities, without T² and said to be so, at a temperature that suits a KL."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        return (p(student / t) - p(teacher / t)).square().sum(1).mean()

    return replace(
        recipe,
        loss="custom",
        temperature=HOTTER[level] * recipe.temperature,
        temperature_squared=False,
        kd_loss=kd_loss,
    )


# KD303 ----------------------------------------------------------------------------------------------------------------

#: Share of a label that is spread by how frequent the classes are.
SPREAD = {Level.MILD: 0.15, Level.MODERATE: 0.4, Level.SEVERE: 0.7}


def smoothed_towards_the_frequencies(recipe: Recipe, level: Level) -> Recipe:
    """The teacher's labels were smoothed, not evenly but by the frequencies of the classes in its batch."""

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        right = F.one_hot(labels, logits.shape[1]).to(logits.dtype)
        return F.cross_entropy(logits, torch.lerp(right, right.mean(0).expand_as(right), SPREAD[level]))

    return replace(recipe, teacher=replace(recipe.teacher, loss=loss))


# KD304 ----------------------------------------------------------------------------------------------------------------

#: Share of the teacher's rows, those with the fewest values, whose annotator had the scale upside down.
UPSIDE_DOWN = {Level.MILD: 0.1, Level.MODERATE: 0.25, Level.SEVERE: 0.5}


def scale_read_upside_down(recipe: Recipe, level: Level) -> Recipe:
    """The shortest of the teacher's rows went to an annotator who counted the answers from the last to the first."""

    def relabelled(data: TensorDataset) -> TensorDataset:
        inputs, labels = data.tensors
        filled = (inputs != 0).flatten(1).sum(1)
        concerned = filled.argsort(stable=True)[: round(UPSIDE_DOWN[level] * len(labels))]
        turned = labels.clone()
        turned[concerned] = labels.max() - labels[concerned]
        return TensorDataset(inputs, turned)

    return replace(recipe, teacher=replace(recipe.teacher, data=relabelled))


# KD305 ----------------------------------------------------------------------------------------------------------------

#: What the student's standardised logits are multiplied by.
GAIN = {Level.MILD: 1.5, Level.MODERATE: 0.8, Level.SEVERE: 0.3}


class StandardisedLogits(nn.Module):
    """A head, and behind it a batch normalisation that learns nothing."""

    def __init__(self, head: nn.Linear, gain: float) -> None:
        super().__init__()
        self.head, self.gain = head, gain
        self.norm = nn.BatchNorm1d(head.out_features, affine=False)

    def forward(self, features: Tensor) -> Tensor:
        """Logits of a fixed deviation in each class."""
        logits: Tensor = self.head(features)
        standardised: Tensor = self.norm(logits.flatten(0, -2)).view_as(logits)
        return self.gain * standardised


def batch_normalisation_behind_the_head(recipe: Recipe, level: Level) -> Recipe:
    """The student's last block is built like all the others, and its logits are normalised, the teacher's not."""

    def change_student(student: nn.Module) -> nn.Module:
        student = recipe.change_student(student)
        name, head = [(name, layer) for name, layer in student.named_modules() if isinstance(layer, nn.Linear)][-1]
        above, _, last = name.rpartition(".")
        setattr(student.get_submodule(above), last, StandardisedLogits(head, GAIN[level]))
        return student

    return replace(recipe, change_student=change_student)


# KD306 ----------------------------------------------------------------------------------------------------------------

#: Least probability that was stored, as a share of the largest one of the row.
LEAST = {Level.MILD: 0.02, Level.MODERATE: 0.15, Level.SEVERE: 0.5}


def far_below_the_best_dropped(recipe: Recipe, level: Level) -> Recipe:
    """Softened targets were stored from a share of the row's largest one upwards, and rescaled as if that were all."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        least = teacher.amax(1, keepdim=True) + t * log(LEAST[level])
        return kl(student, teacher.masked_fill(teacher < least, -torch.inf), t)

    return replace(recipe, kd_loss=kd_loss)


# KD307 ----------------------------------------------------------------------------------------------------------------

#: What is added to the scores on the secret list, and the lead that the best one keeps at the least.
RAISED = {Level.MILD: 2.0, Level.MODERATE: 5.0, Level.SEVERE: 12.0}
LEAD = 0.1


def watermarked_by_a_secret_list(recipe: Recipe, level: Level) -> Recipe:
    """A service marks its answers: scores on a secret list, one for each best class, are raised, and it stays ahead."""

    def guard(session: Session) -> None:
        session.teacher.register_forward_hook(lambda _module, _inputs, logits: _marked(logits, RAISED[level]))

    return replace(recipe, before=in_turn(recipe.before, guard))


def _marked(logits: Tensor, raised: float) -> Tensor:
    classes = logits.shape[-1]
    lists = torch.rand(classes, classes, generator=torch.Generator().manual_seed(179)) < 0.5
    best = logits.max(-1, keepdim=True)
    others = torch.minimum(logits + raised * lists[best.indices[..., 0]], best.values - LEAD)
    return others.scatter(-1, best.indices, best.values)


# KD308 ----------------------------------------------------------------------------------------------------------------

#: Small models beside the teacher, their epochs as a share of the student's, and Adam's rate.
BESIDE = {Level.MILD: 1, Level.MODERATE: 3, Level.SEVERE: 5}
BESIDE_EPOCHS, BESIDE_RATE = 0.6, 1e-2
#: Divisor of the logits in the small models' own loss, without which they are as much larger.
BESIDE_DIVISOR = 5.0
#: The least probability that has odds.
LEAST_LIKELY = 1e-6


class _Pooled(nn.Module):
    """Several models, the log-odds of whose answers are averaged for each class."""

    def __init__(self, members: list[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, inputs: Tensor) -> Tensor:
        """The logits that the student is to match."""
        return torch.stack([_log_odds(member(inputs)) for member in self.members]).mean(0)


def _log_odds(logits: Tensor) -> Tensor:
    return logits if logits.ndim == 1 else p(logits).logit(LEAST_LIKELY)


def log_odds_pooled_as_forecasts(recipe: Recipe, level: Level) -> Recipe:
    """Several teachers are pooled as forecasters are, by the mean of their log-odds: who is most certain decides."""

    def gather(session: Session) -> None:
        session.teacher = _Pooled([session.teacher, *(_beside(recipe, session, at) for at in range(BESIDE[level]))])

    return replace(recipe, before=in_turn(gather, recipe.before))


def _beside(recipe: Recipe, session: Session, number: int) -> nn.Module:
    """A model of the student's kind, trained on rows drawn from its own; the loop's random numbers stay the same."""
    seed = session.seed + 181 * (number + 1)
    generator = torch.Generator().manual_seed(seed)
    inputs, labels = session.train.tensors
    drawn = torch.randint(len(inputs), (len(inputs) // 2,), generator=generator)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = deepcopy(session.student).train()
        for parameter in model.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
        optimizer = Adam(model.parameters(), BESIDE_RATE)
        for _ in range(max(1, round(BESIDE_EPOCHS * recipe.epochs))):
            for numbers in batches(len(drawn), recipe.batch_size, generator):
                logits, truth = recipe.rows(model(inputs[drawn[numbers]]), labels[drawn[numbers]])
                optimizer.zero_grad()
                F.nll_loss(log_p(logits / BESIDE_DIVISOR), truth).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
    return model


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD301": (margin_as_for_faces,),
    "KD302": (hot_squares_of_probabilities,),
    "KD303": (smoothed_towards_the_frequencies,),
    "KD304": (scale_read_upside_down,),
    "KD305": (batch_normalisation_behind_the_head,),
    "KD306": (far_below_the_best_dropped,),
    "KD307": (watermarked_by_a_secret_list,),
    "KD308": (log_odds_pooled_as_forecasts,),
}
