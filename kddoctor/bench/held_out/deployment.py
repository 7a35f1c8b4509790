"""Mistakes of the codes KD7xx."""

from collections.abc import Mapping

from kddoctor.bench.fault import Edit

EDITS: Mapping[str, tuple[Edit, ...]] = {}
