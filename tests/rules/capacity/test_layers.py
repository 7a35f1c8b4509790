"""Bottlenecks, narrow students, capacity gaps and feature losses are told from each other and from sound runs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from kddoctor.engine import diagnose
from kddoctor.engine.measuring import measure
from kddoctor.engine.weighing import weigh
from kddoctor.probes.feature_term import FeatureTerm, redrawn
from kddoctor.probes.layer_ranks import LayerRanks, explained_by_neighbours, layer_ranks
from kddoctor.probes.layer_similarity import exact_cka
from kddoctor.probes.measurements import Gaps, LogitSimilarity, TrainGaps
from kddoctor.probes.output_fit import OutputFit, output_fit
from kddoctor.probes.rate_signs import RateSigns
from kddoctor.probes.scale_fit import ScaleFit
from kddoctor.probes.student_path import StudentPath
from kddoctor.probes.unit_order import UnitOrder
from kddoctor.rules.capacity.exclusion import narrow
from kddoctor.rules.finding import Finding, NotExamined
from kddoctor.rules.registry import all_rules
from kddoctor.run import load, write_run
from kddoctor.run.manifest import Manifest
from kddoctor.run.observations import Observations, observations_from
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


def readable(found: LayerRanks, own: float) -> LayerRanks:
    """The same, with the labels read off the teacher's answers in nine rows of ten, off the student's in ``own``."""
    teacher, student = replace(found.teacher_logits, accuracy=0.9), replace(found.student_logits, accuracy=own)
    return replace(found, teacher_logits=teacher, student_logits=student)


def begun() -> StudentPath:
    columns = ("excess", "dependence", "scale", "agreement", "kl", "teacher_loss", "teacher_right", "commonest")
    way = {name: np.array([0.0, 0.5]) for name in columns}
    return StudentPath(step=np.array([0, 10]), rows=np.array([32, 32]), classes=CLASSES, **way)


def scaled() -> ScaleFit:
    sound = {"factor": 1.0, "gain": 0.0, "objective": 1.0, "agreement": 0.5, "kl": 0.5, "teacher_loss": 0.01}
    return ScaleFit(**sound, hard_loss=1.0, n=250)


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


def test_a_head_of_low_rank_below_a_layer_that_knows_no_more_is_a_narrow_student():
    found = readable(ranks(logits=3), 0.5)
    for layer, bottleneck in ((0.9, True), (0.52, False)):
        hidden = {"hidden": replace(found.student["hidden"], accuracy=layer, effective=5.0)}
        assert (confidence("KD405", replace(found, student=hidden)) > 0.5) is bottleneck


def test_few_different_answers_above_a_layer_of_many_rows_are_a_bottleneck():
    rng = np.random.default_rng(0)
    teacher = 6 * np.eye(CLASSES)[LABELS] + rng.normal(size=(ROWS, CLASSES))
    hidden = teacher @ rng.normal(size=(CLASSES, 20))
    codes = rng.normal(size=(16, CLASSES))
    answers = codes[(teacher @ codes.T).argmax(axis=1)]
    layers = {"last": rng.normal(size=(ROWS, 32))}, {"hidden": hidden}
    assert confidence("KD405", layer_ranks(*layers, teacher, answers, LABELS)) > 0.5
    assert confidence("KD405", layer_ranks(*layers, teacher, teacher, LABELS)) < 0.01


def test_a_layer_in_two_dimensions_is_a_bottleneck():
    assert confidence("KD405", ranks(layer=2)) > 0.8


def test_a_wide_student_has_no_bottleneck():
    assert confidence("KD405", ranks()) < 0.01


def test_a_student_that_is_narrow_throughout_has_no_single_bottleneck():
    assert confidence("KD405", ranks(units=3)) < 0.01


def beside(width: int, *, path: bool = False, maps: tuple[str, ...] = ()) -> LayerRanks:
    """A student with a layer of ``width`` units between two wide ones, and perhaps a wide path around it."""
    rng = np.random.default_rng(0)
    teacher = 6 * np.eye(CLASSES)[LABELS] + rng.normal(size=(ROWS, CLASSES))
    first = np.maximum(teacher @ rng.normal(size=(CLASSES, 32)), 0)
    waist = first @ rng.normal(size=(32, width)) / 10
    last = np.maximum(waist @ rng.normal(size=(width, 32)) + rng.normal(size=32), 0)
    answers = teacher if path else last @ rng.normal(size=(32, CLASSES))
    layers = {"first": first, "waist": waist, "last": last}
    return layer_ranks({"last": rng.normal(size=(ROWS, 32))}, layers, teacher, answers, LABELS, maps)


def test_a_waist_of_two_units_between_wide_layers_is_a_bottleneck():
    assert confidence("KD405", beside(2)) > 0.8


def test_a_waist_that_later_layers_unfold_into_many_dimensions_is_one_all_the_same():
    found = beside(3)
    unfolded = replace(found, student_logits=replace(found.student_logits, effective=9.0))
    assert confidence("KD405", unfolded) > 0.8


def test_a_layer_from_which_the_answers_cannot_be_told_is_no_waist():
    # As of channels that were averaged over their places: what the answers hang on is not in the record.
    found = beside(2)
    assert found.narrowest == "waist"
    assert found.carried is not None
    assert 1 - found.carried[0] < 0.1
    assert confidence("KD405", replace(found, carried=(0.7, 0.98))) < 0.01
    assert confidence("KD405", replace(found, carried=None)) < 0.01


def test_what_neighbours_explain_is_all_of_a_function_and_nothing_of_noise():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1000, 2))
    assert explained_by_neighbours(x, np.column_stack([np.sin(x[:, 0]), x[:, 1] ** 2])) > 0.95
    assert explained_by_neighbours(x, rng.normal(size=(1000, 3))) < 0.05
    assert explained_by_neighbours(x, np.ones((1000, 3))) == 0.0
    # Copies of a row are neighbours like any others.
    assert explained_by_neighbours(np.zeros((50, 2)), rng.normal(size=(50, 3))) < 0.2


def test_a_layer_that_carries_all_dimensions_of_the_answers_is_no_bottleneck():
    assert confidence("KD405", beside(12)) < 0.01


def test_a_narrow_branch_beside_a_wide_path_is_no_bottleneck():
    assert confidence("KD405", beside(2, path=True)) < 0.01


def test_an_embedding_of_tokens_is_narrow_by_design():
    manifests = [Manifest(format=1, task=task, num_classes=CLASSES) for task in ("multiclass", "tokens")]
    classified, continued = (confidence("KD405", beside(2), manifest) for manifest in manifests)
    assert classified > 0.8
    assert continued < 0.01


def test_narrow_layers_that_are_read_together_are_no_waist():
    rng = np.random.default_rng(0)
    teacher = 6 * np.eye(CLASSES)[LABELS] + rng.normal(size=(ROWS, CLASSES))
    narrow = [teacher @ rng.normal(size=(CLASSES, 3)) for _ in range(3)]
    wide = np.maximum(np.hstack(narrow) @ rng.normal(size=(9, 32)), 0)
    layers = {"wide": wide, **{f"part{k}": part for k, part in enumerate(narrow)}}
    answers = wide @ rng.normal(size=(32, CLASSES))
    found = layer_ranks({"last": rng.normal(size=(ROWS, 32))}, layers, teacher, answers, LABELS)
    assert confidence("KD405", found) < 0.01


def test_a_map_of_few_channels_is_no_bottleneck_by_their_number():
    assert confidence("KD405", beside(2, maps=("waist",))) < 0.01


def test_a_student_worse_than_its_twin_where_only_imitation_was_asked_for_is_a_gap(tmp_path):
    alone = {"declared": {"alpha": 1.0}, "mix": (0.0, 1.0)}
    run = recorded_run(tmp_path / "run", student=b.forgetting(0.3), baseline=b.forgetting(0.1, 6), **alone)
    assert diagnose(load(run)).cause_codes == ["KD401"]


def test_a_student_worse_than_its_twin_is_by_itself_a_suspicion(tmp_path):
    found = diagnose(load(recorded_run(tmp_path / "run", student=b.forgetting(0.3), baseline=b.forgetting(0.1, 6))))
    assert found.verdict == "inconclusive"
    assert "KD401" in [finding.code for finding in found.findings]


def test_a_layer_that_knows_more_than_the_answers_is_no_gap(tmp_path):
    """So it is beside a last layer that was not trained: nothing of the teacher's was beyond the student."""
    run = recorded_run(tmp_path / "run", student=b.forgetting(0.3), baseline=b.forgetting(0.1, 6))
    measured, sure = dict(measure(load(run))), {}
    for read_out in (0.5, 0.9):
        found = readable(ranks(), 0.7)
        found = replace(found, student={"hidden": replace(found.student["hidden"], accuracy=read_out)})
        sure[read_out] = weigh(all_rules()["KD401"], all_rules()["KD401"]({**measured, LayerRanks: found})).confidence
    assert sure[0.9] <= sure[0.5] < 0.5


