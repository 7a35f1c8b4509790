"""The teacher's function is beyond the student, which fits the labels better without it.

What it checks
    With a loss that is the declared one and level: a student far from its teacher on training rows, while the same
    student trained on labels alone is at least as good. Where nothing but imitation was asked for, a student whose
    outputs have fewer dimensions than its teacher's, and are as near to them as any linear map of them, has imitated
    what it can. A loss that jumps up between epochs speaks against it, and so does another student in the predictions
    than in the steps.

Why it hurts
    What the student spends on imitating details that it cannot hold, it lacks for the labels. A better teacher makes it
    worse.

What it looks like
    The distillation loss lies flat on a high plateau even on training rows; a smaller teacher, or less of its weight,
    does as well or better.

Told apart from
    KD402, whose labels-only twin does not fit either. KD502, whose loss still falls. KD201, which imitates a gap; any
    fault of the loss comes first, and where the loss was not verified nothing is said here.

Fix
    A teacher assistant of a size in between, an earlier checkpoint of the teacher, a loss of relations (DIST), a
    smaller alpha, or a wider student.

Treat automatically
    Yes: the student is retrained with half the weight on the teacher's term.

Read more
    Cho & Hariharan 2019, arXiv:1910.01348. Mirzadeh et al. 2020, arXiv:1902.03393.
"""

from kddoctor.probes.feature_term import FeatureTerm
from kddoctor.probes.layer_ranks import LayerRanks
from kddoctor.probes.loss_forensics import LossForensics
from kddoctor.probes.measurements import Gaps, TeacherViews, TrainGaps
from kddoctor.probes.output_fit import OutputFit
from kddoctor.probes.proportions import noise_of_difference, standard_error
from kddoctor.probes.rate_signs import RateSigns
from kddoctor.probes.scale_fit import ScaleFit
from kddoctor.probes.student_path import StudentPath
from kddoctor.rules.capacity.exclusion import against_unfitted, narrow
from kddoctor.rules.finding import Finding, NotExamined
from kddoctor.rules.optimisation.harm import OTHERS, skill_lost
from kddoctor.rules.optimisation.way import against_another, against_fallen_back, against_set_back, against_untaught
from kddoctor.rules.record import RECORD
from kddoctor.rules.registry import rule
from kddoctor.rules.settings import Pace, Share
from kddoctor.run.manifest import Manifest

#: Points of agreement with the teacher on training rows that a converged student lacks (taxonomy).
APART: Share = 0.10
ALIKE: Share = 0.03
#: Pace, as a multiple of the average, below which a loss is level.
LEVEL: Pace = 0.4
#: Share of the gap to the teacher that the twin has to close: less of it, and the labels do not fit either (KD402).
CLOSES: Share = 0.25
#: Weight on the labels from which they were asked for as well.
LABELS: Share = 0.1

#: Weight of a twin that does better without the teacher: so it does beside a broken optimizer, and it names no cause.
BETTER_ALONE = 2.4
#: Weight of a gain over the twin, and of one of a student that is shown to hold no more of its teacher.
GAINED, HELD = 6.0, 2.0


