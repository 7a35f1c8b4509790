"""Recorded runs of one's own are judged against the truth that somebody wrote down."""

from __future__ import annotations

from pathlib import Path

import pytest

from kddoctor.bench.labelled import Judged, Labelled, judge_labelled, read_truth, shares
from kddoctor.errors import STRICT, UsageError
from tests import builders as b
from tests.builders import recorded_run
from tests.cli.running import Command
from tests.forensics import losses


def written(path: Path, *lines: str, head: str = "run,code,student_metric,healthy_metric") -> Path:
    path.write_text("\n".join((head, *lines)) + "\n", "utf-8")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sound run, a KL averaged over classes, a student that no code explains, and a record without a manifest."""
    recorded_run(tmp_path / "runs" / "r0")
    recorded_run(tmp_path / "runs" / "r1", kd=losses.kl(reduction="mean"))
    recorded_run(tmp_path / "runs" / "r2", student=b.forgetting(0.4))
    (tmp_path / "runs" / "r3").mkdir()
    return tmp_path


def test_runs_are_held_against_their_truth(folder: Path) -> None:
    truth = written(folder / "truth.csv", "r0,,0.9,0.9", "r1,KD201,0.8,0.9", "r2,OUTSIDE,,", "r3,,,")
    told: list[tuple[str, int, int]] = []
    judged = judge_labelled(read_truth(truth), 1, lambda *now: told.append(now))
    assert [one.verdict for one in judged] == ["healthy", "sick", "inconclusive", "refused"]
    assert [one.right for one in judged] == [True, True, True, False]
    assert "kd_run.yaml" in judged[3].reason
    assert told[-1] == ("judging", 4, 4)
    found = {share.name: (share.hits, share.all) for share in shares(judged)}
    assert found["first cause is true"] == found["faults with an effect called sick"] == (1, 1)
    assert found["sound runs called sick"] == (0, 2)
    assert found["sound runs that could not be read"] == (1, 2)
    assert found["unknown faults left without a name"] == (1, 1)


def test_the_command_prints_misses_and_shares(folder: Path, capsys, monkeypatch) -> None:
    truth = written(folder / "truth.csv", "r1,KD202", "r0,", head="run,code")
    monkeypatch.setenv(STRICT, "1")  # as the command does, and taken back afterwards
    said = Command(capsys, monkeypatch)("bench", "--truth", truth, "--jobs", "1")
    assert said.code == 0
    assert "KD202" in said.out
    assert "0 of 1" in said.out
    assert "95 % interval" in said.out


def test_a_fault_without_an_effect_counts_for_nothing() -> None:
    idle = Judged(Labelled(Path("r"), "KD202", 0.004), "healthy", ())
    costs = Judged(Labelled(Path("r"), "KD202", 0.2), "sick", ("KD205", "KD202"))
    found = {share.name: (share.hits, share.all) for share in shares([idle, costs])}
    assert found["first cause is true"] == (0, 1)
    assert found["true cause among the first three"] == found["named by another code first"] == (1, 1)
    assert found["faults with an effect called healthy"] == (0, 1)
    assert "sound runs called sick" not in found


@pytest.mark.parametrize(
    ("head", "line", "expected"),
    [
        ("run,truth", "r0,KD201", "holds run, truth; expected a table with the columns run and code"),
        ("run,code", "r0,KD999", "line 2: code is 'KD999'; expected a code, OUTSIDE, or nothing"),
        ("run,code", "r9,KD201", "line 2: there is no directory"),
        ("run,code,student_metric,healthy_metric", "r0,KD201,high,0.9", "line 2: student_metric or healthy_metric"),
    ],
)
def test_a_table_that_cannot_be_is_one_line(folder: Path, head: str, line: str, expected: str) -> None:
    with pytest.raises(UsageError, match=r"truth\.csv") as refused:
        read_truth(written(folder / "truth.csv", line, head=head))
    assert expected in str(refused.value)


def test_a_truth_that_is_missing_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_truth(tmp_path / "truth.csv")


def test_a_run_may_stand_beside_the_table(tmp_path: Path) -> None:
    recorded_run(tmp_path / "r0", student=b.forgetting(0.1))
    assert read_truth(written(tmp_path / "truth.csv", "r0,,,"))[0].path == tmp_path / "r0"
