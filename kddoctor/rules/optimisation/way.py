"""How far the updates of plain gradient descent can have taken a student: what KD501 and KD502 share."""

import math

from kddoctor.probes.rate_signs import RateSigns
from kddoctor.probes.student_path import StudentPath
from kddoctor.rules.finding import Finding
from kddoctor.rules.settings import Deviations, Factor, Nats, Share
from kddoctor.run.manifest import Manifest

#: Sum of lr ‖g‖² over the loss, all updates together. A momentum of 0.9 takes ten times as long steps, so that even
#: then the loss cannot have fallen by more than a first-order model allows a single time.
SHORT_WAY: Factor = 0.1
#: The same of one long step: below it, even with that momentum, a rate a hundred times as high does not overshoot.
SHORT_STEP: Share = 1e-3
#: Share of the variance between rows of answers that depend on the input, and nats of a sane first answer.
ALIVE: Share = 1e-3
SANE: Nats = 0.5
#: Share of what the teacher knows of the labels, in nats, below which a student has not come far.
HALF: Share = 0.5
#: Standard errors from which the loss jumps up between epochs; of sound runs it falls from one to the next, if at all.
SET_BACK: Deviations = 3.0


def against_set_back(finding: Finding, signs: RateSigns | None) -> Finding:
    """Weights that are set back between epochs, to whichever, explain a student that never arrives."""
    if signs is None or signs.set_back is None or signs.set_back < SET_BACK:
        return finding
    return finding.against(
        "rate-signs",
        "set_back",
        signs.set_back,
        f"from epoch to epoch the loss jumps up, by {signs.set_back:.0f} standard errors: the weights were set back",
        threshold=SET_BACK,
        origin="three standard errors",
        weight=6.0,
    )


def short_way(signs: RateSigns, config: Manifest, path: StudentPath | None) -> bool:
    """Whether gradient descent went too short a way to have learned, from first answers that were sane and alive.

    A loss with a large constant makes every way look short; hence what the student knows has to say the same.
    """
    sgd = (config.training.optimizer or "").lower().startswith("sgd")
    if not sgd or path is None or signs.travel is None or signs.travel >= SHORT_WAY:
        return False
    return began_well(path) and learnt(path) < HALF


def began_well(path: StudentPath) -> bool:
    """Whether the first answers were sane, and the last ones depend on the input."""
    return bool(path.excess[0] < SANE and path.late("dependence") >= ALIVE)


def learnt(path: StudentPath) -> float:
    """Share of what the teacher knows of the labels that the student knows in the end, in nats; 1 for a poor one."""
    known = math.log(path.classes) - path.late("teacher_loss")
    return -path.late("excess") / known if known > 0 else 1.0
