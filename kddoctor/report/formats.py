"""Every file that a diagnosis can be written as, by the name of its option."""

from collections.abc import Callable, Mapping

from kddoctor.engine.diagnosis import Diagnosis
from kddoctor.report.junit import render_junit
from kddoctor.report.markdown import render_markdown
from kddoctor.report.sarif import render_sarif
from kddoctor.run.directory import Run

#: From a diagnosis, and the run that it is of, to the text of a file.
Renderer = Callable[[Diagnosis, Run], str]

RENDERERS: Mapping[str, Renderer] = {
    "json": lambda diagnosis, _: diagnosis.to_json(),
    "md": render_markdown,
    "sarif": render_sarif,
    "junit": render_junit,
}
