"""The teacher's outputs are paired with other examples than the ones they were computed from.

What it checks
    Whether the outputs that the loss used are the teacher's own outputs of *other* rows, or a shuffle of such, which
    share nothing with its answers to these rows but how often each value occurs; whether one shift of a split's
    recorded outputs, of all there are, makes the teacher right far more often; or whether the teacher is at chance
    inside the loop although it is sure of itself, predicts each class as often as the labels do, and is right outside
    the loop.

Why it hurts
    The student is taught an average over unrelated examples: at best a kind of label smoothing, at worst noise.

What it looks like
    Cached logits and a shuffling loader. Distillation barely helps, or mildly regularises, so nobody looks.

Told apart from
    KD105, where a permutation of classes restores the teacher. KD101, where the teacher is unsure and prefers a few
    classes. KD107, where the outputs are of the right example but of another view of it: drawn anew each time, views
    leave the teacher less sure than it is of any rows. KD903, whose targets are changed against the label alone. KD113,
    whose outputs are of the batch before, or of one batch at step after step: a tensor that was kept, and no pairing.

Fix
    - for (x, y), t in zip(DataLoader(data, shuffle=True), cached_logits):
    + for x, y, index in DataLoader(data_with_index, shuffle=True): t = cached[index]
    Or run the teacher on the very batch that the student sees.

Treat automatically
    Yes: the student is retrained with the teacher run on its own batches.

Read more
    Beyer et al. 2022, arXiv:2106.05237: the same view for teacher and student.
"""

import math

from kddoctor.probes.measurements import TeacherView, TeacherViews
from kddoctor.probes.proportions import standard_error
from kddoctor.probes.row_pairing import RowPairing
from kddoctor.probes.shifted_rows import ShiftedRows
from kddoctor.probes.targets_again import TargetsAgain
from kddoctor.probes.targets_against_own import TargetsAgainstOwn
from kddoctor.probes.targets_in_loop import TargetsInLoop
from kddoctor.probes.teacher_passes import TeacherPasses
from kddoctor.probes.token_shift import TokenShift
from kddoctor.rules.finding import Finding, Grade
from kddoctor.rules.pipeline.kept_targets import kept_from_before
from kddoctor.rules.pipeline.teacher_inputs import drawn_anew
from kddoctor.rules.pipeline.teacher_weights_not_loaded import NO_SKILL
from kddoctor.rules.recommenders.overwritten import against_overwritten
from kddoctor.rules.registry import rule
from kddoctor.rules.settings import Correlation, Count, Deviations, Distance, Share
from kddoctor.run.manifest import Manifest
from kddoctor.run.observations import Observations

PROBE = "row-pairing"
#: Share of rows whose output belongs to another row that no honest record has.
STRAYS: Share = 0.05
#: A teacher with this much skill outside the loop, and none inside, is not a bad teacher.
SKILLED: Share = 0.4
#: Class histogram and entropy of a trained teacher whose rows were shuffled stay normal (taxonomy: L1 < .05); share of
#: what is above chance that matching classes then gives at most.
HISTOGRAM: Distance = 0.3
MATCHED: Share = 0.5
SURE: Share = 0.5
#: Accuracy that a shift of the rows must restore.
RESTORED: Share = 0.3
#: The same of recorded rows, all of whose shifts are tried: points, and standard errors that the best of so many does
#: not reach by chance.
GAINED: Share = 0.05
CERTAIN: Deviations = 6.0
#: Agreement of a student with the teacher of its own rows, from which these are the rows that it was taught on.
FOLLOWED: Share = 0.8
#: Correlation of outputs of different rows, and distance of two sets of them, where there are many rows.
UNRELATED: Correlation = 0.15
ALIKE: Distance = 0.15
#: The same where there are few, in units of 1 / √rows and of √(1 / rows of one + 1 / rows of the other): two standard
#: errors, and the distance of Kolmogorov and Smirnov that one in a hundred pairs of sets of one distribution exceeds.
UNRELATED_ERRORS: Deviations = 2.0
ALIKE_ERRORS: Deviations = 1.63
#: Mean largest probability that views which are hard to read take away, and other rows do not.
LESS_SURE: Share = 0.05
#: Share of the rows that differ which hold their own values in another order, as a reordering of classes makes it.
REORDERED: Share = 0.1
#: Mean correlation that columns gain by being matched, from which they were moved.
MOVED: Correlation = 0.2
#: Rows out of place, and different outputs among them, from which two sets are compared.
FEWEST_ROWS: Count = 20


