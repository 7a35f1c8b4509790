"""The soft targets are nearly one-hot: they say what the labels say.

What it checks
    Entropy and largest probability of the teacher's softened output at the run's own temperature, on training rows; and
    whether a usual temperature would soften it, which logits on a huge scale do not let it.

Why it hurts
    A one-hot target carries no similarity between classes. Distillation becomes training on the teacher's labels. No
    finite logits reach it, so that the loss never levels.

What it looks like
    No gain over labels alone, and an overconfident student. Typical of a teacher that has memorised the transfer set.

Told apart from
    A task that is simply easy: there the targets are as sharp on held-out rows, and the teacher is calibrated. KD205
    and KD302, which flatten the targets instead.

Fix
    - temperature: 1.0
    + temperature: 4.0        # kddoctor measures which temperature gives 30 to 60 % of the largest entropy
    Or distil on rows that the teacher has not seen, on augmented rows, or with a calibrated teacher.

Treat automatically
    Yes: the student is retrained at the temperature found.

Read more
    Hinton et al. 2015, arXiv:1503.02531, section 2. Menon et al. 2021, arXiv:2005.10419.
"""

from kddoctor.probes.loss_forensics import LossForensics
from kddoctor.probes.measurements import Gaps, TargetSoftness, TeacherViews
from kddoctor.probes.proportions import SURE, standard_error
from kddoctor.rules.finding import Finding, Grade
from kddoctor.rules.loss.declared import distils
from kddoctor.rules.registry import rule
from kddoctor.rules.settings import Factor, Share, Temperature
from kddoctor.run.manifest import Manifest

PROBE = "soft-targets"
#: Median H/lnC and median largest probability of a collapsed target (taxonomy, toy checks and literature).
COLLAPSED_ENTROPY: Share = 0.02
COLLAPSED_TOP: Share = 0.99
#: Clearly soft: nothing has collapsed.
SOFT_ENTROPY: Share = 0.05
#: Entropy on training rows below this share of that on held-out rows: memorised.
MEMORISED: Factor = 0.3
#: Temperature at which a teacher of usual scale has a fifth of the largest entropy or more (taxonomy).
SOFTENS: Temperature = 4.0
#: Wanted H/lnC (taxonomy: .3 to .6).
WANTED: Share = 0.4
#: Calibration error of a teacher that is right to be this sure.
CALIBRATED: Share = 0.02
#: Retention from which the collapse did no harm worth acting on.
NO_HARM: Share = 0.98


@rule(
    "KD301",
    name="soft-targets-collapsed",
    family="soft-targets",
    title="The soft targets are nearly one-hot",
    stage=40,
    reads=(TargetSoftness, Manifest),
    uses=(Gaps, TeacherViews, LossForensics),
    masks=("KD402", "KD502", "KD504"),
)
def soft_targets_collapsed(
    softness: TargetSoftness,
    config: Manifest,
    held_out: Gaps | None,
    teacher: TeacherViews | None,
    loss: LossForensics | None,
) -> Finding:
    finding = Finding()
    if not distils(config) or config.distillation.loss == "mse":
        return finding
    targets = softness.targets
    k = softness.at(targets, softness.temperature)
    entropy, top = float(targets.entropy_ratio_median[k]), float(targets.top1_median[k])
    if entropy > SOFT_ENTROPY:
        return finding.against(
            PROBE,
            "entropy_ratio",
            entropy,
            f"at T = {softness.temperature:g} the median entropy is {entropy:.0%} of the largest possible",
            threshold=SOFT_ENTROPY,
            origin="calibrated on toy checks",
            grade=Grade.PROOF,
        )
    if entropy >= COLLAPSED_ENTROPY or top <= COLLAPSED_TOP:
        return finding
    finding = finding.supported_by(
        PROBE,
        "entropy_ratio",
        entropy,
        f"at T = {softness.temperature:g} the median target puts {top:.2%} on one class and has {entropy:.2%} of the "
        "largest possible entropy",
        threshold=COLLAPSED_ENTROPY,
        origin="paper",
        weight=4.5,
    )
    finding = _easy_or_memorised(_out_of_reach(finding, softness), softness, teacher)
    harmless = False
    if held_out is not None:
        harmless = _close_to_teacher(held_out)
        finding = _what_it_brought(finding, held_out, harmless)
    better = _wanted_temperature(softness)
    return finding.saying(
        "The soft targets are nearly one-hot: they say no more than the labels.",
        where="kd_run.yaml: distillation.temperature",
        severity="note" if harmless else "warning",
    ).prescribe(
        f"temperature {better:g}, keeping the T² factor",
        safety="careful",
        distillation__temperature=better,
    )


