"""What the rules read: the probes' results, gathered by the question that they answer."""

from dataclasses import dataclass

from kddoctor.probes.example_gaps import ExampleGaps
from kddoctor.probes.layer_similarity import LayerSimilarity
from kddoctor.probes.paired_difference import error_of_paired_difference
from kddoctor.probes.paired_retention import PairedRetention
from kddoctor.probes.proportions import SURE, noise_of_difference, standard_error
from kddoctor.probes.soft_targets import SoftTargets
from kddoctor.probes.teacher_validity import TeacherValidity


@dataclass(frozen=True)
class TeacherView:
    """The teacher's logits from one source, held against the labels.

    source: for people, such as "predictions/val" or "steps". in_loop: these are the values that the loss used.
    probabilities: every value lies in [0, 1] and every row sums to one. auc: for yes-or-no tasks. chances: every value
    lies in [0, 1], rows do not sum to one, and the median row goes from near 0 to near 1: one probability a class.
    """

    source: str
    in_loop: bool
    validity: TeacherValidity
    probabilities: bool
    auc: float | None = None
    chances: bool = False

    @property
    def skill(self) -> float:
        """How much better than chance, as a share of what is possible: 0 for a random pairing, 1 when perfect.

        For yes-or-no tasks 2 AUC − 1, which does not depend on how rare a yes is.
        """
        if self.auc is not None:
            return 2 * self.auc - 1
        chance = self.validity.chance
        if chance == 1:  # a single class, which leaves no room above chance
            return self.validity.accuracy
        return (self.validity.accuracy - chance) / (1 - chance)

    @property
    def skill_error(self) -> float:
        """Standard error of the skill, by the number of rows."""
        if self.auc is not None:
            return 2 * standard_error(self.auc, self.validity.n)
        return standard_error(self.validity.accuracy, self.validity.n) / max(1e-9, 1 - self.validity.chance)


@dataclass(frozen=True)
class TeacherViews:
    """All sources of teacher logits. own: on its own preprocessing, in evaluation mode; in_loop: the loss's."""

    own: TeacherView | None
    own_train: TeacherView | None
    in_loop: TeacherView | None
    student_probabilities: bool

    @property
    def all(self) -> tuple[TeacherView, ...]:
        """The views that were recorded, the loss's own first."""
        return tuple(v for v in (self.in_loop, self.own, self.own_train) if v is not None)


@dataclass(frozen=True)
class TargetSoftness:
    """Soft targets of both splits at the run's temperature and at 4; None where a split was not recorded.

    in_loop: of rows as recorded steps hold them, where the targets of the training split itself were not kept.
    """

    temperature: float
    train: SoftTargets | None
    held_out: SoftTargets | None
    in_loop: SoftTargets | None = None

    @property
    def targets(self) -> SoftTargets:
        """What the student was shown, as far as that was recorded."""
        found = self.in_loop or self.train or self.held_out
        assert found is not None
        return found

    def at(self, targets: SoftTargets, temperature: float) -> int:
        """Index of a temperature in the curve (the nearest)."""
        return int(abs(targets.temperatures - temperature).argmin())


def noise_of_gain(gaps: ExampleGaps) -> float:
    """How much the rows explain of a student's gain over its labels-only twin.

    Rows that both have right, or both wrong, say nothing of it. Where the twin's answers were not recorded, rows count
    as unpaired. Another seed moves a student as well: this tells a gain from nothing, and accuses nobody.
    """
    if gaps.student_only_right is None or gaps.baseline_only_right is None:
        return noise_of_difference(standard_error(gaps.student_accuracy, gaps.n))
    return SURE * error_of_paired_difference(gaps.student_only_right, gaps.baseline_only_right, gaps.n)


@dataclass(frozen=True)
class Rivals:
    """The teacher against who learns from it, on the same held-out rows and in the task's own metric.

    student: student against teacher. twin: the labels-only student against the teacher. gain: student against that
    twin, which takes the teacher's place in it. The last two are None where no twin's logits were recorded.
    """

    student: PairedRetention
    twin: PairedRetention | None
    gain: PairedRetention | None

    @property
    def gained(self) -> float | None:
        """What distilling brought on top of the labels alone; None without a twin's logits."""
        return None if self.gain is None else self.gain.student - self.gain.teacher

    @property
    def noise_of_gain(self) -> float | None:
        """How much of a gain the rows explain, which are paired; None without a twin's logits."""
        return None if self.gain is None else SURE * self.gain.error_at(1.0)


@dataclass(frozen=True)
class Gaps:
    """Teacher, student and labels-only student on held-out rows.

    ranked: the same by the area under the ROC curve, of yes-or-no tasks: where a yes is rare, whoever always says no is
    right as often as the teacher.
    """

    split: str
    gaps: ExampleGaps
    baseline_accuracy: float | None
    ranked: Rivals | None = None

    @property
    def metric(self) -> str:
        """What ``gained`` and ``behind`` are differences of."""
        return "accuracy" if self.ranked is None else "the area under the ROC curve"

    @property
    def gained(self) -> float | None:
        """What distilling brought on top of the labels alone, in the task's metric; None without a twin."""
        if self.ranked is not None:
            return self.ranked.gained
        return None if self.baseline_accuracy is None else self.gaps.student_accuracy - self.baseline_accuracy

    @property
    def noise_of_gain(self) -> float:
        """How much of a gain the rows explain."""
        noise = None if self.ranked is None else self.ranked.noise_of_gain
        return noise_of_gain(self.gaps) if noise is None else noise

    @property
    def surely_gained(self) -> bool:
        """Whether distilling brought more than noise."""
        return self.gained is not None and self.gained > self.noise_of_gain

    @property
    def distances(self) -> tuple[tuple[float, float], ...]:
        """(teacher minus student, standard error of the student) by accuracy, and by the area where there is one."""
        own = self.gaps.student_accuracy
        found = [(self.gaps.teacher_accuracy - own, standard_error(own, self.gaps.n))]
        if self.ranked is not None:
            area = self.ranked.student
            found.append((area.teacher - area.student, area.error_at(0.0)))
        return tuple(found)

    @property
    def behind(self) -> float:
        """By how much the student is below its teacher, by what it is furthest below in."""
        return max(distance for distance, _ in self.distances)

    def surely_behind(self, points: float, errors: float) -> bool:
        """Whether that is more than so many points and so many standard errors, by either measure."""
        return any(distance > max(points, errors * error) for distance, error in self.distances)


@dataclass(frozen=True)
class TrainGaps:
    """The same on training rows."""

    gaps: ExampleGaps

    @property
    def noise_of_gain(self) -> float:
        """How much of a gain the rows explain."""
        return noise_of_gain(self.gaps)


@dataclass(frozen=True)
class LogitSimilarity:
    """Layers against layers, with both models' logits as their last layer, named "logits"; positions count as rows."""

    layers: LayerSimilarity
