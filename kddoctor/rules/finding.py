"""What a rule returns: measured evidence for and against, and what to change. A finding names no cause.

Only the engine turns a finding into a hypothesis; the texts here may say no more than what was measured.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Literal

Severity = Literal["error", "warning", "note"]
Safety = Literal["safe", "careful", "manual"]


class Grade(IntEnum):
    """How a piece of evidence was obtained; it caps how sure a diagnosis may sound."""

    STATISTICAL = 1
    INTERVENTIONAL = 2
    PROOF = 3


#: Log-likelihood ratio in nats of one piece of evidence. Orders of magnitude, not fitted: an identity that holds
#: at every step is worth more than everything statistical together. To be replaced by the benchmark's fit.
WEIGHT: Mapping[Grade, float] = {Grade.STATISTICAL: 3.0, Grade.INTERVENTIONAL: 6.0, Grade.PROOF: 12.0}


@dataclass(frozen=True)
class Evidence:
    """One measurement held against one threshold.

    ``origin`` says where the threshold comes from (identity, paper, convention, calibrated on …). Evidence of
    the same ``group`` is correlated and counts once, by its strongest member. ``weight``: nats, positive.
    """

    probe: str
    measure: str
    value: float | None
    threshold: float | None
    origin: str
    supports: bool
    grade: Grade
    text: str
    group: str
    weight: float


@dataclass(frozen=True)
class Prescription:
    """What to change. ``changes``: dotted keys of kd_run.yaml, or of the ``treatment`` section."""

    summary: str
    changes: Mapping[str, object] = field(default_factory=dict)
    automatic: bool = True
    safety: Safety = "safe"


@dataclass(frozen=True)
class Worth:
    """How many points of the metric the cause is believed to cost; ``measured`` only after a retraining."""

    low: float
    high: float
    measured: bool = False


@dataclass(frozen=True)
class Finding:
    """Evidence about one code. Built up with ``supported_by`` and ``against``, each of which returns a copy.

    by_exclusion: nothing speaks for the code but that no other form of fault was found where one certainly is.
    """

    evidence: tuple[Evidence, ...] = ()
    summary: str = ""
    where: str | None = None
    severity: Severity = "error"
    prescription: Prescription | None = None
    worth: Worth | None = None
    by_exclusion: bool = False

    def supported_by(
        self,
        probe: str,
        measure: str,
        value: float | None,
        text: str,
        *,
        threshold: float | None = None,
        origin: str = "identity",
        grade: Grade = Grade.STATISTICAL,
        group: str | None = None,
        weight: float | None = None,
    ) -> "Finding":
        """With one more measurement that speaks for the code."""
        return self._with(True, probe, measure, value, text, threshold, origin, grade, group, weight)

    def against(
        self,
        probe: str,
        measure: str,
        value: float | None,
        text: str,
        *,
        threshold: float | None = None,
        origin: str = "identity",
        grade: Grade = Grade.STATISTICAL,
        group: str | None = None,
        weight: float | None = None,
    ) -> "Finding":
        """With one more measurement that speaks against the code."""
        return self._with(False, probe, measure, value, text, threshold, origin, grade, group, weight)

    def _with(
        self,
        supports: bool,
        probe: str,
        measure: str,
        value: float | None,
        text: str,
        threshold: float | None,
        origin: str,
        grade: Grade,
        group: str | None,
        weight: float | None,
    ) -> "Finding":
        item = Evidence(
            probe=probe,
            measure=measure,
            value=value,
            threshold=threshold,
            origin=origin,
            supports=supports,
            grade=grade,
            text=text,
            group=group or measure,
            weight=WEIGHT[grade] if weight is None else weight,
        )
        return replace(self, evidence=(*self.evidence, item))

    def saying(self, summary: str, *, where: str | None = None, severity: Severity = "error") -> "Finding":
        """With the sentence that a reader sees first."""
        return replace(self, summary=summary, where=where, severity=severity)

    def prescribe(
        self, summary: str, *, automatic: bool = True, safety: Safety = "safe", **changes: object
    ) -> "Finding":
        """With what to change; keyword ``a__b`` stands for the dotted key ``a.b``."""
        dotted = {key.replace("__", "."): value for key, value in changes.items()}
        return replace(self, prescription=Prescription(summary, dotted, automatic, safety))

    @property
    def supporting(self) -> tuple[Evidence, ...]:
        """Evidence for the code."""
        return tuple(e for e in self.evidence if e.supports)

    @property
    def opposing(self) -> tuple[Evidence, ...]:
        """Evidence against the code."""
        return tuple(e for e in self.evidence if not e.supports)


@dataclass(frozen=True)
class NotExamined:
    """A rule that could not look: which records it needs and how to make them."""

    needs: tuple[str, ...]
    how: str
