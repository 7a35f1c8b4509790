"""What a project has decided about its runs: kddoctor.toml, or [tool.kddoctor] in pyproject.toml."""

from kddoctor.policy.policy import Accepted, FailOn, Held, Policy
from kddoctor.policy.reading import read_policy

__all__ = ["Accepted", "FailOn", "Held", "Policy", "read_policy"]
