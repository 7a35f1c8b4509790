"""A script as a process: passed on, kept, and ended whatever it does."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import psutil
import pytest

from kddoctor.treatment.scripts import running
from kddoctor.treatment.scripts.running import run_script


def ran(folder: Path, text: str, *words: str, quiet: bool = True, **environment: str) -> tuple[int, str]:
    (folder / "s.py").write_text(text, encoding="utf-8")
    status, output = run_script(["s.py", *words], folder, environment, quiet=quiet)
    return status, output.decode()


def test_its_words_variables_and_directory_are_those_that_were_given(tmp_path):
    status, said = ran(tmp_path, "import os, sys\nprint(sys.argv[1:], os.environ['A'], os.getcwd())", "x y", A="b")
    assert (status, said) == (0, f"['x y'] b {tmp_path.resolve()}\n")


@pytest.mark.parametrize("quiet", [False, True])
def test_what_it_says_goes_to_stderr_unless_quiet(tmp_path, capsys, quiet):
    status, said = ran(tmp_path, "import sys\nprint('é')\nsys.stderr.write('two')\nsys.exit(3)", quiet=quiet)
    assert (status, said) == (3, "é\ntwo")
    assert capsys.readouterr() == ("", "" if quiet else "é\ntwo")


def test_the_end_of_a_long_output_is_kept(tmp_path):
    _, said = ran(tmp_path, "for number in range(60_000): print(number)")
    assert said.endswith("59998\n59999\n")
    assert len(said) == running.KEPT_BYTES


def test_lines_that_come_one_by_one_are_kept_together(tmp_path):
    slowly = "import time\nfor number in range(60):\n    print(number)\n    time.sleep(0.005)\n"
    assert ran(tmp_path, slowly)[1].split() == [str(number) for number in range(60)]


def test_what_it_leaves_behind_is_ended(tmp_path):
    leaves = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid)
"""
    status, said = ran(tmp_path, leaves)
    assert status == 0
    gone, alive = psutil.wait_procs([psutil.Process(int(said))] if psutil.pid_exists(int(said)) else [], timeout=5)
    assert not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE], gone


def test_one_that_does_not_listen_is_ended_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(running, "PATIENCE", 0.5)
    deaf = """
import os, signal, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
with open("pid.partial", "w") as stream:
    stream.write(str(os.getpid()))
os.replace("pid.partial", "pid")
time.sleep(600)
"""

    def press_ctrl_c() -> None:
        while not (tmp_path / "pid").exists():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press_ctrl_c, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        ran(tmp_path, deaf)
    assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))
