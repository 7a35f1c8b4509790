"""Which engines there are, told without loading any of them."""

from importlib.util import find_spec
from typing import Literal, get_args

from kddoctor.errors import UsageError

EngineName = Literal["local", "ray"]


def check_engine(name: str, workers: int) -> None:
    """Raises UsageError for an engine that does not exist, is not installed or cannot have so many workers."""
    if name not in get_args(EngineName):
        raise UsageError(f"engine is {name!r}; expected {' or '.join(get_args(EngineName))}")
    if workers < 1:
        raise UsageError(f"workers is {workers}; expected 1 or more")
    if name == "local" and workers > 1:
        raise UsageError(f"{workers} workers need the engine ray; add --engine ray")
    if name == "ray" and find_spec("ray") is None:
        raise UsageError("the engine ray is not installed; pip install 'kddoctor[ray]'")
