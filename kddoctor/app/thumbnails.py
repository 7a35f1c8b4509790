"""Small pictures of the inputs of listed examples, for a column of a table."""

import base64
import io
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from kddoctor.engine.measuring.splits import held_out_split
from kddoctor.report.views import Missing, View
from kddoctor.report.views.raw_input import describe_input
from kddoctor.run.directory import Run

QUESTION = "What do the listed examples look like?"
#: Pixels of the longer side: what a row of a table has room for. 500 of them are half a megabyte at most.
SIDE = 32


def thumbnails(run: Run, rows: Sequence[int]) -> View | Missing:
    """frame: row, image (a data URI), of those rows whose inputs were recorded and are images."""
    split = held_out_split(run)
    inputs = run.inputs(split)
    if inputs is None:
        return Missing("thumbnails", QUESTION, "record inputs with kddoctor.record(…, save_inputs=True)")
    found: dict[int, str] = {}
    for row in dict.fromkeys(int(row) for row in rows):
        if row >= inputs.n:
            continue
        described = describe_input(np.asarray(inputs.inputs[row]))
        if described.kind != "image":
            return Missing("thumbnails", QUESTION, "nothing more: these inputs are no images")
        found[row] = data_uri(described.values)
    frame = pd.DataFrame({"row": list(found), "image": list(found.values())}).astype(
        {"row": "int64", "image": "object"}
    )
    answer = f"{len(frame)} of {len(set(rows))} have a picture."
    return View("thumbnails", QUESTION, answer, f"Table. {answer}", frame, {"pictures": float(len(frame))})


def data_uri(image: NDArray[np.floating]) -> str:
    """image: [H, W] or [H, W, 3] from 0 to 1."""
    small = Image.fromarray(np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8))
    small.thumbnail((SIDE, SIDE))
    out = io.BytesIO()
    # A photograph is a third as large as a JPEG; a drawing of few greys is smaller, and exact, as a PNG.
    kind = "jpeg" if image.ndim == 3 else "png"
    small.save(out, kind, **({"quality": 80} if kind == "jpeg" else {}))
    return f"data:image/{kind};base64,{base64.b64encode(out.getvalue()).decode()}"
