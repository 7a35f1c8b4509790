"""What is distilled is another tensor than the one that was meant.

What it checks
    Whether what the loss took for the teacher's logits bears any relation to the teacher's logits for the very same
    inputs; whether it is these logits with all that is below a floor raised to it, as behind a ReLU, with the label's
    own pushed down in every row, or those of the batch before, or the same as at the step before although the inputs
    are others; and whether a feature loss came to rest where a map lies that has learnt everything of its target but
    what depends on the example, although the student's features say far more about the teacher's. Where autograd's
    graph holds no map that learns, nothing learnt that.

Why it hurts
    Features, an auxiliary head or the output of the batch before have the right shape often enough; what the student
    then learns has nothing to do with the task.

What it looks like
    Nothing fails. The student is far below its labels-only twin, the more so the larger alpha.

Told apart from
    KD106, where the tensor holds the right outputs of other rows, not of one batch for all. KD105, where columns
    are permuted. KD107, where another view was scored, whose outputs resemble these. KD205, where probabilities were
    taken for logits, which rise and fall with them. KD112, whose map does not even learn the mean of its target.
    KD404, whose target is of another layer and of the right examples.

Fix
    - features, logits = teacher(x); kd = kl(student(x), features)
    + features, logits = teacher(x); kd = kl(student(x), logits)
    Clear the lists that hooks append to at each step, name what a model returns, and mask copies of it: ``scatter_``
    and ``masked_fill_`` write into the logits that the loss is still to read.

Treat automatically
    Yes: the student is retrained with the teacher's logits.

Read more
    PyTorch documentation of Module.register_forward_hook.
"""

import math

from kddoctor.probes.feature_levels import FeatureLevels, Level
from kddoctor.probes.output_floor import OutputFloor
from kddoctor.probes.row_pairing import SAME_OUTPUT, RowPairing
from kddoctor.probes.targets_against_own import TargetsAgainstOwn
from kddoctor.probes.targets_in_loop import TargetsInLoop
from kddoctor.probes.teacher_passes import TeacherPasses
from kddoctor.rules.finding import Finding, Grade, NotExamined
from kddoctor.rules.pipeline.feature_level import (
    WITHIN_REACH,
    no_projector_learns,
    projector_learns,
    without_the_example,
)
from kddoctor.rules.pipeline.kept_targets import kept_from_before
from kddoctor.rules.pipeline.teacher_in_train_mode import REPEATABLE
from kddoctor.rules.pipeline.teacher_rows_misaligned import STRAYS
from kddoctor.rules.recommenders.overwritten import against_overwritten
from kddoctor.rules.record import RECORD
from kddoctor.rules.registry import rule
from kddoctor.rules.sequence.teacher_hacking import drawn_answers
from kddoctor.rules.settings import Correlation, Count
from kddoctor.run.manifest import Manifest
from kddoctor.run.observations import Observations

PROBE = "targets-in-loop"
#: Correlation below which two sets of outputs for the same inputs have nothing to do with each other.
UNRELATED: Correlation = 0.4
#: Mean correlation of the best matched columns from which on the columns are those of the teacher, permuted.
PERMUTED: Correlation = 0.8
#: Share of values at a floor from which it cuts something off; and how alike two figures of different rows are.
CUT, ALIKE = 0.05, 0.5
#: Fewest rows for a correlation that means something.
FEWEST_ROWS: Count = 64


