"""``kddoctor explain``, ``--help``, ``--version``, and what the first import costs."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

import kddoctor as package
from kddoctor.rules.registry import all_rules
from tests.cli.running import in_a_process

HEAVY = {
    "torch",
    "numpy",
    "scipy",
    "sklearn",
    "streamlit",
    "pandas",
    "matplotlib",
    "plotly",
    "transformers",
    "lightning",
}


@pytest.mark.parametrize("code", all_rules())
def test_every_code_has_a_page(kddoctor, code):
    answer = kddoctor("explain", code)
    assert answer.code == 0
    assert answer.out.startswith(f"{code}  {all_rules()[code].name}")
    for heading in ("What it checks", "Told apart from", "Fix", "Read more"):
        assert f"\n{heading}\n" in answer.out


@pytest.mark.parametrize("code", all_rules())
def test_no_line_of_a_page_is_wider_than_a_hundred_columns(kddoctor, code):
    assert max(map(len, kddoctor("explain", code).out.splitlines())) <= 100


@pytest.mark.parametrize("spelling", ["kd202", "missing-t-squared", "Missing-T-Squared", " KD202 "])
def test_a_code_is_found_by_any_spelling(kddoctor, spelling):
    assert kddoctor("explain", spelling).out.startswith("KD202")


def test_without_a_code_all_are_listed(kddoctor):
    answer = kddoctor("explain")
    assert answer.code == 0
    assert all(f"{code}  {rule.name}" in answer.out for code, rule in all_rules().items())


@pytest.mark.parametrize(
    ("typo", "meant"),
    [
        ("KD22", "KD2"),
        ("KD2O2", "KD202"),
        ("KD20I", "KD201"),
        ("KD20", "KD201 or KD202"),
        ("missing-t", "missing-t-squared"),
    ],
)
def test_a_wrong_code_is_bad_usage_and_the_nearest_is_suggested(kddoctor, typo, meant):
    answer = kddoctor("explain", typo)
    assert (answer.code, answer.out, answer.err.count("\n")) == (2, "", 1)
    assert f"did you mean {meant}" in answer.err


def test_no_code_at_all_is_bad_usage(kddoctor):
    answer = kddoctor("explain", "")
    assert (answer.code, answer.err) == (2, "kddoctor: no code is given; `kddoctor explain` lists them\n")


def test_a_code_like_no_other_leads_to_the_list(kddoctor):
    answer = kddoctor("explain", "qqqqqq")
    assert answer.code == 2
    assert "kddoctor explain" in answer.err


def test_the_version_is_printed(kddoctor):
    answer = kddoctor("--version")
    assert (answer.code, answer.out) == (0, f"kddoctor {package.__version__}\n")


def test_help_names_commands_and_exit_codes(kddoctor):
    answer = kddoctor("--help")
    assert answer.code == 0
    assert all(word in answer.out for word in ("diagnose", "explain", "Exit codes", "130"))


def loaded_after(code: str) -> set[str]:
    """Top-level modules in a fresh process that ran ``code``."""
    script = f"import sys\ntry:\n    {code}\nexcept SystemExit:\n    pass\nprint(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in done.stderr.split()}


@pytest.mark.parametrize(
    "code",
    [
        "import kddoctor",
        "sys.argv = ['kddoctor', '--help']; from kddoctor.cli import main; main()",
        "sys.argv = ['kddoctor', 'diagnose', '--help']; from kddoctor.cli import main; main()",
        "sys.argv = ['kddoctor', '--version']; from kddoctor.cli import main; main()",
    ],
    ids=["import", "help", "help of a command", "version"],
)
def test_nothing_heavy_is_loaded_before_it_is_needed(code):
    assert loaded_after(code) & HEAVY == set()


def test_bad_usage_loads_nothing_heavy():
    assert loaded_after("sys.argv = ['kddoctor', 'nonsense']; from kddoctor.cli import main; main()") & HEAVY == set()


def test_help_is_quick():
    times = []
    for _ in range(3):
        start = time.perf_counter()
        assert in_a_process("--help").code == 0
        times.append(time.perf_counter() - start)
    print(f"kddoctor --help: best of three {min(times):.2f} s")  # noqa: T201
    assert min(times) < 5, "a generous bound for busy machines; the modules are what is tested above"


def test_a_code_that_was_named_in_a_run_is_explained_by_its_evidence(kddoctor, runs):
    from kddoctor.engine import diagnose
    from kddoctor.run import load

    first = diagnose(load(runs["sick"])).causes[0]
    answer = kddoctor("explain", first.code, runs["sick"])
    assert answer.code == 0
    assert f"It is named as a cause, with confidence {first.confidence:.2f}." in answer.out
    assert "  for " in answer.out
    assert "before looking" in answer.out


def test_a_code_that_was_ruled_out_in_a_run_shows_what_spoke_against_it(kddoctor, runs):
    answer = kddoctor("explain", "KD101", runs["healthy"])
    assert "ruled out" in answer.out
    assert "  against " in answer.out


def test_a_code_that_could_not_look_says_what_it_needs(kddoctor, runs):
    answer = kddoctor("explain", "KD201", runs["inconclusive"])
    assert "not examined" in answer.out
    assert "run.step" in answer.out


def test_a_code_of_another_kind_of_task_says_so(kddoctor, runs):
    assert "A task of kind multiclass cannot have it." in kddoctor("explain", "KD803", runs["healthy"]).out
