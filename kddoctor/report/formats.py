"""Every file that a diagnosis can be written as, by the name of its option."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from kddoctor.engine.diagnosis import Diagnosis
from kddoctor.report.junit import render_junit
from kddoctor.report.markdown import render_markdown
from kddoctor.report.sarif import render_sarif
from kddoctor.run.directory import Run


@dataclass(frozen=True)
class Subject:
    """What a file is about. measured: of the run. before: the run that a treated one came from, to compare with."""

    diagnosis: Diagnosis
    run: Run
    measured: Mapping[type, object]
    before: Run | None = None


def _html(subject: Subject) -> str:
    # matplotlib and pandas are slow to load.
    from kddoctor.report.html import render_html

    return render_html(subject.diagnosis, subject.run, measured=subject.measured, before=subject.before)


#: To the text of a file.
RENDERERS: Mapping[str, Callable[[Subject], str]] = {
    "json": lambda subject: subject.diagnosis.to_json(),
    "html": _html,
    "md": lambda subject: render_markdown(subject.diagnosis, subject.run),
    "sarif": lambda subject: render_sarif(subject.diagnosis, subject.run),
    "junit": lambda subject: render_junit(subject.diagnosis, subject.run),
}
