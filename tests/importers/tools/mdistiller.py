"""What mdistiller's own trainer writes, or wrote. ``python -m tests.importers.tools.mdistiller DIRECTORY``.

mdistiller is in no package index. Where a checkout of its repository is at hand (the environment variable MDISTILLER;
``make test-mdistiller``), its ``tools/train.py`` trains here and now, as its readme says, with

    --cfg vanilla.yaml DATASET.NUM_WORKERS 0
    --cfg kd.yaml SOLVER.BATCH_SIZE 32 SOLVER.EPOCHS 6 SOLVER.LR_DECAY_STAGES [3,5] KD.TEMPERATURE 3

Elsewhere, the directories below ``left_by/mdistiller`` are laid out, which it wrote just so (commit a08d46f). The
teacher is the student_best of the first. Another start of the second with ``--resume``, which its ``torch.load``
refuses, leaves a second event file. The checkpoints, pickles of 4 MB, are left out; the names of the experiments hold
colons, which not every file system allows, and so are given here.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

LEFT = Path(__file__).parents[1] / "left_by" / "mdistiller"
OPTIONS = {
    "vanilla": ["DATASET.NUM_WORKERS", "0"],
    "kd": ["SOLVER.BATCH_SIZE", "32", "SOLVER.EPOCHS", "6", "SOLVER.LR_DECAY_STAGES", "[3,5]", "KD.TEMPERATURE", "3"],
}
NAMES = {
    "vanilla": "teachers/res56DATASET.NUM_WORKERS:0",
    "kd": "students/kd,res56,res8SOLVER.BATCH_SIZE:32,SOLVER.EPOCHS:6,SOLVER.LR_DECAY_STAGES:[3,5],KD.TEMPERATURE:3",
}
#: Where its trainer looks for the teacher, and where it writes.
TEACHER = "download_ckpts/cifar_teachers/resnet56_vanilla/ckpt_epoch_240.pth"
OUTPUT = "output"


def main(directory: str) -> None:
    checkout = os.environ.get("MDISTILLER")
    for folder, name in NAMES.items():
        shutil.copy(LEFT / f"{folder}.yaml", directory)
        if not checkout:
            shutil.copytree(LEFT / folder, Path(directory) / name)
    if checkout:
        trained(Path(checkout), Path(directory))


def trained(checkout: Path, directory: Path) -> None:
    """Train both in a copy of the checkout, into which the trainer's weights go."""
    own = directory.with_name("mdistiller-checkout")
    shutil.rmtree(own, ignore_errors=True)
    shutil.copytree(checkout, own)
    train(own, directory, "vanilla")
    teacher = own / TEACHER
    teacher.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(own / OUTPUT / NAMES["vanilla"] / "student_best", teacher)
    train(own, directory, "kd")
    train(own, directory, "kd", "--resume", check=False)
    for name in NAMES.values():
        shutil.copytree(own / OUTPUT / name, directory / name, ignore=without_checkpoints)


def train(checkout: Path, directory: Path, settings: str, *more: str, check: bool = True) -> None:
    script = [sys.executable, "-m", "tests.importers.tools.mdistiller_trainer", str(checkout)]
    command = [*script, "--cfg", str(directory / f"{settings}.yaml"), *more, *OPTIONS[settings]]
    root = Path(__file__).parents[3]
    subprocess.run(command, check=check, cwd=checkout, env=os.environ | {"PYTHONPATH": str(root)}, capture_output=True)


def without_checkpoints(_directory: str, names: list[str]) -> list[str]:
    return [name for name in names if "best" in name or "latest" in name]


if __name__ == "__main__":
    main(sys.argv[1])
