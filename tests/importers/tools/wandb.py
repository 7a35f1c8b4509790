"""Logs two offline runs with W&B, first and second. ``python -m tests.importers.tools.wandb DIRECTORY``."""

import os
import sys
import time

os.environ |= {"WANDB_MODE": "offline", "WANDB_SILENT": "true"}

import wandb


def main(directory: str) -> None:
    for name, temperature in (("first", 4.0), ("second", 2.0)):
        run = wandb.init(
            project="distillation",
            id=name,
            dir=directory,
            config={"lr": 0.1, "temperature": temperature, "loss": {"kd_weight": 0.9, "ce_weight": 0.1}},
        )
        # Long texts reach over the blocks of 32 KiB that the log consists of.
        run.config.update({"notes": "x" * 50_000, "model": {"num_classes": 3}})
        for epoch in range(12):
            run.log({"train/loss": 1 / (epoch + 1), "val/acc": 100 * epoch / 20, "epoch": epoch})
        run.log({"train/loss": float("nan"), "epoch": 12})
        run.finish()
        time.sleep(1.1)  # the second in which a run starts is part of its name


if __name__ == "__main__":
    main(sys.argv[1])
