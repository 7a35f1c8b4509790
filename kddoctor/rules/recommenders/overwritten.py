"""Targets of yes-or-no rows that were overwritten against the log: by masks of seen items, by mined negatives."""

from kddoctor.probes.targets_against_own import TargetsAgainstOwn
from kddoctor.rules.finding import Finding
from kddoctor.rules.settings import Count, Share
from kddoctor.run.manifest import Manifest

PROBE = "targets-against-own"
YES_OR_NO = ("ranking", "binary")
#: Share of the targets that differ from the teacher's own: a part, since what is done to all of them is done by whoever
#: reads the wrong tensor or turns its sign.
SOME: Share = 0.05
MOST: Share = 0.9
#: Of those, the share that gives the label more, which is none; and rows that this takes. Other rows' outputs give it
#: more wherever the teacher was less sure of this row than of that one.
TOWARDS: Share = 0.01
ROWS: Count = 30


def overwritten(targets: TargetsAgainstOwn | None, config: Manifest | None) -> bool:
    """Whether a part of the targets is not the teacher's, and every one of these gives the label less than it does."""
    if targets is None or config is None or config.task not in YES_OR_NO:
        return False
    if not SOME <= targets.changed <= MOST or targets.changed * targets.rows < ROWS:
        return False
    # nan where the teacher was right, or wrong, on all of them; one of the two there is.
    return not (targets.gained_right > TOWARDS or targets.gained_wrong > TOWARDS)


def described(targets: TargetsAgainstOwn) -> str:
    """What was found, as a sentence."""
    return (
        f"{targets.changed:.0%} of the targets are not the teacher's own, and none of them gives the label more than "
        "the teacher does"
    )


def against_overwritten(targets: TargetsAgainstOwn | None, config: Manifest | None) -> Finding | None:
    """What speaks against a fault of all rows, or of other rows; None where nothing was overwritten."""
    if targets is None or not overwritten(targets, config):
        return None
    return Finding().against(
        PROBE,
        "changed",
        targets.changed,
        f"{described(targets)}: whoever changed them read the labels",
        threshold=SOME,
        origin="identity",
        weight=12.0,
    )
