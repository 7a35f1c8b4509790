"""No file, name, order or time of a record gives the answer away."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from scipy.stats import mannwhitneyu

from kddoctor.bench.case import Case
from kddoctor.bench.fault import all_faults
from kddoctor.bench.plan import all_cases
from kddoctor.bench.recording import Cache, record_case

# What torch says of a mean over classes is true, and the mistake.
pytestmark = pytest.mark.filterwarnings("ignore:reduction. 'mean' divides:UserWarning")

TASK = "digits"
#: Words that only the answer has. Short names of variants such as "adam" are honest words of a configuration.
SHORTEST = 8


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Case, Path]]:
    """Three sound runs (one of them looks ill, one caches its teacher), an unknown fault and five known ones."""
    cache = Cache(tmp_path_factory.mktemp("bench"))
    chosen: dict[str, Case] = {}
    for case in all_cases().values():
        wanted = case.task == TASK and case.baseline and case.seed == (3 if case.group == "fault" else 1)
        if wanted:
            chosen.setdefault(case.truth[0] if case.group == "fault" else case.group, case)
    cases = [chosen[name] for name in ("twin", "lookalike", "outside", "KD103", "KD105", "KD201", "KD205", "KD211")]
    cached = next(c for c in all_cases().values() if c.task == TASK and c.name == "teacher cached by row")
    cases.append(replace(cached, baseline=True))
    for case in cases:
        record_case(case, cache)
    return [(case, cache.run(case)) for case in cases]


def test_no_record_has_files_or_keys_that_no_sound_one_has(records: list[tuple[Case, Path]]) -> None:
    # A loop that never runs its teacher leaves fewer observations, whether its cache is right or wrong.
    shapes: dict[bool, set[tuple[tuple[str, ...], ...]]] = {True: set(), False: set()}
    for case, run in records:
        shapes[case.sound].add(tuple(sorted((name, *_keys(path)) for name, path in _files(run))))
    assert shapes[False] <= shapes[True], "the files or keys of a record depend on what is wrong with it"


def test_all_files_were_made_at_the_same_time(records: list[tuple[Case, Path]]) -> None:
    assert len({path.stat().st_mtime_ns for _, run in records for path in (run, *run.rglob("*"))}) == 1


def test_no_record_holds_a_word_of_its_answer(records: list[tuple[Case, Path]]) -> None:
    for case, run in records:
        text = "\n".join(f"{name}\n{_text(path)}" for name, path in _files(run)).lower()
        for word in _answers(case):
            assert word not in text, f"{word!r} stands in the record of {case.label}"


def test_the_directory_is_named_by_content_alone(records: list[tuple[Case, Path]]) -> None:
    assert {run.name for _, run in records} == {"run"}
    assert all(re.fullmatch("[0-9a-f]{24}", run.parent.name) for _, run in records)


def test_the_order_of_the_cases_says_nothing() -> None:
    places: dict[bool, list[int]] = {True: [], False: []}
    for place, case in enumerate(all_cases().values()):
        places[case.sound].append(place)
    assert mannwhitneyu(places[True], places[False]).pvalue > 0.001


def _files(run: Path) -> list[tuple[str, Path]]:
    return [(path.relative_to(run).as_posix(), path) for path in sorted(run.rglob("*")) if path.is_file()]


def _keys(path: Path) -> tuple[str, ...]:
    if path.suffix == ".safetensors":
        content = path.read_bytes()
        return tuple(sorted(json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])))
    if path.suffix == ".json":
        return tuple(sorted(json.loads(path.read_text("utf-8"))))
    return ()


def _text(path: Path) -> str:
    return "\n".join(_keys(path)) if path.suffix == ".safetensors" else path.read_text("utf-8")


def _answers(case: Case) -> set[str]:
    names = {case.name.lower(), case.group if case.group != "twin" else case.name}
    for code in case.truth:
        module = all_faults()[code].seen[0].__module__.rpartition(".")[2]
        names |= {code.lower(), module, module.replace("_", "-")}
    return {name for name in names if len(name) >= SHORTEST or name.startswith("kd")}
