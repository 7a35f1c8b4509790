"""Writes what mdistiller's trainer writes. ``python -m tests.importers.tools.mdistiller DIRECTORY``.

mdistiller is no package and trains on a GPU only: the settings are dumped by yacs, and the scalars written by
tensorboardX, as it does; the lines of worklog.txt follow the log function of its trainer.
"""

import sys
from pathlib import Path

from tensorboardX import SummaryWriter
from yacs.config import CfgNode

EPOCHS = 6


def main(directory: str) -> None:
    folder = Path(directory) / "students" / "kd,large,smallKD.TEMPERATURE:3"
    folder.mkdir(parents=True)
    settings = CfgNode(
        {
            "EXPERIMENT": {"NAME": "", "TAG": "kd,large,small", "PROJECT": "students"},
            "DATASET": {"TYPE": "cifar100"},
            "DISTILLER": {"TYPE": "KD", "TEACHER": "large", "STUDENT": "small"},
            "KD": {"TEMPERATURE": 4, "LOSS": {"CE_WEIGHT": 0.2, "KD_WEIGHT": 0.8}},
            "FITNET": {"INPUT_SIZE": (32, 32)},
            "SOLVER": {
                "TYPE": "SGD",
                "BATCH_SIZE": 48,
                "EPOCHS": EPOCHS,
                "LR": 0.05,
                "LR_DECAY_STAGES": [3, 5],
                "LR_DECAY_RATE": 0.1,
                "WEIGHT_DECAY": 0.002,
                "MOMENTUM": 0.9,
            },
        }
    )
    (Path(directory) / "kd.yaml").write_text(settings.dump())
    writer = SummaryWriter(str(folder / "train.events"))
    rule = "-" * 25
    with (folder / "worklog.txt").open("a") as log:
        for epoch in range(1, EPOCHS + 1):
            values = {
                "train_acc": 10.0 * epoch,
                "train_loss": 4.123456 / epoch,
                "test_acc": 9.876 * epoch,
                "test_acc_top5": 15.0 * epoch,
                "test_loss": 3.0 / epoch,
            }
            for name, value in values.items():
                writer.add_scalar(name, value, epoch)
            rounded = [f"{name}: {value:.2f}" for name, value in values.items()]
            log.write("\n".join([rule, f"epoch: {epoch}", "lr: 0.05", *rounded, rule]) + "\n")
        log.write("best_acc\t59.26")
    writer.close()


if __name__ == "__main__":
    main(sys.argv[1])