def test_a_twin_that_fits_no_better_is_no_gap(tmp_path):
    run = recorded_run(tmp_path / "run", student=b.forgetting(0.4), baseline=b.forgetting(0.4, 6))
    assert diagnose(load(run)).cause_codes == ["KD402"]


def test_a_twin_that_learned_far_less_than_the_same_student_shows_no_limit_of_its_size(tmp_path):
    alone = {"student": b.forgetting(0.2), "baseline": b.forgetting(0.6, 6)}
    assert "KD402" not in diagnose(load(recorded_run(tmp_path / "run", **alone))).cause_codes


def test_a_teacher_that_was_another_inside_the_loop_is_no_gap(tmp_path):
    run = recorded_run(
        tmp_path / "run", student=b.forgetting(0.3), baseline=b.unchanged, in_loop=b.shifted(5), check=b.shifted(5)
    )
    assert "KD401" not in diagnose(load(run)).cause_codes


def test_a_capacity_gap_waits_for_a_verified_loss(tmp_path):
    run = recorded_run(tmp_path / "run", student=b.forgetting(0.3), baseline=b.unchanged, steps=0)
    assert "KD401" in [item.code for item in diagnose(load(run)).not_examined]


LOOKED = Observations(graph={"not_in_optimizer": []})


def test_a_feature_term_that_stays_in_a_student_that_does_not_fit_is_named(tmp_path):
    poor = gaps_of(tmp_path, student=b.forgetting(0.3))
    assert confidence("KD403", term(), poor, LOOKED) > 0.8
    assert confidence("KD403", term(left=0.1), poor) < 0.1