@rule(
    "KD106",
    name="teacher-rows-misaligned",
    family="pipeline",
    title="The teacher's outputs are paired with the wrong rows",
    stage=13,
    reads=(TeacherViews,),
    uses=(
        RowPairing,
        TokenShift,
        TargetsInLoop,
        TeacherPasses,
        Observations,
        TargetsAgain,
        TargetsAgainstOwn,
        Manifest,
        ShiftedRows,
    ),
    masks=(
        "KD102",
        "KD208",
        "KD301",
        "KD304",
        "KD307",
        "KD402",
        "KD502",
        "KD705",
        "KD901",
    ),
)
def teacher_rows_misaligned(
    teacher: TeacherViews,
    pairing: RowPairing | None,
    shift: TokenShift | None,
    targets: TargetsInLoop | None = None,
    passes: TeacherPasses | None = None,
    seen: Observations | None = None,
    again: TargetsAgain | None = None,
    own: TargetsAgainstOwn | None = None,
    config: Manifest | None = None,
    shifted: ShiftedRows | None = None,
) -> Finding:
    by_hand = against_overwritten(own, config)
    if by_hand is not None:
        return by_hand
    otherwise = _of_another_fault(teacher, pairing, shift, seen, again)
    if otherwise is not None:
        return otherwise
    finding = Finding()
    if pairing is not None:
        finding = _by_identity(finding, pairing, teacher)
        finding = _by_shift(finding, pairing)
    view = teacher.in_loop or teacher.own
    assert view is not None
    if shifted is not None and (teacher.in_loop is None or view.skill <= SKILLED) and _moved(shifted):
        return _said(_by_rows(finding, shifted))
    if _as_a_shuffle(targets, passes):
        assert targets is not None
        finding = finding.supported_by(
            "targets-in-loop",
            "changed_correlation",
            targets.changed_correlation,
            f"{targets.changed:.0%} of the outputs that the loss used have nothing to do with the teacher's answers to "
            f"these rows (correlation {targets.changed_correlation:.2f}), and are its answers as a whole: largest "
            "values and spreads are as frequent in both",
            threshold=UNRELATED,
            origin="convention",
            grade=Grade.INTERVENTIONAL,
            weight=8.0,
        )
    elif targets is not None and _of_another_kind(targets, pairing):
        finding = finding.against(
            "targets-in-loop",
            "unlike",
            targets.unlike,
            "what the loss used are no answers of the teacher, to whichever rows: their largest values and spreads are "
            f"others (distance {targets.unlike:.2f})",
            threshold=2 * ALIKE,
            origin="convention",
            grade=Grade.INTERVENTIONAL,
            weight=6.0,
        )
    elif pairing is None or pairing.elsewhere <= STRAYS or view.skill <= SKILLED:
        # Where some outputs are proven to be out of place, that the others are right speaks against nothing.
        finding = _by_chance(finding, view, teacher.own)
    return _said(finding)


def _said(finding: Finding) -> Finding:
    return finding.saying(
        "The teacher's outputs are paired with other examples than they were computed from.",
        where="the training loop: pairing of cached teacher outputs with batches",
    ).prescribe("run the teacher on the batch itself, or join its outputs by example id", treatment__pairing="online")


