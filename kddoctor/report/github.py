"""The diagnosis as workflow commands of GitHub Actions, which it shows as annotations of a commit."""

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TextIO

from kddoctor.engine.diagnosis import Diagnosis, FindingReport
from kddoctor.errors import one_line
from kddoctor.report.place import Place, place_of
from kddoctor.run.directory import Run

#: Annotations of one run; GitHub drops those beyond a few for each step.
MOST = 5


def render_github(diagnosis: Diagnosis, run: Run) -> str:
    """A line for each of the first causes, one where nobody can tell, none where the run is healthy."""
    return "".join(f"{line}\n" for line in _annotations(diagnosis, run))


@contextmanager
def commands_off(diagnosis: Diagnosis, stream: TextIO) -> Iterator[None]:
    """GitHub reads no commands in what is printed inside: names of the run in it may look like some.

    The token that ends this is a digest of the whole diagnosis, so that nothing in the diagnosis can name it.
    """
    token = hashlib.sha256(diagnosis.to_json().encode()).hexdigest()
    stream.write(f"::stop-commands::{token}\n")
    try:
        yield
    finally:
        stream.write(f"::{token}::\n")


def _annotations(diagnosis: Diagnosis, run: Run) -> Iterator[str]:
    if diagnosis.verdict == "inconclusive":
        advice = [f"To get an answer: {line}" for line in diagnosis.advice]
        place = place_of(None, run.path)
        yield _command("warning", place, "kddoctor: cannot tell", [diagnosis.summary, *advice])
        return
    sick = [cause for cause in diagnosis.causes if cause.severity != "note"]
    for cause in sick[:MOST]:
        place = place_of(cause.where, run.path)
        yield _command(cause.severity, place, f"{cause.code} {cause.title}", _message(cause))


def _message(cause: FindingReport) -> Iterator[str]:
    yield cause.summary
    if cause.where is not None:
        yield f"where: {cause.where}"
    if cause.prescription is not None:
        yield f"fix: {cause.prescription.summary}"
    yield f"confidence {cause.confidence:.2f}; kddoctor explain {cause.code}"


def _command(level: str, place: Place, title: str, message: Iterable[str]) -> str:
    properties = f"file={_property(place.path)},line={place.position.line},title={_property(title)}"
    return f"::{level} {properties}::" + _data("\n".join(map(one_line, message)))


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(one_line(text)).replace(":", "%3A").replace(",", "%2C")