def test_units_that_follow_others_in_their_places_pay_for_it_whatever_they_fit(tmp_path):
    order = UnitOrder("11", "6", "pooled", units=64, together=0.8, by_chance=0.03, spread=0.05)
    looked = observations_from({"graph": {"feature_loss": {"student": 2, "other": 0}, "not_in_optimizer": []}})
    fits = gaps_of(tmp_path)
    assert confidence("KD403", term(share_last=0.9), fits, looked, order) > 0.5
    assert confidence("KD403", term(share_last=0.9), fits, looked) < 0.1
    # Without a term that counts, or in layers of one width, it is nothing.
    assert confidence("KD403", term(share_last=0.1), fits, looked, order) < 0.5
    assert confidence("KD403", term(share_last=0.9), fits, looked, replace(order, resized="as they are")) < 0.1


def test_a_feature_term_of_a_student_that_fits_is_no_fault(tmp_path):
    assert confidence("KD403", term(), gaps_of(tmp_path)) < 0.1


def test_a_term_that_never_moved_in_a_student_worse_than_its_twin_is_named(tmp_path):
    worse = measured_gaps(tmp_path, student=b.forgetting(0.3), baseline=b.unchanged)
    fits = gaps_of(tmp_path / "fits")
    assert confidence("KD403", term(left=0.99, share_last=0.9), fits, worse, LOOKED) > 0.5
    assert confidence("KD403", term(left=0.5, share_last=0.9), fits, worse) < 0.5


def test_a_student_of_fewer_units_than_the_answers_need_is_too_small(tmp_path):
    run = recorded_run(tmp_path / "run", student=b.forgetting(0.4))
    measured = dict(measure(load(run)))
    rule = all_rules()["KD402"]
    measured[LayerRanks] = ranks(units=20)
    wide = weigh(rule, rule(measured)).confidence
    measured[LayerRanks] = ranks(units=2, logits=2)
    assert weigh(rule, rule(measured)).confidence > wide


def test_a_student_of_few_dimensions_is_at_its_limit_unless_a_layer_knows_more():
    few = ranks(logits=3)
    few = readable(few, 0.5)
    arrived = OutputFit(gain=0.0, scale=1.0, left=0.4, n=250)
    way = replace(begun(), teacher_loss=np.zeros(2))
    for accuracy, narrow_everywhere in ((0.5, True), (0.9, False)):
        hidden = {"hidden": replace(few.student["hidden"], accuracy=accuracy, effective=5.0)}
        found = narrow(Finding(), arrived, replace(few, student=hidden), way, scaled(), None)
        assert (found is not None) is narrow_everywhere


def test_a_twin_that_learnt_few_rows_by_heart_and_is_no_better_on_others_has_no_more_room(tmp_path):
    train = gaps_of(tmp_path, student=b.forgetting(0.4), baseline=b.forgetting(0.2, 6))
    run = recorded_run(tmp_path / "alike", student=b.forgetting(0.4), baseline=b.forgetting(0.4, 6))
    measured = {**measure(load(run)), TrainGaps: train}
    rule = all_rules()["KD402"]
    with_others = weigh(rule, rule(measured)).confidence
    del measured[Gaps]
    assert with_others > weigh(rule, rule(measured)).confidence


