"""Which engines a treatment can have, told without loading any of them."""

from importlib.util import find_spec

from kddoctor.errors import UsageError

ENGINES = ("local", "ray")


def check_engine(name: str, workers: int) -> None:
    """Raises UsageError for an engine that does not exist, is not installed or cannot have so many workers."""
    if name not in ENGINES:
        raise UsageError(f"--engine is {name}; expected {' or '.join(ENGINES)}")
    if workers < 1:
        raise UsageError(f"--workers is {workers}; expected 1 or more")
    if name == "local" and workers > 1:
        raise UsageError(f"--workers {workers} needs --engine ray: the local engine trains in one process")
    if name == "ray" and find_spec("ray") is None:
        raise UsageError("--engine ray: Ray is not installed; pip install 'kddoctor[ray]'")
