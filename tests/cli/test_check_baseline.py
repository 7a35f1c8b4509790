"""``kddoctor check`` with a baseline: saving one, and failing on what is worse."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET

import pytest

from tests import builders as b


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Two seeds of a good recipe, and a student that forgot a tenth."""
    folder = tmp_path_factory.mktemp("runs")
    return {
        "seed-0": b.recorded_run(folder / "seed-0", student=b.noisy(0.5, 1)),
        "seed-1": b.recorded_run(folder / "seed-1", student=b.noisy(0.5, 2)),
        "worse": b.recorded_run(folder / "worse", student=b.forgetting(0.2)),
    }


@pytest.fixture
def saved(kddoctor, recorded, tmp_path):
    file = tmp_path / "baseline.json"
    answer = kddoctor(
        "check", recorded["seed-0"], recorded["seed-1"], "--save-baseline", file, "--reason", "first release"
    )
    assert (answer.code, answer.out) == (0, ""), answer.err
    assert f"saved {file}" in answer.err
    return file


def test_several_runs_are_saved_as_one_baseline(saved):
    data = json.loads(saved.read_text("utf-8"))
    assert (data["runs"], data["reason"]) == (["seed-0", "seed-1"], "first release")


def test_a_run_that_is_worse_fails_and_every_regression_is_said(kddoctor, recorded, saved):
    answer = kddoctor("check", recorded["worse"], "--baseline", saved, "--quiet")
    assert answer.code == 1
    assert "Against the baseline of 2 runs (first release), 600 examples" in answer.out
    assert "FAILED baseline baseline::accuracy - measured accuracy worse by " in answer.out
    assert "kddoctor explain baseline" not in answer.out, "there is no such page"


def test_a_run_of_the_baseline_passes(kddoctor, recorded, saved):
    answer = kddoctor("check", recorded["seed-1"], "--baseline", saved)
    assert answer.code == 0
    assert "FAILED" not in answer.out
    assert re.search(r"baseline +✓", answer.out)


def test_a_baseline_of_few_runs_says_that_seeds_were_not_measured(kddoctor, recorded, saved):
    answer = kddoctor("check", recorded["seed-1"], "--baseline", saved)
    assert "How much seeds differ was not measured: 2 runs cannot tell." in " ".join(answer.out.split())


def test_saving_needs_a_reason(kddoctor, recorded, tmp_path):
    answer = kddoctor("check", recorded["seed-0"], "--save-baseline", tmp_path / "b.json")
    assert answer.code == 4
    assert "--save-baseline needs --reason TEXT" in answer.err
    assert not (tmp_path / "b.json").exists()


def test_one_run_is_checked_at_a_time(kddoctor, recorded):
    answer = kddoctor("check", recorded["seed-0"], recorded["seed-1"])
    assert answer.code == 4
    assert "2 runs are given; one is checked at a time" in answer.err


def test_a_date_that_is_none_is_bad_usage(kddoctor, recorded, tmp_path):
    answer = kddoctor(
        "check", recorded["seed-0"], "--save-baseline", tmp_path / "b.json", "--reason", "r", "--expires", "soon"
    )
    assert answer.code == 4
    assert "--expires is 'soon'; expected a date, as in 2027-01-01" in answer.err


def test_a_missing_baseline_is_bad_input_before_anything_is_checked(kddoctor, recorded, tmp_path):
    answer = kddoctor("check", recorded["seed-0"], "--baseline", tmp_path / "missing.json")
    assert (answer.code, answer.out) == (4, "")
    assert "missing.json: cannot be read: No such file" in answer.err


def test_an_option_of_saving_without_saving_is_bad_usage(kddoctor, recorded):
    answer = kddoctor("check", recorded["seed-0"], "--reason", "because")
    assert answer.code == 4
    assert "--reason and --expires are for --save-baseline" in answer.err


def test_regressions_stand_in_the_junit_file_like_all_checks(kddoctor, recorded, saved, tmp_path):
    answer = kddoctor("check", recorded["worse"], "--baseline", saved, "--junit", tmp_path / "checks.xml")
    assert answer.code == 1
    suite = ET.parse(tmp_path / "checks.xml").find("testsuite[@name='baseline']")
    assert suite is not None
    failed = {case.get("name") for case in suite if case.find("failure") is not None}
    assert "baseline[accuracy]" in failed
    assert int(suite.get("failures", "0")) == len(failed)


@pytest.fixture
def policy(saved):
    """Writes kddoctor.toml beside the baseline."""

    def write(text: str):
        file = saved.parent / "kddoctor.toml"
        file.write_text(f"[baseline]\nfile = 'baseline.json'\n{text}", "utf-8")
        return file

    return write


def test_a_policy_names_the_baseline_and_what_nobody_minds(kddoctor, recorded, policy):
    assert kddoctor("check", recorded["worse"], "--config", policy("")).code == 1
    wide = ", ".join(
        f"'{name}' = 0.9" for name in ("accuracy", "agreement", "retention", "calibration error", "recall")
    )
    assert kddoctor("check", recorded["worse"], "--config", policy(f"margins = {{{wide}}}")).code == 0
    assert kddoctor("check", recorded["worse"], "--config", policy("run = 'seed-*'")).code == 0, "it is about others"


def test_a_level_of_the_policy_decides_how_sure_a_regression_is(kddoctor, recorded, policy):
    answer = kddoctor("check", recorded["worse"], "--config", policy("level = 1e-300"))
    assert answer.code == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("margin = {}", "baseline.margin is not a known key; did you mean margins?"),
        ("margins = {acuracy = 0.1}", "baseline.margins.acuracy is not a known key; did you mean accuracy?"),
        ("level = 2", "baseline.level is 2"),
    ],
)
def test_a_policy_that_cannot_be_meant_is_one_line(kddoctor, recorded, policy, text, said):
    answer = kddoctor("check", recorded["worse"], "--config", policy(text))
    assert answer.code == 4
    assert said in answer.err
    assert len(answer.err.strip().splitlines()) == 1
