"""The explain page of a code as Markdown."""

from collections.abc import Iterator

from kddoctor.report.explain import Block, blocks, sureness
from kddoctor.rules.registry import Rule


def explain_markdown(rule: Rule) -> str:
    """The page that ``kddoctor explain`` prints. The docstrings that it comes from are Markdown but for headings."""
    lines = [f"# {rule.code} {rule.name}", "", *_body(list(blocks(rule.page)))]
    lines += ["## How sure we are", "", "\n\n".join(sureness(rule)), ""]
    return "\n".join(lines)


def _body(page: list[Block]) -> Iterator[str]:
    for position, block in enumerate(page):
        if block.heading:
            yield f"## {block.text}"
            yield ""
            continue
        if block.code and not (position and page[position - 1].code):
            yield "```diff"
        yield block.text
        last = position == len(page) - 1
        if block.code and (last or not page[position + 1].code):
            yield "```"
        if not block.code or last or not page[position + 1].code:
            yield ""
