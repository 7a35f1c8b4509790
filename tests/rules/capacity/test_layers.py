"""Bottlenecks, narrow students, capacity gaps and feature losses are told from each other and from sound runs."""

from __future__ import annotations

from typing import Any

import numpy as np

from kddoctor.engine import diagnose
from kddoctor.engine.measuring import measure
from kddoctor.engine.weighing import weigh
from kddoctor.probes.feature_term import FeatureTerm
from kddoctor.probes.layer_ranks import LayerRanks, layer_ranks
from kddoctor.probes.layer_similarity import exact_cka
from kddoctor.probes.measurements import Gaps, LogitSimilarity, TrainGaps
from kddoctor.rules.finding import NotExamined
from kddoctor.rules.registry import all_rules
from kddoctor.run import load
from kddoctor.run.manifest import Manifest
from kddoctor.run.observations import Observations
from tests import builders as b
from tests.builders import recorded_run

ROWS, CLASSES = 400, 10
LABELS = np.arange(ROWS) % CLASSES


def confidence(code: str, *measurements: object) -> float:
    rule = all_rules()[code]
    finding = rule({type(measurement): measurement for measurement in measurements})
    assert not isinstance(finding, NotExamined), finding
    return weigh(rule, finding).confidence


def ranks(units: int = 20, logits: int = 10, layer: int | None = None) -> LayerRanks:
    """A student with one layer of ``units`` (in ``layer`` dimensions) and logits of at most this rank."""
    rng = np.random.default_rng(0)
    teacher = 6 * np.eye(CLASSES)[LABELS] + rng.normal(size=(ROWS, CLASSES))
    features = rng.normal(size=(ROWS, layer or units)) + 3 * np.eye(CLASSES)[LABELS] @ rng.normal(
        size=(CLASSES, layer or units)
    )
    if layer is not None:
        features = features @ rng.normal(size=(layer, units))
    own = features @ rng.normal(size=(units, logits)) @ rng.normal(size=(logits, CLASSES))
    return layer_ranks({"last": rng.normal(size=(ROWS, 32))}, {"hidden": features}, teacher, own, LABELS)


def term(**changes: Any) -> FeatureTerm:
    return FeatureTerm(
        **{"weight": 1.0, "error": 0.0, "share_first": 0.5, "share_last": 0.5, "left": 0.8, **changes, "steps": 20}
    )


def measured_gaps(tmp_path, **changes: Any) -> Gaps:
    found = measure(load(recorded_run(tmp_path / "held_out", **changes)))[Gaps]
    assert isinstance(found, Gaps)
    return found


def gaps_of(tmp_path, **changes: Any) -> TrainGaps:
    found = measure(load(recorded_run(tmp_path / "gaps", **changes)))[TrainGaps]
    assert isinstance(found, TrainGaps)
    return found


def test_a_head_of_low_rank_below_a_wide_layer_is_a_bottleneck():
    assert confidence("KD405", ranks(logits=3)) > 0.8


def test_a_layer_in_two_dimensions_is_a_bottleneck():
    assert confidence("KD405", ranks(layer=2)) > 0.8


def test_a_wide_student_has_no_bottleneck():
    assert confidence("KD405", ranks()) < 0.01


def test_a_student_that_is_narrow_throughout_has_no_single_bottleneck():
    assert confidence("KD405", ranks(units=3)) < 0.01


def test_a_student_worse_than_its_twin_where_only_imitation_was_asked_for_is_a_gap(tmp_path):
    alone = {"declared": {"alpha": 1.0}, "mix": (0.0, 1.0)}
    run = recorded_run(tmp_path / "run", student=b.forgetting(0.3), baseline=b.forgetting(0.1, 6), **alone)
    assert diagnose(load(run)).cause_codes == ["KD401"]


def test_a_student_worse_than_its_twin_is_by_itself_a_suspicion(tmp_path):
    found = diagnose(load(recorded_run(tmp_path / "run", student=b.forgetting(0.3), baseline=b.forgetting(0.1, 6))))
    assert found.verdict == "inconclusive"
    assert "KD401" in [finding.code for finding in found.findings]


def test_a_twin_that_fits_no_better_is_no_gap(tmp_path):
    run = recorded_run(tmp_path / "run", student=b.forgetting(0.4), baseline=b.forgetting(0.4, 6))
    assert diagnose(load(run)).cause_codes == ["KD402"]


