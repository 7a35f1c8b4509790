"""The teacher was trained on smoothed labels, which erased what it knew about the other classes.

What it checks
    On rows that the teacher has right: whether the logits of the other classes are nearly equal, in nats and against
    the distance of the top one. Unless they are equal altogether: whether the teacher also stays far less sure than it
    is right, on the easiest rows too. And, whatever it knows of others, whether it is far less sure than right on the
    tenth of rows that it is surest of, with all other classes alike.

Why it hurts
    Smoothing asks for the same probability for all wrong classes. The similarities between classes, which are what a
    student can learn beyond the labels, are gone, and a temperature spreads what is left over all classes alike.

What it looks like
    A better teacher and a worse student; the gain from distilling falls as the temperature rises.

Told apart from
    KD205, whose logits are probabilities. KD307, whose other classes are far apart, and untrue. KD101 and KD102, whose
    teachers are unsure because they are often wrong. KD302, where only the temperature flattens the targets.

Fix
    - teacher_loss = CrossEntropyLoss(label_smoothing=0.1)
    + teacher_loss = CrossEntropyLoss()
    Where the teacher cannot be trained again: a temperature of 1, or distilling features.

Treat automatically
    In part: the student is retrained at T = 1. A teacher without smoothing has to come from you.

Read more
    Müller et al. 2019, arXiv:1906.02629. Shen et al. 2021, arXiv:2104.00676, who find it harmless at times.
"""

from kddoctor.probes.measurements import Gaps, TeacherViews
from kddoctor.probes.non_target_structure import NonTargetStructure
from kddoctor.probes.surest_rows import SurestRows
from kddoctor.rules.finding import Finding
from kddoctor.rules.harm import harm_of, weighed_by_harm
from kddoctor.rules.loss.declared import distils
from kddoctor.rules.registry import rule
from kddoctor.rules.settings import Nats, Share
from kddoctor.run.manifest import Manifest

PROBE = "non-target-structure"
#: Within-row s.d. of the other logits, in nats and over the distance of the top one. Smoothing by 0.1 leaves 0.6 and
#: 0.13; a teacher without it has 2 to 3, and 0.25 and more; one that has hardly been trained, 0.4 and more of the
#: second (calibrated on digits and language).
EQUAL_NATS: Nats = 1.0
EQUAL_SHARE: Share = 0.2
#: Within-row s.d. over the distance of the top logit from which the other classes are equal however sure the teacher
#: is of the top one (taxonomy), and the accuracy from which it knows what it is sure of.
ALL_ALIKE: Share = 0.1
RIGHT: Share = 0.7
#: Accuracy on these rows below which a teacher is unsure because it is wrong.
KNOWS: Share = 0.95
#: The same, of the rows that it is surest of, whatever it knows of others; and what it keeps back there for certain,
#: which is the smoothing itself: more than anybody smooths by. Without smoothing it was 0.03 at most, and the spread
#: 0.16 and more (digits, newsgroups, language, photographs, spelling).
ALIKE_WHERE_SURE: Share = 0.12
MUCH: Share = 0.12
#: Points below such a teacher that a student loses to it, no matter what it gained on labels alone.
FAR: Share = 0.1
#: What a teacher that is right keeps back: half of a smoothing by 0.1.
KEPT_BACK: Share = 0.05


@rule(
    "KD303",
    name="label-smoothed-teacher",
    family="soft-targets",
    title="The teacher's other classes are all alike",
    stage=41,
    only=(
        "multiclass",
        "tokens",
    ),
    reads=(NonTargetStructure, Manifest),
    uses=(Gaps, TeacherViews, SurestRows),
    masks=("KD402",),
)
def label_smoothed_teacher(
    structure: NonTargetStructure,
    config: Manifest,
    held_out: Gaps | None,
    teacher: TeacherViews | None,
    surest: SurestRows | None = None,
) -> Finding:
    finding = Finding()
    if not distils(config) or (teacher is not None and any(view.probabilities for view in teacher.all)):
        return finding
    smoothed = surest is not None and surest.relative_spread < ALIKE_WHERE_SURE and surest.surely_kept_back > MUCH
    if surest is not None and smoothed and held_out is not None and harm_of(held_out).behind >= FAR:
        return _of_surest(finding, surest)
    apart = (
        f"the other classes' logits differ by {structure.others_sd:.2g} nats within a row, "
        f"{structure.relative_spread:.0%} of the distance of the top one"
    )
    if structure.relative_spread > EQUAL_SHARE or structure.others_sd > EQUAL_NATS:
        return finding.against(
            PROBE,
            "relative_spread",
            structure.relative_spread,
            apart,
            threshold=EQUAL_SHARE,
            origin="calibrated on digits and language",
            weight=8.0,
        )
    if structure.relative_spread < ALL_ALIKE and structure.accuracy > RIGHT:
        finding = finding.supported_by(
            PROBE,
            "relative_spread",
            structure.relative_spread,
            f"{apart}, on rows that it has right",
            threshold=ALL_ALIKE,
            origin="paper",
            weight=6.0,
        )
        return _said(*weighed_by_harm(finding, held_out))
    kept_back = structure.accuracy - structure.confidence_90
    if structure.accuracy < KNOWS or kept_back < KEPT_BACK / 2 or structure.confidence > 1 - KEPT_BACK:
        return finding
    finding = finding.supported_by(
        PROBE,
        "relative_spread",
        structure.relative_spread,
        apart,
        threshold=EQUAL_SHARE,
        origin="calibrated on digits and language",
    ).supported_by(
        PROBE,
        "confidence_90",
        structure.confidence_90,
        f"it is right on {structure.accuracy:.1%} of these rows and {structure.confidence:.1%} sure of them; of nine "
        f"in ten no more than {structure.confidence_90:.1%}",
        threshold=1 - KEPT_BACK,
        origin="convention",
        # Smoothed teachers teach well at times: without a labels-only twin nobody knows about this one.
        weight=3.0 if held_out is not None and held_out.baseline_accuracy is not None else 2.0,
    )
    return _said(*weighed_by_harm(finding, held_out))


def _of_surest(finding: Finding, surest: SurestRows) -> Finding:
    finding = finding.supported_by(
        "surest-rows",
        "kept_back",
        surest.kept_back,
        f"of the tenth of held-out rows that it is surest of, the teacher has {surest.right:.0%} right and is "
        f"{surest.confidence:.0%} sure; the least likely class there has {surest.evenness:.0%} of an even share of the "
        "rest: an ordinary teacher's has a hundredth",
        threshold=MUCH,
        origin="identity of a teacher that minimised a cross-entropy",
        weight=6.5,
    )
    return _said(finding, harmless=False)


def _said(finding: Finding, harmless: bool) -> Finding:
    return finding.saying(
        "The teacher gives all wrong classes nearly the same probability.",
        where="the teacher's own training: label smoothing, mixup or a loss for each class by itself",
        severity="note" if harmless else "warning",
    ).prescribe(
        "temperature 1, or a teacher trained without smoothing", safety="careful", distillation__temperature=1.0
    )
