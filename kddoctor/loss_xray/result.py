"""What an X-ray of a loss shows, and how it reads."""

from dataclasses import dataclass

from kddoctor.errors import KDDoctorError
from kddoctor.loss_xray.dependence import Dependence
from kddoctor.loss_xray.fixed_point import FixedPoint
from kddoctor.loss_xray.label_term import LabelTerm
from kddoctor.loss_xray.numerics import Numerics
from kddoctor.loss_xray.reduction import Reduction
from kddoctor.loss_xray.symmetry import Symmetry
from kddoctor.loss_xray.term import Term
from kddoctor.loss_xray.tokens import Tokens
from kddoctor.loss_xray.weights import Weights


class SickLossError(KDDoctorError, AssertionError):
    """The loss has a problem; the message names each with its evidence."""


#: Divergences: zero where both sides are equal, and nowhere below.
AT_REST = frozenset({"kl", "reverse-kl", "soft-cross-entropy", "jsd", "skew-kl", "skew-reverse-kl", "jeffreys", "dkd"})


@dataclass(frozen=True)
class Problem:
    """code: of the catalogue. evidence: one line, what was seen."""

    code: str
    name: str
    evidence: str

    def __str__(self) -> str:
        return f"{self.code} {self.name}: {self.evidence}"


@dataclass(frozen=True)
class Facts:
    """Everything that was measured; None where it does not apply or could not be."""

    precision: str
    features: bool
    takes_labels: bool
    dependence: Dependence
    labels: LabelTerm
    term: Term | None
    reduction: Reduction
    weights: Weights | None
    symmetry: Symmetry | None
    fixed_point: FixedPoint | None
    numerics: Numerics
    tokens: Tokens | None
    smallest: float

    @property
    def at_rest(self) -> bool:
        """The formula rests at student = teacher, whatever else (label smoothing) pulls there."""
        return self.term is not None and self.term.family in AT_REST and self.term.temperature is not None


@dataclass(frozen=True)
class Health:
    """Truth of the verdict, whose repr is the verdict: a failing ``assert xray(…).healthy`` shows what is wrong."""

    problems: tuple[Problem, ...]

    def __bool__(self) -> bool:
        return not self.problems

    def __repr__(self) -> str:
        return "healthy" if self else "sick: " + "; ".join(map(str, self.problems))


@dataclass(frozen=True)
class LossXray:
    """problems: what is wrong, the most specific first. notes: what is worth knowing and no problem."""

    name: str
    facts: Facts
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]

    @property
    def healthy(self) -> Health:
        """True where there is no problem. Its repr names the problems."""
        return Health(self.problems)

    @property
    def codes(self) -> tuple[str, ...]:
        """Codes of the problems."""
        return tuple(problem.code for problem in self.problems)

    def __bool__(self) -> bool:
        return not self.problems

    def raise_if_sick(self) -> None:
        """Raises SickLossError, an AssertionError, that names the problems."""
        if self.problems:
            raise SickLossError(f"{self.name} is " + repr(self.healthy))

    def __str__(self) -> str:
        from kddoctor.loss_xray.rendering import render

        return render(self)

    __repr__ = __str__
