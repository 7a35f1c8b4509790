"""Sound distillations whose loss or targets differ from the plain recipe, as papers and public repositories have them.

Measured at seed 1 against the plain recipe on digits, newsgroups, movielens, profiles and clicks, and on
language where tokens make sense; not measured on the other tasks. Written without sight of lookalikes.py.
"""

import copy
import math
from collections.abc import Iterable
from dataclasses import replace
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR
from torch.utils.data import TensorDataset

from kddoctor.bench import losses
from kddoctor.bench.losses import log_p, p
from kddoctor.bench.recipe import Recipe, eval_and_freeze, run_student, run_teacher, train_student
from kddoctor.bench.rows import IGNORED, class_rows
from kddoctor.bench.session import Batch, Session, batches
from kddoctor.bench.task import NAMES, TRIAL_TASKS, Kind
from kddoctor.bench.variant import Variant

#: Where rows have more than two classes.
CLASSES: tuple[Kind, ...] = ("multiclass", "tokens")
#: Exponent of the focal loss, and the weight of the z-loss.
FOCAL, Z_LOSS = 2.0, 1e-3
#: Temperatures among which the calibrated one is looked for.
GRID = torch.linspace(0.5, 4.0, 71).tolist()
#: Classes whose logits are kept: a half of them, and never fewer than this.
FEWEST_KEPT = 5
#: Weight of the labels in mixed targets, and of the student's own last answers.
TRUTH, OWN = 0.1, 0.2
#: Passes of the teacher with its dropout on.
PASSES = 6
#: Dropout before the student's last layer, and the weight of the agreement between its two passes.
DROPPED, AGREEMENT = 0.1, 0.5
#: Share of the run over which the hidden-state term fades out, and its weight at first.
FADED, HIDDEN_WEIGHT = 0.5, 0.5

# The labels' term -----------------------------------------------------------------------------------------


def focal_labels(recipe: Recipe) -> Recipe:
    """Focal loss on the labels: rows that the student has already right count less (Lin et al. 2017)."""

    def ce_loss(student: Tensor, labels: Tensor) -> Tensor:
        ce = F.cross_entropy(student, labels, reduction="none")
        return ((1 - torch.exp(-ce)) ** FOCAL * ce).mean()

    return replace(recipe, ce_loss=ce_loss)


