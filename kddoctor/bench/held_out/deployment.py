"""Held-out mistakes of the codes KD7xx."""

from collections.abc import Mapping

from kddoctor.bench.fault import Edit

HELD_OUT: Mapping[str, tuple[Edit, ...]] = {}
