"""Colours by role. Pictures are drawn in sentinel colours, which become CSS variables, so that one picture serves light
and dark.

All roles have a contrast of 3:1 and more with their background; every series also differs by marker, dash or hatch.
"""

from collections.abc import Mapping

#: What matplotlib draws with; no other colour of the same value may occur.
FOREGROUND, SOFT, LINE, BACKGROUND = "#010203", "#010204", "#010205", "#010206"
TEACHER, STUDENT, ALONE, GOOD, WARN = "#010207", "#010208", "#010209", "#01020a", "#01020b"
#: The student before its treatment.
BEFORE = SOFT

VARIABLES: Mapping[str, str] = {
    FOREGROUND: "fg",
    SOFT: "soft",
    LINE: "line",
    BACKGROUND: "bg",
    TEACHER: "teacher",
    STUDENT: "student",
    ALONE: "alone",
    GOOD: "good",
    WARN: "warn",
}
LIGHT: Mapping[str, str] = {
    "fg": "#1b1f24",
    "soft": "#545c66",
    "line": "#d0d4d9",
    "bg": "#ffffff",
    "card": "#f5f6f8",
    "link": "#004488",
    "teacher": "#004488",
    "student": "#c44e00",
    "alone": "#000000",
    "good": "#00856a",
    "warn": "#cc79a7",
    "removed": "#8f2300",
    "added": "#00594a",
}
DARK: Mapping[str, str] = {
    "fg": "#e8eaed",
    "soft": "#adb4bd",
    "line": "#41464d",
    "bg": "#16191d",
    "card": "#1f2329",
    "link": "#7cc4f2",
    "teacher": "#56b4e9",
    "student": "#ee8866",
    "alone": "#808080",
    "good": "#bbcc33",
    "warn": "#ffaabb",
    "removed": "#ffab91",
    "added": "#a5d6a7",
}


def css_variables(colours: Mapping[str, str]) -> str:
    """``--fg:#1b1f24;…``"""
    return "".join(f"--{name}:{value};" for name, value in colours.items())


def with_variables(svg: str) -> str:
    """The picture with every sentinel colour as ``var(--role)``."""
    for sentinel, name in VARIABLES.items():
        svg = svg.replace(sentinel, f"var(--{name})")
    return svg
