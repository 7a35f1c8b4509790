"""Files that are written another way than the usual one are read, or refused at once."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from kddoctor.errors import UsageError
from tests.importers.sources import C, brought_in, outputs


def check(source: Path, folder: Path) -> None:
    """The source holds the arrays of ``outputs`` as the only split's."""
    run, _ = brought_in(source, folder)
    assert run.splits == ("val",)
    for name, values in outputs().items():
        assert np.allclose(getattr(run.predictions("val"), name).read(), values, rtol=1e-6), name


def test_a_folder_with_one_file_of_predictions_is_known(tmp_path):
    (tmp_path / "mine").mkdir()
    np.savez(tmp_path / "mine" / "predictions.npz", **outputs())
    check(tmp_path / "mine", tmp_path / "run")


def test_a_folder_with_tables_of_data_is_not(tmp_path):
    (tmp_path / "data").mkdir()
    np.savez(tmp_path / "data" / "train.npz", x=np.zeros(3))
    with pytest.raises(UsageError, match="nothing in it is known"):
        brought_in(tmp_path / "data", tmp_path / "run")


def test_labels_in_a_column_are_labels(tmp_path):
    arrays = outputs()
    np.savez(tmp_path / "dump.npz", **{**arrays, "labels": arrays["labels"][:, None]})
    check(tmp_path / "dump.npz", tmp_path / "run")


def test_a_dict_for_each_split_is_read(tmp_path):
    tensors = {name: torch.from_numpy(values) for name, values in outputs().items()}
    torch.save({"val": tensors, "epoch": 3}, tmp_path / "dump.pt")
    check(tmp_path / "dump.pt", tmp_path / "run")


@pytest.mark.parametrize(("between", "decimal"), [(";", ","), (";", "."), ("\t", ".")])
def test_a_table_of_another_country_is_read(tmp_path, between, decimal):
    import pandas as pd

    arrays = outputs()
    columns = {f"{name}_{c}": arrays[name][:, c] for name in ("teacher_logits", "student_logits") for c in range(C)}
    table = pd.DataFrame({"labels": arrays["labels"], **columns})
    table.to_csv(tmp_path / "dump.csv", index=False, sep=between, decimal=decimal)
    check(tmp_path / "dump.csv", tmp_path / "run")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.npz")
    with pytest.raises(UsageError, match="nothing in it is known"):
        brought_in(tmp_path / "pipe.npz", tmp_path / "run")


def test_weights_that_a_crash_left_half_written_are_said(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "trainer_state.json").write_text('{"log_history": [{"loss": 1.5, "step": 1}]}')
    (out / "model.safetensors").write_bytes(b"half")
    run, imported = brought_in(out, tmp_path / "run")
    assert len(run.metrics) == 1
    assert any("The number of parameters is not known" in line for line in imported.left)
