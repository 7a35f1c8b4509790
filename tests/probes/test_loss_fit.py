"""Many fits at once are the fits one by one."""

from __future__ import annotations

import numpy as np

from kddoctor.probes.loss_fit import fit_mix, fit_mixes

STEPS = 12


def test_many_fits_at_once_are_the_fits_one_by_one():
    rng = np.random.default_rng(0)
    ce, feature = rng.exponential(size=(2, STEPS))
    values = rng.exponential(size=(50, STEPS))
    values[3] = 2 * ce  # collinear: no weight of it is identified
    values[4, 5] = np.nan
    values[5] = 0.0
    total = 0.3 * ce + 0.7 * values[7] + 0.1 * feature
    for shared in ({}, {"ce": ce}, {"ce": ce, "feature": feature}):
        found = fit_mixes(total, "kd", values, shared)
        for index, value in enumerate(values):
            one, many = fit_mix(total, {"kd": value} | shared), found.of(index)
            np.testing.assert_allclose(many.errors, one.errors, rtol=1e-6, atol=1e-9)
            if np.isfinite(one.worst):
                np.testing.assert_allclose(
                    list(many.weights.values()), list(one.weights.values()), rtol=1e-6, atol=1e-9
                )
            assert tuple(many.weights) == tuple(one.weights)
        assert np.isinf(found.worst[4])
    assert int(found.worst.argmin()) == 7
    assert np.isinf(found.worst[[3, 5]]).all()


def test_a_total_that_is_no_number_is_fitted_by_nothing():
    total = np.full(STEPS, 1.0)
    total[2] = np.nan
    found = fit_mixes(total, "kd", np.ones((3, STEPS)), {"ce": np.ones(STEPS)})
    assert np.isinf(found.worst).all()
