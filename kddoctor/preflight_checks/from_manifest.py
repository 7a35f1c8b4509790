"""A pre-flight of what kd_run.yaml names, before there is a run."""

from pathlib import Path

from torch.utils.data import DataLoader

from kddoctor.errors import RunError, UsageError
from kddoctor.preflight_checks.examine import preflight
from kddoctor.preflight_checks.result import Preflight
from kddoctor.run.manifest import MANIFEST_FILE, Manifest, read_manifest
from kddoctor.run.recording.batches import DEFAULT_BATCH_SIZE
from kddoctor.treatment.code_loading import code_before_training


def manifest_at(path: Path) -> tuple[Path, Manifest, tuple[str, ...]]:
    """(directory, manifest, warnings) of a run directory, or of a file like kd_run.yaml. Raises RunError."""
    if path.is_file():
        return path.parent, *read_manifest(path)
    if not path.exists():
        raise RunError.plain(f"{path}: does not exist; expected a directory with {MANIFEST_FILE}, or such a file.")
    if not (path / MANIFEST_FILE).is_file():
        raise RunError.plain(f"{path}: {MANIFEST_FILE} is missing; a pre-flight reads its code section.")
    return path, *read_manifest(path / MANIFEST_FILE)


def preflight_of(root: Path, manifest: Manifest, *, examples: int, seconds: float) -> Preflight:
    """Import the code section, which runs the user's code, and look at what it names.

    The teacher is put into evaluation mode and the student trains as a treatment has it: where a loop does otherwise,
    only ``kddoctor.preflight`` called from there can tell. Raises RunError for what is missing or broken.
    """
    meant = manifest.distillation
    with code_before_training(root, manifest) as code:
        batch_size = manifest.training.batch_size or DEFAULT_BATCH_SIZE
        try:
            student = code.make_student()
            return preflight(
                teacher=code.teacher.eval().requires_grad_(False),
                student=student,
                train_data=DataLoader(code.train_data, batch_size),
                val_data=DataLoader(code.val_data, batch_size),
                loss_fn=code.loss,
                loss=meant.loss,
                temperature=meant.temperature,
                alpha=meant.alpha,
                temperature_squared=meant.temperature_squared,
                task=manifest.task,
                num_classes=manifest.num_classes,
                teacher_transform=code.teacher_transform,
                examples=examples,
                seconds=seconds,
            )
        except UsageError as error:
            raise RunError(MANIFEST_FILE, "code", f"not usable ({error})", "models and data of this task") from None
