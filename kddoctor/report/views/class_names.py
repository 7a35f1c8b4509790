"""What classes are called."""

from collections.abc import Callable

from kddoctor.engine.reading import binary_like
from kddoctor.errors import one_line
from kddoctor.run.manifest import Manifest


def class_namer(manifest: Manifest) -> Callable[[int], str]:
    """The name of a column of ``class_rows``: the manifest's, or one made from its number."""
    if binary_like(manifest):
        return ("no", "yes").__getitem__
    names = manifest.class_names
    if names is not None:
        return lambda number: one_line(names[number]) or f"class {number}"
    kind = "token" if manifest.task == "tokens" else "class"
    return lambda number: f"{kind} {number}"
