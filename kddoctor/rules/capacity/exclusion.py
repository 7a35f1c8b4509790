"""What speaks for a limit of the student itself: its objective is level, and nothing that was looked for holds it."""

from kddoctor.probes.scale_fit import ScaleFit
from kddoctor.probes.student_path import StudentPath
from kddoctor.rules.finding import Finding
from kddoctor.rules.optimisation.way import began_well
from kddoctor.rules.settings import Factor

#: Factor on the logits at which the objective is smallest, of logits that have the right scale.
RIGHT: Factor = 1.1
#: Nats for both together.
WEIGHT = 1.5


def nothing_else(finding: Finding, fit: ScaleFit | None, path: StudentPath | None) -> Finding:
    """Logits of the right scale exclude a penalty and noise (KD504); first answers, a start that nobody learns from."""
    if fit is None or path is None or not 1 / RIGHT < fit.factor < RIGHT:
        return finding
    if not began_well(path):
        return finding
    return finding.supported_by(
        "scale-fit",
        "factor",
        fit.factor,
        "its own objective is as low as any scale of its logits makes it, and its first answers were sane: neither a "
        "penalty nor its start explains that",
        threshold=RIGHT,
        origin="identity where the loss is level",
        weight=WEIGHT,
    )
