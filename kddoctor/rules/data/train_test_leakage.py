"""Rows that the student is judged on are among those that it learnt from.

What it checks
    Whether held-out rows have the same content, by hash, as training rows; and, where inputs were recorded, whether
    they lie so close to one that they are a copy of it: pictures that were shifted, mirrored, dimmed or given some
    noise, and texts of which some words were changed, included. How often rows of one split have such copies among each
    other is what two honest draws from one pool would show, and is held against it, unless all rows are repeated about
    equally often: then they were copied first and split afterwards.

Why it hurts
    The student is praised for what it remembers. How good it is on new rows is not known.

What it looks like
    A distillation that is better than the method's own paper, and worse in use. No curve shows it.

Told apart from
    Data that repeat themselves, such as short texts, where copies are as frequent within the training rows, a few of
    them far more than others. A student
    that is really good, whose held-out rows are not found among the training rows.

Fix
    - train = all_rows; val = all_rows[:1000]
    + train, val = all_rows[1000:], all_rows[:1000]
    Remove duplicates, and split by source, before anything is copied or augmented.

Treat automatically
    No: which rows to take out, and from which set, has to be decided by a person.

Read more
    Barz and Denzler 2020, arXiv:1902.00423: "Do we train on test data? Purging CIFAR of near-duplicates".
"""

from scipy.stats import hypergeom

from kddoctor.probes.data_measurements import SplitOverlap
from kddoctor.probes.row_overlap import NearOverlap, RowOverlap
from kddoctor.rules.finding import Finding, Grade
from kddoctor.rules.registry import rule
from kddoctor.rules.settings import Count, Factor, Share

PROBE = "row-overlap"
#: Share of the held-out rows that changes an accuracy by at most as much as is read off it. Convention.
SHARE: Share = 0.01
#: Share of the training rows that are as good as copies of each other, beyond which they crowd.
CROWDED: Share = 0.01
#: How much more frequent copies across the splits are than within the training rows, for them to be no accident.
TIMES: Factor = 3.0
#: Probability that a random split of so few training rows has copies in one part and not in the other.
CHANCE: Share = 0.01
#: Share of the held-out rows from which it shows how evenly they are repeated; and pairs of equal rows over those of
#: equal chances, below which they are. Words that recur have 2.1 to 4.3 (spelling), sets that were copied 1 at most.
MANY: Share = 0.05
EVENLY: Factor = 1.5
#: Rows below which a share is an anecdote.
FEWEST: Count = 5


@rule(
    "KD601",
    name="train-test-leakage",
    family="data",
    title="Held-out rows are among the training rows",
    stage=55,
    reads=(SplitOverlap,),
    # A student that has learnt the held-out rows beats a teacher that has not.
    masks=("KD102",),
)
def train_test_leakage(overlap: SplitOverlap) -> Finding:
    finding = Finding()
    if overlap.equal is not None:
        finding = _of_equal(finding, overlap.equal)
    if overlap.near is not None:
        finding = _of_near(finding, overlap.near)
    return finding.saying(
        "Rows that the student is judged on are among those that it learnt from.", where="the split of the data"
    ).prescribe("take the shared rows out of the training set and evaluate again", automatic=False, safety="manual")


def _of_equal(finding: Finding, equal: RowOverlap) -> Finding:
    if equal.shared >= FEWEST and equal.share > SHARE:
        recurring = equal.repeated_held_out if equal.clumped >= EVENLY else 0.0
        expected = equal.share <= TIMES * max(equal.repeated, recurring)
        finding = finding.supported_by(
            PROBE,
            "shared",
            equal.share,
            f"{equal.shared} of {equal.held_out} held-out rows are equal to a training row; of the training rows, "
            f"{equal.repeated:.1%} are equal to another one",
            threshold=SHARE,
            # Where rows repeat themselves anyhow, a random split cannot help sharing some.
            grade=Grade.STATISTICAL if expected else Grade.PROOF,
            group="overlap",
        )
        return _of_copied_sets(finding, equal) if expected else finding
    if equal.shared < FEWEST or equal.share <= SHARE:
        return finding.against(
            PROBE,
            "shared",
            equal.share,
            f"{equal.shared} of {equal.held_out} held-out rows are equal to one of {equal.train} training rows",
            threshold=SHARE,
            # Augmented copies are not equal, so this does not exclude them.
            weight=2.0,
        )
    return finding


def _of_copied_sets(finding: Finding, equal: RowOverlap) -> Finding:
    """Rows that are repeated evenly: they were copied before they were split, and do not just recur."""
    if equal.share < MANY or equal.clumped >= EVENLY:
        return finding
    return finding.supported_by(
        PROBE,
        "clumped",
        equal.clumped,
        f"{equal.share:.0%} of the held-out rows are among the training rows, and rows are repeated evenly (pairs of "
        f"equal ones are {equal.clumped:.1f} times as frequent as if all had the same chance): they were copied, and "
        "then split",
        threshold=EVENLY,
        origin="identity of rows with equal chances; calibrated on spelling",
        weight=7.0,
        group="overlap",
    )


def _of_near(finding: Finding, near: NearOverlap) -> Finding:
    if near.near >= FEWEST and near.share > SHARE + TIMES * near.expected and _by_chance(near) < CHANCE:
        return finding.supported_by(
            PROBE,
            "near",
            near.share,
            f"{near.near} of {near.held_out} held-out rows are as good as copies of a training row: closer than "
            f"{near.radius:.0%} of the usual distance between neighbours, as {near.expected:.1%} of the training rows "
            "are to each other",
            threshold=SHARE,
            origin="convention",
            group="overlap",
            # Where rows crowd anyhow, as short ones of few values do, a random split cannot help sharing some.
            weight=9.0 if near.expected <= CROWDED else 2.0,
        )
    if near.share <= SHARE:
        return finding.against(
            PROBE,
            "near",
            near.share,
            f"{near.near} of {near.held_out} held-out rows lie close to a training row",
            threshold=SHARE,
            weight=2.0,
        )
    return finding


def _by_chance(near: NearOverlap) -> float:
    """Fisher's exact test: that held-out rows have copies at least so often, if no more often than training rows."""
    within = round(near.expected * near.train)
    return float(hypergeom.sf(near.near - 1, near.train + near.held_out, near.near + within, near.held_out))
