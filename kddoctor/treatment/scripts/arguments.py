"""A value handed over on a command line."""

import json
from collections.abc import Sequence
from typing import Any


def with_argument(words: Sequence[str], place: str, value: Any) -> tuple[str, ...]:
    """The words with another value for a flag (``--epochs``) or an assignment (``training.epochs=``).

    Replaced where it stands, in the form it has there, and added at the end otherwise. A yes or no is the flag alone,
    there or not, unless ``true`` or ``false`` stands behind it.
    """
    said = value if isinstance(value, str) else json.dumps(value)
    if place.endswith("="):
        return _assigned(words, place, said)
    if any(word.startswith(f"{place}=") for word in words):
        return _assigned(words, f"{place}=", said)
    at = words.index(place) if place in words else None
    follows = None if at is None or at + 1 == len(words) else words[at + 1]
    if isinstance(value, bool) and (follows is None or follows.lower() not in ("true", "false")):
        without = tuple(word for word in words if word != place)
        return (*without, place) if value else without
    if at is None:
        return (*words, place, said)
    return (*words[: at + 1], said, *words[at + 2 :])


def _assigned(words: Sequence[str], beginning: str, said: str) -> tuple[str, ...]:
    if not any(word.startswith(beginning) for word in words):
        return (*words, beginning + said)
    return tuple(beginning + said if word.startswith(beginning) else word for word in words)


def argument(words: Sequence[str], place: str) -> str | None:
    """The value that stands behind a flag or an assignment; None where it is not there."""
    beginning = place if place.endswith("=") else f"{place}="
    for word in words:
        if word.startswith(beginning):
            return word.removeprefix(beginning)
    at = words.index(place) + 1 if place in words else len(words)
    return words[at] if at < len(words) else None
