"""Rates, batches, first weights, regularisation and frozen parts are told from each other and from sound runs."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from kddoctor.engine import diagnose
from kddoctor.engine.measuring import measure
from kddoctor.engine.reading import curve_rows
from kddoctor.engine.weighing import weigh
from kddoctor.probes.layer_ranks import LayerRanks, layer_ranks
from kddoctor.probes.learning_curve import LearningCurve, Pace, Trend
from kddoctor.probes.logit_scale import LogitScale
from kddoctor.probes.loss_forensics import LossForensics
from kddoctor.probes.loss_schedule import LossSchedule
from kddoctor.probes.measurements import Gaps, TeacherViews, TrainGaps
from kddoctor.probes.output_fit import OutputFit
from kddoctor.probes.output_health import OutputHealth
from kddoctor.probes.rate_signs import RateSigns, RateSignsProbe
from kddoctor.probes.scale_fit import ScaleFit
from kddoctor.probes.student_path import StudentPath
from kddoctor.rules.finding import Finding, NotExamined
from kddoctor.rules.loss.moving_factor import growth_of_weight
from kddoctor.rules.optimisation.longer import FEW_UPDATES, times_longer
from kddoctor.rules.registry import all_rules
from kddoctor.run import load
from kddoctor.run.manifest import Manifest
from kddoctor.run.observations import Observations
from tests import builders as b
from tests.builders import recorded_run

COLUMNS = ("excess", "dependence", "scale", "agreement", "kl", "teacher_loss", "teacher_right", "commonest")
ALL_LEARN = {"parameters_not_in_optimizer": [], "parameters_without_gradient": [], "frozen_parameters": []}


def confidence(code: str, *measurements: object) -> float:
    rule = all_rules()[code]
    finding = rule({type(measurement): measurement for measurement in measurements})
    assert not isinstance(finding, NotExamined), finding
    return weigh(rule, finding).confidence


def path(**changes: Any) -> StudentPath:
    columns = {"excess": -1.0, "dependence": 0.9, "scale": 3.0, "agreement": 0.9, "kl": 0.1, "teacher_loss": 0.01}
    columns |= {"teacher_right": 0.98, "commonest": 0.2}
    table = {name: np.full(8, value) for name, value in columns.items()}
    table["excess"][0], table["agreement"][0] = 0.02, 0.1
    for name, value in changes.items():
        table[name] = np.asarray(value, float) * np.ones(8)
    return StudentPath(step=np.arange(8) * 10, rows=np.full(8, 32), classes=10, **table)


def signs(**changes: Any) -> RateSigns:
    sound = {"updates": 350, "per_epoch": 7.0, "overshoots": 0.0, "peak": 1.0, "low": 0.02, "end": 0.03}
    return RateSigns(**{**sound, "pace": 0.02, "pace_high": 0.05, "rate": 0.05, **changes})


def fit(**changes: Any) -> ScaleFit:
    sound = {"factor": 1.0, "gain": 0.0, "objective": 0.3, "agreement": 0.9, "kl": 0.1, "teacher_loss": 0.01}
    return ScaleFit(**{**sound, "hard_loss": math.log(10) - 1.0, "n": 500, **changes})


def manifest(**training: Any) -> Manifest:
    meant = {"loss": "kl", "temperature": 4.0, "alpha": 0.9}
    return Manifest(task="multiclass", num_classes=10, distillation=meant, training=training)


@pytest.mark.parametrize(
    ("left", "epochs", "named"),
    [(0.7, 2, True), (0.1, 2, False), (0.7, 30, None)],
    ids=["short", "fast", "many epochs"],
)
def test_a_training_too_short_for_a_curve_is_told_by_what_is_left_of_the_divergence(tmp_path, left, epochs, named):
    way = path(kl=np.linspace(1.0, left, 8))
    assert way.step[-1] < 100
    meant = manifest(epochs=epochs)
    measured = measure(load(recorded_run(tmp_path / "run", student=b.forgetting(0.4))))
    found = all_rules()["KD502"]({StudentPath: way, Manifest: meant, Gaps: measured[Gaps]})
    examined = None if isinstance(found, NotExamined) else bool(found.supporting)
    assert examined is named


def rows(rates: list[float], losses: list[float]) -> list[dict[str, float]]:
    return [
        {"step": k, "loss": loss, "lr": rate, "grad_norm": 1.0, "epoch": k // 10}
        for k, (rate, loss) in enumerate(zip(rates, losses, strict=True))
    ]


def probed(rates: list[float], losses: list[float]) -> RateSigns:
    probe = RateSignsProbe()
    probe.update(rows(rates, losses))
    found = probe.compute()
    assert found is not None
    return found


def test_a_rate_is_spent_by_its_mean_and_a_stride_is_that_of_full_steps():
    decayed = [0.1] * 10 + [1e-9] * 190
    found = probed(decayed, [2.0] * 200)
    assert found.spent == pytest.approx(0.05)
    assert found.stride == pytest.approx(0.05)
    cosine = [0.05 * (1 + math.cos(math.pi * k / 200)) for k in range(200)]
    assert probed(cosine, [2.0] * 200).spent == pytest.approx(0.5, abs=0.01)
    assert probed([math.nan] * 200, [2.0] * 200).spent is None


def fitted(tmp_path, share: float) -> dict[type, object]:
    """Splits of a run whose student lost this share of its right answers everywhere."""
    measured = measure(load(recorded_run(tmp_path / "run", student=b.forgetting(share))))
    return {kind: measured[kind] for kind in (Gaps, TrainGaps)}


@pytest.mark.parametrize(("spent", "lost", "named"), [(0.05, 0.4, True), (0.5, 0.4, False), (0.05, 0.0, False)])
def test_a_rate_that_was_gone_early_leaves_training_unfinished(tmp_path, spent, lost, named):
    still = Trend(0.0, 0.0, 0.0, points=12, first=0.5, last=0.5, best=0.5, best_is_last=False)
    level = LearningCurve(still, "student_accuracy", None, 350, 0, 0.0, 1.0, 50.0, Pace(0.01, 0.0, 0.02), 1e-6)
    measured = fitted(tmp_path, lost)
    found = confidence("KD502", manifest(epochs=50), level, signs(spent=spent), *measured.values())
    assert (found > 0.5) is named


@pytest.mark.parametrize(
    ("spent", "final", "rate", "named"),
    [(0.55, 1.0, 0.45, True), (0.55, 1.0, 0.06, False), (1.0, 1.0, 0.45, False), (0.55, 0.5, 0.45, False)],
    ids=["climbs", "warms up", "constant", "decays"],
)
def test_a_rate_that_climbs_past_the_declared_one_to_the_end_does_not_fit(spent, final, rate, named):
    still = Trend(0.0, 0.0, 0.0, points=12, first=0.5, last=0.5, best=0.5, best_is_last=False)
    course = LearningCurve(still, "student_accuracy", None, 350, 0, 0.0, 1.0, 50.0, Pace(0.01, 0.0, 0.02), final)
    measured = signs(spent=spent, rate=rate, overshoots=0.3)
    found = confidence("KD501", manifest(epochs=50, learning_rate=0.05), course, measured)
    assert (found > 0.5) is named


@pytest.mark.parametrize(
    ("rate", "updates", "named"), [(0.02, 350, True), (0.04, 350, False), (0.02, 60, False)], ids=["half", "all", "few"]
)
def test_a_declared_rate_that_no_step_came_near_is_another_rate(rate, updates, named):
    course = signs(rate=rate, updates=updates)
    assert (confidence("KD501", manifest(learning_rate=0.05), course) > 0.5) is named


def test_adam_far_below_its_own_rate_whose_loss_still_falls_is_too_slow_and_not_too_short():
    creeps = signs(updates=400, end=0.8, pace=0.75, pace_low=0.7, pace_high=0.8, rate=1e-4)
    assert confidence("KD501", creeps, path(excess=-0.4), manifest(optimizer="adamw")) > 0.5
    assert confidence("KD501", replace(creeps, rate=1e-2), path(excess=-0.4), manifest(optimizer="adamw")) < 0.1


@pytest.mark.parametrize(
    ("updates", "per_epoch", "pace_high", "named"),
    [(14, 7.0, 15.0, True), (14, 1.0, 15.0, False), (80, 40.0, 15.0, False), (14, 7.0, 0.1, False)],
    ids=["a dozen", "in many epochs", "dozens", "level"],
)
def test_a_dozen_updates_are_too_few_whatever_their_noise_hides(updates, per_epoch, pace_high, named):
    noisy = signs(updates=updates, per_epoch=per_epoch, pace=6.0, pace_low=-6.0, pace_high=pace_high, low=0.9, end=0.98)
    rates = LearningCurve(None, None, None, updates, 0, 0.0, 1.0, 1.0, Pace(7.0, -6.0, 16.0), 1.0)
    found = all_rules()["KD502"]({type(each): each for each in (rates, noisy, manifest(epochs=2))})
    assert (isinstance(found, Finding) and weigh(all_rules()["KD502"], found).confidence > 0.5) is named


@pytest.mark.parametrize(("epochs", "named"), [(1, True), (30, False), (None, False)])
def test_where_no_epoch_was_logged_those_that_were_asked_for_count(epochs, named):
    """As of one epoch, whose number in the log is 0."""
    short = signs(updates=22, per_epoch=None, pace=0.33, pace_low=0.18, pace_high=0.44, low=0.27, end=0.27)
    level = LearningCurve(None, None, None, 22, 0, 0.0, 1.0, 0.0, Pace(0.32, 0.17, 0.47), None)
    found = all_rules()["KD502"]({type(each): each for each in (level, short, manifest(epochs=epochs))})
    assert (isinstance(found, Finding) and weigh(all_rules()["KD502"], found).confidence > 0.5) is named


@pytest.mark.parametrize(("updates", "named"), [(20, True), (90, False)])
def test_of_a_few_dozen_updates_no_last_layer_has_had_enough(updates, named):
    """As of a patience of one epoch."""
    falls = signs(updates=updates, per_epoch=updates / 2, pace=0.5, pace_low=0.42, pace_high=0.7, low=0.5, end=0.5)
    level = LearningCurve(None, None, None, updates, 0, 0.0, 1.0, 1.0, Pace(0.5, 0.42, 0.7), 1.0)
    arrived = OutputFit(-0.1, 1.0, 0.5, 500)
    assert (confidence("KD502", level, falls, path(), fit(), arrived, manifest(epochs=2)) > 0.5) is named


def rising(updates: int) -> LearningCurve:
    """Held-out quality that certainly rises, if by how much is not certain, at a constant rate."""
    quality = Trend(0.083, 0.03, 0.3, points=5, first=0.57, last=0.736, best=0.742, best_is_last=False)
    return LearningCurve(quality, "student_accuracy", None, updates, 0, 0.0, 1.0, 4.0, Pace(0.16, 0.1, 0.2), 1.0)


@pytest.mark.parametrize(("updates", "named"), [(40, True), (400, False)])
def test_a_rise_after_a_few_dozen_updates_is_one_that_would_go_on(tmp_path, updates, named):
    level = signs(updates=updates, low=0.15, end=0.15, pace=0.16, pace_low=0.1, pace_high=0.2)
    behind = measure(load(recorded_run(tmp_path / "run", student=b.forgetting(0.2))))[Gaps]
    assert (confidence("KD502", rising(updates), level, manifest(epochs=5), behind) > 0.5) is named


@pytest.mark.parametrize(("low", "named"), [(0.9, True), (0.05, False)])
def test_a_loss_that_had_been_far_lower_was_not_cut_short(tmp_path, low, named):
    """As of a run that was resumed from its first checkpoint."""
    course = signs(updates=40, low=low, end=1.0, pace=0.16, pace_low=0.1, pace_high=0.2)
    behind = measure(load(recorded_run(tmp_path / "run", student=b.forgetting(0.2))))[Gaps]
    assert (confidence("KD502", rising(40), course, manifest(epochs=5), behind) > 0.5) is named


@pytest.mark.parametrize(("rows", "updates", "named"), [(110, 600, False), (1000, 600, True), (240, 50, True)])
def test_a_usual_batch_holds_a_training_set_that_is_small(tmp_path, rows, updates, named):
    measured = fitted(tmp_path, 0.4)
    train, behind = measured[TrainGaps], measured[Gaps]
    assert isinstance(train, TrainGaps)
    whole = replace(train, gaps=replace(train.gaps, n=rows))
    once = signs(updates=updates, per_epoch=1.0)
    assert (confidence("KD501", once, manifest(batch_size=128, epochs=updates), whole, behind) > 0.5) is named


@pytest.mark.parametrize(("harder", "named"), [(0.2, True), (0.0, False)])
def test_a_teacher_that_finds_training_rows_harder_outside_the_loop_too_has_lost_nothing_in_it(tmp_path, harder, named):
    views = measure(load(recorded_run(tmp_path / "run")))[TeacherViews]
    assert isinstance(views, TeacherViews)
    assert views.own is not None
    poorer = lambda by: replace(views.own, validity=replace(views.own.validity, accuracy=1 - by))  # noqa: E731
    seen = TeacherViews(poorer(0.0), poorer(harder), replace(poorer(0.2), in_loop=True), student_probabilities=False)
    dropped = path(kl=0.5, excess=0.0, agreement=0.2)
    assert (confidence("KD504", fit(factor=2.0, gain=0.3), dropped, signs(), manifest(), seen) > 0.5) is named


@pytest.mark.parametrize(("dropout", "named"), [(0.8, True), (0.4, False)])
def test_a_student_that_drops_most_of_its_units_need_not_have_levelled(tmp_path, dropout, named):
    measured = measure(load(recorded_run(tmp_path / "run", student=b.forgetting(0.2))))
    falling = signs(pace=0.7, pace_high=0.9)
    seen = Observations.model_validate({"student_dropout": dropout})
    found = confidence("KD504", fit(factor=1.2), manifest(), path(), falling, seen, measured[Gaps])
    assert (found > 0.5) is named


def test_a_loss_that_falls_faster_than_ever_explains_late_steps_that_are_behind(tmp_path):
    measured = measure(load(recorded_run(tmp_path / "run", student=b.forgetting(0.2))))
    way = path(agreement=0.3, kl=0.5, excess=-0.2)
    slower, faster = signs(pace=0.6, pace_high=0.8), signs(pace=6.0, pace_high=9.0)
    assert confidence("KD504", fit(factor=1.2), manifest(), way, slower, measured[Gaps]) > 0.5
    assert confidence("KD504", fit(factor=1.2), manifest(), way, faster, measured[Gaps]) < 0.1


@pytest.mark.parametrize(("in_training", "named"), [(0.3, True), (0.62, False)])
def test_choices_that_training_mode_takes_away_need_no_level_loss(tmp_path, in_training, named):
    measured = measure(load(recorded_run(tmp_path / "run", student=b.forgetting(0.2))))
    way = path(agreement=in_training, kl=0.5, excess=-0.2)
    falling = signs(pace=0.6, pace_high=0.8)
    found = confidence("KD504", fit(factor=1.2), manifest(), way, falling, measured[Gaps])
    assert (found > 0.5) is named


def test_a_parameter_that_no_optimizer_holds_is_proof_of_a_frozen_part(tmp_path):
    seen = {**ALL_LEARN, "parameters_not_in_optimizer": ["head.weight"]}
    found = diagnose(load(recorded_run(tmp_path / "run", student=b.forgetting(0.3), observations=seen)))
    assert found.cause_codes[0] == "KD506"
    assert found.causes[0].status == "confirmed"


def test_frozen_layers_of_a_student_that_does_not_fit_are_named_and_adapters_are_not(tmp_path):
    poor = {"student": b.forgetting(0.3)}
    seen = {**ALL_LEARN, "frozen_parameters": ["body.0.weight"], "parameters_without_gradient": ["body.0.weight"]}
    assert "KD506" in diagnose(load(recorded_run(tmp_path / "frozen", observations=seen, **poor))).cause_codes
    names = ["base_model.layer.0.weight"]
    seen = {**ALL_LEARN, "frozen_parameters": names, "parameters_without_gradient": names}
    assert "KD506" not in diagnose(load(recorded_run(tmp_path / "lora", observations=seen, **poor))).cause_codes


def test_a_parameter_without_gradient_and_optimizer_is_frozen_although_nobody_called_it_so(tmp_path):
    still = ["body.0.weight", "body.0.bias"]
    seen = {"parameters_not_in_optimizer": still, "parameters_without_gradient": still}
    run = recorded_run(tmp_path / "run", student=b.forgetting(0.3), observations=seen)
    assert "KD506" in diagnose(load(run)).cause_codes


def test_frozen_layers_of_a_student_that_keeps_up_are_no_fault():
    seen = Observations(frozen_parameters=["body.0.weight"], parameters_without_gradient=["body.0.weight"])
    assert confidence("KD506", seen) < 0.5


def test_where_every_parameter_learns_nothing_is_frozen():
    assert confidence("KD506", Observations(**ALL_LEARN)) < 0.01


def test_wild_first_answers_are_the_first_weights_and_not_the_rate():
    wild = path(excess=[20, 3, 1, 0, 0, 0, 0, 0])
    assert confidence("KD503", wild, manifest()) > 0.8
    assert confidence("KD501", signs(peak=3.0, overshoots=0.05), wild, manifest()) < 0.1


def test_sane_first_answers_that_a_rate_spoils_are_not_the_first_weights():
    spoiled = path(dependence=[0.3, 0.3, 0, 0, 0, 0, 0, 0])
    assert confidence("KD503", spoiled, manifest()) < 0.01
    assert confidence("KD501", signs(low=0.5, end=0.95, overshoots=0.02), spoiled, manifest()) > 0.8


@pytest.mark.parametrize(("excess", "named"), [(0.3, True), (0.0, False), (-0.4, False)])
def test_constants_that_are_worse_than_knowing_nothing_are_thrown_about_by_the_rate(excess, named):
    """Of a student whose units are dead its last biases are left; a decay leaves them at ln C, or below it."""
    dead = path(dependence=[0.3, *[0.0] * 7], excess=[0.02, *[excess] * 7])
    assert (confidence("KD501", signs(low=0.9, end=0.95), dead, manifest()) > 0.5) is named


def test_constants_whose_loss_is_noise_about_ln_c_are_settled():
    noisy = path(dependence=[0.3, *[0.0] * 7], excess=[0.02, 0.3, -0.3, 0.3, -0.3, 0.5, -0.3, 0.2])
    assert confidence("KD501", signs(low=0.9, end=0.95), noisy, manifest()) < 0.5


def test_answers_that_never_depend_on_the_input_are_dead_from_the_start():
    assert confidence("KD503", path(dependence=0.0, excess=0.0, agreement=0.1), manifest()) > 0.9


def test_a_trained_student_on_wrong_labels_is_not_badly_initialised():
    assert confidence("KD503", path(excess=3.0, agreement=0.95), manifest()) < 0.5


def test_a_declared_warm_start_that_knows_nothing_is_named():
    assert confidence("KD503", path(), manifest(initial_weights="teacher")) > 0.8
    assert confidence("KD503", path(agreement=0.8, excess=-1.5), manifest(initial_weights="teacher")) < 0.1


def test_the_first_weights_are_not_judged_from_a_later_step():
    late = path()
    late.step[:] += 500
    verdict = all_rules()["KD503"]({StudentPath: late, Manifest: manifest()})
    assert isinstance(verdict, NotExamined)


def test_a_usual_curve_has_no_wrong_rate():
    assert confidence("KD501", signs(), path(), manifest()) < 0.01


# Strengths grow to thirty times the first; of nine tenths, the teacher's weight from 0.47 to 0.96.
@pytest.mark.parametrize(
    ("what", "grown"),
    [
        ("weight", 30.0),
        ("mixing weight", 27 / 28 / (0.9 / 1.9)),
        ("weight of the labels", 1.0),
        ("factor inside the term", 1.0),
    ],
)
def test_a_loss_that_rises_with_the_weight_of_a_term_is_no_wrong_rate(what: str, grown: float) -> None:
    warmed_up = LossSchedule(what, np.arange(12) * 30, np.linspace(0.1, 3.0, 12))
    assert growth_of_weight(warmed_up, manifest()) == pytest.approx(grown)
    for peak in (4.0, 15.0, 50.0):
        sure = confidence("KD501", signs(peak=peak), path(), manifest(), warmed_up)
        # By more than twice what the weight did, it is none of the weight's doing.
        assert sure > 0.5 if peak > 2 * grown else sure < 0.1


def test_of_a_mixture_without_a_declared_share_the_weights_are_not_known() -> None:
    moved = LossSchedule("mixing weight", np.arange(12) * 30, np.linspace(0.1, 3.0, 12))
    unsaid = Manifest(task="multiclass", num_classes=10, distillation={"loss": "kl", "temperature": 4.0})
    assert growth_of_weight(moved, unsaid) == 1.0


def test_a_mixture_that_moves_to_the_labels_may_rise_with_their_weight() -> None:
    to_labels = LossSchedule("mixing weight", np.arange(12) * 30, np.linspace(3.0, 0.1, 12))
    assert growth_of_weight(to_labels, manifest()) == pytest.approx((1 / 1.9) / (1 / 28))


def test_gradients_that_the_optimizer_got_enlarged_excuse_the_rate():
    enlarged = path()
    object.__setattr__(enlarged, "gradient_ratio", 8.0)
    assert confidence("KD501", signs(overshoots=0.05, peak=3.0), enlarged, manifest()) < 0.1


def test_an_exploding_loss_is_a_divergence_and_not_only_a_rate(tmp_path):
    found = diagnose(load(recorded_run(tmp_path / "run", metrics=b.diverged_curve())))
    assert "KD501" not in found.cause_codes


def run_of(tmp_path, batch: int, per_epoch: int) -> list[str]:
    rows: list[dict[str, Any]] = []
    for step in range(20 * per_epoch):
        done = step / (20 * per_epoch)
        epoch = step // per_epoch
        rows.append({"step": step, "epoch": epoch, "split": "train", "loss": 3.0 - 2.0 * done})
        if step % per_epoch == per_epoch - 1:
            rows.append({"step": step, "epoch": epoch, "split": "val", "student_accuracy": 0.2 + 0.4 * done})
    run = recorded_run(
        tmp_path / "run", student=b.forgetting(0.3), metrics=rows, training={"epochs": 20, "batch_size": batch}
    )
    return diagnose(load(run)).cause_codes


def test_one_large_batch_an_epoch_is_the_batch_and_not_the_schedule(tmp_path):
    assert run_of(tmp_path, 512, 1) == ["KD501"]


def test_a_small_set_in_one_usual_batch_is_not_too_large_a_batch(tmp_path):
    assert "KD501" not in run_of(tmp_path, 32, 1)


def test_several_updates_an_epoch_leave_the_schedule(tmp_path):
    assert run_of(tmp_path, 512, 5) == ["KD502"]


def test_logits_held_small_at_a_level_loss_are_regularised(tmp_path):
    run = load(recorded_run(tmp_path / "run", student=lambda z, y: 0.3 * z))
    found = {finding.code: finding for finding in diagnose(run).findings}
    assert found["KD504"].role == "cause"


def held(
    tmp_path,
    *,
    growth: float,
    factor: float = 3.0,
    gain: float = 0.3,
    updates: int = 400,
    kl: float = 0.1,
    **kept: float,
) -> float:
    """How sure KD305 is of a student whose logits are a fifth as large as its teacher's, in the same order."""
    table = path()
    columns = {name: np.full(40, getattr(table, name)[-1]) for name in COLUMNS}
    columns["scale"] = np.linspace(1.0, growth, 40)
    way = StudentPath(step=np.linspace(0, updates, 40).astype(int), rows=np.full(40, 32), classes=10, **columns)
    verified = measure(load(recorded_run(tmp_path / "run")))[LossForensics]
    seen = Observations(student_dropout=kept.get("dropout", 0.0), weight_decay=kept.get("decay", 0.0))
    small = LogitScale(500, 3.0, 0.6, 5.0, 0.8, 2.0, 0.001, False)
    falls = signs(pace_low=kept.get("pace_low", -0.1))
    return confidence("KD305", small, manifest(), fit(factor=factor, gain=gain, kl=kl), way, falls, seen, verified)


