"""Distils with torchdistill's loss, optimizer and meters. ``python -m tests.importers.tools.torchdistill DIRECTORY``.

Its training loop needs torchvision, so the loop is here; the log goes through torchdistill's own logger, as its example
scripts write it, and the loss is the one that its registry makes of DIRECTORY/kd.yaml.
"""

import sys
from pathlib import Path

import torch
from torch.utils.data import DataLoader, TensorDataset
from torchdistill.common import yaml_util
from torchdistill.common.constant import def_logger
from torchdistill.losses.registry import get_mid_level_loss
from torchdistill.misc.log import MetricLogger, SmoothedValue, set_basic_log_config, setup_log_file

SETTINGS = """\
datasets:
  blobs: {name: &name 'blobs', root: !join ['./data/', *name]}
models:
  teacher_model: {key: &teacher 'wide', kwargs: {num_classes: 3}}
  student_model: {key: 'narrow', kwargs: {num_classes: 3}, dst_ckpt: !join ['./ckpt/', *name, '-', *teacher, '.pt']}
train:
  log_freq: 2
  num_epochs: 3
  train_data_loader: {batch_size: 8}
  optimizer: {key: 'SGD', kwargs: {lr: 0.1, momentum: 0.9, weight_decay: 0.0001}}
  criterion:
    key: 'WeightedSumLoss'
    kwargs:
      sub_terms:
        kd:
          criterion:
            key: 'KDLoss'
            kwargs: {student_module_path: '.', student_module_io: 'output', teacher_module_path: '.',
                     teacher_module_io: 'output', temperature: 4.0, alpha: 0.3, reduction: 'batchmean'}
          weight: 1.0
"""


def main(directory: str) -> None:
    set_basic_log_config()
    logger = def_logger.getChild(__name__)
    setup_log_file(str(Path(directory) / "kd.log"))
    settings = Path(directory) / "kd.yaml"
    settings.write_text(SETTINGS)
    train = yaml_util.load_yaml_file(str(settings))["train"]
    kd = get_mid_level_loss(train["criterion"]["kwargs"]["sub_terms"]["kd"]["criterion"])
    torch.manual_seed(0)
    teacher, student = torch.nn.Linear(4, 3), torch.nn.Linear(4, 3)
    optimizer = torch.optim.SGD(student.parameters(), **train["optimizer"]["kwargs"])
    x = torch.randn(40, 4)
    y = teacher(x).argmax(1)
    loader = DataLoader(TensorDataset(x, y), batch_size=8)

    def evaluate(model: torch.nn.Module, header: str, title: str | None = None) -> None:
        if title is not None:
            logger.info(title)
        meters = MetricLogger(delimiter="  ")
        for inputs, labels in meters.log_every(loader, 2, header):
            meters.meters["acc1"].update(100.0 * (model(inputs).argmax(1) == labels).float().mean().item(), n=8)
        logger.info(f" * Acc@1 {meters.acc1.global_avg:.4f}\tAcc@5 {100.0:.4f}\n")

    for epoch in range(train["num_epochs"]):
        meters = MetricLogger(delimiter="  ")
        meters.add_meter("lr", SmoothedValue(window_size=1, fmt="{value}"))
        meters.add_meter("img/s", SmoothedValue(window_size=10, fmt="{value}"))
        for inputs, labels in meters.log_every(loader, train["log_freq"], f"Epoch: [{epoch}]"):
            logits = {"student": student(inputs), "teacher": teacher(inputs).detach()}
            loss = kd({".": {"output": logits["student"]}}, {".": {"output": logits["teacher"]}}, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            meters.update(loss=loss.item(), lr=optimizer.param_groups[0]["lr"])
            meters.meters["img/s"].update(100.0)
        evaluate(student, "Validation:")
    evaluate(teacher, "Test:", "[Teacher: wide]")
    evaluate(student, "Test:", "[Student: narrow]")


if __name__ == "__main__":
    main(sys.argv[1])
