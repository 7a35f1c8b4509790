"""The distillation makes popular items more popular.

What it checks
    Whether the student's scores lean towards items that are frequent in the transfer set by more than the teacher's own
    scores explain, as when only popular items have scores and one value stands for the others; and whether the transfer
    set lacks held-out items, the rare ones first.

Why it hurts
    Rare items are recommended even less than the teacher would. What the top of a list gains, the tail pays.

What it looks like
    Coverage falls and so does recall on rare items, while the most popular ones do as well as ever.

Told apart from
    KD602, whose transfer set is small but drawn as the held-out rows are. KD603, whose rows are strange in another way
    than by popularity. A teacher that leans itself: its own lean is taken out. KD902, a scale on all scores alike.

Fix
    - targets = teacher_score + log_popularity[item]
    + targets = teacher_score
    And draw the transfer set from all items, or weigh its rows by inverse popularity.

Treat automatically
    In part: the student is retrained on the teacher's own scores. The transfer set has to come from you.

Read more
    Chen et al. 2023, arXiv:2211.14729: popularity bias of distilled recommenders.
"""

from kddoctor.probes.popularity import PopularityLean
from kddoctor.probes.score_link import ScoreLink
from kddoctor.rules.finding import Finding, Grade
from kddoctor.rules.loss.declared import distils
from kddoctor.rules.registry import rule
from kddoctor.rules.settings import Correlation, Deviations, Share
from kddoctor.run.manifest import Manifest

PROBE = "popularity"
#: Partial correlation with log popularity, given the teacher, that matters, and one that is large. Sound students of
#: all kinds stayed below 0.08 (calibrated on movielens). Standard errors that it must exceed.
LEANS: Correlation = 0.12
STRONGLY: Correlation = 0.3
ERRORS: Deviations = 4.0
#: Variance of the targets that the teacher's own scores leave: less is rounding or another unit, more is another row.
OTHER_TARGETS = (0.005, 0.7)
#: Bounds of the share of rows whose scores are the teacher's own, where only a list of items has scores.
LISTED = (0.01, 0.99)
#: Share of the rows without the teacher's own score that hold one value, put in for what is missing.
ONE_VALUE: Share = 0.95
#: Share of held-out rows with unknown items beyond what a fair draw leaves out, and area under the ROC curve of an
#: item's popularity for its being known.
MISSING: Share = 0.15
RARE_FIRST: Share = 0.75


@rule(
    "KD901",
    name="popularity-bias-amplified",
    family="recsys",
    title="The distillation makes popular items more popular",
    stage=38,
    only=(
        "ranking",
        "binary",
    ),
    reads=(PopularityLean, Manifest),
    uses=(ScoreLink,),
    masks=("KD113", "KD402", "KD502", "KD705"),
)
def popularity_bias_amplified(lean: PopularityLean, config: Manifest, link: ScoreLink | None) -> Finding:
    finding = Finding()
    if not distils(config):
        return finding
    finding = _leans(finding, lean, link)
    finding = _missing(finding, lean)
    return finding.saying(
        "The student was made to favour popular items more than its teacher does.",
        where="the targets, or the choice of the transfer set",
        severity="warning",
    ).prescribe(
        "the teacher's own scores, and a transfer set drawn from all items",
        safety="careful",
        treatment__pairing="online",
    )


def _leans(finding: Finding, lean: PopularityLean, link: ScoreLink | None) -> Finding:
    student = lean.student
    if student is None:
        return finding
    beyond = student - max(0.0, lean.twin or 0.0)
    text = f"given the teacher's score, the student's correlates with log popularity by {student:+.2f}" + (
        "" if lean.twin is None else f", its labels-only twin's by {lean.twin:+.2f}"
    )
    if beyond < LEANS:
        return finding.against(
            PROBE, "lean", student, text, threshold=LEANS, origin="calibrated on movielens", group="lean", weight=3.0
        )
    if beyond < ERRORS / lean.rows**0.5:
        return finding
    finding = finding.supported_by(
        PROBE,
        "lean",
        student,
        text,
        threshold=LEANS,
        origin="calibrated on movielens",
        grade=Grade.INTERVENTIONAL if lean.twin is not None else Grade.STATISTICAL,
        group="lean",
        weight=5.0 if beyond > STRONGLY else 3.0,
    )
    if link is not None and link.filled > ONE_VALUE and LISTED[0] < link.kept < LISTED[1]:
        finding = finding.supported_by(
            "score-link",
            "kept",
            link.kept,
            f"the loss got the teacher's own score on {link.kept:.0%} of the rows, and one and the same value on "
            f"{link.filled:.0%} of the others",
            threshold=LISTED[0],
            origin="identity",
            grade=Grade.PROOF,
            weight=2.5,
        )
    elif link is not None and OTHER_TARGETS[0] < link.unexplained < OTHER_TARGETS[1]:
        finding = finding.supported_by(
            "score-link",
            "unexplained",
            link.unexplained,
            f"{link.unexplained:.0%} of the variance of the scores that the loss got are not the teacher's own",
            threshold=OTHER_TARGETS[0],
            origin="convention",
            # The teacher was asked again on the same inputs.
            grade=Grade.INTERVENTIONAL,
            weight=2.5,
        )
    return finding


def _missing(finding: Finding, lean: PopularityLean) -> Finding:
    if lean.popular_first is None or lean.unseen - lean.expected < MISSING or lean.popular_first < RARE_FIRST:
        return finding
    return finding.supported_by(
        PROBE,
        "unseen",
        lean.unseen,
        f"{lean.unseen:.0%} of the held-out rows are of items that the transfer set lacks, where a fair draw would "
        f"lack {lean.expected:.0%}",
        threshold=lean.expected + MISSING,
        origin="identity",
        weight=5.0,
    ).supported_by(
        PROBE,
        "popular_first",
        lean.popular_first,
        f"it holds popular items first (area under the curve {lean.popular_first:.2f})",
        threshold=RARE_FIRST,
        origin="convention",
        # So much more that a student which leans no further does not refute it.
        weight=3.5,
    )