@rule(
    "KD113",
    name="wrong-tensor-distilled",
    family="pipeline",
    title="Another tensor than the teacher's logits is distilled",
    stage=13,
    reads=(Manifest,),
    uses=(TargetsInLoop, TeacherPasses, RowPairing, TargetsAgainstOwn, FeatureLevels, Observations, OutputFloor),
    masks=(
        *("KD102", "KD105", "KD208", "KD301", "KD302", "KD304", "KD307", "KD401", "KD402", "KD403", "KD404", "KD405"),
        *("KD501", "KD502", "KD507", "KD604", "KD902"),
    ),
)
def wrong_tensor_distilled(
    config: Manifest,
    targets: TargetsInLoop | None,
    passes: TeacherPasses | None,
    pairing: RowPairing | None,
    own: TargetsAgainstOwn | None,
    levels: FeatureLevels | None = None,
    seen: Observations | None = None,
    floor: OutputFloor | None = None,
) -> Finding | NotExamined:
    if floor is not None and _cut_off(floor):
        return _said(_of_floor(Finding(), floor))
    if pairing is not None and pairing.one_batch_before > 1 - STRAYS:
        return _said(_of_batch_before(Finding(), pairing))
    if kept_from_before(seen) > STRAYS:
        return _said(_of_step_before(Finding(), kept_from_before(seen)))
    by_hand = against_overwritten(own, config)
    if by_hand is not None:
        return by_hand
    if own is not None and _label_overwritten(own, targets):
        return _said(_of_label(Finding(), own))
    level = None if levels is None else _of_other_examples(levels, seen)
    if levels is not None and level is not None:
        return _of_features(Finding(), levels, level)
    if targets is None or passes is None:
        return NotExamined(*RECORD["TargetsInLoop" if targets is None else "TeacherPasses"])
    if own is not None and drawn_answers(own):
        # Single answers, drawn from the teacher's distribution: another kind of target, and the right tensor.
        return Finding()
    return _said(_of_relation(Finding(), targets, passes, pairing))


def _of_relation(
    finding: Finding, targets: TargetsInLoop, passes: TeacherPasses, pairing: RowPairing | None
) -> Finding:
    """What the targets have to do with the teacher's own logits for the same inputs."""
    if passes.relative_difference <= REPEATABLE:
        return finding.against(
            PROBE,
            "relative_difference",
            passes.relative_difference,
            "what the loss used are the teacher's own logits for the same inputs",
            threshold=REPEATABLE,
            grade=Grade.PROOF,
        )
    if _related(targets) > UNRELATED:
        return finding.against(
            PROBE,
            "correlation",
            _related(targets),
            f"what the loss used rises and falls with the teacher's logits (correlation {_related(targets):.2f})",
            threshold=UNRELATED,
            origin="convention",
            weight=8.0,
        )
    if not _unrelated(targets, passes, pairing):
        return finding
    return finding.supported_by(
        PROBE,
        "correlation",
        targets.correlation,
        "what the loss took for the teacher's logits has nothing to do with the teacher's logits for the same "
        f"inputs (correlation {targets.correlation:.2f}), nor with those of other rows or a permutation of classes",
        threshold=UNRELATED,
        origin="convention",
        grade=Grade.INTERVENTIONAL,
        weight=10.0,
    )


def _of_other_examples(levels: FeatureLevels, seen: Observations | None) -> Level | None:
    """The level at which a map rests that learns, and whose target belongs to other examples."""
    return None if no_projector_learns(seen) else without_the_example(levels, learns=projector_learns(seen))


def _said(finding: Finding) -> Finding:
    return finding.saying(
        "The loss distils another tensor than the teacher's logits.",
        where="the training loop: what is taken from the teacher's output",
    ).prescribe("distil the teacher's logits", treatment__pairing="online")


def _cut_off(floor: OutputFloor) -> bool:
    """Whether the targets are the teacher's logits with everything below a floor raised to it, as ReLU does."""
    if min(floor.at_floor, floor.below) <= CUT:
        return False
    if floor.rest is not None:
        return floor.rest <= SAME_OUTPUT
    # Of other rows: as many are cut off as lie below, and the rest is no other scale, as probabilities would be.
    return ALIKE <= floor.below / floor.at_floor <= 1 / ALIKE and ALIKE <= floor.reach <= 1 / ALIKE


def _of_floor(finding: Finding, floor: OutputFloor) -> Finding:
    exactly = "" if floor.rest is None else "; all others are its logits"
    return finding.supported_by(
        "output-floor",
        "at_floor",
        floor.at_floor,
        f"{floor.at_floor:.0%} of what the loss took for the teacher's logits is exactly {floor.floor:g}, where "
        f"{floor.below:.0%} of the teacher's own lie below that{exactly}: what comes out of a ReLU",
        threshold=CUT,
        grade=Grade.INTERVENTIONAL if floor.rest is None else Grade.PROOF,
        weight=8.0 if floor.rest is None else None,
    )