def z_loss(recipe: Recipe) -> Recipe:
    """The squared log-partition of the student's logits is kept small, as in large language models (PaLM, ST-MoE)."""

    def ce_loss(student: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(student, labels) + Z_LOSS * torch.logsumexp(student, dim=-1).square().mean()

    return replace(recipe, ce_loss=ce_loss)


# The distillation term ------------------------------------------------------------------------------------


def dist(recipe: Recipe) -> Recipe:
    """Correlation within rows and within classes in place of the divergence (DIST, Huang et al. 2022)."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        ours, theirs = p(student / t), p(teacher / t)
        return t * t * (2 - _correlation(ours, theirs) - _correlation(ours.T, theirs.T))

    return replace(recipe, kd_loss=kd_loss, loss="custom")


def _correlation(ours: Tensor, theirs: Tensor) -> Tensor:
    """Pearson's correlation of each row, the mean over rows."""
    ours, theirs = (rows - rows.mean(1, keepdim=True) for rows in (ours, theirs))
    return F.cosine_similarity(ours, theirs, dim=1, eps=1e-8).mean()


def sigmoid_per_class(recipe: Recipe) -> Recipe:
    """Each class a yes or no of its own: binary cross-entropy with the teacher's softened sigmoids."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        each = F.binary_cross_entropy_with_logits(student / t, torch.sigmoid(teacher / t), reduction="none")
        return t * t * each.sum(-1).mean()

    return replace(recipe, kd_loss=kd_loss, loss="custom")


def both_directions(recipe: Recipe) -> Recipe:
    """Half the forward divergence and half the reverse one."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        return 0.5 * losses.kl(student, teacher, t) + 0.5 * losses.reverse_kl(student, teacher, t)

    return replace(recipe, kd_loss=kd_loss, loss="custom")


# The targets ----------------------------------------------------------------------------------------------


class Calibrated(nn.Module):
    """A model whose logits are divided by a temperature (Guo et al. 2017)."""

    def __init__(self, model: nn.Module, temperature: float) -> None:
        super().__init__()
        self.model = model
        self.temperature = temperature

    def forward(self, inputs: Tensor) -> Tensor:
        """The model's logits, scaled."""
        logits: Tensor = self.model(inputs)
        return logits / self.temperature


def calibrated_teacher(recipe: Recipe) -> Recipe:
    """The teacher is calibrated on held-out rows before it teaches, by one temperature (Guo et al. 2017)."""

    @torch.no_grad()
    def before(session: Session) -> None:
        session.teacher.eval()
        inputs, labels = session.val.tensors
        logits, truth = class_rows(session.teacher(inputs), labels)
        best = min(GRID, key=lambda t: F.cross_entropy(logits / t, truth).item())
        session.teacher = Calibrated(session.teacher, best)
        eval_and_freeze(session)

    return replace(recipe, before=before)


def top_half(recipe: Recipe) -> Recipe:
    """The teacher's larger half of classes is kept, what it gave to the others is spread over them evenly."""

    def targets(session: Session, batch: Batch) -> Tensor:
        log_probabilities = log_p(run_teacher(session, batch))
        classes = log_probabilities.shape[-1]
        kept = min(classes - 1, max(FEWEST_KEPT, classes // 2))
        order = log_probabilities.argsort(dim=-1, descending=True)
        others = order[..., kept:]
        left = log_probabilities.gather(-1, others).logsumexp(-1, keepdim=True) - math.log(classes - kept)
        return log_probabilities.scatter(-1, others, left.expand_as(others))

    return replace(recipe, targets=targets)


def mixed_with_labels(recipe: Recipe) -> Recipe:
    """One loss against one target: nine tenths the teacher's answer, one tenth the label."""

    def targets(session: Session, batch: Batch) -> Tensor:
        logits = run_teacher(session, batch)
        if logits.ndim == 1:
            return torch.logit((1 - TRUTH) * torch.sigmoid(logits) + TRUTH * batch.labels, eps=1e-6)
        truth = F.one_hot(batch.labels.clamp(min=0), logits.shape[-1])
        return ((1 - TRUTH) * p(logits) + TRUTH * truth).clamp(min=1e-8).log()

    return replace(recipe, targets=targets, temperature=1.0, alpha=1.0, epochs=2 * recipe.epochs)


def mean_of_dropout_passes(recipe: Recipe) -> Recipe:
    """The teacher's answer is the mean of several passes with its dropout on and everything else in evaluation mode."""

    def targets(session: Session, batch: Batch) -> Tensor:
        dropouts = [module for module in session.teacher.modules() if isinstance(module, nn.Dropout)]
        for module in dropouts:
            module.train()
        passes = [_probabilities(run_teacher(session, batch)) for _ in range(PASSES)]
        for module in dropouts:
            module.eval()
        return _logits(torch.stack(passes).mean(0), yes_or_no=passes[0].ndim == 1)

    return replace(recipe, targets=targets)


def own_last_answers(recipe: Recipe) -> Recipe:
    """A fifth of the target is what the student itself said of the row an epoch ago (PS-KD, Kim et al. 2021)."""

    @torch.no_grad()
    def before_epoch(session: Session) -> None:
        if session.notes.setdefault("epochs", 0) > 0:
            session.student.eval()
            session.notes["own"] = _probabilities(session.student(session.train.tensors[0]))
        session.notes["epochs"] += 1
        train_student(session)

    def targets(session: Session, batch: Batch) -> Tensor:
        logits = run_teacher(session, batch)
        if "own" not in session.notes:
            return logits
        mixed = (1 - OWN) * _probabilities(logits) + OWN * session.notes["own"][batch.rows]
        return _logits(mixed, yes_or_no=logits.ndim == 1)

    return replace(recipe, before_epoch=before_epoch, targets=targets)


def _probabilities(logits: Tensor) -> Tensor:
    return torch.sigmoid(logits) if logits.ndim == 1 else p(logits)


def _logits(probabilities: Tensor, *, yes_or_no: bool) -> Tensor:
    return torch.logit(probabilities, eps=1e-6) if yes_or_no else probabilities.clamp(min=1e-8).log()


def where_teacher_is_right(recipe: Recipe) -> Recipe:
    """Rows that the teacher gets wrong are left out of the transfer set before the loop starts."""

    @torch.no_grad()
    def before(session: Session) -> None:
        eval_and_freeze(session)
        inputs, labels = session.train.tensors
        right = session.teacher(inputs).argmax(-1) == labels
        session.train = TensorDataset(inputs[right], labels[right])

    return replace(recipe, before=before)


def born_again(recipe: Recipe) -> Recipe:
    """A first student learns from the teacher, and the same student anew from the first (Furlanello et al. 2018)."""

    def before(session: Session) -> None:
        eval_and_freeze(session)
        first = copy.deepcopy(session.student)
        _first_generation(recipe, session, first)
        session.teacher = first
        eval_and_freeze(session)

    return replace(recipe, before=before)


def _first_generation(recipe: Recipe, session: Session, first: nn.Module) -> None:
    inputs, labels = session.train.tensors
    generator = torch.Generator().manual_seed(session.seed + 1)
    optimizer = _optimizer(recipe, first)
    schedule = CosineAnnealingLR(optimizer, recipe.epochs)
    for _ in range(recipe.epochs):
        for rows in batches(len(inputs), recipe.batch_size, generator):
            with torch.no_grad():
                answers = session.teacher(inputs[rows])
            student, truth = recipe.rows(first(inputs[rows]), labels[rows])
            teacher, _ = recipe.rows(answers, labels[rows])
            kd = recipe.kd_loss(student, teacher, recipe.temperature)
            loss = recipe.mix(recipe.ce_loss(student, truth), kd, recipe.alpha)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(first.parameters(), recipe.clip or math.inf)
            optimizer.step()
        schedule.step()


def _optimizer(recipe: Recipe, model: nn.Module) -> Optimizer:
    rate, decay = recipe.learning_rate, recipe.weight_decay
    if recipe.optimizer == "sgd":
        return SGD(model.parameters(), rate, momentum=recipe.momentum, weight_decay=decay)
    kind = Adam if recipe.optimizer == "adam" else AdamW
    return kind(model.parameters(), rate, weight_decay=decay)


# A third term ---------------------------------------------------------------------------------------------


def r_drop(recipe: Recipe) -> Recipe:
    """Two passes of a student with dropout are to agree with each other (R-Drop, Liang et al. 2021)."""

    def answers(session: Session, batch: Batch) -> Tensor:
        session.notes["first"] = run_student(session, batch)
        first: Tensor = session.notes["first"]
        return first

    def hint(session: Session, batch: Batch) -> Tensor:
        first, _ = class_rows(session.notes["first"], batch.labels)
        second, _ = class_rows(run_student(session, batch), batch.labels)
        return 0.5 * (losses.kl(first, second, 1.0) + losses.kl(second, first, 1.0))

    return replace(recipe, change_student=_with_dropout, answers=answers, hint=hint, hint_weight=AGREEMENT)


def _with_dropout(student: nn.Module) -> nn.Module:
    """Dropout before the last linear layer."""
    path, last = _last_linear(student)
    parent, _, name = path.rpartition(".")
    setattr(student.get_submodule(parent), name, nn.Sequential(nn.Dropout(DROPPED), last))
    return student


def _last_linear(model: nn.Module) -> tuple[str, nn.Linear]:
    return [(name, module) for name, module in model.named_modules() if isinstance(module, nn.Linear)][-1]


def fading_hidden_states(recipe: Recipe) -> Recipe:
    """The last hidden states, projected, point the same way as the teacher's; the term fades out by half-time."""

    def before(session: Session) -> None:
        eval_and_freeze(session)
        sizes = {}
        for role, model in (("student", session.student), ("teacher", session.teacher)):
            _, last = _last_linear(model)
            last.register_forward_pre_hook(_Noted(session, role))
            sizes[role] = last.in_features
        session.notes["projector"] = nn.Linear(sizes["student"], sizes["teacher"])

    def parameters(session: Session) -> Iterable[nn.Parameter]:
        return chain(session.student.parameters(), session.notes["projector"].parameters())

    def hint(session: Session, batch: Batch) -> Tensor:
        counts = batch.labels != IGNORED
        ours = session.notes["projector"](session.notes["student"][counts])
        away = 1 - F.cosine_similarity(ours, session.notes["teacher"][counts].detach(), dim=-1).mean()
        steps = recipe.epochs * (len(session.train) // session.batch_size)
        return max(0.0, 1 - batch.step / (FADED * steps)) * away

    return replace(recipe, before=before, parameters=parameters, hint=hint, hint_weight=HIDDEN_WEIGHT)


class _Noted:
    """A hook that keeps what a layer is given."""

    def __init__(self, session: Session, role: str) -> None:
        self.session, self.role = session, role

    def __call__(self, _module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.session.notes[self.role] = inputs[0]


def _but(*left_out: str) -> tuple[str, ...]:
    """All tasks but these."""
    return tuple(name for name in (*NAMES, *TRIAL_TASKS) if name not in left_out)


VARIANTS: tuple[Variant, ...] = (
    Variant("focal loss on labels", focal_labels),
    Variant("z-loss", z_loss),
    # On digits two points behind the plain recipe.
    Variant("correlations as in DIST", dist, kinds=CLASSES, tasks=_but("digits")),
    # Behind the plain recipe on newsgroups (0.012) and language (0.041); on yes or no, the divergence's own gradient.
    Variant("sigmoid for each class", sigmoid_per_class, kinds=CLASSES, tasks=_but("newsgroups", "language")),
    Variant("both directions of the divergence", both_directions),
    # On movielens and newsgroups the best temperature is 1, which leaves the plain recipe.
    Variant("teacher calibrated beforehand", calibrated_teacher, tasks=_but("movielens", "newsgroups")),
    Variant("upper half of classes, the rest spread", top_half, kinds=CLASSES),
    # On digits two points behind the plain recipe.
    Variant("targets mixed with labels", mixed_with_labels, tasks=_but("digits")),
    Variant("mean of dropout passes", mean_of_dropout_passes),
    Variant("own last answers in the targets", own_last_answers),
    # Tokens have rows that are partly right; on ranking the rare class would vanish. Digits: it leaves out hardly any.
    Variant("rows where the teacher is right", where_teacher_is_right, kinds=("multiclass",), tasks=_but("digits")),
    # On digits a whole point behind the plain recipe.
    Variant("born again", born_again, tasks=_but("digits")),
    # On language 0.014 behind the plain recipe.
    Variant("R-Drop", r_drop, kinds=CLASSES, tasks=_but("language")),
    Variant("hidden states, fading out", fading_hidden_states, kinds=CLASSES),
)
