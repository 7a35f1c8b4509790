"""The two hypotheses that are always there: the run is healthy; it is sick of something that no rule names.

Each observation here is one that a healthy run would not show. Their log-likelihood ratios add up against
"healthy" and for "sick, cause unknown".
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from kddoctor.engine.types import Outcome
from kddoctor.probes.loss_forensics import LossForensics
from kddoctor.probes.measurements import TeacherViews, TrainGaps
from kddoctor.probes.student_path import StudentPath
from kddoctor.probes.targets_in_loop import TargetsInLoop
from kddoctor.probes.teacher_passes import TeacherPasses
from kddoctor.rules.loss.declared import part_of_the_batch
from kddoctor.rules.optimisation.student_partly_frozen import UNFIT
from kddoctor.rules.pipeline.teacher_inputs import as_good_as_own
from kddoctor.rules.pipeline.teacher_weights_not_loaded import NO_SKILL
from kddoctor.run.manifest import Manifest
from kddoctor.run.observations import Observations

#: Log-odds of an unnamed fault before looking.
PRIOR = -3.0
#: Share of the teacher's advantage over chance that the student kept, and what a smaller share speaks for in
#: nats. A small student may honestly keep less, so without a labels-only control this is weak: healthy students of the
#: tasks that rules are developed on kept from 0.66.
SKILL_KEPT = ((0.5, 5.0), (0.6, 3.5), (0.9, 1.5))
#: Points and standard errors by which a student must stay behind its labels-only twin.
WORSE_POINTS, WORSE_ERRORS = 0.01, 2.5
#: Repeated teacher passes that differ by more than this, in evaluation mode: another view, or another teacher.
REPEATABLE = 1e-3
#: A frozen teacher does not move at all; float32 round trips stay below this.
FROZEN = 1e-5
#: Skill that a teacher may lose inside the loop to honest augmentation.
AUGMENTATION = 0.25
#: Share of its teacher's skill from which a student without a twin did well.
NEARLY_ALL = 0.95


@dataclass(frozen=True)
class Residual:
    """Log-odds of an unnamed fault, and the observations behind it, strongest first."""

    log_odds: float
    unexplained: tuple[str, ...]


def weigh_residual(measured: Mapping[type, object]) -> Residual:
    """What speaks for a fault, whichever it is."""
    signs: list[tuple[float, str]] = []
    outcome, manifest = measured[Outcome], measured[Manifest]
    assert isinstance(outcome, Outcome)
    assert isinstance(manifest, Manifest)
    signs += _of_outcome(outcome, manifest)
    loss = measured.get(LossForensics)
    if isinstance(loss, LossForensics):
        path = measured.get(StudentPath)
        signs += _of_loss(loss, manifest, path if isinstance(path, StudentPath) else None)
    signs += _of_teacher(measured, outcome, manifest)
    seen = measured.get(Observations)
    if isinstance(seen, Observations):
        signs += _of_process(seen, fits=_fits(measured) or _did_well(outcome))
    signs.sort(key=lambda sign: -sign[0])
    return Residual(PRIOR + sum(weight for weight, _ in signs), tuple(text for _, text in signs))


def _of_outcome(outcome: Outcome, manifest: Manifest) -> list[tuple[float, str]]:
    signs = []
    if outcome.student is None:
        return []
    if outcome.baseline is not None:
        behind = outcome.baseline - outcome.student
        error = math.sqrt(2) * outcome.standard_error
        if behind > max(WORSE_POINTS, WORSE_ERRORS * error):
            signs.append(
                (
                    5.0,
                    f"the student is {100 * behind:.1f} points worse than the same student without a teacher",
                )
            )
        if outcome.effect is not None and outcome.effect < 0 and manifest.distillation.loss != "none":
            signs.append((1.5, "distilling brought the student no closer to the teacher's outputs"))
    elif outcome.skill_kept is not None:
        for limit, weight in SKILL_KEPT:
            if outcome.skill_kept < limit:
                kept = max(0.0, outcome.skill_kept)
                signs.append((weight, f"the student keeps {kept:.0%} of the teacher's advantage over chance"))
                break
    return signs


def _of_loss(loss: LossForensics, manifest: Manifest, path: StudentPath | None) -> list[tuple[float, str]]:
    if loss.nonfinite_losses:
        return [(5.0, f"{loss.nonfinite_losses} of the recorded losses are not finite")]
    if not loss.declared_differs:
        return []
    if loss.term is not None and loss.term.form.objective.family == manifest.distillation.loss:
        plain = loss.term.form.axis == "class" and loss.term.form.masked
        return [] if plain else [(6.0, f"the recorded loss is {loss.term.form.describe()}")]
    if loss.mix is not None and loss.mix.schedule:
        return []
    # Of a part of the rows the recorded loss is another number, whatever its form.
    if loss.term is None and loss.steps and not part_of_the_batch(manifest, path):
        return [(2.0, "no form of loss that is known reproduces the recorded one")]
    return []


def _did_well(outcome: Outcome) -> bool:
    """Whether the student is better than its labels-only twin for certain, or has nearly all of its teacher's skill."""
    if outcome.student is None:
        return False
    if outcome.baseline is not None:
        return outcome.student - outcome.baseline > WORSE_ERRORS * math.sqrt(2) * outcome.standard_error
    return outcome.skill_kept is not None and outcome.skill_kept >= NEARLY_ALL


