"""Colours by role, for a light and a dark background.

Each is at least 3:1 against its background, and the closest two stay 18 Lab units apart for every common kind of colour
vision. No colour is ever the only sign: every series has a shape or a dash of its own as well.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Palette:
    """Hex colours. foreground: of text and rules on ``background``."""

    teacher: str
    student: str
    labels_only: str
    good: str
    warn: str
    foreground: str
    background: str

    @property
    def series(self) -> tuple[str, ...]:
        """In the order in which charts hand them out."""
        return self.teacher, self.student, self.labels_only, self.good, self.warn


LIGHT = Palette("#004488", "#C44E00", "#000000", "#00856A", "#CC79A7", foreground="#111111", background="#FFFFFF")
DARK = Palette("#56B4E9", "#EE8866", "#808080", "#BBCC33", "#FFAABB", foreground="#FAFAFA", background="#0E1117")
