"""What ``--live`` adds to a diagnosis: the run's own loss under the X-ray, against what the manifest declares."""

from kddoctor.errors import KDDoctorError
from kddoctor.loss_xray import xray
from kddoctor.run.directory import Run
from kddoctor.treatment.code_loading import loaded_loss

#: Classes of the probes, at most: what a loss computes does not depend on their number, its cost does.
MOST_CLASSES = 64


def xray_of_run(run: Run) -> str:
    """The X-ray as text, or one line that says why there is none; it never breaks a diagnosis."""
    if run.manifest.task not in ("multiclass", "tokens"):
        return f"X-ray not made: the loss of a {run.manifest.task} run is not examined"
    meant = run.manifest.distillation
    try:
        with loaded_loss(run) as loss_fn:
            if loss_fn is None:
                return "X-ray not made: the manifest names no code.loss"
            found = xray(
                loss_fn,
                loss=meant.loss,
                temperature=meant.temperature,
                alpha=meant.alpha,
                temperature_squared=meant.temperature_squared,
                num_classes=min(run.manifest.num_classes or 10, MOST_CLASSES),
            )
            return str(found)
    except KDDoctorError as error:
        return f"X-ray not made: {error}"
