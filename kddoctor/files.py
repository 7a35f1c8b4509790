"""Writing files of text."""

from pathlib import Path

from kddoctor.errors import UsageError


def write_whole(path: Path, text: str) -> None:
    """Write a file that is never seen half-written."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise UsageError(f"{path}: cannot be written: {error.strerror or error}") from None
