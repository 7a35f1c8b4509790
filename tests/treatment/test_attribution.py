"""What both models look at: methods, agreement, and what is said where something does not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from kddoctor.errors import RunError
from kddoctor.run import load
from kddoctor.treatment.attribution import agreement_of, attribute, windows
from tests.treatment.recorded import CODE, blobs, sick_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sick_run(tmp_path_factory.mktemp("sick") / "run")


@pytest.mark.parametrize("method", ["integrated gradients", "saliency", "occlusion"])
def test_each_method_explains_both_models(run, method):
    found = attribute(load(run), "val", 3, method)
    inputs = blobs().val_data()[3][0].numpy()
    np.testing.assert_array_equal(found.inputs, inputs)
    assert found.teacher.shape == found.student.shape == inputs.shape
    assert found.warnings == ()


def test_integrated_gradients_sum_to_the_difference_from_nothing(run):
    """Sundararajan et al. 2017, completeness."""
    found = attribute(load(run), "val", 3, "integrated gradients")
    teacher = blobs().make_teacher()
    teacher.load_state_dict(load_file(run / "checkpoints" / "teacher.safetensors"))
    teacher.eval()
    with torch.no_grad():
        here, nothing = teacher(torch.from_numpy(found.inputs)[None])[0], teacher(torch.zeros(1, 2))[0]
    assert found.target == int(here.argmax())
    assert found.teacher.sum() == pytest.approx(float((here - nothing)[found.target]), rel=0.05)


def test_a_method_that_a_model_has_no_use_for_is_said_and_the_rest_is_shown(run):
    found = attribute(load(run), "val", 3, "grad-cam")
    assert (found.teacher, found.student, found.agreement) == (None, None, None)
    assert any("convolution" in warning for warning in found.warnings)


def test_a_checkpoint_that_is_not_the_recorded_one_is_said(tmp_path):
    path = sick_run(tmp_path / "run")
    file = path / "checkpoints" / "student.safetensors"
    state = load_file(file)
    save_file({name: -value if name.startswith("4.") else value for name, value in state.items()}, file)
    found = attribute(load(path), "val", 3, "saliency")
    assert any("student answers this row otherwise than recorded" in warning for warning in found.warnings)


def test_tokens_are_explained_one_number_each(tmp_path):
    source = CODE.replace(
        "def make_teacher():",
        """class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.out = nn.Embedding(9, 4), nn.Linear(4, 4)

    def forward(self, tokens):
        return self.out(self.table(tokens).mean(1))


def make_teacher():
    return Words()


def _unused():""",
    ).replace("def make_student():", "def make_student():\n    return Words()\n\n\ndef _unused_too():")
    source = source.replace("corners[labels] * 2 + torch.randn(rows, 2, generator=draw)", "torch.randint(9, (rows, 5))")
    path = sick_run(tmp_path / "run")
    (path / "blobs.py").write_text(source)
    torch.manual_seed(0)
    state = {"table.weight": torch.randn(9, 4), "out.weight": torch.randn(4, 4), "out.bias": torch.randn(4)}
    for model in ("teacher", "student"):
        save_file(state, path / "checkpoints" / f"{model}.safetensors")
    for method in ("integrated gradients", "saliency", "occlusion"):
        found = attribute(load(path), "val", 0, method)
        assert found.teacher.shape == (5,)
        assert found.agreement == pytest.approx(1.0), "the same model twice"


@pytest.mark.parametrize(("split", "row"), [("val", 10_000), ("val", -1), ("test", 0)])
def test_a_row_that_there_is_none_of_is_an_error_of_one_line(run, split, row):
    with pytest.raises(RunError, match="holds no row"):
        attribute(load(run), split, row, "saliency")


def test_agreement_is_the_rank_correlation_of_sizes_and_the_shared_top_tenth():
    values = np.arange(20.0) - 10.5
    assert agreement_of(values, -2 * values) == (pytest.approx(1.0), 1.0)
    assert agreement_of(np.arange(1.0, 21), np.arange(20.0, 0, -1)) == (pytest.approx(-1.0), 0.0)
    assert agreement_of(values, np.ones(20)) == (None, None)
    assert agreement_of(values, values[:5]) == (None, None)
    assert agreement_of(None, values) == (None, None)


@pytest.mark.parametrize("shape", [(3, 224, 224), (1, 8, 8), (28, 28), (5000,), (7,)])
def test_windows_cover_the_input_and_are_not_too_many(shape):
    size, stride = windows(shape)
    count = int(np.prod([-(-max(1, n - s) // d) + 1 for n, s, d in zip(shape, size, stride, strict=True)]))
    assert count <= 600
    assert all(s >= d for s, d in zip(size, stride, strict=True)), "no gaps between windows"
