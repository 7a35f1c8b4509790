"""Mistakes that were held out until they had been measured, and that rules were then developed with in sight."""

from collections.abc import Mapping

from kddoctor.bench.batch import edits_of
from kddoctor.bench.fault import Edit
from kddoctor.bench.looked_at import (
    eighth,
    eleventh,
    fifteenth,
    fifth,
    fourteenth,
    fourth,
    ninth,
    second,
    seventh,
    sixteenth,
    sixth,
    tenth,
    third,
    thirteenth,
    twelfth,
)

#: Code to implementations that are held out no more.
LOOKED_AT: Mapping[str, tuple[Edit, ...]] = edits_of(
    second,
    third,
    fourth,
    fifth,
    sixth,
    seventh,
    eighth,
    ninth,
    tenth,
    eleventh,
    twelfth,
    thirteenth,
    fourteenth,
    fifteenth,
    sixteenth,
)
