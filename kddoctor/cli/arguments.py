"""Arguments that several commands take."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from kddoctor.policy import Policy

RunDir = Annotated[Path, typer.Argument(metavar="RUN_DIR", help="A recorded run.", show_default=False)]


Config = Annotated[
    Path | None,
    typer.Option(
        "--config", metavar="FILE", help="The policy, instead of the nearest kddoctor.toml.", show_default=False
    ),
]


def policy_of(config: Path | None) -> "Policy":
    """The policy of a file, or the nearest above the working directory; stderr says which one holds."""
    from kddoctor.policy import read_policy

    policy = read_policy(Path.cwd(), config)
    if policy.file is not None:
        inside = policy.file.is_relative_to(Path.cwd())
        typer.echo(f"policy: {policy.file.relative_to(Path.cwd()) if inside else policy.file}", err=True)
    return policy


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