def _of_another_fault(
    teacher: TeacherViews,
    pairing: RowPairing | None,
    shift: TokenShift | None,
    seen: Observations | None,
    again: TargetsAgain | None,
) -> Finding | None:
    """Outputs that are of other rows for a reason with a code of its own; None where no such reason is known."""
    finding = Finding()
    if shift is not None and shift.displaced > STRAYS:
        # The right sequences, some positions off: KD803.
        return finding.against(
            "token-shift",
            "displaced",
            shift.displaced,
            "the outputs are the teacher's own of the same sequence, some positions off",
            threshold=STRAYS,
            grade=Grade.PROOF,
        )
    if kept_from_before(seen) > STRAYS:
        return finding.against(
            "observations",
            "repeated_targets",
            kept_from_before(seen),
            "the outputs are those of the step before, as a list keeps them that nobody empties",
            threshold=STRAYS,
            grade=Grade.PROOF,
        )
    if _of_views(teacher, again, seen):
        return finding.against(
            "targets-again",
            "found",
            None if again is None else again.found,
            "a row's target is another one each time, and less sure than the teacher is of any rows of its own: it "
            "gets other views, and no other rows",
            threshold=LESS_SURE,
            origin="convention",
            weight=8.0,
        )
    if pairing is not None and pairing.one_batch_before > 1 - STRAYS:
        return finding.against(
            PROBE,
            "one_batch_before",
            pairing.one_batch_before,
            f"{pairing.source}: the outputs are those of the batch before, as a hook keeps them",
            threshold=1 - STRAYS,
            grade=Grade.PROOF,
        )
    return None


def _as_a_shuffle(targets: TargetsInLoop | None, passes: TeacherPasses | None) -> bool:
    """Whether the outputs that are not the teacher's for their rows are those of the same rows, in any other order.

    Where the teacher itself saw the student's tensors, no cache lies between them. Columns that were moved make the
    values as frequent as before too, and follow from the row.
    """
    if targets is None or (passes is not None and (passes.teacher_training or passes.same_inputs == 1)):
        return False
    rows = targets.changed * targets.rows
    # Of several rows with one output, that output stays: so many draws there were.
    drawn = min(rows, targets.distinct)
    if targets.changed <= STRAYS or drawn < FEWEST_ROWS or targets.reordered > REORDERED:
        return False
    moved = targets.columns_matched - targets.columns_in_place > MOVED
    unrelated = abs(targets.changed_correlation) < max(UNRELATED, UNRELATED_ERRORS / math.sqrt(drawn))
    return unrelated and not moved and targets.unlike < max(ALIKE, ALIKE_ERRORS * math.sqrt(1 / drawn + 1 / rows))


def _of_another_kind(targets: TargetsInLoop, pairing: RowPairing | None) -> bool:
    """Whether nearly all outputs differ from the teacher's, and as a set as well: another order would leave that."""
    found = pairing is not None and pairing.elsewhere > STRAYS
    return not found and targets.changed > 1 - STRAYS and targets.unlike > 2 * ALIKE


def _cached_alike(teacher: TeacherViews) -> bool:
    """Whether the teacher's own outputs have no skill on training rows and some on others: then they come from the same
    cache as the targets, and agree with them whatever its order.
    """
    own, train = teacher.own, teacher.own_train
    return own is not None and train is not None and train.skill <= NO_SKILL and own.skill > SKILLED


def _by_identity(finding: Finding, pairing: RowPairing, teacher: TeacherViews) -> Finding:
    if pairing.elsewhere > STRAYS:
        return finding.supported_by(
            PROBE,
            "elsewhere",
            pairing.elsewhere,
            f"{pairing.source}: {pairing.elsewhere:.0%} of the outputs are the teacher's outputs of other rows",
            threshold=STRAYS,
            grade=Grade.PROOF,
        )
    if pairing.in_place > 1 - STRAYS and not _cached_alike(teacher):
        return finding.against(
            PROBE,
            "in_place",
            pairing.in_place,
            f"{pairing.source}: {pairing.in_place:.0%} of the outputs are the teacher's own for that very row",
            threshold=1 - STRAYS,
            grade=Grade.PROOF,
        )
    return finding


def _by_shift(finding: Finding, pairing: RowPairing) -> Finding:
    if pairing.best_shift == 0 or pairing.shift_accuracy - pairing.plain_accuracy < RESTORED:
        return finding
    return finding.supported_by(
        PROBE,
        "shift_accuracy",
        pairing.shift_accuracy,
        f"shifting the rows by {pairing.best_shift} lifts the teacher from {pairing.plain_accuracy:.1%} to "
        f"{pairing.shift_accuracy:.1%}",
        threshold=RESTORED,
        origin="convention",
        grade=Grade.INTERVENTIONAL,
        weight=10.0,
    )