@rule(
    "KD401",
    name="capacity-gap",
    family="capacity",
    title="The teacher's function is beyond the student",
    stage=59,
    reads=(TrainGaps, Manifest),
    uses=(Gaps, RateSigns, LossForensics, LayerRanks, FeatureTerm, TeacherViews, StudentPath, ScaleFit, OutputFit),
)
def capacity_gap(
    train: TrainGaps,
    config: Manifest,
    held_out: Gaps | None,
    signs: RateSigns | None,
    loss: LossForensics | None,
    ranks: LayerRanks | None,
    feature: FeatureTerm | None,
    teacher: TeacherViews | None,
    path: StudentPath | None,
    fit: ScaleFit | None,
    output: OutputFit | None,
) -> Finding | NotExamined:
    gaps = train.gaps
    finding = Finding()
    unlabelled = (config.distillation.alpha or 0.0) >= 1 - LABELS / 10
    # Answers over a vocabulary always lie in fewer dimensions than it has words, in sound students as well.
    classes = config.task == "multiclass"
    arrived = narrow(finding, output, ranks, path, fit, held_out) if unlabelled and classes else None
    text = f"on training rows the student agrees with its teacher in {gaps.agreement:.1%}"
    if gaps.agreement > 1 - ALIKE and arrived is None:
        return finding.against(
            "example-gaps", "agreement", gaps.agreement, text, threshold=1 - ALIKE, origin="taxonomy", weight=8.0
        )
    if loss is None or not loss.declared_holds:
        return NotExamined(*RECORD["LossForensics"])
    if signs is None or not signs.pace_high < LEVEL:
        return finding.against(
            "rate-signs",
            "pace",
            None if signs is None else signs.pace_high,
            "the training loss had not levelled: what the student could imitate is not known yet",
            threshold=LEVEL,
            weight=6.0,
        )
    if gaps.agreement > 1 - APART and arrived is None:
        return finding
    finding = arrived or finding
    if gaps.agreement <= 1 - APART:
        finding = finding.supported_by(
            "example-gaps",
            "agreement",
            gaps.agreement,
            f"{text}, with a verified loss that is level",
            threshold=1 - APART,
            origin="taxonomy",
            weight=1.5,
        )
    finding = _of_teacher(finding, train, held_out, teacher)
    finding = _of_twin(finding, train, held_out, shown=arrived is not None)
    finding = against_set_back(against_unfitted(finding, output, path, fit), signs)
    finding = against_fallen_back(against_untaught(against_another(finding, path, fit), path), path)
    if unlabelled:
        finding = finding.supported_by(
            "manifest", "alpha", config.distillation.alpha, "nothing but imitation was asked for", weight=2.0
        )
    if feature is not None:
        finding = finding.against(
            "feature-term", "weight", feature.weight, "the student was asked to imitate features as well", weight=5.0
        )
    return finding.saying(
        "The student cannot imitate this teacher, and is better off with less of it.",
        where="the pair of teacher and student",
        severity="warning",
    ).prescribe("a smaller alpha, or a teacher of a size in between", safety="careful", distillation__alpha=0.5)


def _of_teacher(finding: Finding, train: TrainGaps, held_out: Gaps | None, teacher: TeacherViews | None) -> Finding:
    """A teacher that is wrong, or whose answers were others inside the loop, is not worth imitating."""
    gaps = (held_out or train).gaps
    better = gaps.teacher_accuracy - max(gaps.student_accuracy, gaps.baseline_accuracy or 0.0)
    if better < APART / 2:
        finding = finding.against(
            "example-gaps",
            "teacher_accuracy",
            gaps.teacher_accuracy,
            f"the teacher, with {gaps.teacher_accuracy:.1%} right, is hardly better than what it is to improve",
            threshold=APART / 2,
            origin="convention",
            weight=8.0,
        )
    lost = skill_lost(teacher)
    if lost <= OTHERS:
        return finding
    return finding.against(
        "teacher-validity",
        "skill",
        lost,
        f"inside the loop the teacher lacks {lost:.0%} of its skill: other answers than its own were imitated",
        threshold=OTHERS,
        origin="convention",
        weight=8.0,
    )


def _of_twin(finding: Finding, train: TrainGaps, held_out: Gaps | None, *, shown: bool) -> Finding:
    """Whether the student does better alone. shown: that it holds no more of its teacher; then a gain over the labels
    says that what it holds was worth something, and little against that.
    """
    if held_out is None or held_out.gaps.baseline_accuracy is None:
        return finding
    own, twin = held_out.gaps.student_accuracy, held_out.gaps.baseline_accuracy
    noise = noise_of_difference(standard_error(own, held_out.gaps.n))
    text = f"held-out rows: {own:.1%} right, {twin:.1%} when trained on labels alone"
    part = max(_part_closed(held_out), _part_closed(train))
    if twin > own + noise and part >= CLOSES:
        return finding.supported_by("example-gaps", "baseline_accuracy", twin, text, weight=BETTER_ALONE, group="twin")
    if held_out.surely_gained:
        weight = HELD if shown else GAINED
        return finding.against("example-gaps", "baseline_accuracy", twin, text, weight=weight, group="twin")
    return finding


def _part_closed(found: Gaps | TrainGaps) -> float:
    """Share of the student's gap to the teacher that its labels-only twin closes."""
    gaps = found.gaps
    gap = gaps.teacher_accuracy - gaps.student_accuracy
    return 0.0 if gaps.baseline_accuracy is None or gap <= 0 else (gaps.baseline_accuracy - gaps.student_accuracy) / gap
