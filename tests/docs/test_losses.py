"""The page about losses names what there is, and its example runs."""

from __future__ import annotations

import re

import kddoctor.losses
from tests.docs.blocks import DOCS, blocks

PAGE = "losses.md"


def test_the_example_runs_as_written():
    for block in blocks(PAGE, "python"):
        exec(compile(block, PAGE, "exec"), {})


def test_every_loss_is_on_the_page_and_every_name_on_it_is_there():
    public = {name for name, value in vars(kddoctor.losses).items() if not name.startswith("_") and callable(value)}
    rows = [line for line in (DOCS / PAGE).read_text("utf-8").splitlines() if line.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert public - named == {"in_batch_contrast"}
    assert named <= public
