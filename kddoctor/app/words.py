"""Text of a record inside Markdown."""

import re

from kddoctor.errors import one_line

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+\-!|<>~$:&])")


def plain(text: str) -> str:
    """The text so that Markdown shows it as it is, on one line: names come from files that anyone may have written."""
    return _MARKDOWN.sub(r"\\\1", one_line(text))


def percent(value: float | None) -> str:
    """A share as people read it; a dash where there is none."""
    return "–" if value is None else f"{value:.1%}"


def points(value: float) -> str:
    """A difference of shares in points, with its sign."""
    return f"{100 * value:+.1f} pt".replace("-", "−")
