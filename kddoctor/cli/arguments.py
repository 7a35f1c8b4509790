"""Arguments that several commands take."""

from pathlib import Path
from typing import Annotated

import typer

RunDir = Annotated[Path, typer.Argument(metavar="RUN_DIR", help="A recorded run.", show_default=False)]


def codes_in(text: str | None) -> list[str]:
    """Codes, prefixes of codes or names, comma-separated, as codes. Raises UsageError for what is none of them."""
    if text is None:
        return []
    from kddoctor.errors import UsageError
    from kddoctor.report.explain import find_rule
    from kddoctor.rules.registry import all_rules

    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        raise UsageError("no code is given; `kddoctor explain` lists them")
    known = all_rules()
    return [
        part.upper() if any(code.startswith(part.upper()) for code in known) else find_rule(part).code for part in parts
    ]