def _moved(shifted: ShiftedRows) -> bool:
    """Whether one shift of a split's rows, and no other, makes its teacher right far more often.

    Where rows come class by class, or the classes in turn, many shifts do nearly as well as the best. A model that
    answers with what was true a moment ago, as forecasts do, fits the rows before as well; but its student does so too,
    and answers as it does row by row.
    """
    error = standard_error(shifted.shifted, shifted.rows)
    gained = shifted.shifted - max(shifted.plain, shifted.chance)
    alone = shifted.shifted - shifted.second > gained / 2
    with_its_student = (shifted.agreement or 0.0) > max(FOLLOWED, shifted.agreement_shifted or 0.0)
    return gained > max(GAINED, CERTAIN * error) and alone and not with_its_student


def _by_rows(finding: Finding, shifted: ShiftedRows) -> Finding:
    return finding.supported_by(
        "shifted-rows",
        "shifted",
        shifted.shifted,
        f"the teacher's recorded outputs are right on {shifted.plain:.1%} of {shifted.rows} rows where they stand, on "
        f"{shifted.shifted:.1%} after a shift by {shifted.shift:+d}, after others on {shifted.second:.1%} at most",
        threshold=shifted.plain + GAINED,
        grade=Grade.PROOF,
    )


def _of_views(teacher: TeacherViews, again: TargetsAgain | None, seen: Observations | None) -> bool:
    """Whether tensors of its own, drawn anew each time, make the teacher less sure than its training rows do.

    Another row's output would be as sure as that row's is.
    """
    if seen is None or seen.same_inputs is not False or not drawn_anew(again, seen):
        return False
    if teacher.in_loop is None or teacher.own_train is None:
        return False
    return teacher.own_train.validity.top1_mean - teacher.in_loop.validity.top1_mean > LESS_SURE


def _lost_its_skill(view: TeacherView, own: TeacherView) -> bool:
    """Whether the teacher has skill of its own, as much as a hard task lets it, and far less on these rows."""
    error = math.hypot(view.skill_error, own.skill_error)
    some = own.skill > 2 * NO_SKILL and own.skill - view.skill > CERTAIN * error
    return own.skill > SKILLED or some


def _by_chance(finding: Finding, view: TeacherView, own: TeacherView | None) -> Finding:
    found = view.validity
    if view.skill > SKILLED:
        return finding.against(
            "teacher-validity",
            "accuracy",
            found.accuracy,
            f"{view.source}: the teacher is right on {found.accuracy:.1%} of the rows it was paired with",
            threshold=SKILLED,
            grade=Grade.STATISTICAL,
            weight=10.0,
        )
    if view.skill > NO_SKILL:
        return finding
    matched = found.hungarian_accuracy
    # Untrained teachers gain from matching too; after a shuffle of trained outputs there is nothing to gain.
    nothing_gained = matched is None or matched < found.chance + MATCHED * (1 - found.chance)
    plain = found.histogram_l1 < HISTOGRAM and nothing_gained
    sure = found.entropy_ratio_median < SURE
    if own is not None and own is not view and _lost_its_skill(view, own) and plain:
        finding = finding.supported_by(
            "teacher-validity",
            "accuracy",
            found.accuracy,
            f"{view.source}: {found.accuracy:.1%} right inside the loop, {own.validity.accuracy:.1%} on {own.source}",
            threshold=NO_SKILL,
            origin="calibrated on toy checks",
            grade=Grade.INTERVENTIONAL,
            group="chance",
            weight=8.0,
        )
    if plain and sure:
        finding = finding.supported_by(
            "teacher-validity",
            "histogram_l1",
            found.histogram_l1,
            f"{view.source}: {found.accuracy:.1%} right is what chance gives ({found.chance:.1%}), while entropy and "
            "class histogram are those of a trained teacher",
            threshold=HISTOGRAM,
            origin="calibrated on toy checks",
            group="chance",
            weight=6.0,
        )
    return finding