def test_logits_that_stand_still_with_nothing_in_training_to_hold_them_are_held_by_the_model(tmp_path):
    assert held(tmp_path / "still", growth=1.0) > 0.5


@pytest.mark.parametrize(
    "changed",
    [
        *({"growth": 2.0}, {"growth": 0.5}, {"factor": 1.2}, {"gain": 0.02}, {"updates": 60}, {"kl": 0.2}),
        *({"kl": 0.05}, {"pace_low": 0.5}, {"dropout": 0.5}, {"decay": 0.01}),
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_logits_that_grow_that_are_large_enough_or_that_training_holds_are_not_held_by_the_model(tmp_path, changed):
    assert held(tmp_path, **{"growth": 1.0, **changed}) < 0.1


def test_a_loss_that_still_falls_says_nothing_of_regularisation():
    harder = path(kl=0.5, excess=0.0)
    assert confidence("KD504", fit(), harder, signs(), manifest()) > 0.2
    assert confidence("KD504", fit(), harder, signs(pace_high=1.5), manifest()) < 0.01


def test_dropout_of_a_student_that_answers_as_its_teacher_does_all_the_same_keeps_it_from_nothing():
    harder = path(kl=0.5, excess=0.0)
    assert confidence("KD504", fit(agreement=0.98), harder, signs(), manifest()) < 0.05


def test_choices_that_training_mode_takes_away_are_dropout_though_the_loss_still_falls():
    small = fit(factor=2.0, gain=0.3, agreement=0.6)
    dropped, steady = (path(kl=0.11, excess=0.0, agreement=share) for share in (0.2, 0.53))
    assert confidence("KD504", small, dropped, signs(pace_high=1.5), manifest()) > 0.2
    # Steady progress leaves the last quarter of a run at 7/8 of what it ends with, and more.
    assert confidence("KD504", small, steady, signs(pace_high=1.5), manifest()) < 0.01


def test_rows_that_augmentation_makes_harder_for_the_teacher_too_are_no_dropout():
    harder = path(kl=0.5, excess=0.0, teacher_loss=0.4)
    assert confidence("KD504", fit(), harder, signs(), manifest()) < 0.05


def annealed(tmp_path, cosine: float, fall: float) -> list[str]:
    rows: list[dict[str, Any]] = []
    for epoch in range(30):
        rows.append({"step": epoch, "epoch": epoch, "split": "train", "loss": 1 + math.exp(-epoch)})
        accuracy = 0.6 + 0.02 * epoch if epoch < 15 else 0.9 - fall * (epoch - 15) / 15
        rows.append({"step": epoch, "epoch": epoch, "split": "val", "student_accuracy": accuracy})
    seen = {"grad_cosine_kd_ce": cosine}
    run = recorded_run(tmp_path / f"{cosine} {fall}", student=b.forgetting(0.3), metrics=rows, observations=seen)
    return diagnose(load(run)).cause_codes


def test_an_opposed_term_and_a_metric_that_falls_ask_for_annealing(tmp_path):
    assert "KD507" in annealed(tmp_path, -0.4, 0.2)


def test_terms_that_agree_or_a_metric_that_stays_do_not(tmp_path):
    assert "KD507" not in annealed(tmp_path, 0.4, 0.2)
    assert "KD507" not in annealed(tmp_path, -0.4, 0.0)


def curve(rise: float = 0.0, low: float = 0.0, high: float = 0.01, final_rate: float = 1.0) -> LearningCurve:
    quality = Trend(rise, low, high, 20, 0.2, 0.6, 0.6, best_is_last=False)
    pace = Pace(0.02, 0.0, 0.05)
    return LearningCurve(quality, "student_accuracy", None, 350, 0, 0.0, 0.1, 20.0, pace, final_rate)


def test_a_rate_wound_down_while_the_loss_still_fell_was_a_schedule_too_short():
    short = signs(pace=0.9, pace_low=0.7, pace_high=1.1)
    assert confidence("KD502", curve(final_rate=0.0), short, manifest()) > 0.7
    level = signs(pace=0.03, pace_low=0.02, pace_high=0.05)
    assert confidence("KD502", curve(final_rate=0.0), level, manifest()) < 0.01


def test_what_rises_to_the_end_of_a_few_dozen_updates_is_no_work_of_the_schedule():
    rising = curve(rise=0.27, low=0.11, high=0.39, final_rate=0.08)
    slowed = {"pace": 0.23, "pace_low": 0.11, "pace_high": 0.39}
    assert confidence("KD502", rising, signs(updates=48, per_epoch=6.0, **slowed), manifest()) > 0.5
    assert confidence("KD502", rising, signs(updates=350, per_epoch=6.0, **slowed), manifest()) < 0.5


def test_updates_that_lead_nowhere_are_few_or_of_too_low_a_rate():
    lost = path(excess=-0.05, dependence=0.2)
    few = signs(travel=0.05, stride=0.01, updates=20, low=0.95, end=0.95)
    slow = signs(travel=0.01, stride=1e-5, low=0.98, end=0.98)
    sgd = manifest(optimizer="sgd")
    assert confidence("KD502", curve(), few, lost, sgd) > 0.5 > confidence("KD501", few, lost, sgd)
    assert confidence("KD501", slow, lost, sgd) > 0.5 > confidence("KD502", curve(), slow, lost, sgd)
    # A loss with a large constant makes every way look short, and this student knows its labels.
    assert confidence("KD501", slow, path(excess=-2.0), sgd) < 0.1


def test_a_rate_far_below_adams_that_taught_nothing_is_too_low():
    adam = manifest(optimizer="adamw")
    lost = path(excess=-0.05, dependence=0.2)
    assert confidence("KD501", signs(rate=1e-4, low=0.97, end=0.97), lost, adam) > 0.5
    assert confidence("KD501", signs(rate=1e-4, end=0.5), path(excess=-2.0), adam) < 0.1
    assert confidence("KD501", signs(rate=1e-2, low=0.97, end=0.97), lost, adam) < 0.1


@pytest.mark.parametrize(
    ("optimizer", "rate", "pace", "named"),
    [
        ("adamw", 5e-5, 0.55, True),
        ("adamw", 5e-5, 0.2, False),
        ("adamw", 1e-3, 0.55, False),
        ("sgd", 5e-5, 0.55, False),
    ],
)
def test_a_rate_for_adapting_weights_is_too_low_for_those_that_still_learn(optimizer, rate, pace, named):
    falling = signs(updates=700, rate=rate, low=0.4, end=0.4, pace=pace, pace_high=pace + 0.1)
    assert (confidence("KD501", falling, manifest(optimizer=optimizer)) > 0.5) is named


def test_a_loss_that_hardly_fell_and_stands_is_level_unless_weights_are_set_back(tmp_path):
    small = fit(factor=2.4, gain=0.13)
    stands = {"low": 0.86, "end": 0.88, "pace": 0.05, "pace_low": -0.4, "pace_high": 0.5}
    checked = measure(load(recorded_run(tmp_path / "run")))[LossForensics]
    still = curve(rise=-0.02, low=-0.2, high=0.1)
    assert confidence("KD504", small, signs(**stands, set_back=0.0), checked, still, manifest()) > 0.5
    assert confidence("KD504", small, signs(**stands, set_back=20.0), checked, still, manifest()) < 0.01


def test_weights_that_are_set_back_say_nothing_of_the_schedule():
    short = {"pace": 0.9, "pace_low": 0.7, "pace_high": 1.1}
    assert confidence("KD502", curve(final_rate=0.0), signs(**short, set_back=20.0), manifest()) < 0.1


def test_the_loss_of_a_student_that_starts_anew_each_epoch_is_set_back():
    rng = np.random.default_rng(0)
    for again, sign in ((True, 1), (False, -1)):
        probe = RateSignsProbe()
        losses = [math.exp(-0.1 * (step % 8 if again else step)) + rng.normal(0, 0.01) for step in range(160)]
        rows = [{"step": step, "epoch": step // 8, "loss": loss} for step, loss in enumerate(losses)]
        probe.update(rows)
        found = probe.compute()
        assert found is not None
        assert found.set_back is not None
        assert (found.set_back > 3) == (sign > 0)


def test_another_student_in_the_predictions_than_in_the_steps_excuses_the_schedule():
    trained, recorded = path(agreement=0.98, kl=0.02), fit(agreement=0.5, kl=0.9)
    short = signs(pace=0.9, pace_low=0.7, pace_high=1.1)
    assert confidence("KD502", curve(final_rate=0.0), short, path(), fit(), manifest()) > 0.5
    assert confidence("KD502", curve(final_rate=0.0), short, trained, recorded, manifest()) < 0.1


def test_a_term_without_a_gradient_excuses_the_schedule():
    short = signs(pace=0.9, pace_low=0.7, pace_high=1.1)
    untaught = path()
    object.__setattr__(untaught, "taught", False)
    assert confidence("KD502", curve(final_rate=0.0), short, untaught, manifest()) < 0.1


def test_a_loss_that_falls_further_than_its_gradients_can_take_it_has_other_gradients():
    lost = path(excess=-0.05, dependence=0.2)
    slow = {"travel": 0.01, "stride": 1e-5, "low": 0.8, "end": 0.8}
    sgd = manifest(optimizer="sgd", momentum=0.9)
    assert confidence("KD501", signs(**slow, efficiency=9.0), lost, sgd) > 0.5
    assert confidence("KD501", signs(**slow, efficiency=80.0), lost, sgd) < 0.1


def test_hundreds_of_short_steps_that_do_what_they_promise_are_too_short():
    creeps = {"updates": 350, "low": 0.7, "end": 0.75, "pace": 1.1, "pace_low": 1.0, "pace_high": 1.2, "stride": 0.005}
    sgd = manifest(optimizer="sgd", momentum=0.0)
    assert confidence("KD501", signs(**creeps, efficiency=0.8), path(), sgd) > 0.5
    assert confidence("KD501", signs(**creeps, efficiency=0.1), path(), sgd) < 0.1
    assert confidence("KD501", signs(**{**creeps, "updates": 80}, efficiency=0.8), path(), sgd) < 0.1


def test_steps_that_do_a_fraction_of_what_they_promise_are_not_too_few():
    falls = {"pace": 0.9, "pace_low": 0.7, "pace_high": 1.1}
    sgd = manifest(optimizer="sgd", momentum=0.9)
    assert confidence("KD502", curve(final_rate=0.0), signs(**falls, efficiency=1.2), sgd) > 0.5
    assert confidence("KD502", curve(final_rate=0.0), signs(**falls, efficiency=0.1), sgd) < 0.1


def test_a_last_layer_that_has_not_arrived_beside_a_loss_that_fell_was_stopped_too_early():
    falls = {"pace": 0.3, "pace_low": 0.25, "pace_high": 0.35}
    short, there = OutputFit(0.3, 0.85, 0.1, 500), OutputFit(-0.05, 1.0, 0.1, 500)
    ends = curve(final_rate=0.0)
    assert confidence("KD502", ends, signs(**falls), path(), fit(), short, manifest()) > 0.5
    assert confidence("KD502", ends, signs(**falls), path(), fit(), there, manifest()) < 0.1
    # A constraint leaves the size of the logits as it is.
    held = OutputFit(0.3, 1.0, 0.1, 500)
    assert confidence("KD502", ends, signs(**falls), path(), fit(), held, manifest()) < 0.1


def test_a_loss_that_had_been_far_lower_is_held_up_by_no_penalty(tmp_path):
    checked = measure(load(recorded_run(tmp_path / "run")))[LossForensics]
    small, harder = fit(factor=2.4, gain=0.3), path(kl=0.5, excess=0.0)
    assert confidence("KD504", small, harder, signs(low=0.4, end=0.5), checked, manifest()) > 0.5
    back = signs(low=0.02, end=0.8)
    assert confidence("KD504", small, harder, back, checked, manifest()) < confidence(
        "KD504", small, harder, signs(low=0.4, end=0.5), checked, manifest()
    )


def test_a_loss_that_still_falls_by_more_than_larger_logits_would_bring_is_on_its_way(tmp_path):
    checked = measure(load(recorded_run(tmp_path / "run")))[LossForensics]
    small = fit(factor=1.7, gain=0.3)
    levels = {"end": 0.13, "low": 0.13, "pace": 0.27, "pace_high": 0.32}
    assert confidence("KD504", small, signs(**levels, pace_low=0.0), checked, manifest()) > 0.5
    assert confidence("KD504", small, signs(**levels, pace_low=0.24), checked, manifest()) < 0.1


def ranks_of(features: np.ndarray) -> LayerRanks:
    labels = np.arange(len(features)) % 10
    teacher = 6 * np.eye(10)[labels] + np.random.default_rng(1).normal(size=(len(features), 10))
    return layer_ranks({"last": teacher}, {"hidden": features}, teacher, teacher, labels)


def test_units_that_are_copies_of_each_other_started_alike():
    rng = np.random.default_rng(0)
    several = rng.normal(size=(400, 20))
    alike = np.repeat(rng.normal(size=(400, 2)), 10, axis=1)
    assert confidence("KD503", path(), manifest(), ranks_of(alike)) > 0.8
    assert confidence("KD503", path(), manifest(), ranks_of(several)) < 0.1
    assert confidence("KD405", ranks_of(alike)) < 0.1


def descended(rate: float, momentum: float = 0.0, shortened: float = 1.0) -> RateSigns:
    """Gradient descent on a bowl; shortened: factor on the gradients that are applied, and recorded."""
    curvature = np.linspace(0.1, 1.0, 20)
    x, velocity = np.ones(20), np.zeros(20)
    rows = []
    for step in range(200):
        gradient = shortened * curvature * x
        loss = float((curvature * x**2).sum() / 2)
        rows.append({"step": step, "loss": loss, "lr": rate, "grad_norm": float(np.linalg.norm(gradient))})
        velocity = momentum * velocity + gradient
        x = x - rate * velocity
    probe = RateSignsProbe()
    probe.update(rows)
    found = probe.compute()
    assert found is not None
    return found


def test_short_steps_do_what_their_gradients_promise():
    short, long, shortened = descended(0.01), descended(1.8), descended(0.1, shortened=0.1)
    assert short.efficiency is not None
    assert long.efficiency is not None
    assert shortened.efficiency is not None
    assert 0.9 < short.efficiency < 1.1
    assert long.efficiency < 0.6
    assert shortened.efficiency > 5
    with_momentum = descended(0.002, momentum=0.9).efficiency
    assert with_momentum is not None
    assert 5 < with_momentum < 11


def test_parameters_without_a_gradient_are_named_in_a_student_that_lags_and_in_no_other(tmp_path):
    still: dict[str, Any] = {"parameters_not_in_optimizer": [], "parameters_without_gradient": ["body.0.weight"]}
    behind = measure(load(recorded_run(tmp_path / "behind", student=b.forgetting(0.3))))[TrainGaps]
    assert confidence("KD506", Observations(**still), behind) > 0.5
    assert confidence("KD506", Observations(**still, frozen_parameters=[]), behind) > 0.5
    well = measure(load(recorded_run(tmp_path / "well")))[TrainGaps]
    assert confidence("KD506", Observations(**still, frozen_parameters=[]), well) < 0.5


def test_a_decay_that_throws_weights_past_zero_is_a_divergence_however_small_they_end():
    constant = path(dependence=np.geomspace(0.5, 1e-12, 8))
    sound = {"student_nonfinite_rows": 0.0, "teacher_nonfinite_rows": 0.0, "rows": 100}
    set_up = {"optimizer": "sgd", "learning_rate": 0.05, "momentum": 0.9}
    assert confidence("KD505", OutputHealth(**sound), manifest(**set_up, weight_decay=50.0), constant) > 0.5
    assert confidence("KD505", OutputHealth(**sound), manifest(**set_up, weight_decay=5e-4), constant) < 0.5
    assert confidence("KD505", OutputHealth(**sound), manifest(**set_up, weight_decay=50.0), path()) < 0.5


def test_recorded_steps_stand_in_for_a_log_that_nobody_wrote(tmp_path):
    folder = recorded_run(tmp_path / "run")
    (folder / "metrics.jsonl").unlink()
    run = load(folder)
    assert run.steps is not None
    rows = curve_rows(run)
    assert [row["loss"] for row in rows] == run.steps.loss.tolist()
    curve = measure(run)[LearningCurve]
    assert isinstance(curve, LearningCurve)
    assert curve.logged == run.steps.count


@pytest.mark.parametrize(("last", "known"), [(110, True), (1000, False)], ids=["to the end", "the beginning alone"])
def test_recorded_steps_have_the_epochs_of_the_log_where_they_reach_its_end(tmp_path, last, known):
    log = [{"epoch": e, "step": (e + 1) * last // 4, "split": "val", "student_accuracy": 0.9} for e in range(4)]
    run = load(recorded_run(tmp_path / "run", metrics=log))
    assert run.steps is not None
    steps = run.steps.step
    assert steps[0] < 110 <= steps[-1] + 20
    rows = [row for row in curve_rows(run) if "loss" in row]
    if known:
        assert [row["epoch"] for row in rows] == [min(3, max(0, -(-int(k) * 4 // last) - 1)) for k in steps]
    else:
        assert not any("epoch" in row for row in rows)


def test_a_loss_that_exploded_before_it_was_first_logged_is_no_smaller_for_having_fallen() -> None:
    sound: dict[str, Any] = {"rows": 100, "student_nonfinite_rows": 0.0, "teacher_nonfinite_rows": 0.0}
    measured = (OutputHealth(**sound), manifest(optimizer="sgd", learning_rate=1e7))
    beyond = path(excess=3e5, scale=4e5)
    large = LogitScale(100, 3.0, 3e5, 4.0, 0.0, 1e6, 0.0, False)
    assert confidence("KD505", *measured, beyond, large) > 0.8
    # A loss far above that of knowing nothing, of logits that are the teacher's: sure of itself, and wrong.
    assert confidence("KD505", *measured, beyond, replace(large, student_sd=3.0)) < 0.5
    # Large logits of a student that is right.
    assert confidence("KD505", *measured, path(), large) < 0.5


@pytest.mark.parametrize(
    ("facts", "named"),
    [
        ({"parameters_unmoved": ["body.0.weight"], "parameters_moved": 3}, True),
        ({"parameters_unmoved": [], "parameters_moved": 4}, False),
        ({"parameters_unmoved": ["body.0.weight", "head.weight"], "parameters_moved": 0}, False),
        (
            {
                "parameters_unmoved": ["body.0.weight"],
                "parameters_moved": 3,
                "parameters_changed_after_training": ["body.0.weight"],
            },
            False,
        ),
    ],
    ids=["one stays", "all move", "none moves", "another student"],
)
def test_parameters_that_end_as_they_began_are_a_frozen_part_whatever_held_them(tmp_path, facts, named):
    behind = fitted(tmp_path, 0.3)
    found = confidence("KD506", Observations(**ALL_LEARN, **facts), *behind.values())
    assert (found > 0.5) is named


def test_parameters_of_a_student_that_fell_silent_are_no_frozen_part(tmp_path):
    behind = fitted(tmp_path, 0.3)
    seen = Observations(**ALL_LEARN, parameters_unmoved=["body.0.weight"], parameters_moved=3)
    assert confidence("KD506", seen, *behind.values(), path()) > 0.5
    assert confidence("KD506", seen, *behind.values(), path(dependence=1e-6)) < 0.1


def test_parameters_that_end_as_they_began_cost_nothing_where_the_student_keeps_up(tmp_path):
    well = fitted(tmp_path, 0.0)
    seen = Observations(**ALL_LEARN, parameters_unmoved=["head.weight"], parameters_moved=3)
    assert confidence("KD506", seen, *well.values()) < 0.5
    behind = fitted(tmp_path / "behind", 0.3)
    normalised = Observations(**ALL_LEARN, parameters_unmoved=["head.bias"], parameters_moved=3)
    assert confidence("KD506", normalised, *behind.values()) < 0.1


@pytest.mark.parametrize(("empty", "named"), [(300, True), (20, False)])
def test_updates_without_a_gradient_shorten_the_schedule(tmp_path, empty, named):
    still = Trend(0.0, 0.0, 0.0, points=12, first=0.5, last=0.5, best=0.5, best_is_last=False)
    level = LearningCurve(still, "student_accuracy", None, 350, 0, 0.0, 1.0, 50.0, Pace(0.01, 0.0, 0.02), 1.0)
    seen = Observations(updates={"all": 350, "empty": empty})
    measured = fitted(tmp_path, 0.4)
    assert (confidence("KD502", manifest(epochs=50), level, signs(), seen, *measured.values()) > 0.5) is named


@pytest.mark.parametrize(
    ("optimizer", "decay", "named"),
    [("adamw", 12.0, True), ("adamw", 0.1, False), ("sgd", 0.1, True), ("sgd", 5e-4, False)],
)
def test_a_decay_far_beyond_use_explains_small_logits_of_a_loss_that_never_fell(tmp_path, optimizer, decay, named):
    small = fit(factor=4.0, gain=0.2, agreement=0.3)
    checked = measure(load(recorded_run(tmp_path / "run")))[LossForensics]
    assert checked.declared_holds
    never = signs(pace=0.1, pace_low=-2.0, pace_high=2.9, low=0.85, end=0.9)
    seen = Observations(weight_decay=decay)
    found = confidence("KD504", small, manifest(optimizer=optimizer), never, seen, checked)
    assert (found > 0.5) is named


@pytest.mark.parametrize(
    ("updates", "epochs", "slowest", "lost", "named"),
    [
        (75, 3, 0.6, 0.4, True),
        (75, 3, 0.1, 0.4, True),
        (75, 3, 0.1, 0.0, False),
        (75, 60, 0.1, 0.4, False),
        (75, 1, 0.1, 0.4, True),
        (350, 3, 0.6, 0.4, False),
    ],
    ids=["not level", "rows not learnt", "rows learnt", "all rows in a batch", "one epoch", "many updates"],
)
def test_few_updates_are_too_few_where_something_is_left_to_learn(tmp_path, updates, epochs, slowest, lost, named):
    falling = Pace(0.74, slowest, 0.9)
    course = LearningCurve(None, None, None, updates, 0, 0.0, 0.4, float(epochs), falling, 1.0)
    way = signs(updates=updates, per_epoch=updates / epochs, pace=0.74, pace_low=slowest, pace_high=0.9)
    measured = fitted(tmp_path, lost)
    found = all_rules()["KD502"]({type(m): m for m in (manifest(epochs=epochs), course, way, *measured.values())})
    named_so = not isinstance(found, NotExamined) and weigh(all_rules()["KD502"], found).confidence > 0.5
    assert named_so is named


@pytest.mark.parametrize(("updates", "times"), [(None, 4), (0, 4), (6, 166), (75, 13), (250, 4), (300, 4), (40_000, 4)])
def test_a_schedule_is_lengthened_four_times_or_to_a_thousand_updates(updates, times):
    assert times_longer(updates, 4) == times
    assert times * (updates or 0) <= max(FEW_UPDATES, 4 * (updates or 0))


def test_what_is_prescribed_for_a_few_updates_is_a_thousand_of_them(tmp_path):
    course = LearningCurve(None, None, None, 75, 0, 0.0, 0.4, 3.0, Pace(0.74, 0.6, 0.9), 1.0)
    way = signs(updates=75, per_epoch=25.0, pace=0.74, pace_low=0.6, pace_high=0.9)
    measured = fitted(tmp_path, 0.4)
    found = all_rules()["KD502"]({type(m): m for m in (manifest(epochs=3), course, way, *measured.values())})
    assert not isinstance(found, NotExamined)
    assert found.prescription is not None
    assert found.prescription.changes == {"training.epochs": 39}


def test_what_a_frozen_part_costs_is_said_once(tmp_path):
    held = {"frozen_parameters": ["body.0.weight"], "parameters_without_gradient": ["body.0.weight"]}
    seen = Observations(**ALL_LEARN | held, parameters_unmoved=["body.0.weight", "body.2.weight"], parameters_moved=2)
    found = all_rules()["KD506"]({type(m): m for m in (seen, *fitted(tmp_path, 0.3).values())})
    assert not isinstance(found, NotExamined)
    measures = [item.measure for item in found.evidence]
    assert {"frozen_parameters", "parameters_unmoved", "train_accuracy"} <= set(measures)
    assert len(measures) == len(set(measures))
