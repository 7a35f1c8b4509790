"""Mistakes that were held out until they had been measured, and that rules were then developed with in sight."""

from collections.abc import Mapping

from kddoctor.bench.fault import Edit
from kddoctor.bench.looked_at import (
    capacity,
    data,
    deployment,
    loss,
    optimisation,
    pipeline,
    recommenders,
    sequence,
    soft_targets,
)

FAMILIES = (pipeline, loss, soft_targets, capacity, optimisation, data, deployment, sequence, recommenders)

#: Code to implementations that are held out no more.
LOOKED_AT: Mapping[str, tuple[Edit, ...]] = {
    code: edits for family in FAMILIES for code, edits in family.LOOKED_AT.items()
}
