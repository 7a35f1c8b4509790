"""Classes that the student is asked for are absent from the rows that it learns from.

What it checks
    Whether classes of the held-out rows hardly occur among the training rows and the batches of the loop, more rarely
    than chance allows, each for itself or all of them together; and whether the student fails on these classes where
    the teacher does not.

Why it hurts
    What the teacher says about other rows hints at such a class and no more. With few classes missing a student may
    learn them from the soft targets alone; with many it never chooses them.

What it looks like
    Good curves on the training rows, and a ceiling on held-out ones that no schedule lifts. A confusion matrix with
    empty columns.

Told apart from
    KD604, where the rows are there and their classes pay all the same. KD603, where all classes are there and look
    different. KD602, where every class has too few rows.

Fix
    - rows = [r for r in rows if r.label in OLD_CLASSES]
    + rows = all of them; a cut is drawn at random, never from a sorted list

Treat automatically
    No: the missing rows have to be found.

Read more
    Hinton et al. 2015, arXiv:1503.02531, section 3: all threes left out of the transfer set.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln
from scipy.stats import binom

from kddoctor.probes.data_measurements import ClassRecalls, ClassShares
from kddoctor.rules.finding import Finding, Grade
from kddoctor.rules.registry import rule
from kddoctor.rules.settings import Count, Factor, Share

PROBE = "class-shares"
#: A class is missing where it has less than this share of the rows that its share of the held-out rows lets expect.
MISSING: Share = 0.1
#: Rows that have to be expected, for their absence to be no accident: e^−10 of all draws have none.
EXPECTED: Factor = 10.0
#: Held-out rows of the missing classes below which nothing is said about them.
FEWEST: Count = 5
#: Points of recall below the teacher by which the missing classes do worse than the others do, for this to do harm.
HARM: Share = 0.1


@rule(
    "KD606",
    name="classes-missing-from-transfer-set",
    family="data",
    title="Classes are missing from the transfer set",
    stage=56,
    only=("multiclass",),
    reads=(ClassShares,),
    uses=(ClassRecalls,),
    masks=("KD402", "KD502", "KD602", "KD603", "KD604"),
)
def classes_missing_from_transfer_set(shares: ClassShares, recalls: ClassRecalls | None) -> Finding:
    missing = _missing(shares)
    finding = Finding().saying(
        "Classes that the student is asked for are absent from the rows that it learns from.",
        where="the selection of the transfer set",
    )
    finding = finding.prescribe("add rows of the missing classes", automatic=False, safety="manual")
    if not missing.any():
        if shares.different * shares.train.sum() < EXPECTED * (shares.held_out > 0).sum():
            return finding
        return finding.against(
            PROBE,
            "missing",
            0.0,
            "every class of the held-out rows that could be expected occurs among the training rows",
            grade=Grade.PROOF if shares.complete else Grade.STATISTICAL,
            weight=8.0,
        )
    names = ", ".join(map(str, np.flatnonzero(missing)[:5])) + (", …" if missing.sum() > 5 else "")
    seen = int(shares.train[missing].sum())
    share = float(shares.held_out[missing].sum() / shares.held_out.sum())
    sampled = shares.complete or shares.steps is not None
    finding = finding.supported_by(
        PROBE,
        "missing",
        share,
        f"classes {names}: {share:.1%} of the held-out rows, {seen} of {int(shares.train.sum())} training rows"
        + ("" if shares.steps is None else ", and as rare in the batches of the loop"),
        threshold=MISSING,
        # A file of sorted rows of which only the first were recorded would look the same.
        grade=Grade.PROOF if sampled else Grade.STATISTICAL,
    )
    return finding if recalls is None else _with_harm(finding, recalls, missing)


def _missing(shares: ClassShares) -> NDArray[np.bool_]:
    expected = shares.held_out / max(1, shares.held_out.sum())
    missing = shares.held_out >= FEWEST
    for counts in (shares.train, shares.steps):
        if counts is not None:
            # Copies of a row are no further chances for a class to occur.
            wanted = expected * counts.sum() * shares.different
            rare = missing & (counts < MISSING * wanted)
            missing = rare & ((wanted >= EXPECTED) | _together(rare, expected, counts, shares.different))
    return np.asarray(missing)


def _together(
    rare: NDArray[np.bool_], expected: NDArray[np.float64], counts: NDArray[np.int64], different: float
) -> bool:
    """Whether so many classes are so rare by no accident, although one of them alone might be.

    The probability that so few of n rows fall into these classes, times the number of ways to choose as many.
    """
    chosen = int(rare.sum())
    if not chosen:
        return False
    rows = round(float(counts.sum()) * different)
    seen = round(float(counts[rare].sum()) * different)
    ways = gammaln(len(rare) + 1) - gammaln(chosen + 1) - gammaln(len(rare) - chosen + 1)
    return bool(binom.logcdf(seen, rows, float(expected[rare].sum())) + ways < -EXPECTED)


def _with_harm(finding: Finding, recalls: ClassRecalls, missing: NDArray[np.bool_]) -> Finding:
    held_out = recalls.held_out
    behind = [
        (held_out.teacher[part].sum() - held_out.student[part].sum()) / max(1, held_out.rows[part].sum())
        for part in (missing, ~missing)
    ]
    if behind[0] - behind[1] > HARM:
        return finding.supported_by(
            "class-recall",
            "behind_on_missing",
            float(behind[0]),
            f"on these classes the student finds {100 * behind[0]:.0f} of 100 rows less than its teacher, on the "
            "others "
            f"{100 * behind[1]:.0f}",
            threshold=HARM,
            origin="convention",
            weight=2.0,
        )
    return finding.saying(
        "Classes are absent from the transfer set, and the student learnt them from the soft targets all the same.",
        where=finding.where,
        severity="note",
    )
