"""What was logged as liked is overwritten by what the teacher would have liked.

What it checks
    Whether the transfer set has next to no positive among the rows that the teacher scores low, where held-out rows
    with the same scores have many; whether only those positives are left that the teacher takes for negatives; and
    whether it has fewer positives than the teacher itself expects of these rows, although it expects the right number
    of held-out ones. Likewise whether targets were overwritten: a part of them is not the teacher's own, and every one
    of these gives its label less than the teacher does.

Why it hurts
    The labels no longer correct the teacher: they repeat it. What users liked against the teacher's taste is taught as
    disliked.

What it looks like
    The hard-label loss falls with the distillation loss, and new or niche tastes vanish. Labels and teacher agree
    strangely well on training rows.

Told apart from
    KD601, labels that are wrong at random. A teacher that knows its training rows by heart: it expects as many
    positives as there are. Negative sampling by design, which the teacher's expectation follows.

Fix
    - labels[teacher_score < threshold] = 0
    + loss = bce(student_score, labels) + alpha * kd(student_score, teacher_score)      # labels as logged

Treat automatically
    Where targets were overwritten: the teacher is run on the batch itself. Otherwise not: the logged labels have to
    come from you.

Read more
    Xiao et al. 2022, arXiv:2205.12035: candidates re-ranked by a teacher, with the logged positive kept.
"""

import math

from kddoctor.probes.data_measurements import LabelDoubts
from kddoctor.probes.positives_kept import PositivesKept
from kddoctor.probes.targets_against_own import TargetsAgainstOwn
from kddoctor.rules.finding import Finding, Grade
from kddoctor.rules.recommenders.overwritten import PROBE as OVERWRITTEN
from kddoctor.rules.recommenders.overwritten import SOME, YES_OR_NO, described, overwritten
from kddoctor.rules.registry import rule
from kddoctor.rules.settings import Count, Deviations, Share
from kddoctor.run.manifest import Manifest

PROBE = "positives-kept"
#: Share of positives below the cut: on the transfer set at most, on held-out rows at least.
NONE_LEFT: Share = 0.03
USUAL: Share = 0.25
#: Rows below the cut that both parts need.
ENOUGH_ROWS: Count = 50
#: Positives, as a share of all rows, that the teacher misses; standard errors that this has to exceed; and what it may
#: be off on held-out rows.
MISSED: Share = 0.06
ERRORS: Deviations = 4.0
CALIBRATED: Share = 0.05
#: Share of positives that the teacher takes for negatives where only those are left, and at most of held-out ones.
UNFORESEEN: Share = 0.9
FORESEEN: Share = 0.5


@rule(
    "KD903",
    name="teacher-corrupts-positives",
    family="recsys",
    title="The teacher's scores overwrote the logged positives",
    stage=36,
    only=YES_OR_NO,
    reads=(PositivesKept, Manifest),
    uses=(LabelDoubts, TargetsAgainstOwn),
    masks=("KD402", "KD502", "KD605"),
)
def teacher_corrupts_positives(
    kept: PositivesKept,
    config: Manifest,
    labels: LabelDoubts | None = None,
    targets: TargetsAgainstOwn | None = None,
) -> Finding:
    finding = Finding()
    if targets is not None and overwritten(targets, config):
        return _of_targets(finding, targets)
    missed = kept.expected - kept.base
    off = abs(kept.held_out_expected - kept.held_out_base)
    error = math.sqrt(max(kept.base * (1 - kept.base), 1 / kept.rows) / kept.rows)
    expectation = f"the teacher expects {kept.expected:.0%} positives in the transfer set, which has {kept.base:.0%}"
    if missed < MISSED:
        return finding.against(PROBE, "missed", missed, expectation, threshold=MISSED, origin="convention", weight=5.0)
    if missed >= ERRORS * error and off <= CALIBRATED and labels is not None and _only_unforeseen(labels):
        return _said(_of_unforeseen(finding, labels, missed, expectation))
    enough = min(kept.rows_below, kept.held_out_rows_below) >= ENOUGH_ROWS
    gone = kept.rate_below <= NONE_LEFT and kept.held_out_rate_below >= USUAL
    if not enough or not gone or missed < ERRORS * error or off > CALIBRATED:
        return finding
    return _said(
        finding.supported_by(
            PROBE,
            "rate_below",
            kept.rate_below,
            f"of {kept.rows_below} rows that the teacher scores below {kept.cut:.2g}, {kept.rate_below:.1%} are "
            "positive; "
            f"of held-out rows with such scores, {kept.held_out_rate_below:.0%}",
            threshold=USUAL,
            origin="calibrated on movielens",
            weight=3.5,
        ).supported_by(
            PROBE,
            "missed",
            missed,
            f"{expectation}; of held-out rows it expects {kept.held_out_expected:.0%} and finds "
            f"{kept.held_out_base:.0%}",
            threshold=MISSED,
            origin="convention",
        )
    )


def _of_targets(finding: Finding, targets: TargetsAgainstOwn) -> Finding:
    return (
        finding.supported_by(
            OVERWRITTEN,
            "changed",
            targets.changed,
            described(targets),
            threshold=SOME,
            origin="identity",
            grade=Grade.INTERVENTIONAL,
            weight=8.0,
        )
        .saying(
            "A part of the teacher's targets was overwritten, and always against the label.",
            where="what happens to the teacher's outputs before the loss: masks of seen items, mined negatives",
            severity="warning",
        )
        .prescribe("take the teacher's outputs as they are", treatment__pairing="online")
    )


def _only_unforeseen(labels: LabelDoubts) -> bool:
    """Whether the positives that are left are those that the teacher takes for negatives, as held-out ones are not."""
    train, held_out = labels.train, labels.held_out
    if train is None or held_out is None or len(train.by_class) != 2 or len(held_out.by_class) != 2:
        return False
    return bool(train.by_class[1] >= UNFORESEEN and held_out.by_class[1] <= FORESEEN)


def _of_unforeseen(finding: Finding, labels: LabelDoubts, missed: float, expectation: str) -> Finding:
    train, held_out = labels.train, labels.held_out
    assert train is not None
    assert held_out is not None
    return finding.supported_by(
        "label-doubt",
        "by_class",
        float(train.by_class[1]),
        f"the teacher takes {train.by_class[1]:.0%} of the transfer set's positives for negatives, and "
        f"{held_out.by_class[1]:.0%} of the held-out ones",
        threshold=UNFORESEEN,
        origin="convention",
        weight=6.0,
    ).supported_by(PROBE, "missed", missed, expectation, threshold=MISSED, origin="convention")


def _said(finding: Finding) -> Finding:
    return finding.saying(
        "The transfer set's positives were chosen by what the teacher says of them; the others are gone.",
        where="what happens to the labels before training",
        severity="warning",
    ).prescribe("the labels as they were logged", automatic=False, safety="manual")
