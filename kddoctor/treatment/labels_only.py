"""Training a model of the run's own code on its labels alone: the loop of a treatment without its teacher."""

import json
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.utils.data import DataLoader

from kddoctor.run.manifest import Manifest
from kddoctor.treatment.checkpoint import Checkpoint, Stateful
from kddoctor.treatment.code_loading import NamedCode
from kddoctor.treatment.losses import hard_label_loss
from kddoctor.treatment.schedule import Schedule, Shape, make_optimizer, make_scheduler
from kddoctor.treatment.scoring import accuracy_of
from kddoctor.treatment.training import (
    Progress,
    answer,
    batches,
    seed_epoch,
    seed_everything,
    shuffled_loader,
    transformed,
    users_code,
)


def train_labels_only(
    manifest: Manifest,
    code: NamedCode,
    model_key: str,
    schedule: Schedule,
    shape: Shape,
    work: Path,
    progress: Progress,
) -> nn.Module:
    """The model that ``code.<model_key>`` makes, trained at alpha 0; in evaluation mode.

    Seeds, order, batches and the course of the learning rate are those that a distillation by ``treat`` has. work:
    holds a checkpoint of an epoch that ended not long ago; where one is there already, training goes on from it bit for
    bit.
    """
    held_out = "val_data" if "val_data" in code.functions else "train_data"
    train_data, val_data = code.data("train_data"), code.data(held_out)
    seed_everything(schedule.seed)
    model = code.model(model_key)
    with users_code(model_key, "a module with parameters to train"):
        optimizer = make_optimizer(schedule, model)
    with users_code("train_data", "a dataset of (input, label) with a length"):
        steps = schedule.epochs * len(shuffled_loader(train_data, schedule.batch_size))
    scheduler = make_scheduler(optimizer, shape, steps)
    parts: dict[str, Stateful] = {"model": model, "optimizer": optimizer, "scheduler": scheduler}
    checkpoint = Checkpoint(work, _signature(code, model_key, schedule), parts, what="baseline")
    for epoch in range(checkpoint.restore(), schedule.epochs):
        seed_epoch(schedule.seed, epoch)
        model.train()
        for inputs, labels in batches(manifest, "train_data", lambda: shuffled_loader(train_data, schedule.batch_size)):
            optimizer.zero_grad()
            seen = transformed(code.transform(model_key), inputs)
            _loss(manifest, model_key, model, seen, labels).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            scheduler.step()
        model.eval()
        accuracy = accuracy_of(
            lambda inputs: answer(model_key, model, transformed(code.transform(model_key), inputs)),
            lambda: batches(manifest, held_out, lambda: DataLoader(val_data, schedule.batch_size)),
        )
        checkpoint.offer(epoch + 1, of=schedule.epochs)
        progress(epoch + 1, schedule.epochs, accuracy)
    return model.eval()


def _signature(code: NamedCode, model_key: str, schedule: Schedule) -> str:
    return json.dumps([model_key, getattr(code.code, model_key), vars(schedule)], sort_keys=True)


def _loss(manifest: Manifest, key: str, model: nn.Module, inputs: Any, labels: Tensor) -> Tensor:
    logits = answer(key, model, inputs)
    with users_code(key, "a module whose logits fit the labels"):
        return hard_label_loss(logits, labels, task=manifest.task)
