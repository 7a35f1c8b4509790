"""The teacher is as right as any, and what it says of the other classes is not true of them.

What it checks
    On rows that the teacher has right: whether its second choices are fixed by the class and never mutual, although
    similarity is; or whether the class explains nothing of the other logits, although they lie far apart, and the
    student does not find them again on new rows, as where they were drawn at random; or next to everything, as where
    each class has one made-up answer. And whether the mean logits by class are unrelated, or contrary, to those of a
    student that learned the labels alone, and learned them well.

Why it hurts
    A student learns more from the probabilities of the wrong classes than from the top one. Where they were made up,
    by a guarded service or a defence in training, imitating them costs accuracy.

What it looks like
    An accurate teacher, a student below labels alone, and the worse the larger alpha and the temperature are.

Told apart from
    KD303, whose other classes are all alike. KD304, which is wrong on its top class too. KD105 and KD106, which the
    teacher's own accuracy inside the loop rules out.

Fix
    - loss = alpha * T**2 * kl(student, teacher) + (1 - alpha) * ce
    + loss = alpha * cross_entropy(student, teacher.argmax()) + (1 - alpha) * ce
    Better: another teacher.

Treat automatically
    In part: the student is retrained with a small alpha. Another teacher has to come from you.

Read more
    Ma et al. 2021, arXiv:2105.07381, on teachers that were made nasty on purpose.
"""

from kddoctor.probes.data_measurements import SplitOverlap
from kddoctor.probes.measurements import Gaps
from kddoctor.probes.non_target_structure import NonTargetStructure
from kddoctor.probes.proportions import noise_of_difference, standard_error
from kddoctor.rules.finding import Finding, Grade
from kddoctor.rules.harm import weighed_by_harm
from kddoctor.rules.loss.declared import distils
from kddoctor.rules.registry import rule
from kddoctor.rules.settings import Correlation, Count, Nats, Share
from kddoctor.rules.soft_targets.label_smoothed_teacher import EQUAL_NATS
from kddoctor.run.manifest import Manifest

PROBE = "non-target-structure"
#: Accuracy from which a teacher counts as right; of harder tasks, one that is ahead of the labels-only twin.
RIGHT: Share = 0.8
#: Share of a class's rows with the same second choice, share of choices that are returned, and different ones over
#: classes. Sound teachers were at 0.6, 0.25 to 0.6 and 0.4 to 0.7; common classes, which are everybody's second
#: choice, are few (calibrated on digits and language).
FIXED: Share = 0.9
RETURNED: Share = 0.15
DIFFERENT: Share = 0.7
#: The same of a teacher that is often wrong, which blurs its choices: sound ones of newsgroups and language were at
#: 0.72, 0.25 and 0.75 at most, at least and at most.
OFTEN: Share = 0.75
SELDOM_RETURNED: Share = 0.3
MOSTLY_DIFFERENT: Share = 0.9
#: Classes from which choices that are never returned are no accident.
ENOUGH_CLASSES: Count = 5
#: Classes from which means by class are enough to correlate: of 8 there are 41 free ones, of 5 there are 11.
PATTERN_CLASSES: Count = 8
#: Share of the other logits' variance that the class explains; sound teachers were between 0.35 and 0.85.
UNEXPLAINED: Share = 0.1
EXPLAINED: Share = 0.9
#: Correlation of the other logits of teacher and student, row by row, on rows that neither was taught on: answers drawn
#: at random leave 0.02, those of other sources and of classes of many kinds 0.34 and more (digits; strangers' runs).
FOLLOWED: Correlation = 0.2
#: Correlation with the labels-only twin's mean logits by class; sound teachers of digits, newsgroups and language were
#: above 0.47, whatever the twin's accuracy.
UNRELATED: Correlation = 0.3
RELATED: Correlation = 0.45
CONTRARY: Correlation = -0.2
#: Accuracy from which a labels-only twin knows which classes are alike.
KNOWS_CLASSES: Share = 0.25
#: Share of different rows among the training rows below which classes are read from copies.
FEW: Share = 0.5
#: Share of its teacher's accuracy from which a twin knows which classes are alike.
NEARLY: Share = 0.75
#: Nats for a structure that is turned round.
TURNED_ROUND: Nats = 6.0
#: Weight at which such a teacher does little harm.
SMALL_ALPHA: Share = 0.1


