"""What both models look at in one example."""

from kddoctor.app.current import Opened


def attributions(opened: Opened, row: int) -> None:
    """To be written."""
