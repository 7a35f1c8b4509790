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
    from kddoctor.rules.naming import code_or_prefix

    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        raise UsageError("no code is given; `kddoctor explain` lists them")
    return [code_or_prefix(part) for part in parts]
