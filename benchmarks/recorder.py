"""What recording costs a training loop, beside W&B's watch and Cockpit. ``python -m benchmarks.recorder``"""

import argparse
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.measuring import medians, peer, single_thread, table  # before torch: sets the threads

# isort: split
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import kddoctor

BATCH, ROWS, CLASSES, TEMPERATURE, ALPHA = 128, 4096, 10, 4.0, 0.9
Step = Callable[..., None]
Recording = Callable[["Loop", Path], AbstractContextManager[Step]]


def cnn(width: int) -> nn.Sequential:
    """Three convolutions. Without batch normalisation, which Cockpit's gradients of single examples do not know."""
    layers: list[nn.Module] = []
    for inner, outer in ((1, width), (width, 2 * width), (2 * width, 4 * width)):
        layers += [nn.Conv2d(inner, outer, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(4 * width * 9, CLASSES))


class Loop:
    """One training of a small student, the same for the same seed; teacher and term of distillation on request."""

    def __init__(self, steps: int, distil: bool) -> None:
        torch.manual_seed(0)
        self.steps, self.distil = steps, distil
        self.inputs, self.labels = torch.randn(ROWS, 1, 28, 28), torch.randint(CLASSES, (ROWS,))
        self.teacher, self.student = cnn(16).eval(), cnn(8)
        self.optimizer = torch.optim.SGD(self.student.parameters(), 0.01, momentum=0.9)

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.Generator().manual_seed(0)
        for number in range(self.steps):
            start = number * BATCH % ROWS
            if start == 0:
                rows = torch.randperm(ROWS, generator=order)
            chosen = rows[start : start + BATCH]
            yield self.inputs[chosen], self.labels[chosen]

    def run(self, after_step: Step) -> None:
        for inputs, labels in self.batches():
            s = self.student(inputs)
            ce = F.cross_entropy(s, labels)
            t, kd, loss = None, None, ce
            if self.distil:
                with torch.no_grad():
                    t = self.teacher(inputs)
                log_s, log_t = (F.log_softmax(z / TEMPERATURE, 1) for z in (s, t))
                kd = F.kl_div(log_s, log_t, reduction="batchmean", log_target=True) * TEMPERATURE**2
                loss = ALPHA * kd + (1 - ALPHA) * ce
            after_step(loss=loss, kd_loss=kd, ce_loss=ce, student_logits=s, teacher_logits=t, labels=labels)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()


def nothing(**step: Any) -> None:
    """No recording."""


@contextmanager
def recorded(loop: Loop, folder: Path) -> Iterator[Step]:
    """kddoctor with its defaults. What it writes at the end is not part of the loop, and is left out."""
    recorder = kddoctor.Recorder(
        folder / "run",
        teacher=loop.teacher,
        student=loop.student,
        optimizer=loop.optimizer,
        train_data=(loop.inputs, loop.labels),
        val_data=(loop.inputs[:512], loop.labels[:512]),
        temperature=TEMPERATURE,
        alpha=ALPHA,
        overwrite=True,
    )
    yield recorder.step
    recorder.finish()


@contextmanager
def watched_by_wandb(wandb: Any, how: dict[str, Any], loop: Loop, folder: Path) -> Iterator[Step]:
    """Gradients through wandb.watch, the loss and its terms through wandb.log. Its service is a process of its own,
    whose time is not counted.
    """
    run = wandb.init(mode="offline", dir=str(folder), project="overhead")
    run.watch(loop.student, **how)
    yield lambda loss, kd_loss, ce_loss, **_: run.log({"loss": loss, "kd_loss": kd_loss, "ce_loss": ce_loss})
    run.unwatch(loop.student)
    run.finish()


def loop_with(recording: Recording, steps: int, *, distil: bool = True) -> Callable[[], float]:
    """Trains once; returns the processor seconds of the loop alone."""

    def work() -> float:
        loop = Loop(steps, distil)
        with tempfile.TemporaryDirectory() as folder, recording(loop, Path(folder)) as step:
            started = time.process_time()
            loop.run(step)
            return time.process_time() - started

    return work


@contextmanager
def bare(loop: Loop, folder: Path) -> Iterator[Step]:
    yield nothing


def cockpit_loop(steps: int) -> Callable[[], float] | None:
    """Cockpit in its cheapest configuration. It knows cross-entropy alone, so that its loop has no teacher."""
    if not (peer("cockpit") and peer("backpack")):
        return None
    from backpack import extend
    from cockpit import Cockpit
    from cockpit.utils.configuration import configuration

    def work() -> float:
        loop = Loop(steps, distil=False)
        student, one, each = extend(loop.student), extend(nn.CrossEntropyLoss()), nn.CrossEntropyLoss(reduction="none")
        cockpit = Cockpit(student.parameters(), quantities=configuration("economy"))
        started = time.process_time()
        for number, (inputs, labels) in enumerate(loop.batches()):
            loop.optimizer.zero_grad()
            logits = student(inputs)
            loss, losses = one(logits, labels), each(logits, labels)
            info = {
                "batch_size": BATCH,
                "individual_losses": losses,
                "loss": loss,
                "optimizer": loop.optimizer,
            }
            with cockpit(number, info=info):
                loss.backward(create_graph=cockpit.create_graph(number))
            loop.optimizer.step()
        return time.process_time() - started

    return work


#: What each candidate is compared with.
PLAIN, LABELS_ONLY = "no recording", "labels only, no recording"


def candidates(steps: int) -> dict[str, Callable[[], float]]:
    found = {PLAIN: loop_with(bare, steps), "kddoctor": loop_with(recorded, steps)}
    if wandb := peer("wandb"):
        for name, how in (("defaults", {}), ("log=all, log_freq=100", {"log": "all", "log_freq": 100})):
            found[f"wandb.watch, {name}"] = loop_with(partial(watched_by_wandb, wandb, how), steps)
    if cockpit := cockpit_loop(steps):
        found |= {LABELS_ONLY: loop_with(bare, steps, distil=False), "labels only, Cockpit economy": cockpit}
    return found


def working(steps: int) -> dict[str, Callable[[], float]]:
    """Those that get through two steps; why the others do not is printed."""
    found = candidates(steps)
    for name, work in candidates(2).items():
        try:
            work()
        except Exception as error:  # a peer that fails is a result, too
            print(f"{name} fails: {type(error).__name__}: {error}")
            del found[name]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--steps", type=int, default=1000)
    options = parser.parse_args()
    single_thread()
    warnings.simplefilter("ignore")
    os.environ["WANDB_SILENT"] = "true"

    seconds = medians(working(options.steps), options.runs, own_clock=True)
    rows = []
    for name, value in seconds.items():
        plain = seconds[LABELS_ONLY if name.startswith("labels only") else PLAIN]
        rows.append((name, f"{1000 * value / options.steps:.2f}", f"{value / plain - 1:+.1%}"))
    table(f"{options.steps} steps of {BATCH} rows, {options.runs} runs", ("", "CPU ms a step", "overhead"), rows)


if __name__ == "__main__":
    main()
