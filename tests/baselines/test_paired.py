"""The test between runs of a recipe and a later run, against closed forms and against simulated seeds."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest, t

from kddoctor.baselines.comparing import holm
from kddoctor.baselines.noise import before_any_run
from kddoctor.baselines.paired import SeedNoise, paired_test

#: Seeds that are believed to do nothing but flip examples, and that with certainty.
FLIPS = SeedNoise(1.0, 1e9)
PRIOR = before_any_run("accuracy")


def seeds(
    rng: np.random.Generator, runs: int, n: int = 2000, spread: float = 0.0, drop: float = 0.0, flips: float = 0.3
) -> np.ndarray:
    """[runs, n] right answers: every example has its own chance, and whole runs are better or worse by ``spread``."""
    hard = np.random.default_rng(0).normal(2.0, 2.0, n)
    ability = rng.normal(0.0, spread, (runs, 1)) - drop
    return (rng.logistic(0, flips, (runs, n)) + hard + ability > 0).astype(float)


def test_flips_of_two_runs_give_mcnemars_exact_p():
    before, after = np.zeros((1, 400)), np.zeros(400)
    before[0, :30], after[20:32] = 1, 1
    lost, won = 20, 2
    expected = binomtest(lost, lost + won, alternative="greater").pvalue
    assert paired_test(before, after, -1, SeedNoise(1e-9, 1e9)).p == pytest.approx(expected)


def test_a_later_run_that_equals_the_earlier_one_is_no_regression():
    before = seeds(np.random.default_rng(1), 1)
    assert paired_test(before, before[0], -1, PRIOR).p == 1


def test_where_nothing_ever_flips_any_drop_is_one():
    before, after = np.ones((3, 200)), np.ones(200)
    after[:10] = 0
    found = paired_test(before, after, -1, PRIOR)
    assert found.drop == pytest.approx(0.05)
    # Each of the ten rows is a one that any of four runs could have lost.
    assert found.p == pytest.approx(0.25**10)


def test_more_is_worse_for_errors():
    rng = np.random.default_rng(2)
    before, after = rng.normal(0, 1, (1, 500)), rng.normal(0.5, 1, 500)
    assert paired_test(before, after, 1, FLIPS).p < 1e-6
    assert paired_test(before, after, -1, FLIPS).p > 1 - 1e-6


def test_continuous_values_give_the_paired_t_test():
    rng = np.random.default_rng(3)
    before, after = rng.normal(0, 1, (1, 500)), rng.normal(0.05, 1, 500)
    differences = after - before[0]
    expected = t.sf(differences.mean() / (differences.std() / np.sqrt(500)), 1e9)
    assert paired_test(before, after, 1, FLIPS).p == pytest.approx(expected)


def test_the_spread_of_many_runs_takes_the_place_of_the_prior():
    rng = np.random.default_rng(4)
    learned = PRIOR.after(seeds(rng, 400, spread=0.15))
    runs = seeds(rng, 4000, spread=0.15)
    true = runs.mean(axis=1).var() / (runs.var(axis=0).mean() / runs.shape[1])
    assert learned.inflation == pytest.approx(true, rel=0.2)
    assert true > 3


def test_one_run_leaves_the_prior_as_it_is():
    assert PRIOR.after(seeds(np.random.default_rng(5), 1)) == PRIOR


@pytest.mark.parametrize("runs", [1, 3, 5])
@pytest.mark.parametrize("spread", [0.0, 0.05])
def test_other_seeds_are_called_a_regression_no_more_often_than_stated(runs, spread):
    rng = np.random.default_rng(6)
    level, draws = 0.02, 600
    false = 0
    for _ in range(draws):
        made = seeds(rng, runs + 1, n=500, spread=spread)
        false += paired_test(made[:-1], made[-1], -1, PRIOR).p <= level
    assert binomtest(false, draws, level, alternative="greater").pvalue > 0.001, f"{false / draws:.1%}"


def test_mcnemar_alone_would_call_far_more_seeds_a_regression():
    """Why there is an inflation at all."""
    rng = np.random.default_rng(7)
    false = sum(paired_test((made := seeds(rng, 2, spread=0.15))[:1], made[1], -1, FLIPS).p <= 0.02 for _ in range(400))
    assert false / 400 > 0.05


def test_two_points_on_two_thousand_examples_are_seen_with_three_runs_of_a_steady_recipe():
    """One whose seeds differ by 0.4 points and on 4 % of the examples, as converged students of clothes do."""
    steady = {"spread": 0.02, "flips": 0.15}
    rng = np.random.default_rng(8)
    drops, seen = [], 0
    for _ in range(200):
        before, after = seeds(rng, 3, **steady), seeds(rng, 1, drop=0.157, **steady)[0]
        found = paired_test(before, after, -1, PRIOR)
        drops.append(found.drop)
        seen += found.p <= 0.02 / 2
    assert np.mean(drops) == pytest.approx(0.02, abs=0.002)
    assert seen / 200 >= 0.9


def test_the_detectable_drop_is_detected_as_often_as_it_says():
    rng = np.random.default_rng(9)
    level = 0.01
    wanted = np.mean([paired_test((m := seeds(rng, 4))[:3], m[3], -1, PRIOR).detectable(level, 0.9) for _ in range(20)])
    shift = np.linspace(0, 1, 60)
    drops = [
        seeds(np.random.default_rng(0), 1)[0].mean() - seeds(np.random.default_rng(0), 1, drop=s)[0].mean()
        for s in shift
    ]
    drop = float(np.interp(wanted, drops, shift))
    seen = 0
    for _ in range(300):
        before, after = seeds(rng, 3), seeds(rng, 1, drop=drop)[0]
        seen += paired_test(before, after, -1, PRIOR).p <= level
    assert seen / 300 >= 0.87


def test_holm_adjusts_as_published():
    alike = [0.25] * 4
    assert holm([0.01, 0.04, 0.03, 0.005], alike) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8], [0.5, 0.5]) == [1.0, 1.0]
    assert holm([], []) == []


def test_holm_spends_more_of_the_level_on_what_weighs_more():
    assert holm([0.01, 0.01], [0.75, 0.25]) == pytest.approx([0.01 / 0.75, 0.01 / 0.75])
    assert holm([0.01, 0.001], [0.5, 0.5]) == pytest.approx([0.01, 0.002])
