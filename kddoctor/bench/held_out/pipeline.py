"""Mistakes of the codes KD1xx."""

from collections.abc import Mapping

from kddoctor.bench.fault import Edit

EDITS: Mapping[str, tuple[Edit, ...]] = {}
