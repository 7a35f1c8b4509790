"""The quick slice against its committed verdicts."""

from __future__ import annotations

import json

from kddoctor.bench.benchmark import OR, differences, read_snapshot, snapshot_text


def first_of_each() -> dict[str, str]:
    return {label: said.split(OR)[0] for label, said in read_snapshot().items()}


def test_any_accepted_verdict_is_no_difference_and_every_other_one_is() -> None:
    found = first_of_each()
    assert differences(found) == []
    assert differences({label: said.split(OR)[-1] for label, said in read_snapshot().items()}) == []
    label = next(iter(found))
    assert [d.label for d in differences(found | {label: "sick KD999"})] == [label]
    assert [d.found for d in differences({k: v for k, v in found.items() if k != label})] == [None]
    assert [d.committed for d in differences(found | {"another run": "healthy"})] == [None]


def test_accepting_keeps_alternatives_and_takes_what_is_new() -> None:
    found = first_of_each()
    assert json.loads(snapshot_text(found)) == read_snapshot()
    label = next(label for label, said in read_snapshot().items() if OR in said)
    assert json.loads(snapshot_text(found | {label: "healthy"}))[label] == "healthy"
