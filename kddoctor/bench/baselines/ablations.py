"""kddoctor itself, whole and without some of its parts, on measurements that were made before."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from kddoctor.bench.judged import Judgement
from kddoctor.bench.judging import ranked_of
from kddoctor.engine.diagnosis import Diagnosis, judge
from kddoctor.engine.explaining import order
from kddoctor.engine.types import Hypothesis, Outcome
from kddoctor.engine.weighing import weigh
from kddoctor.probes.learning_curve import LearningCurve
from kddoctor.probes.output_health import OutputHealth
from kddoctor.rules.finding import Finding
from kddoctor.rules.registry import Rule
from kddoctor.run.manifest import Manifest
from kddoctor.run.observations import Observations

Measurements = Mapping[type, object]
Ablation = Callable[[Measurements], Judgement]

#: What is known of a run without looking at its arrays. No rule reads the outcome; it only tells healthy from
#: inconclusive.
WITHOUT_PROBES = (Manifest, Observations, LearningCurve, Outcome)
#: No row was looked at.
UNSEEN = OutputHealth(rows=0, student_nonfinite_rows=0.0, teacher_nonfinite_rows=0.0)


def full(measured: Measurements) -> Judgement:
    """The whole engine."""
    return judgement(judge("run", measured))


def no_probes(measured: Measurements) -> Judgement:
    """Only the manifest, what the recorder saw, and the learning curve."""
    known: dict[type, object] = {kind: measured[kind] for kind in WITHOUT_PROBES if kind in measured}
    return judgement(judge("run", {**known, OutputHealth: UNSEEN}))


def no_negative_evidence(measured: Measurements) -> Judgement:
    """Nothing speaks against a code."""
    return judgement(judge("run", measured, weigh=weigh_support))


def no_explaining_away(measured: Measurements) -> Judgement:
    """Whatever is believed is a cause."""
    return judgement(judge("run", measured, explain=all_causes))


def weigh_support(rule: Rule, finding: Finding) -> Hypothesis:
    """A finding weighed by its supporting evidence alone."""
    return weigh(rule, replace(finding, evidence=finding.supporting))


def all_causes(believed: Sequence[Hypothesis]) -> tuple[list[Hypothesis], list[Hypothesis]]:
    """(causes, symptoms) of which no symptom is one."""
    return order(believed), []


def judgement(diagnosis: Diagnosis) -> Judgement:
    """Codes in the order in which they are shown."""
    causes = [f for f in diagnosis.causes if f.severity != "note"]
    sick = diagnosis.verdict == "sick"
    return Judgement(sick, ranked_of(diagnosis), causes[0].confidence if sick else 0.0)
