"""The progress file of a treatment, as other processes read it."""

from __future__ import annotations

from pathlib import Path

from kddoctor.treatment.journal import Begun, Journal, read_journal
from kddoctor.treatment.process import Process

BEGUN = Begun("/run", "/out", "KD202", None, "accuracy", 0.5, 0.9, Process(1, 2.5))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.begin(BEGUN)
    journal.epoch(1, 3, 0.25)
    journal.epoch(2, 3, 0.5)
    begun, epochs = read_journal(tmp_path)
    assert begun == BEGUN
    assert [(e.epoch, e.epochs, e.accuracy) for e in epochs] == [(1, 3, 0.25), (2, 3, 0.5)]
    assert epochs[0].time <= epochs[1].time


def test_a_resumed_treatment_goes_on_in_the_same_file(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.begin(BEGUN)
    journal.epoch(1, 3, 0.25)
    again = Begun(**{**vars(BEGUN), "process": Process(9, 9.0)})
    journal.begin(again)
    journal.epoch(2, 3, 0.5)
    begun, epochs = read_journal(tmp_path)
    assert begun == again
    assert [e.epoch for e in epochs] == [1, 2]


def test_a_line_that_was_cut_short_or_makes_no_sense_is_left_out(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.begin(BEGUN)
    journal.epoch(1, 3, 0.25)
    with journal.path.open("a") as stream:
        stream.write('[]\n{"epoch": {"epoch": 2}}\n{"begun": 3}\n{"epoch": {"epo')
    begun, epochs = read_journal(tmp_path)
    assert begun == BEGUN
    assert [e.epoch for e in epochs] == [1]


def test_no_file_is_no_treatment(tmp_path: Path) -> None:
    assert read_journal(tmp_path / "nowhere") == (None, ())
