"""Which student was trained, and how: what rules of optimisation and capacity share."""

import math

from kddoctor.probes.output_fit import OutputFit
from kddoctor.probes.proportions import standard_error
from kddoctor.probes.rate_signs import RateSigns
from kddoctor.probes.scale_fit import ScaleFit
from kddoctor.probes.student_path import StudentPath
from kddoctor.rules.finding import Finding
from kddoctor.rules.settings import Count, Deviations, Factor, Nats, Share
from kddoctor.run.manifest import Manifest
from kddoctor.run.observations import Observations

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
#: KL to the teacher on training rows, in evaluation mode, over that in the last steps, of another student; of sound
#: runs of the digits at most 1.4. It also has the teacher's answer less often, beyond three standard errors.
ANOTHER: Factor = 2.0
#: Points of agreement by which it has to be, and rows of late steps that this needs.
POINTS: Share = 0.05
ROWS: Count = 48
#: Final loss over its lowest value of a loss that had been far lower; of sound runs of the digits at most 1.8.
CAME_BACK: Factor = 3.0
#: Share of its objective that a linear map behind the student's outputs removes from which its last layer is not where
#: its objective is lowest; of sound runs of the digits without augmentation at most 0.08.
UNFITTED: Share = 0.15
#: Nats by which augmentation may make the rows of the steps harder for the teacher: beyond, what is fitted in
#: evaluation mode is not what was trained on.
AUGMENTED: Nats = 0.1
#: Fall of the loss over what gradient descent can take off, and the usual momentum, where nobody said what it is.
#: Clipped gradients of sound runs of the digits reach 1.
SHORTENED: Factor = 1.3
MOMENTUM: Share = 0.9
#: Lowest loss over the first, from which it fell by more than noise.
FELL: Share = 0.9
#: Weight decay, decoupled and in the gradient, and dropout that sound students have as well: convention.
USUAL_DECAY: Share = 0.1
USUAL_IN_GRADIENT: Share = 1e-3
USUAL_DROPOUT: Share = 0.1
#: Shares of the way about a fifth of it; updates after which a student may stand where it is held, and recorded steps
#: that a mean is of at least.
ABOUT_A_FIFTH = (0.15, 0.3)
HUNDRED: Count = 100
FEWEST: Count = 3
#: Nats for a student that is another, for one that nothing of the teacher's term reached, for a loss that came back.
OTHER, UNTAUGHT, BACK = 8.0, 8.0, 8.0


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


def against_another(finding: Finding, path: StudentPath | None, fit: ScaleFit | None) -> Finding:
    """A student that was much closer to its teacher in its last steps than the recorded one is on training rows.

    What was evaluated is not what was trained: neither its size nor its schedule explains it.
    """
    if path is None or fit is None or path.late_rows < ROWS or fit.kl < ANOTHER * path.late("kl"):
        return finding
    late, own = path.late("agreement"), fit.agreement
    if not _surely_more(late, path.late_rows, own, fit.n):
        return finding
    return finding.against(
        "student-path",
        "agreement",
        late,
        f"in its last steps the student agreed with its teacher in {late:.1%}, the recorded one does in {own:.1%} on "
        "training rows: another student was evaluated",
        threshold=own + POINTS,
        origin="three standard errors",
        group="another",
        weight=OTHER,
    )


def _surely_more(share: float, rows: int, other: float, other_rows: int) -> bool:
    """By some points, and by more than three standard errors of two shares of these rows."""
    error = math.sqrt(standard_error(share, rows) ** 2 + standard_error(other, other_rows) ** 2)
    return share - other >= max(POINTS, SET_BACK * error)


def against_untaught(finding: Finding, path: StudentPath | None) -> Finding:
    """A distillation term without any gradient explains a student that does not follow its teacher."""
    if path is None or path.taught is not False:
        return finding
    return finding.against(
        "student-path",
        "kd_grad_norm",
        0.0,
        "the labels' term had a gradient in the student's logits, the distillation term had none",
        group="untaught",
        weight=UNTAUGHT,
    )


