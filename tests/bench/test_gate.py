"""The impact gate goes by outcome, and by nothing that a rule says."""

from __future__ import annotations

import pytest

from kddoctor.bench.gate import Severity, decide
from tests.bench.results import result, sound

#: Seeds move the healthy metric by 0.001.
QUIET = [sound(seed, 0.9 + 0.001 * (seed % 2)) for seed in range(6)]


@pytest.mark.parametrize(
    ("student", "severity"),
    [(0.9, Severity.LATENT), (0.895, Severity.LATENT), (0.88, Severity.MILD), (0.85, Severity.MODERATE)],
)
def test_severity_is_the_distance_from_the_healthy_twin(student: float, severity: Severity) -> None:
    case = result("KD201", student=student, twin=0.9)
    assert decide([*QUIET, case]).severity[case.case.key] is severity


def test_harm_within_what_seeds_do_is_latent() -> None:
    loud = [sound(seed, 0.9 + 0.05 * (seed % 2)) for seed in range(6)]
    case = result("KD201", student=0.86, twin=0.9)
    assert decide([*loud, case]).severity[case.case.key] is Severity.LATENT


def test_several_seeds_of_one_mistake_are_judged_together() -> None:
    cases = [result("KD201", student=s, twin=0.9, seed=i, level=None) for i, s in enumerate((0.9, 0.78, 0.78))]
    gate = decide([*QUIET, *cases])
    assert {gate.severity[c.case.key] for c in cases} == {Severity.MODERATE}


def test_a_sound_run_is_certified_by_its_outcome() -> None:
    good, worse = sound(7, 0.9, twin=0.9), sound(8, 0.82, twin=0.9)
    certified = decide([*QUIET, good, worse]).certified
    assert good.case.key in certified
    assert worse.case.key not in certified


def test_a_lookalike_may_be_worse_than_the_plain_run_but_not_than_its_own_labels() -> None:
    small = sound(7, 0.7, twin=0.9, group="lookalike", baseline=0.65)
    hurt = sound(8, 0.7, twin=0.9, group="lookalike", baseline=0.8)
    certified = decide([*QUIET, small, hurt]).certified
    assert small.case.key in certified
    assert hurt.case.key not in certified
