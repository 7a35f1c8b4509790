"""Files of a run directory, by name, and never outside it."""

from __future__ import annotations

from pathlib import Path

from kddoctor.errors import RunError


def file_inside(run_path: Path, name: str) -> Path | None:
    """The resolved path of file ``name`` of the run directory, or None where there is no such file.

    name: relative, with forward slashes, as in ``predictions/val.safetensors``. Raises RunError for a
    link that leads out of the run directory and for anything that is not a regular file (reading a pipe
    would wait for ever).
    """
    try:
        root = run_path.resolve()
        entry = root / name
        if not entry.is_symlink() and not entry.exists():
            return None
        target = entry.resolve(strict=True)
        if not target.is_relative_to(root):
            raise RunError.plain(
                f"{name}: is a link that leaves the run directory; copy the file into the directory instead."
            )
        if not target.is_file():
            raise RunError.plain(f"{name}: is not a regular file.")
    except FileNotFoundError:
        raise RunError.plain(f"{name}: is a link to a file that does not exist.") from None
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: a link that points at itself
        raise RunError.plain(f"{name}: cannot be opened: {reason(error)}.") from None
    return target


def read_text(path: Path, name: str, max_bytes: int) -> str:
    """The UTF-8 text of a file. Raises RunError where it is larger than max_bytes or not UTF-8."""
    try:
        with path.open("rb") as stream:
            data = stream.read(max_bytes + 1)
    except OSError as error:
        raise RunError.plain(f"{name}: cannot be read: {reason(error)}.") from None
    if len(data) > max_bytes:
        raise RunError.plain(f"{name}: is larger than {max_bytes:,} bytes; it should hold a few settings.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RunError.plain(f"{name}: is not UTF-8 text (byte {error.start}).") from None


def reason(error: BaseException) -> str:
    """What the operating system said, without the path that it repeats."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