@rule(
    "KD307",
    name="undistillable-teacher",
    family="soft-targets",
    title="The teacher's other classes say nothing true",
    stage=41,
    only=(
        "multiclass",
        "tokens",
    ),
    reads=(NonTargetStructure, Manifest),
    uses=(Gaps, SplitOverlap),
    masks=("KD401", "KD402", "KD502"),
)
def undistillable_teacher(
    structure: NonTargetStructure, config: Manifest, held_out: Gaps | None, overlap: SplitOverlap | None = None
) -> Finding:
    finding = Finding()
    if not distils(config) or not _is_right(structure, held_out):
        return finding
    if not _few_rows(overlap):
        finding = _of_choices(finding, structure)
    finding = _of_structure(finding, structure, held_out)
    if not finding.supporting:
        return finding
    finding, harmless = weighed_by_harm(finding, held_out)
    return finding.saying(
        "The teacher is right, and its other probabilities are unrelated to how alike the classes are.",
        where="the teacher's outputs below the top class",
        severity="note" if harmless else "error",
    ).prescribe(
        "another teacher; until then its top class only, or a small alpha",
        safety="careful",
        distillation__alpha=SMALL_ALPHA,
    )


def _is_right(structure: NonTargetStructure, held_out: Gaps | None) -> bool:
    """Whether the teacher is worth listening to for its top class, as far as its task allows."""
    accuracy = structure.accuracy if held_out is None else held_out.gaps.teacher_accuracy
    if min(accuracy, structure.accuracy) >= RIGHT:
        return True
    twin = None if held_out is None else held_out.gaps.baseline_accuracy
    if held_out is None or twin is None:
        return False
    return accuracy > twin + noise_of_difference(standard_error(twin, held_out.gaps.n))


def _few_rows(overlap: SplitOverlap | None) -> bool:
    """Whether most training rows are copies of a few: the same row has the same second choice, whatever its class."""
    if overlap is None:
        return False
    copies = overlap.copies is not None and overlap.copies.different < FEW
    return copies or (overlap.equal is not None and overlap.equal.distinct < FEW * overlap.equal.train)


def _of_choices(finding: Finding, found: NonTargetStructure) -> Finding:
    share, mutual, different = found.second_share, found.mutual, found.distinct
    if share is None or mutual is None or different is None or found.classes < ENOUGH_CLASSES:
        return finding
    fixed = share > FIXED and mutual < RETURNED and different > DIFFERENT
    blurred = found.accuracy < RIGHT and share > OFTEN and mutual < SELDOM_RETURNED and different > MOSTLY_DIFFERENT
    if fixed or blurred:
        return finding.supported_by(
            PROBE,
            "mutual",
            mutual,
            f"each class has a second choice of its own on {share:.0%} of its rows, and only {mutual:.0%} of them are "
            "mutual",
            threshold=RETURNED if fixed else SELDOM_RETURNED,
            origin="calibrated on digits, newsgroups and language",
            weight=6.0,
        )
    return finding


def _of_structure(finding: Finding, found: NonTargetStructure, held_out: Gaps | None) -> Finding:
    structure, twin = found.structure, found.pattern_of_twin
    # What the student gives back on rows that it never saw, the input tells, if not the class.
    told = found.followed is not None and found.followed > FOLLOWED
    if structure is not None and structure < UNEXPLAINED and found.others_sd > EQUAL_NATS and not told:
        finding = finding.supported_by(
            PROBE,
            "structure",
            structure,
            f"the other classes' logits differ by {found.others_sd:.2g} nats within a row, of which the class explains "
            f"{structure:.0%}",
            threshold=UNEXPLAINED,
            origin="calibrated on digits and language",
            weight=4.5,
        )
    elif structure is not None and structure > EXPLAINED and found.classes >= ENOUGH_CLASSES:
        finding = finding.supported_by(
            PROBE,
            "structure",
            structure,
            f"the class explains {structure:.0%} of the other classes' logits: rows of one class are answered as one "
            "row would be",
            threshold=EXPLAINED,
            origin="calibrated on digits, newsgroups and language",
            weight=4.5,
        )
    knows = 0.0 if held_out is None else (held_out.baseline_accuracy or 0.0)
    if twin is None or held_out is None or knows < max(KNOWS_CLASSES, NEARLY * held_out.gaps.teacher_accuracy):
        # A twin that hardly learned its labels knows as little of how alike the classes are.
        return finding
    text = f"the teacher's mean logits by class correlate by {twin:.2f} with those of a student on labels alone"
    if twin < UNRELATED and found.others_sd > EQUAL_NATS and found.classes >= PATTERN_CLASSES:
        return finding.supported_by(
            PROBE,
            "pattern_of_twin",
            twin,
            text,
            threshold=UNRELATED,
            origin="calibrated on digits and language",
            grade=Grade.INTERVENTIONAL,
            # Correlations below zero are no want of structure, but one that is turned round.
            weight=4.0 if twin > CONTRARY else TURNED_ROUND,
        )
    if twin < RELATED:
        return finding
    return finding.against(
        PROBE,
        "pattern_of_twin",
        twin,
        text,
        threshold=RELATED,
        origin="calibrated on digits, newsgroups and language",
        weight=4.0,
    )
