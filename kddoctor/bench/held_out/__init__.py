"""Mistakes made once more, in ways that no other file has, written without sight of any rule."""

from collections.abc import Mapping

from kddoctor.bench.fault import Edit
from kddoctor.bench.held_out import (
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

FAMILIES = (
    pipeline,
    loss,
    soft_targets,
    capacity,
    optimisation,
    data,
    deployment,
    sequence,
    recommenders,
)

#: Code to implementations that nothing was developed on.
HELD_OUT: Mapping[str, tuple[Edit, ...]] = {
    code: edits for family in FAMILIES for code, edits in family.HELD_OUT.items()
}