def _out_of_reach(finding: Finding, softness: TargetSoftness) -> Finding:
    """A temperature that softens any usual teacher does not soften this one: its logits are far too large."""
    targets = softness.targets
    at = softness.at(targets, SOFTENS)
    entropy = float(targets.entropy_ratio_median[at])
    if targets.temperatures[at] < SOFTENS or entropy >= COLLAPSED_ENTROPY:
        return finding
    return finding.supported_by(
        PROBE,
        "entropy_ratio_at_four",
        entropy,
        f"even at T = {SOFTENS:g} the median target has {entropy:.2%} of the largest possible entropy",
        threshold=COLLAPSED_ENTROPY,
        origin="paper",
    )


def _easy_or_memorised(finding: Finding, softness: TargetSoftness, teacher: TeacherViews | None) -> Finding:
    if softness.train is None or softness.held_out is None:
        return finding
    at = softness.at(softness.train, softness.temperature)
    train, held_out = (float(s.entropy[at]) for s in (softness.train, softness.held_out))
    if train < MEMORISED * held_out:
        return finding.supported_by(
            PROBE,
            "entropy_train_over_held_out",
            train / held_out,
            f"training rows have {train / held_out:.0%} of the entropy of held-out rows",
            threshold=MEMORISED,
            origin="paper",
            weight=2.0,
        )
    if teacher is not None and teacher.own is not None and teacher.own.validity.ece < CALIBRATED:
        return finding.against(
            PROBE,
            "ece",
            teacher.own.validity.ece,
            "held-out rows are as sharp, and the teacher is calibrated: the task is easy",
            threshold=CALIBRATED,
            origin="convention",
            weight=1.5,
        )
    return finding


def _close_to_teacher(held_out: Gaps) -> bool:
    """The student keeps nearly everything, or what it lacks is within the noise."""
    gaps = held_out.gaps
    behind = gaps.teacher_accuracy - gaps.student_accuracy
    return behind <= max((1 - NO_HARM) * gaps.teacher_accuracy, SURE * standard_error(gaps.student_accuracy, gaps.n))


def _what_it_brought(finding: Finding, held_out: Gaps, harmless: bool) -> Finding:
    student, gained = held_out.gaps.student_accuracy, held_out.gained
    if harmless:
        return finding.against(
            "example-gaps",
            "student_accuracy",
            student,
            "the student did well nevertheless",
            threshold=NO_HARM * held_out.gaps.teacher_accuracy,
            origin="convention",
        )
    if gained is None:
        return finding
    noise = held_out.noise_of_gain
    points = f"{100 * gained:+.1f} points against labels alone (noise {100 * noise:.1f})"
    text = f"distilling changed {held_out.metric} by {points}"
    add = finding.against if held_out.surely_gained else finding.supported_by
    return add("example-gaps", "gained", gained, text, threshold=noise, origin="convention", weight=2.5)


def _wanted_temperature(softness: TargetSoftness) -> float:
    """The measured temperature whose median entropy comes closest to the wanted share."""
    targets = softness.targets
    best = abs(targets.entropy_ratio_median - WANTED).argmin()
    return float(round(float(targets.temperatures[best]), 2))
