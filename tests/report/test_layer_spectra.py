"""How the variance of layers is spread."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from kddoctor.report.views import Missing, View
from kddoctor.report.views.layer_spectra import layer_spectra
from kddoctor.run import load
from tests.builders import recorded_run
from tests.report.runs import multiclass


def test_shares_are_the_eigenvalues_of_the_covariance(tmp_path):
    run = multiclass(tmp_path / "run")
    view = layer_spectra(load(run))
    assert isinstance(view, View)
    rows = load_file(run / "features" / "val.safetensors")["student/block6"].astype(float)
    values = np.sort(np.linalg.eigvalsh(np.cov(rows.T)))[::-1]
    shown = view.frame[(view.frame["model"] == "student") & (view.frame["layer"] == "block6")]
    np.testing.assert_allclose(shown["share"], values / values.sum(), rtol=1e-4)
    assert shown["norm"].iloc[0] == pytest.approx(np.linalg.norm(rows, axis=1).mean(), rel=1e-5)
    assert f"{view.marks['first']:.0%}" in view.answer


def test_a_layer_that_is_broken_or_constant_is_left_out(tmp_path):
    run = multiclass(tmp_path / "run")
    file = run / "features" / "val.safetensors"
    arrays = load_file(file)
    arrays["student/block1"][0] = np.nan
    arrays["teacher/block1"][:] = 1.0
    save_file(arrays, file)
    view = layer_spectra(load(run))
    assert isinstance(view, View)
    assert ("student", "block1") not in set(zip(view.frame["model"], view.frame["layer"], strict=True))
    assert ("teacher", "block1") not in set(zip(view.frame["model"], view.frame["layer"], strict=True))


def test_without_layers_it_says_how_to_record_them(tmp_path):
    found = layer_spectra(load(recorded_run(tmp_path / "run", steps=0)))
    assert isinstance(found, Missing)
    assert "layers=" in found.needs
