"""Trains a tiny module with Lightning and two of its loggers. ``python -m tests.importers.tools.lightning DIRECTORY``.

DIRECTORY/csv and DIRECTORY/tensorboard get two versions each: the second has another temperature.
"""

import sys
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import LearningRateMonitor
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset


class Student(L.LightningModule):
    def __init__(self, lr: float = 0.1, temperature: float = 4.0, alpha: float = 0.9, shape: tuple = (4, 3)) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.layer = torch.nn.Linear(*shape)

    def training_step(self, batch, _):
        x, y = batch
        loss = F.cross_entropy(self.layer(x), y)
        self.log("train_loss", loss, on_step=True, on_epoch=True)
        self.log("train/kd_loss", loss / 2)
        return loss

    def validation_step(self, batch, _):
        x, y = batch
        self.log("val_loss", F.cross_entropy(self.layer(x), y))
        self.log("val_acc", (self.layer(x).argmax(1) == y).float().mean())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.hparams.lr)


def main(directory: str) -> None:
    torch.manual_seed(0)
    loader = DataLoader(TensorDataset(torch.randn(64, 4), torch.randint(0, 3, (64,))), batch_size=8)
    for temperature in (4.0, 2.0):
        trainer = L.Trainer(
            max_epochs=3,
            logger=[CSVLogger(Path(directory) / "csv"), TensorBoardLogger(Path(directory) / "tensorboard")],
            log_every_n_steps=2,
            enable_progress_bar=False,
            enable_model_summary=False,
            accelerator="cpu",
            callbacks=[LearningRateMonitor("step")],
        )
        trainer.fit(Student(temperature=temperature), loader, loader)


if __name__ == "__main__":
    main(sys.argv[1])
