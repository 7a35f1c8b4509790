"""What recording costs a training loop, beside W&B's watch and Cockpit. ``python -m benchmarks.recorder``"""

import argparse
import gc
import os
import random
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.measuring import peer, single_thread, table  # before torch: sets the threads

# isort: split
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import kddoctor
from kddoctor.run.recording.pace import Pace

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
        self.seconds, self.turn_began = 0.0, time.perf_counter()

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.Generator().manual_seed(0)
        for number in range(self.steps):
            start = number * BATCH % ROWS
            if start == 0:
                rows = torch.randperm(ROWS, generator=order)
            chosen = rows[start : start + BATCH]
            yield self.inputs[chosen], self.labels[chosen]

    def run(self, after_step: Step) -> Iterator[None]:
        """Trains, one step at a time."""
        for inputs, labels in self.batches():
            self.turn_began = time.perf_counter()
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
            self.seconds += time.perf_counter() - self.turn_began
            yield


def nothing(**step: Any) -> None:
    """No recording."""


class OwnTime:
    """Seconds that pass in a loop's own turns: what a recorder's clock would show if the loop ran alone. By the wall, a
    loop that waits for five others would be due for a checkpoint after a sixth of its time.
    """

    def __init__(self, loop: Loop) -> None:
        self.loop = loop

    def __call__(self) -> float:
        return self.loop.seconds + (time.perf_counter() - self.loop.turn_began)


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
    recorder._pace = Pace(60, OwnTime(loop))
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


def loop_with(recording: Recording, steps: int, *, distil: bool = True) -> Iterator[None]:
    """Trains one step at a time."""
    loop = Loop(steps, distil)
    with tempfile.TemporaryDirectory() as folder, recording(loop, Path(folder)) as step:
        yield from loop.run(step)
        yield  # what closes the recording is no step


@contextmanager
def bare(loop: Loop, folder: Path) -> Iterator[Step]:
    yield nothing


def loop_with_cockpit(steps: int) -> Iterator[None]:
    """Cockpit in its cheapest configuration. It knows cross-entropy alone, so that its loop has no teacher."""
    from backpack import extend
    from cockpit import Cockpit
    from cockpit.utils.configuration import configuration

    loop = Loop(steps, distil=False)
    student, one, each = extend(loop.student), extend(nn.CrossEntropyLoss()), nn.CrossEntropyLoss(reduction="none")
    cockpit = Cockpit(student.parameters(), quantities=configuration("economy"))
    for number, (inputs, labels) in enumerate(loop.batches()):
        loop.optimizer.zero_grad()
        logits = student(inputs)
        loss, losses = one(logits, labels), each(logits, labels)
        info = {"batch_size": BATCH, "individual_losses": losses, "loss": loss, "optimizer": loop.optimizer}
        with cockpit(number, info=info):
            loss.backward(create_graph=cockpit.create_graph(number))
        loop.optimizer.step()
        yield
    yield


#: What each candidate is compared with; and the first of them once more, whose difference is the noise.
PLAIN, LABELS_ONLY, NOISE = "no recording", "labels only, no recording", "no recording, again"


def candidates(steps: int) -> dict[str, Callable[[], Iterator[None]]]:
    found = {name: partial(loop_with, bare, steps) for name in (PLAIN, NOISE)}
    found["kddoctor"] = partial(loop_with, recorded, steps)
    if wandb := peer("wandb"):
        for name, how in (("defaults", {}), ("log=all, log_freq=100", {"log": "all", "log_freq": 100})):
            found[f"wandb.watch, {name}"] = partial(loop_with, partial(watched_by_wandb, wandb, how), steps)
    if peer("cockpit") and peer("backpack"):
        found[LABELS_ONLY] = partial(loop_with, bare, steps, distil=False)
        found["labels only, Cockpit economy"] = partial(loop_with_cockpit, steps)
    return found


def side_by_side(steps: int, only: str) -> dict[str, float]:
    """Processor seconds of each candidate's loop; they take turns step by step, so that noise falls on all alike.

    In another order each time: whoever comes after a loop that filled the caches pays for it.
    """
    loops = {name: start() for name, start in candidates(steps).items() if only in name or name in (PLAIN, NOISE)}
    order = random.Random(0)
    seconds = dict.fromkeys(loops, 0.0)
    for number in range(steps):
        if number == 1:
            # A collection of all that was imported takes as long as ten steps, and would fall on one of the loops.
            gc.collect()
            gc.freeze()
        for name in order.sample(list(loops), len(loops)):
            started = time.process_time()
            try:
                next(loops[name])
            except Exception as error:  # a peer that fails is a result, too
                print(f"{name} fails at step {number}: {type(error).__name__}: {error}")
                del loops[name], seconds[name]
                continue
            if number:  # the first step imports and allocates
                seconds[name] += time.process_time() - started
    for loop in loops.values():
        list(loop)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--only", default="", help="candidates with this in their name")
    options = parser.parse_args()
    single_thread()
    warnings.simplefilter("ignore")
    os.environ["WANDB_SILENT"] = "true"

    runs = [side_by_side(options.steps, options.only) for _ in range(options.runs)]
    rows = []
    for name in runs[0]:
        plain = LABELS_ONLY if name.startswith("labels only") else PLAIN
        over = [run[name] / run[plain] - 1 for run in runs]
        each = statistics.median(1000 * run[name] / (options.steps - 1) for run in runs)
        spread = "" if name == plain else f"{statistics.median(over):+.1%} ({min(over):+.1%} to {max(over):+.1%})"
        rows.append((name, f"{each:.2f}", spread))
    table(f"{options.steps} steps of {BATCH} rows, {options.runs} runs", ("", "CPU ms a step", "overhead"), rows)


if __name__ == "__main__":
    main()