def _of_batch_before(finding: Finding, pairing: RowPairing) -> Finding:
    return finding.supported_by(
        "row-pairing",
        "one_batch_before",
        pairing.one_batch_before,
        f"{pairing.source}: {pairing.one_batch_before:.0%} of the outputs are the teacher's for the row of the same "
        "place in the batch before",
        threshold=1 - STRAYS,
        grade=Grade.PROOF,
    )


def _of_step_before(finding: Finding, share: float) -> Finding:
    return finding.supported_by(
        "observations",
        "repeated_targets",
        share,
        f"at {share:.0%} of the steps what the loss took for the teacher's logits was the very tensor of the step "
        "before, although the inputs were others: what a list keeps that nobody empties",
        threshold=STRAYS,
        origin="identity",
        grade=Grade.PROOF,
    )


def _label_overwritten(own: TargetsAgainstOwn, targets: TargetsInLoop | None) -> bool:
    """Whether the targets are the teacher's logits but for that of the label, which is lower in every row that differs.

    Of two classes, any difference is one of the label's logit; then that of all rows has to be the same number.
    """
    fell = own.gained_right <= 0 and not own.gained_wrong > 0
    if not fell or own.changed <= STRAYS:
        return False
    if math.isnan(own.only_at_label):
        return targets is not None and targets.distinct == 1 and own.changed * own.rows >= FEWEST_ROWS
    return own.only_at_label > 1 - STRAYS and own.changed * own.rows >= FEWEST_ROWS


def _of_label(finding: Finding, own: TargetsAgainstOwn) -> Finding:
    alone = not math.isnan(own.only_at_label)
    return finding.supported_by(
        "targets-against-own",
        "only_at_label" if alone else "changed",
        own.only_at_label if alone else own.changed,
        f"in {own.changed:.0%} of the rows what the loss took for the teacher's logits has the label's pushed down"
        f"{' and all others as they are' if alone else ', to one and the same number'}: the label's loss is "
        f"{own.label_loss:.3g} nats, that of the teacher's own answers {own.own_label_loss:.3g}",
        threshold=1 - STRAYS if alone else STRAYS,
        grade=Grade.PROOF if alone else Grade.INTERVENTIONAL,
        weight=None if alone else 10.0,
    )


def _of_features(finding: Finding, levels: FeatureLevels, level: Level) -> Finding:
    return (
        finding.supported_by(
            "feature-levels",
            "last",
            levels.last,
            f"the feature term went from {levels.first:.3g} to {levels.last:.3g} at once and rests there: that is what "
            f"the mean of {level.layer} leaves, whatever the example ({level.mean:.3g}, and {level.one_number:.3g} "
            "for one number)",
            threshold=level.mean,
            origin="identity",
            grade=Grade.INTERVENTIONAL,
        )
        .supported_by(
            "feature-levels",
            "fitted",
            level.fitted,
            f"a linear map that is fitted to the student's features afterwards leaves {level.fitted:.3g}",
            threshold=WITHIN_REACH * level.mean,
            origin="convention",
            grade=Grade.INTERVENTIONAL,
            weight=2.0,
        )
        .saying(
            "The feature loss compares the student with features of other examples, or of another tensor.",
            where="the training loop: where the teacher's features are kept between its pass and the loss",
        )
        .prescribe("keep the features of this very pass, of the layer that was meant", treatment__feature_term="off")
    )


def _related(targets: TargetsInLoop) -> float:
    """Correlation, the larger of all values and of those about the mean of each class, which an offset leaves alone."""
    about = targets.changed_correlation
    return max(targets.correlation, about) if math.isfinite(about) else targets.correlation


def _unrelated(targets: TargetsInLoop, passes: TeacherPasses, pairing: RowPairing | None) -> bool:
    """Where the teacher saw these very inputs: outputs of other rows come from caches, and are found elsewhere."""
    elsewhere = pairing is not None and pairing.elsewhere > STRAYS
    permuted = abs(targets.correlation) > UNRELATED or targets.columns_matched > PERMUTED
    return passes.same_inputs == 1 and targets.rows >= FEWEST_ROWS and not elsewhere and not permuted
