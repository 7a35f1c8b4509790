"""Small pictures of listed examples."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from kddoctor.app.thumbnails import SIDE, thumbnails
from kddoctor.report.views import Missing, View
from kddoctor.run import load
from tests.app.pages import text_of
from tests.builders import recorded_run


def with_images(path: Path, shape: tuple[int, ...], rows: int = 40) -> Path:
    run = recorded_run(path, rows=60, steps=0)
    images = np.random.default_rng(0).random((rows, *shape)).astype(np.float32)
    (run / "inputs").mkdir()
    save_file({"inputs": images}, run / "inputs" / "val.safetensors")
    return run


@pytest.mark.parametrize("shape", [(1, 8, 8), (28, 28), (3, 64, 48), (3, 224, 224)])
def test_images_of_every_size_become_small_ones(tmp_path, shape):
    view = thumbnails(load(with_images(tmp_path / "run", shape)), [3, 3, 39, 50])
    assert isinstance(view, View)
    assert list(view.frame["row"]) == [3, 39]  # the inputs of row 50 were not recorded
    head, _, data = view.frame["image"][0].partition(",")
    assert head in ("data:image/png;base64", "data:image/jpeg;base64")
    assert max(Image.open(io.BytesIO(base64.b64decode(data))).size) == min(SIDE, max(shape[-2:]))
    assert len(data) < 3000


def test_rows_of_a_table_have_no_pictures(tmp_path):
    found = thumbnails(load(with_images(tmp_path / "run", (5,))), [1])
    assert isinstance(found, Missing)


def test_the_list_shows_them_where_there_are_images(app, tmp_path):
    page = app(with_images(tmp_path / "run", (1, 8, 8), rows=60))("examples")
    assert page.dataframe[1].value["input"].str.startswith("data:image/png").all()
    assert "data:image" not in text_of(page)


def test_the_list_of_other_inputs_has_no_such_column(app, runs):
    assert "input" not in app(runs["full"])("examples").dataframe[1].value
