"""Comparing like with like, or not at all."""

from kddoctor.baselines.record import Identity, Record
from kddoctor.errors import UsageError

#: What to say of each part of an identity that differs.
SAID = {
    "task": "the task is {found}, not {wanted}",
    "metric": "the metric is {found}, not {wanted}",
    "split": "the split is {found}, not {wanted}",
    "rows": "there are {found} held-out rows, not {wanted}",
    "labels": "the labels of the held-out rows are others",
    "ids": "the example_ids of the held-out rows are others",
    "contents": "the fingerprints of the held-out rows are others",
}
#: Parts that a record may lack.
OPTIONAL = ("ids", "contents")


def refuse_unlike(wanted: Identity, name: str, record: Record) -> None:
    """Raise UsageError where a record was measured on something else than ``name``, with the first difference.

    What one of the two did not record is taken to agree, as long as the labels do.
    """
    for part, sentence in SAID.items():
        theirs, ours = getattr(wanted, part), getattr(record.identity, part)
        if theirs != ours and not (part in OPTIONAL and "" in (theirs, ours)):
            difference = sentence.format(found=ours, wanted=theirs)
            raise UsageError(f"{record.name} cannot be compared with {name}: {difference}")
