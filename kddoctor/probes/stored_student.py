"""What the student's checkpoint says without a model to load it into: its names, and how few values it has."""

from dataclasses import dataclass


@dataclass(frozen=True)
class StoredStudent:
    """names: of its tensors. distinct, elements: different values of its largest weight matrix, and how many were
    looked at; None where it holds no matrix.
    """

    names: tuple[str, ...]
    distinct: int | None
    elements: int | None

    def holds(self, parameter: str) -> bool:
        """Whether a parameter is one of its tensors, with whatever a wrapper wrote before either name."""
        return any(
            name == parameter or name.endswith(f".{parameter}") or parameter.endswith(f".{name}") for name in self.names
        )