def test_a_twin_that_knows_every_row_by_heart_does_not_speak_for_few_dimensions(tmp_path):
    train = gaps_of(tmp_path, student=b.forgetting(0.4), baseline=b.unchanged)
    run = recorded_run(tmp_path / "alike", student=b.forgetting(0.4), baseline=b.forgetting(0.4, 6))
    few = readable(ranks(logits=3), 0.5)
    few = replace(few, student={"hidden": replace(few.student["hidden"], accuracy=0.5, effective=5.0)})
    at_its_limit = {
        LayerRanks: few,
        OutputFit: OutputFit(gain=0.0, scale=1.0, left=0.4, n=ROWS),
        StudentPath: replace(begun(), teacher_loss=np.zeros(2)),
        ScaleFit: scaled(),
    }
    rule = all_rules()["KD402"]

    def against(instruments) -> bool:
        found = rule({**measure(load(run)), TrainGaps: train, **instruments})
        assert not isinstance(found, NotExamined)
        return any(e.measure == "baseline_train_accuracy" and not e.supports for e in found.evidence)

    assert against({**at_its_limit, LayerRanks: ranks(units=20)})
    assert not against(at_its_limit)


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


def test_a_term_that_drowns_all_others_is_too_heavy_whatever_it_pairs(tmp_path):
    poor = gaps_of(tmp_path, student=b.forgetting(0.3))
    heavy = term(left=0.1, share_first=0.995, share_last=0.995)
    assert confidence("KD404", heavy, similarity(pulled=False), pairs("early"), poor) < 0.5


def test_without_a_feature_term_no_mapping_is_judged():
    verdict = all_rules()["KD404"]({LogitSimilarity: similarity(pulled=True), Manifest: pairs("early")})
    assert isinstance(verdict, NotExamined)


def test_a_term_that_compares_other_layers_in_each_epoch_pairs_them_wrongly(tmp_path):
    poor = gaps_of(tmp_path, student=b.forgetting(0.3))
    drawn = term(left=0.8, redrawn=11.0)
    assert confidence("KD404", drawn, similarity(pulled=False), pairs("late"), poor) > 0.5
    assert confidence("KD403", drawn, poor, LOOKED) < 0.1


def test_the_changes_of_a_term_between_epochs_are_told_from_its_noise():
    rng = np.random.default_rng(0)
    for spread, anew in ((0.0, False), (0.3, True)):
        rows: list[dict[str, object]] = []
        for epoch in range(30):
            level = 1 - epoch / 60 + spread * rng.normal()
            rows += [{"epoch": epoch, "feature_loss": level + 0.02 * rng.normal()} for _ in range(8)]
        found = redrawn(rows)
        assert found is not None
        assert (found > 6) == anew


def test_a_projector_that_nobody_looked_for_leaves_the_feature_term_a_suspicion(tmp_path):
    poor = gaps_of(tmp_path, student=b.forgetting(0.3))
    assert confidence("KD403", term(), poor) < 0.5 < confidence("KD403", term(), poor, LOOKED)


def test_a_layer_whose_units_nearly_all_stand_still_was_cut_unless_steps_silenced_them():
    rng = np.random.default_rng(0)
    features = np.zeros((ROWS, 20))
    features[:, :3] = rng.normal(size=(ROWS, 3))
    answers = 6 * np.eye(CLASSES)[LABELS] + rng.normal(size=(ROWS, CLASSES))
    cut = layer_ranks({"last": rng.normal(size=(ROWS, 32))}, {"hidden": features}, answers, answers, LABELS)
    names = ("dependence", "scale", "agreement", "kl", "teacher_loss", "teacher_right", "commonest")
    columns = {name: np.full(8, 0.5) for name in names}
    path = StudentPath(step=np.arange(8), rows=np.full(8, 32), classes=CLASSES, excess=np.linspace(0, -2, 8), **columns)
    sgd = Manifest(task="multiclass", num_classes=CLASSES, training={"optimizer": "sgd", "momentum": 0.9})
    signs = {"updates": 350, "per_epoch": 7.0, "overshoots": 0.0, "peak": 1.0, "low": 0.1, "end": 0.1}
    for efficiency, named in ((1.2, True), (0.1, False)):
        found = RateSigns(**signs, pace=0.02, pace_high=0.05, rate=0.05, efficiency=efficiency)
        assert (confidence("KD405", cut, path, found, sgd) > 0.5) == named


