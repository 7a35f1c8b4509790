"""The explain page of a code: the docstring of its rule, with what the registry knows."""

import json
import math
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import resources
from itertools import groupby
from typing import NamedTuple

from rich.console import Console

from kddoctor.engine.questioning import Answer
from kddoctor.report.terminal import Page, console
from kddoctor.rules.finding import Evidence
from kddoctor.rules.naming import find_rule
from kddoctor.rules.registry import Rule, all_rules
from kddoctor.rules.settings import settings_of


def show_rule(code: str, out: Console | None = None) -> None:
    """Print one page."""
    rule = find_rule(code)
    page = Page(out or console())
    page.line(f"{rule.code}  {rule.name}   {rule.family}", style="bold")
    for block in blocks(rule.page):
        page.line(block.text, style="bold" if block.heading else None, indent=block.indent)
        if block.ends:
            page.line()
    _show_settings(rule, page)
    page.line("How sure we are", style="bold")
    for line in sureness(rule):
        page.line(line, indent=4)


def _show_settings(rule: Rule, page: Page) -> None:
    settings = settings_of(rule)
    if not settings:
        return
    page.line("Settings", style="bold")
    page.line(f"In kddoctor.toml, below [{rule.code}]:", indent=4)
    for text, alike in groupby(settings.values(), key=lambda setting: setting.text):
        for setting in alike:
            page.line(f"{setting.name} = {setting.default:g}   {setting.allowed}", indent=4)
        page.line(text, indent=8)
    page.line()


def show_answer(answer: Answer, path: str, out: Console | None = None) -> None:
    """Print why a code was named, or not, in one run."""
    page = Page(out or console())
    page.line(f"{answer.rule.code}  {answer.rule.name}   {path}", style="bold")
    page.line(answer.verdict)
    page.line()
    for supports, label in ((True, "for"), (False, "against")):
        lines = [_weighed(item) for item in answer.evidence if item.supports is supports]
        page.labelled(label, lines, indent=2)
    if answer.odds is not None and answer.evidence:
        before, after = answer.odds
        page.labelled("odds", [f"{_chance(before)} before looking, {_chance(after)} with this evidence"], indent=2)
    if answer.missing is not None:
        page.labelled("needs", [", ".join(answer.missing.needs)], indent=2)
        page.labelled("how", [answer.missing.how], indent=2)
    page.line()
    page.whole(f"kddoctor explain {answer.rule.code}")


def _weighed(item: Evidence) -> str:
    value = "" if item.value is None else f"{item.measure} = {item.value:.4g}"
    limit = "" if item.threshold is None else f", against {item.threshold:.4g} ({item.origin})"
    return f"{item.text}  [{item.grade.name.lower()}, {item.weight:g} nats; {value}{limit}]"


def _chance(log_odds: float) -> str:
    return f"{1 / (1 + math.exp(-max(-700.0, min(700.0, log_odds)))):.1%}"


def sureness(rule: Rule) -> Iterator[str]:
    """What the benchmark found, in sentences."""
    figures = _accuracy().get(rule.code)
    if rule.package:
        yield f"It comes from {rule.package}, and kddoctor's benchmark does not cover it: ask its authors."
        return
    if figures is None:
        yield (
            "The benchmark makes no such fault (its report says why): how often it is right is not known. It is tested "
            "on records that were built for it."
        )
        return
    for where, what in (("unseen", "tasks and implementations that no rule was tuned on"), ("seen", "those that were")):
        made, first, named, right = (figures[where][key] for key in ("made", "first", "named", "right"))
        if made or named:
            yield (
                f"On {what}: named first in {first} of {made} faulty runs with a measured effect; right {right} of the "
                f"{named} times that it was named first."
            )
    yield (
        "From `kddoctor bench`. Weights of evidence are orders of magnitude; stated confidence is how often findings "
        "of this code and this grade were right there."
    )


@cache
def _accuracy() -> Mapping[str, Mapping[str, Mapping[str, int]]]:
    path = resources.files("kddoctor.report").joinpath("accuracy.json")
    figures: dict[str, dict[str, dict[str, int]]] = json.loads(path.read_text("utf-8"))
    return figures


class Block(NamedTuple):
    """One heading, paragraph or line of a diff. ends: nothing more belongs to what it stands in."""

    text: str
    indent: int
    heading: bool
    code: bool
    ends: bool


def blocks(page: str) -> Iterator[Block]:
    """Headings, paragraphs (their lines joined, so that they wrap to any width) and lines of a diff."""
    for part in page.strip().split("\n\n"):
        lines = part.splitlines()
        heading = len(lines) > 1 and not lines[0].startswith(" ") and lines[1].startswith(" ")
        if heading:
            yield Block(lines.pop(0), 0, True, False, False)
        indent = 4 if heading else 0
        merged: list[tuple[str, bool]] = []
        for line in (text.strip() for text in lines):
            is_code = line.startswith(("- ", "+ "))
            if merged and not is_code and not merged[-1][1]:
                merged[-1] = (f"{merged[-1][0]} {line}", False)
            else:
                merged.append((line, is_code))
        for position, (text, is_code) in enumerate(merged):
            yield Block(text, indent, False, is_code, position == len(merged) - 1)


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
