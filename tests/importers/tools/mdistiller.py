"""Lays out what mdistiller's own trainer left. ``python -m tests.importers.tools.mdistiller DIRECTORY``.

mdistiller is no package, and asks for a GPU and for CIFAR-100. The directories below ``left_by/mdistiller`` were
written by ``tools/train.py`` of its repository (commit a08d46f), started twice as its readme says, with

    --cfg vanilla.yaml DATASET.NUM_WORKERS 0
    --cfg kd.yaml SOLVER.BATCH_SIZE 32 SOLVER.EPOCHS 6 SOLVER.LR_DECAY_STAGES [3,5] KD.TEMPERATURE 3

Around it, ``Tensor.cuda`` and ``Module.cuda`` returned what they were called on, and ``torchvision.datasets.CIFAR100``
held 256 random images; the teacher is the student_best of the first. Another start of the second with ``--resume``,
which its ``torch.load`` refused, left the second event file. The checkpoints, pickles of 4 MB, are left out. The names
of the experiments hold colons, which not every file system allows, and so are given here.
"""

import shutil
import sys
from pathlib import Path

LEFT = Path(__file__).parents[1] / "left_by" / "mdistiller"
NAMES = {
    "vanilla": "teachers/res56DATASET.NUM_WORKERS:0",
    "kd": "students/kd,res56,res8SOLVER.BATCH_SIZE:32,SOLVER.EPOCHS:6,SOLVER.LR_DECAY_STAGES:[3,5],KD.TEMPERATURE:3",
}


def main(directory: str) -> None:
    for folder, name in NAMES.items():
        shutil.copytree(LEFT / folder, Path(directory) / name)
        shutil.copy(LEFT / f"{folder}.yaml", directory)


if __name__ == "__main__":
    main(sys.argv[1])