def _fits(measured: Mapping[type, object]) -> bool:
    """Whether the student is as right as its teacher on the rows that it was taught on."""
    train = measured.get(TrainGaps)
    return isinstance(train, TrainGaps) and train.gaps.teacher_accuracy - train.gaps.student_accuracy <= UNFIT


def _of_teacher(measured: Mapping[type, object], outcome: Outcome, manifest: Manifest) -> list[tuple[float, str]]:
    signs = []
    passes = measured.get(TeacherPasses)
    if isinstance(passes, TeacherPasses) and passes.rows and passes.teacher_training is False:
        difference = passes.relative_difference
        targets = measured.get(TargetsInLoop)
        if difference > REPEATABLE and not as_good_as_own(targets if isinstance(targets, TargetsInLoop) else None):
            signs.append(
                (
                    5.0,
                    f"the targets differ by {difference:.1%} from the teacher's own answer to the same input",
                )
            )
    views = measured.get(TeacherViews)
    if isinstance(views, TeacherViews) and views.own is not None and views.own.skill < NO_SKILL:
        text = f"the teacher has {views.own.skill:.0%} of the possible skill on held-out rows, as untrained ones have"
        signs.append((5.0, text))
    if isinstance(views, TeacherViews) and views.own is not None and views.in_loop is not None:
        lost = views.own.skill - views.in_loop.skill
        # Mixtures of rows have no label: where nobody uses the labels, it is the student that has to show it.
        idle = manifest.distillation.alpha == 1 and _did_well(outcome)
        if lost > AUGMENTATION and not idle:
            signs.append((3.5, f"inside the loop the teacher is worse by {lost:.0%} of its skill"))
    return signs


def _of_process(seen: Observations, *, fits: bool) -> list[tuple[float, str]]:
    """fits: whether the student needs no more of its parameters than learned; what is frozen is so on purpose then."""
    signs = []
    if seen.teacher_drift is not None and not seen.teacher_drift <= FROZEN and not seen.teacher_training:
        signs.append((6.0, f"the teacher changed by {seen.teacher_drift:.2g} of its size during the run"))
    missing = seen.parameters_not_in_optimizer or seen.parameters_without_gradient or []
    frozen = (seen.frozen_parameters or []) if fits else []
    missing = [name for name in missing if name not in frozen]
    if missing:
        signs.append((4.0, f"{len(missing)} of the student's parameters never learned, {missing[0]} among them"))
    return signs
