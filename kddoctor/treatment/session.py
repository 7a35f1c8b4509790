"""One student in training by a plan: what a step does, whoever records or compares it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader

from kddoctor.run.recording.outputs import logits_of
from kddoctor.treatment.code_loading import LoadedCode
from kddoctor.treatment.first_weights import reset_weights, unfreeze
from kddoctor.treatment.hinting import Hinting
from kddoctor.treatment.losses import LossTerms, distillation_loss
from kddoctor.treatment.order import easiest_first, epoch_loader
from kddoctor.treatment.plan import Plan
from kddoctor.treatment.schedule import Schedule, Shape, make_optimizer, make_scheduler
from kddoctor.treatment.scoring import Score, TeacherAnswers, score
from kddoctor.treatment.team import ALONE, Team
from kddoctor.treatment.training import (
    answer,
    batches,
    seed_epoch,
    seed_everything,
    shuffled_loader,
    some_rows,
    transformed,
    users_code,
)


class Step(NamedTuple):
    """What one training step computed. labels: of the batch, or of this process's part of it."""

    total: Tensor
    terms: dict[str, Tensor]
    student_logits: Tensor
    teacher_logits: Tensor
    labels: Tensor


@dataclass
class Session:
    """A student, its optimizer and the plan that it follows. steps: in all; done: so far.

    team: who trains it; joined: the student as the team trains it.
    """

    plan: Plan
    code: LoadedCode
    schedule: Schedule
    teacher: nn.Module
    student: nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: LambdaLR
    steps: int
    joined: nn.Module
    team: Team = ALONE
    hinting: Hinting | None = None
    easy: list[int] = field(default_factory=list)
    done: int = 0
    _answers: TeacherAnswers = field(init=False)

    def __post_init__(self) -> None:
        """Ask the teacher nothing yet."""
        self._answers = TeacherAnswers(self.taught)

    def taught(self, inputs: Any) -> Tensor:
        """The teacher's logits for a batch of the student's inputs."""
        return taught(self.code, self.teacher, inputs)

    def score(self) -> Score:
        """The student on the held-out rows, in evaluation mode."""
        return self.team.from_leader(lambda: score(self.plan.manifest, self.held_out, self.student, self._answers))

    def held_out(self) -> Iterator[tuple[Any, Tensor]]:
        """Batches of (inputs, labels) that nothing is trained on."""
        return held_out(self.plan, self.code, self.schedule)

    def batches(self, epoch: int) -> Iterator[tuple[Any, Tensor]]:
        """(inputs, labels) of one pass. What is drawn at random depends on seed and epoch alone."""
        seed_epoch(self.schedule.seed, epoch)
        share = epoch / max(1, self.schedule.epochs)
        data, size = self.code.train_data, self.schedule.batch_size
        return batches(self.plan.manifest, "train_data", lambda: epoch_loader(data, size, self.easy, share))

    def train_epoch(self, epoch: int, on_step: Callable[[Step], object] = lambda _step: None) -> None:
        """One pass, in training mode. on_step: called after each step with what it computed."""
        self.done = epoch * self.steps // self.schedule.epochs
        self.student.train()
        self.team.begin_epoch(self.student)
        for inputs, labels in self.batches(epoch):
            on_step(self.step(inputs, labels))
            self.scheduler.step()

    def step(self, inputs: Any, labels: Tensor) -> Step:
        """One batch: forward, loss, backward, optimizer. Raises RunError for what the run's code cannot do."""
        inputs, labels, weight = self.team.part(inputs, labels)
        teacher_logits = self.taught(inputs)
        student_logits = answer("student", self.joined, inputs)
        own = _own_loss(self.plan, self.code)
        with users_code("loss" if own else "student", "a loss of the student's logits and the labels"):
            total, terms = self._loss(student_logits, teacher_logits, labels)
            if not isinstance(total, Tensor) or total.numel() != 1 or not total.requires_grad or total.is_complex():
                raise TypeError("the loss is no real scalar tensor with a gradient")
        self.optimizer.zero_grad()
        (total * weight).backward()  # type: ignore[no-untyped-call]
        if self.plan.loop.clip_gradients:
            nn.utils.clip_grad_norm_(self.student.parameters(), self.plan.loop.clip_gradients)
        self.optimizer.step()
        self.done += 1
        return Step(total.detach(), terms, student_logits, teacher_logits, labels)

    def close(self) -> None:
        """Take away what was put on the models."""
        if self.hinting is not None:
            self.hinting.close()

    def _loss(self, s: Tensor, t: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        if self.code.loss is not None and self.plan.loop.own_loss:
            return self.code.loss(s, t, labels), {}
        found = planned_loss(self.plan, s, t, labels, done=self.done / max(1, self.steps))
        terms = {"kd_loss": found.kd, "ce_loss": found.ce}
        if self.hinting is None:
            return found.total, terms
        hint = self.hinting()
        return found.total + hint, terms | {"feature_loss": hint}


def begin(
    plan: Plan, code: LoadedCode, schedule: Schedule, shape: Shape, teacher: nn.Module, team: Team = ALONE
) -> Session:
    """A fresh student at the first step of its training."""
    if plan.loop.transfer_rows is not None:
        code = replace(code, train_data=some_rows(code.train_data, plan.loop.transfer_rows))
    seed_everything(schedule.seed)
    student = code.make_student()
    _prepare(student, plan)
    with users_code("train_data", "a dataset of (input, label) with a length"):
        steps = schedule.epochs * len(shuffled_loader(code.train_data, schedule.batch_size))
    hinting = _hinting(plan, code, schedule, teacher, student)
    with users_code("student", "a module with parameters to train"):
        trained = student if hinting is None else nn.ModuleList([student, hinting])
        optimizer = make_optimizer(schedule, trained)
    scheduler = make_scheduler(optimizer, shape, steps)
    joined = team.joined(student, hinting)
    session = Session(plan, code, schedule, teacher, student, optimizer, scheduler, steps, joined, team, hinting)
    if plan.loop.order == "easy first":
        in_order = lambda: DataLoader(code.train_data, schedule.batch_size)  # noqa: E731
        session.easy = easiest_first(
            plan.manifest, lambda: batches(plan.manifest, "train_data", in_order), session.taught
        )
    return session


@torch.no_grad()
def taught(code: LoadedCode, teacher: nn.Module, inputs: Any) -> Tensor:
    """The teacher's logits for a batch of the student's inputs."""
    return answer("teacher", teacher, transformed(code.teacher_transform, inputs))


def held_out(plan: Plan, code: LoadedCode, schedule: Schedule) -> Iterator[tuple[Any, Tensor]]:
    """Batches of (inputs, labels) of the held-out rows."""
    return batches(plan.manifest, "val_data", lambda: DataLoader(code.val_data, schedule.batch_size))


@contextmanager
def planned_teacher(teacher: nn.Module, plan: Plan) -> Iterator[nn.Module]:
    """The teacher frozen, in evaluation mode, with its classes in the order of the labels.

    The order by a hook and no wrapper, so that the teacher's state dict stays what its own code expects.
    """
    order = plan.loop.column_permutation
    single = plan.manifest.task in ("binary", "ranking")
    hook = teacher.register_forward_hook(
        lambda _module, _inputs, out: _in_order(logits_of(out), order, single=single) if order else out
    )
    try:
        yield teacher.eval().requires_grad_(False)
    finally:
        hook.remove()


def _in_order(logits: Tensor, order: Sequence[int], *, single: bool) -> Tensor:
    """single: one logit for yes and no, whose order is its sign."""
    if single:
        return -logits if order[0] > order[-1] else logits
    return logits.index_select(-1, torch.tensor(order, device=logits.device))


def planned_loss(plan: Plan, s: Tensor, t: Tensor, labels: Tensor, *, done: float = 0.0) -> LossTerms:
    """The loss of a plan for logits of one batch. done: share of the training that is over, for a weight that falls."""
    meant = plan.manifest.distillation
    alpha = 0.5 if meant.alpha is None else meant.alpha
    return distillation_loss(
        s,
        t,
        labels,
        loss=loss_name(plan),
        temperature=meant.temperature or 1.0,
        alpha=alpha * (1 - done) if plan.loop.annealed else alpha,
        temperature_squared=meant.temperature_squared,
        task=plan.manifest.task,
        divergence=plan.loop.divergence,
        rows=plan.loop.rows,
    )


def loss_name(plan: Plan) -> str:
    """The declared divergence where it is one that can be computed here, forward KL otherwise."""
    declared = plan.manifest.distillation.loss
    return declared if declared in ("kl", "reverse-kl", "jsd", "mse") else "kl"


def declared_loss(plan: Plan, code: LoadedCode) -> str:
    """What the manifest of the treated run has to say about its loss."""
    if _own_loss(plan, code):
        return plan.manifest.distillation.loss or "kl"
    plain = plan.loop.divergence == "declared" and plan.loop.rows == "all" and not plan.loop.annealed
    return loss_name(plan) if plain else "custom"


def _own_loss(plan: Plan, code: LoadedCode) -> bool:
    return code.loss is not None and plan.loop.own_loss


def _prepare(student: nn.Module, plan: Plan) -> None:
    """First weights, dropout and what is frozen, where the plan changes them."""
    if plan.loop.every_parameter:
        unfreeze(student)
    if plan.loop.reset_weights:
        reset_weights(student)
    for layer in student.modules():
        if plan.loop.dropout is not None and isinstance(layer, nn.modules.dropout._DropoutNd):
            layer.p = plan.loop.dropout


def _hinting(
    plan: Plan, code: LoadedCode, schedule: Schedule, teacher: nn.Module, student: nn.Module
) -> Hinting | None:
    if not plan.loop.hints:
        return None
    inputs, _ = next(batches(plan.manifest, "train_data", lambda: DataLoader(code.train_data, schedule.batch_size)))

    @torch.no_grad()
    def once() -> None:
        was = student.training
        student.eval()
        answer("teacher", teacher, transformed(code.teacher_transform, inputs))
        answer("student", student, inputs)
        student.train(was)

    return Hinting(plan.loop.hints, teacher, student, once)