def against_come_back(finding: Finding, signs: RateSigns | None) -> Finding:
    """A loss that had been far lower: what holds it up now did not hold it then."""
    if signs is None or not signs.low * CAME_BACK < signs.end < math.inf:
        return finding
    return finding.against(
        "rate-signs",
        "end",
        signs.end,
        f"the loss had fallen to {signs.low:.0%} of its first value before it ended at {signs.end:.0%}",
        threshold=CAME_BACK * signs.low,
        origin="calibrated on digits",
        group="came back",
        weight=BACK,
    )


def against_fallen_back(finding: Finding, path: StudentPath | None) -> Finding:
    """Answers that had been much nearer to the teacher's: the student held then what it does not hold now."""
    if path is None or not path.late("kl") > CAME_BACK * float(path.kl.min()):
        return finding
    best, late = float(path.agreement.max()), path.late("agreement")
    if not _surely_more(best, int(path.rows.min()), late, path.late_rows):
        return finding
    return finding.against(
        "student-path",
        "agreement",
        late,
        f"at its best step the student agreed with its teacher in {best:.1%}, in its last ones in {late:.1%}: it can "
        "hold more than it holds now",
        threshold=best - POINTS,
        origin="three standard errors",
        group="came back",
        weight=BACK,
    )


def against_shortened(finding: Finding, signs: RateSigns | None, config: Manifest) -> Finding:
    """A loss that fell further than the gradients that were applied can take it: they are not the loss's own.

    They are shorter, or lack a term. Neither the rate nor the number of steps is then what makes the student slow.
    """
    found = None if signs is None else efficiency(signs, config)
    if signs is None or found is None or not signs.low < FELL:
        return finding
    most = SHORTENED if config.training.momentum is not None else SHORTENED / (1 - MOMENTUM)
    if found < most:
        return finding
    return finding.against(
        "rate-signs",
        "efficiency",
        found,
        f"the loss fell {found:.1f} times as far as the gradients that were applied can take it: these are not its "
        "own, but shorter, or without one of its terms",
        threshold=most,
        origin="identity of gradient descent",
        group="shortened",
        weight=OTHER,
    )


def outputs(output: OutputFit | None, path: StudentPath | None, fit: ScaleFit | None) -> OutputFit | None:
    """The fit of the student's outputs, where it was trained on the rows that it was evaluated on."""
    if output is None or path is None or fit is None:
        return None
    return None if path.late("teacher_loss") > fit.teacher_loss + AUGMENTED else output


def efficiency(signs: RateSigns, config: Manifest) -> float | None:
    """Early fall of the loss over what short steps of gradient descent promise; None for other optimizers.

    Without a declared momentum it is what it would be without any: the largest that it can be.
    """
    momentum = float(config.training.momentum or 0.0)
    if signs.efficiency is None or momentum >= 1 or not (config.training.optimizer or "").lower().startswith("sgd"):
        return None
    return signs.efficiency * (1 - momentum)


def grown(path: StudentPath) -> float | None:
    """Spread of the student's logits at the end, over that at a fifth of the way; None for a way of a few updates."""
    updates = path.step[-1] - path.step[0]
    way = (path.step - path.step[0]) / max(1, updates)
    start, end = ABOUT_A_FIFTH
    early = (way >= start) & (way < end)
    if updates < HUNDRED or early.sum() < FEWEST:
        return None
    before = float(path.scale[early].mean())
    return path.late("scale") / before if before > 0 else None


def as_little_as_usual(config: Manifest, seen: Observations | None) -> bool:
    """Whether dropout and weight decay are known, and no more than sound students have."""
    if seen is None or seen.student_dropout is None or seen.student_dropout > USUAL_DROPOUT:
        return False
    decay = weight_decay(config, seen)
    return decay is not None and decay <= (USUAL_DECAY if decays_apart(config) else USUAL_IN_GRADIENT)


def decays_apart(config: Manifest) -> bool:
    """Whether the optimizer's weight decay is decoupled from the gradient."""
    return (config.training.optimizer or "").lower() == "adamw"


def weight_decay(config: Manifest, seen: Observations | None) -> float | None:
    """As declared, or as the optimizer had it."""
    declared = config.training.weight_decay
    return declared if declared is not None or seen is None else seen.weight_decay
