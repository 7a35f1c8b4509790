"""What two runs declare differently."""

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from kddoctor.errors import one_line
from kddoctor.report.views.view import View
from kddoctor.run.manifest import Manifest

QUESTION = "What was declared differently?"
UNSET = "not set"


def config_difference(a: Manifest, b: Manifest) -> View:
    """Every key of both manifests. frame: key (dotted), a, b (as text), differs. marks: keys, different."""
    left, right = dict(_flat(a.model_dump(mode="json"))), dict(_flat(b.model_dump(mode="json")))
    keys = list(dict.fromkeys((*left, *right)))
    frame = pd.DataFrame(
        {"key": keys, "a": [left.get(key, UNSET) for key in keys], "b": [right.get(key, UNSET) for key in keys]}
    )
    frame["differs"] = frame["a"] != frame["b"]
    changed = list(frame.loc[frame["differs"], "key"])
    answer = f"{len(changed)} of {len(keys)} keys differ: {', '.join(changed)}." if changed else "Nothing."
    marks = {"keys": float(len(keys)), "different": float(len(changed))}
    return View("config_difference", QUESTION, answer, f"Table of {len(keys)} keys of kd_run.yaml.", frame, marks)


def _flat(section: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in section.items():
        name = one_line(f"{prefix}{key}")
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}.")
        else:
            yield name, UNSET if value is None else one_line(str(value))