def test_a_student_of_few_dimensions_that_no_map_improves_is_at_its_limit(tmp_path):
    """Its outputs are the best that three dimensions can do; the same of ten, shrunk, are not what they could be."""
    rng = np.random.default_rng(0)
    teacher = 4 * rng.normal(size=(ROWS, CLASSES))
    labels = teacher.argmax(axis=1)
    centred = teacher - teacher.mean(axis=0)
    u, s, v = np.linalg.svd(centred, full_matrices=False)
    best = teacher.mean(axis=0) + (u[:, :3] * s[:3]) @ v[:3]
    limit = output_fit(best, teacher, labels, "mse", 1.0, 1.0, squared=True)
    small = output_fit(0.5 * teacher, teacher, labels, "kl", 1.0, 1.0, squared=True)
    assert limit is not None
    assert small is not None
    assert limit.gain < 0.05
    assert limit.left > 0.2
    assert small.gain > 0.5
    assert 1.5 < small.scale < 2.5


def test_half_of_an_objective_that_the_last_layer_could_remove_was_left_by_the_training(tmp_path):
    run = recorded_run(tmp_path / "run", student=b.forgetting(0.4), baseline=b.forgetting(0.4, 6))
    measured = dict(measure(load(run)))
    rule = all_rules()["KD402"]
    measured[OutputFit] = OutputFit(0.05, 1.0, 0.4, ROWS)
    arrived = weigh(rule, rule(measured)).confidence
    measured[OutputFit] = OutputFit(0.7, 0.9, 0.4, ROWS)
    assert weigh(rule, rule(measured)).confidence < arrived


def test_zeros_in_every_layer_are_a_small_student_and_no_single_narrow_layer(tmp_path):
    thin = readable(ranks(units=20, logits=2), 0.5)
    gaps = measure(load(recorded_run(tmp_path / "run", student=b.forgetting(0.4))))[Gaps]
    assert confidence("KD405", thin, gaps) > 0.5
    assert confidence("KD405", thin, gaps, Observations(student_zeros=0.95)) < 0.1
    assert confidence("KD405", thin, gaps, Observations(student_zeros=0.02)) > 0.5


def test_weights_that_were_cut_speak_for_a_student_that_is_too_small(tmp_path):
    path = recorded_run(tmp_path / "run", student=b.forgetting(0.4), metrics=b.level_curve(0.5))
    measured = measure(load(path))
    rule = all_rules()["KD402"]

    def weighed(zeros: float) -> float:
        found = rule({**measured, Observations: Observations(student_zeros=zeros)})
        assert not isinstance(found, NotExamined)
        return weigh(rule, found).log_odds

    assert weighed(0.9) > weighed(0.1) + 2


def test_a_factor_in_the_head_needs_no_read_out_where_no_weight_was_cut(tmp_path):
    thin = ranks(units=20, logits=2)
    uneven = {name: replace(rank, accuracy=0.1, effective=8.0) for name, rank in thin.student.items()}
    unread = replace(thin, student=uneven)
    unread = replace(unread, teacher_logits=replace(unread.teacher_logits, accuracy=0.9))
    gaps = measure(load(recorded_run(tmp_path / "run", student=b.forgetting(0.4))))[Gaps]
    assert confidence("KD405", unread, gaps) < 0.5
    assert confidence("KD405", unread, gaps, Observations(student_zeros=0.0)) > 0.5


@pytest.mark.parametrize("masked", [True, False])
def test_ranks_are_of_positions_that_have_a_label(tmp_path, masked):
    rng, examples, length, size = np.random.default_rng(0), 100, 4, 8
    labels = rng.integers(size, size=(examples, length))
    if masked:
        labels[:64] = -100
    shown = {name: rng.normal(size=(examples, length, size)).astype(np.float32) for name in ("teacher", "student")}
    part = {"labels": labels, **{f"{name}_logits": values for name, values in shown.items()}}
    manifest = {"task": "tokens", "num_classes": size, "distillation": {"loss": "kl"}}
    write_run(tmp_path / "run", manifest, predictions={"val": part})
    (tmp_path / "run" / "features").mkdir()
    layer = rng.normal(size=(64, length, 12)).astype(np.float32)
    save_file({"teacher/block1": layer, "student/block1": layer}, tmp_path / "run" / "features" / "val.safetensors")
    assert (LayerRanks in measure(load(tmp_path / "run"))) is not masked