def test_a_teacher_that_was_another_inside_the_loop_is_no_gap(tmp_path):
    run = recorded_run(
        tmp_path / "run", student=b.forgetting(0.3), baseline=b.unchanged, in_loop=b.shifted(5), check=b.shifted(5)
    )
    assert "KD401" not in diagnose(load(run)).cause_codes


def test_a_capacity_gap_waits_for_a_verified_loss(tmp_path):
    run = recorded_run(tmp_path / "run", student=b.forgetting(0.3), baseline=b.unchanged, steps=0)
    assert "KD401" in [item.code for item in diagnose(load(run)).not_examined]


def test_a_feature_term_that_stays_in_a_student_that_does_not_fit_is_named(tmp_path):
    poor = gaps_of(tmp_path, student=b.forgetting(0.3))
    assert confidence("KD403", term(), poor) > 0.8
    assert confidence("KD403", term(left=0.1), poor) < 0.1


def test_a_feature_term_of_a_student_that_fits_is_no_fault(tmp_path):
    assert confidence("KD403", term(), gaps_of(tmp_path)) < 0.1


def test_a_term_that_never_moved_in_a_student_worse_than_its_twin_is_named(tmp_path):
    worse = measured_gaps(tmp_path, student=b.forgetting(0.3), baseline=b.unchanged)
    fits = gaps_of(tmp_path / "fits")
    assert confidence("KD403", term(left=0.99, share_last=0.9), fits, worse) > 0.5
    assert confidence("KD403", term(left=0.5, share_last=0.9), fits, worse) < 0.5


def test_a_student_of_fewer_units_than_the_answers_need_is_too_small(tmp_path):
    run = recorded_run(tmp_path / "run", student=b.forgetting(0.4))
    measured = dict(measure(load(run)))
    rule = all_rules()["KD402"]
    measured[LayerRanks] = ranks(units=20)
    wide = weigh(rule, rule(measured)).confidence
    measured[LayerRanks] = ranks(units=2, logits=2)
    assert weigh(rule, rule(measured)).confidence > wide


def test_a_projector_without_an_optimizer_explains_a_term_that_stays(tmp_path):
    seen = Observations(graph={"not_in_optimizer": [[20, 32]]})
    assert confidence("KD403", term(), gaps_of(tmp_path, student=b.forgetting(0.3)), seen) < 0.1


def similarity(pulled: bool) -> LogitSimilarity:
    rng = np.random.default_rng(1)
    early, late = rng.normal(size=(ROWS, 12)), rng.normal(size=(ROWS, 12))
    teacher = {"early": early, "late": late, "logits": late[:, :10] + 0.1 * rng.normal(size=(ROWS, 10))}
    answers = (early if pulled else late)[:, :10] + 0.1 * rng.normal(size=(ROWS, 10))
    return LogitSimilarity(exact_cka(teacher, {"last": early if pulled else late, "logits": answers}))


def pairs(teacher: str) -> Manifest:
    return Manifest(task="multiclass", num_classes=CLASSES, distillation={"feature_layers": [(teacher, "last")]})


def test_answers_that_resemble_an_early_layer_were_paired_with_it(tmp_path):
    poor = gaps_of(tmp_path, student=b.forgetting(0.3))
    assert confidence("KD404", term(left=0.1), similarity(pulled=True), pairs("late"), poor) > 0.8
    assert confidence("KD404", term(left=0.1), similarity(pulled=False), pairs("late"), poor) < 0.3


def test_a_declared_pair_that_another_layer_would_suit_better_is_named(tmp_path):
    poor = gaps_of(tmp_path, student=b.forgetting(0.3))
    assert confidence("KD404", term(left=0.1), similarity(pulled=False), pairs("early"), poor) > 0.8


def test_pairs_of_a_student_that_fits_are_no_fault(tmp_path):
    assert confidence("KD404", term(left=0.1), similarity(pulled=False), pairs("early"), gaps_of(tmp_path)) < 0.1


def test_without_a_feature_term_no_mapping_is_judged():
    verdict = all_rules()["KD404"]({LogitSimilarity: similarity(pulled=True), Manifest: pairs("early")})
    assert isinstance(verdict, NotExamined)
