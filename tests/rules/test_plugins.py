"""Rules of other packages, really installed: a distribution with entry points on the path of a process of its own."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

from tests.builders import recorded_run
from tests.cli.running import Answer, in_a_process

DOCS = Path(__file__).parents[2] / "docs" / "custom-rules.md"


def block(kind: str) -> str:
    """The first block of code of the page in this language."""
    found = re.search(rf"```{kind}\n(.*?)```", DOCS.read_text("utf-8"), re.DOTALL)
    assert found is not None
    return found.group(1)


def install(site: Path, source: str, *, name: str = "acme-kd-rules", module: str = "acme_kd_rules") -> Path:
    """A distribution as pip leaves it: a module, and a dist-info with metadata and entry points."""
    info = site / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[kddoctor.rules]\nours = {module}\n")
    (site / f"{module}.py").write_text(source, "utf-8")
    return site


def spiky(folder: Path, spike: float = 1000.0) -> Path:
    rows = [{"step": step, "loss": 2.0 - step / 50, "grad_norm": spike if step == 30 else 1.0} for step in range(50)]
    return recorded_run(folder, metrics=rows)


def simple(code: str, name: str, body: str = "return Finding()", reads: str = "Manifest", family: str = "loss") -> str:
    return f'''"""A page."""
from kddoctor.rules.finding import Finding
from kddoctor.rules.registry import rule
from kddoctor.run.manifest import Manifest

class Unheard: ...

@rule("{code}", name="{name}", family="{family}", title="A title", stage=10, reads=({reads},))
def judge(manifest):
    {body}
'''


@pytest.fixture
def installed(tmp_path):
    """``installed(source)("diagnose", run)``: kddoctor in a process that has this package."""

    def with_source(source: str, **how: str):
        site = install(tmp_path / "site", source, **how)

        def kddoctor(*arguments: str | Path) -> Answer:
            return in_a_process(*arguments, cwd=tmp_path, PYTHONPATH=f"{Path(__file__).parents[2]}:{site}")

        return kddoctor

    return with_source


def finding(answer: Answer, code: str) -> dict[str, object] | None:
    return next((f for f in json.loads(answer.out)["findings"] if f["code"] == code), None)


def not_examined(answer: Answer, code: str) -> dict[str, object] | None:
    return next((n for n in json.loads(answer.out)["not_examined"] if n["code"] == code), None)


def test_the_example_of_the_page_declares_the_entry_point_that_is_tested():
    points = tomllib.loads(block("toml"))["project"]["entry-points"]
    assert points == {"kddoctor.rules": {"acme": "acme_kd_rules"}}


def test_the_example_of_the_page_finds_what_it_is_about(installed, tmp_path):
    kddoctor = installed(block("python"))
    answer = kddoctor("diagnose", spiky(tmp_path / "run"), "--format", "json")
    found = finding(answer, "ACME101")
    assert found is not None, answer.err
    assert found["evidence"][0]["text"] == "one gradient is 1000 times the usual one"
    assert answer.err == ""


def test_the_example_of_the_page_is_silent_about_a_usual_run(installed, tmp_path):
    answer = installed(block("python"))("diagnose", spiky(tmp_path / "run", spike=3.0), "--format", "json")
    assert "ACME101" in json.loads(answer.out)["ruled_out"]


def test_a_measurement_that_could_not_be_taken_says_what_to_record(installed, tmp_path):
    answer = installed(block("python"))("diagnose", recorded_run(tmp_path / "run", metrics=[]), "--format", "json")
    assert not_examined(answer, "ACME101") == {
        "code": "ACME101",
        "needs": ["metrics.grad_norm"],
        "how": "pass optimizer=… to kddoctor.record, which logs grad_norm",
    }


def test_it_has_a_page_that_names_its_package_and_its_settings(installed):
    page = installed(block("python"))("explain", "gradient-spikes")
    assert page.code == 0
    assert "One such step undoes what hundreds of others taught." in page.out
    assert "spike = 100   a number from 0 to 1e+06 (times)" in page.out
    assert "It comes from acme-kd-rules 1.0" in page.out


def test_a_policy_sets_its_thresholds_too(installed, tmp_path):
    (tmp_path / "kddoctor.toml").write_text("[ACME101]\nspike = 5000")
    answer = installed(block("python"))("diagnose", spiky(tmp_path / "run"), "--format", "json")
    assert "ACME101" in json.loads(answer.out)["ruled_out"]


def test_it_is_selected_by_its_prefix(installed, tmp_path):
    answer = installed(block("python"))("diagnose", spiky(tmp_path / "run"), "--select", "ACME", "--format", "json")
    assert [f["code"] for f in json.loads(answer.out)["findings"]] == ["ACME101"]


def test_what_nobody_measures_is_not_examined(installed, tmp_path):
    kddoctor = installed(simple("ACME1", "unheard-of", reads="Unheard"))
    answer = kddoctor("diagnose", spiky(tmp_path / "run"), "--format", "json")
    assert not_examined(answer, "ACME1") == {
        "code": "ACME1",
        "needs": ["Unheard"],
        "how": "nothing that is installed measures acme_kd_rules.Unheard",
    }


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("x = 1", "acme_kd_rules defines none"),
        (simple("KD999", "foreign"), "'KD999' is no code of its own; expected a prefix other than KD and a number"),
        (simple("acme1", "foreign"), "'acme1' is no code of its own; expected a prefix other than KD and a number"),
        (simple("ACME1", "foreign", family="los"), "ACME1 has the family 'los'; expected one of pipeline, loss, "),
    ],
)
def test_a_broken_package_costs_one_line_that_names_it_and_nothing_else(installed, source, said):
    answer = installed(source)("explain", "KD101")
    (line,) = answer.err.splitlines()
    assert line.startswith(f"warning: acme-kd-rules 1.0: its rules are left out: {said}")
    assert answer.code == 0


@pytest.mark.parametrize(
    ("body", "said"), [("return 1 / 0", "ZeroDivisionError: division by zero"), ("return 3", "TypeError: it returned")]
)
def test_a_rule_that_fails_is_not_examined_and_everything_else_is_judged(installed, tmp_path, body, said):
    answer = installed(simple("ACME1", "failing", body))("diagnose", recorded_run(tmp_path / "run"), "--format", "json")
    entry = not_examined(answer, "ACME1")
    assert entry is not None
    assert entry["how"].startswith(f"ACME1 of acme-kd-rules 1.0 failed: {said}")
    assert answer.err.startswith("warning: ACME1 of acme-kd-rules 1.0 failed: ")
    assert json.loads(answer.out)["verdict"] == "healthy"


def test_a_measurement_that_fails_is_one_line_and_everything_else_is_judged(installed, tmp_path):
    source = block("python").replace("    norms = [row", "    raise ValueError('broken')\n    norms = [row")
    answer = installed(source)("diagnose", spiky(tmp_path / "run"), "--format", "json")
    assert answer.err == "warning: GradientNorms of acme-kd-rules 1.0 failed: ValueError: broken\n"
    assert not_examined(answer, "ACME101") is not None


@pytest.mark.parametrize(("code", "name"), [("KD101", "foreign"), ("ACME1", "teacher-weights-not-loaded")])
def test_two_rules_with_one_code_or_name_are_an_error_that_names_both(installed, code, name):
    answer = installed(simple(code, name))("explain", "KD101")
    assert answer.code == 2
    assert "acme_kd_rules" in answer.err
    assert "kddoctor.rules.pipeline.teacher_weights_not_loaded" in answer.err
    assert len(answer.err.splitlines()) == 1
