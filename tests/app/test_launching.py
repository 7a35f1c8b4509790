"""Starting the app: addresses, ports, safety, and a clean end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

import kddoctor
from kddoctor.app.launching import FIRST_PORT, address, free_port
from kddoctor.app.options import OPTIONS
from kddoctor.app.runs import open_runs
from kddoctor.errors import UsageError
from tests.cli.running import in_a_process

ROOT = Path(kddoctor.__file__).parents[1]


def test_the_configuration_file_says_what_the_launcher_passes():
    file = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text("utf-8"))

    def flat(table: dict, prefix: str = "") -> Iterator[tuple[str, object]]:
        for key, value in table.items():
            if isinstance(value, dict):
                yield from flat(value, f"{prefix}{key}.")
            else:
                yield f"{prefix}{key}", value

    assert dict(flat(file)) == dict(OPTIONS)


@pytest.mark.parametrize(("page", "path"), [("verdict", ""), ("signal", "signal"), ("treatment", "treat")])
def test_every_page_has_an_address(page, path):
    assert address(9000, page) == f"http://127.0.0.1:9000/{path}"


def test_a_page_that_does_not_exist_is_bad_usage_with_those_that_do():
    with pytest.raises(UsageError, match="known: verdict, signal"):
        address(9000, "verdicts")


def test_a_taken_port_is_bad_usage_and_another_one_is_found_where_none_is_asked_for():
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        taken = holder.getsockname()[1]
        with pytest.raises(UsageError, match=f"port {taken} is taken"):
            free_port(taken)
    assert free_port(None) >= FIRST_PORT


def test_runs_of_one_name_get_ids_of_their_own(tmp_path):
    paths = [tmp_path / parent / "run [1]" for parent in ("a", "b")]
    assert list(open_runs([str(path) for path in paths])) == ["run-1", "run-1-2"]


def test_a_finished_treatment_beside_a_run_is_opened_with_it(tmp_path):
    for name in ("run", "run-treated", "run-treated-2", "run-other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "kd_run.yaml").write_text("task: binary\n")
    (tmp_path / "run-treated" / "treatment.json").write_text("{}")
    found = open_runs([str(tmp_path / "run")])
    assert {run.id: run.treated_from for run in found.values()} == {"run": None, "run-treated": "run"}


@pytest.mark.parametrize("arguments", [["nowhere"], []])
def test_no_run_is_bad_usage_and_starts_nothing(tmp_path, arguments):
    answer = in_a_process("app", *arguments, "--no-browser", cwd=tmp_path)
    assert answer.code == 2
    assert "Traceback" not in answer.err


class Server:
    """``kddoctor app`` in a process."""

    def __init__(self, run: Path, folder: Path) -> None:
        self.port = free_port(None)
        self.log = folder / "log"
        command = [sys.executable, "-m", "kddoctor", "app", str(run), "--port", str(self.port), "--no-browser"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(folder)}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=folder)
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                self.status("127.0.0.1", "/_stcore/health")
                return
            except OSError:
                time.sleep(0.2)
        pytest.fail(self.log.read_text())

    def status(self, host: str, path: str = "/", **headers: str) -> int:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", headers={"Host": host, **headers})
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code


@pytest.fixture(scope="module")
def server(runs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    started = Server(runs["sick"], tmp_path_factory.mktemp("server"))
    yield started
    if started.process.poll() is None:
        started.process.kill()
        started.process.wait()


def test_it_prints_the_address_and_serves_it(server):
    assert f"kddoctor app: http://127.0.0.1:{server.port}/" in server.log.read_text()
    assert server.status(f"127.0.0.1:{server.port}") == 200


def test_it_listens_on_this_machine_alone(server):
    listening = [c for c in psutil.Process(server.process.pid).net_connections("inet") if c.status == "LISTEN"]
    assert {c.laddr.ip for c in listening} == {"127.0.0.1"}


@pytest.mark.parametrize(("host", "lets_in"), [("127.0.0.1", True), ("evil.example", False)])
def test_only_this_machines_own_names_get_a_session(server, host, lets_in):
    """A web page that rebinds its own name to loopback would come with that name."""
    hello = (
        f"GET /_stcore/stream HTTP/1.1\r\nHost: {host}:{server.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {'A' * 22}==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(hello.encode())
        answer = connection.recv(64).decode(errors="replace")
    assert answer.startswith("HTTP/1.1 101") is lets_in, answer


def test_an_interruption_ends_it_cleanly(server):
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(timeout=30) in (0, 130)
    assert "Traceback" not in server.log.read_text()
