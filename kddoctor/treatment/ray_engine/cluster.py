"""The Ray cluster that a treatment uses: the one that is there, or one of its own on this machine."""

import logging
import os
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from kddoctor.errors import UsageError

#: Of this process and of every worker. Nothing is reported to anybody, nothing is logged but what is asked for, workers
#: stay in the directory they are in, and an interruption is left to whoever started the treatment.
SETTINGS: Mapping[str, str] = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
}
QUIET: Mapping[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
#: Of a cluster of our own, which is closed to whoever does not know it. Ray would keep one in the home directory.
TOKEN = secrets.token_hex(32)


@contextmanager
def connected() -> Iterator[None]:
    """Inside, Ray can be used. A cluster that was there before is left as it was; one of our own ends with this.

    That there is one is said by RAY_ADDRESS, or by a connection of this process. Raises UsageError where it cannot be
    reached.
    """
    with _environment(SETTINGS):
        import ray

        if ray.is_initialized():
            yield
            return
        address = os.environ.get("RAY_ADDRESS")
        with _on_this_machine() if address is None else _at(address):
            yield


@contextmanager
def _on_this_machine() -> Iterator[None]:
    import ray

    # Sockets lie in the folder, whose path must be short for that: no place beside the output.
    with (
        tempfile.TemporaryDirectory(prefix="kddoctor-ray-", ignore_cleanup_errors=True) as folder,
        _environment({"RAY_AUTH_TOKEN": TOKEN}),
    ):
        ray.init(address="local", include_dashboard=False, _temp_dir=folder, **QUIET)
        try:
            yield
        finally:
            ray.shutdown()


@contextmanager
def _at(address: str) -> Iterator[None]:
    import ray

    try:
        ray.init(address=address, **QUIET)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UsageError(f"RAY_ADDRESS is {address}, where no Ray cluster can be reached: {error}") from None
    try:
        yield
    finally:
        ray.shutdown()


def check_room(workers: int) -> None:
    """Raises UsageError where the cluster has fewer processors than workers: Ray would wait for them for ever."""
    import ray

    there = int(ray.cluster_resources().get("CPU", 0))
    if there < workers:
        raise UsageError(f"{workers} workers need a processor each, and the Ray cluster has {there}")


@contextmanager
def _environment(settings: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
