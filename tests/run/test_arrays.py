"""Lazy arrays behave as the arrays they stand for."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis.extra.numpy import basic_indices
from safetensors.torch import save_file

from kddoctor.run.arrays import ArrayFile, first_nonfinite

SHAPE = (7, 4, 3)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> ArrayFile:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(SHAPE, generator=generator)
    bad = torch.zeros(10, 2)
    bad[6, 1], bad[8, 0] = float("nan"), float("inf")
    path = tmp_path_factory.mktemp("arrays") / "x.safetensors"
    tensors = {
        "F32": values,
        "BF16": values.bfloat16(),
        "F16": values.half(),
        "F64": values.double(),
        "I32": (10 * values).int(),
        "bad": bad,
        "scalar": torch.tensor(2.0),
        "none": torch.zeros(0, 3),
    }
    save_file(tensors, path, metadata={"weighted_terms": "1"})
    return ArrayFile(path, "x.safetensors")


@given(index=basic_indices(SHAPE, allow_newaxis=False))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_index_gives_what_numpy_gives(file: ArrayFile, index: object) -> None:
    whole = file["F32"].read()
    np.testing.assert_array_equal(file["F32"][index], whole[index])  # type: ignore[index]


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("F32", "float32"), ("BF16", "float32"), ("F16", "float32"), ("F64", "float64"), ("I32", "int64")],
)
def test_values_come_in_three_dtypes_only(file: ArrayFile, name: str, dtype: str) -> None:
    array = file[name]
    assert (array.dtype, array.shape, array[2:4].dtype) == (name, SHAPE, np.dtype(dtype))


def test_bfloat16_is_read_exactly(file: ArrayFile) -> None:
    np.testing.assert_array_equal(file["BF16"].read(), torch.tensor(file["F32"].read()).bfloat16().float().numpy())


def test_chunks_put_together_are_the_array(file: ArrayFile) -> None:
    chunks = list(file["F32"].chunks(rows=3))
    assert [len(chunk) for chunk in chunks] == [3, 3, 1]
    np.testing.assert_array_equal(np.concatenate(chunks), file["F32"].read())


def test_empty_arrays_and_single_numbers_can_be_read(file: ArrayFile) -> None:
    assert file["none"].read().shape == (0, 3)
    assert list(file["none"].chunks()) == []
    assert float(file["scalar"].read()) == 2.0


def test_nonfinite_values_are_counted_and_located(file: ArrayFile) -> None:
    assert first_nonfinite(file["bad"], rows=4) == (2, 6)
    assert first_nonfinite(file["F32"]) == (0, -1)
    assert first_nonfinite(file["I32"]) == (0, -1)


def test_an_array_travels_to_a_worker_as_its_path(file: ArrayFile) -> None:
    again = pickle.loads(pickle.dumps(file["F32"]))  # noqa: S301 - our own bytes
    np.testing.assert_array_equal(again.read(), file["F32"].read())


def test_metadata_is_there(file: ArrayFile) -> None:
    assert file.metadata == {"weighted_terms": "1"}
