"""The explain page of a code: the docstring of its rule, with what the registry knows."""

import difflib
from collections.abc import Iterator
from typing import NamedTuple

from rich.console import Console

from kddoctor.errors import UsageError
from kddoctor.report.terminal import Page, console
from kddoctor.rules.registry import Rule, all_rules

#: Letters that are typed for digits.
LOOKALIKES = str.maketrans("OIL", "011")
MOST_HINTS = 3


def find_rule(code: str) -> Rule:
    """The rule of a code or name. Raises UsageError with the nearest known one."""
    rules = all_rules()
    wanted = code.strip()
    by_name = {rule.name: rule for rule in rules.values()}
    found = rules.get(wanted.upper()) or by_name.get(wanted.lower())
    if found is not None:
        return found
    if not wanted:
        raise UsageError("no code is given; `kddoctor explain` lists them")
    typed = wanted.upper().translate(LOOKALIKES)
    near = [code for code in rules if code.startswith(typed)] or difflib.get_close_matches(typed, rules, cutoff=0.9)
    near = near or difflib.get_close_matches(wanted.lower(), by_name, n=1)
    near = near or difflib.get_close_matches(typed, rules)
    hint = f"; did you mean {' or '.join(near[:MOST_HINTS])}?" if near else "; `kddoctor explain` lists all codes"
    raise UsageError(f"there is no {wanted}{hint}")


def show_rule(code: str, out: Console | None = None) -> None:
    """Print one page."""
    rule = find_rule(code)
    page = Page(out or console())
    page.line(f"{rule.code}  {rule.name}   {rule.family}", style="bold")
    for block in _blocks(rule.page):
        page.line(block.text, style="bold" if block.heading else None, indent=block.indent)
        if block.ends:
            page.line()
    page.line("How sure we are", style="bold")
    page.line(
        "Weights and ceilings of the evidence are orders of magnitude, not yet calibrated. `make testbed` prints how "
        "often this code was named rightly, and wrongly, on real digits.",
        indent=4,
    )


class _Block(NamedTuple):
    text: str
    indent: int
    heading: bool
    ends: bool


def _blocks(page: str) -> Iterator[_Block]:
    """Headings, paragraphs (their lines joined, so that they wrap to any width) and lines of a diff."""
    for part in page.strip().split("\n\n"):
        lines = part.splitlines()
        heading = len(lines) > 1 and not lines[0].startswith(" ") and lines[1].startswith(" ")
        if heading:
            yield _Block(lines.pop(0), 0, True, False)
        indent = 4 if heading else 0
        merged: list[tuple[str, bool]] = []
        for line in (text.strip() for text in lines):
            is_code = line.startswith(("- ", "+ "))
            if merged and not is_code and not merged[-1][1]:
                merged[-1] = (f"{merged[-1][0]} {line}", False)
            else:
                merged.append((line, is_code))
        for position, (text, _) in enumerate(merged):
            yield _Block(text, indent, False, position == len(merged) - 1)


def show_all(out: Console | None = None) -> None:
    """Print every code by family."""
    page = Page(out or console())
    family = ""
    for rule in sorted(all_rules().values(), key=lambda r: r.code):
        if rule.family != family:
            family = rule.family
            page.line()
            page.line(family, style="bold")
        page.line(f"{rule.code}  {rule.name:<28} {rule.title}", indent=2)
