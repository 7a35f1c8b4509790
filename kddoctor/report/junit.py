"""The diagnosis as JUnit XML, for CI servers that show tests: one test for the verdict, one for each code."""

from collections.abc import Iterator
from xml.etree import ElementTree as ET

from kddoctor.engine.diagnosis import Diagnosis, FindingReport
from kddoctor.errors import one_line
from kddoctor.report.place import Place, place_of
from kddoctor.rules.registry import all_rules
from kddoctor.run.directory import Run


def render_junit(diagnosis: Diagnosis, run: Run) -> str:
    """One test suite. A cause is a failure, a code that was ruled out passes, every other is skipped with the reason.

    The verdict fails where the run is sick and is an error where nobody can tell, so that a record that is too thin
    never looks like a healthy run.
    """
    suite = ET.Element("testsuite", name=one_line(f"kddoctor {diagnosis.run}"))
    suite.append(_verdict(diagnosis, run))
    suite.extend(_finding(finding, run) for finding in diagnosis.findings)
    suite.extend(_skipped(item.code, f"not examined: {item.how}", run) for item in diagnosis.not_examined)
    for code in diagnosis.undecided:
        suite.append(_skipped(code, "undecided: nothing recorded speaks for it or against it", run))
    suite.extend(_case(code, run) for code in diagnosis.ruled_out)
    for name, tag in (("tests", "testcase"), ("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(name, str(sum(1 for _ in suite.iter(tag))))
    root = ET.Element("testsuites")
    root.append(suite)
    ET.indent(root)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _verdict(diagnosis: Diagnosis, run: Run) -> ET.Element:
    case = _test("kddoctor", "verdict", place_of(None, run.path))
    summary = one_line(diagnosis.summary)
    if diagnosis.verdict == "sick":
        ET.SubElement(case, "failure", type="sick", message=summary)
    elif diagnosis.verdict == "inconclusive":
        advice = "\n".join(one_line(line) for line in diagnosis.advice)
        ET.SubElement(case, "error", type="inconclusive", message=summary).text = advice
    return case


def _finding(finding: FindingReport, run: Run) -> ET.Element:
    if finding.role == "symptom":
        return _skipped(finding.code, f"symptom: {finding.explained_by} explains it", run)
    if finding.role == "contributor":
        return _skipped(finding.code, f"suspected only, confidence {finding.confidence:.2f}: {finding.summary}", run)
    case = _case(finding.code, run, finding.where)
    details = "\n".join(_details(finding))
    if finding.severity == "note":
        ET.SubElement(case, "system-out").text = f"{one_line(finding.summary)}\n{details}"
    else:
        ET.SubElement(case, "failure", type=finding.severity, message=one_line(finding.summary)).text = details
    return case


def _details(finding: FindingReport) -> Iterator[str]:
    yield f"confidence {finding.confidence:.2f}, {finding.status}"
    for item in finding.evidence:
        if item.supports:
            yield f"for: {one_line(item.text)}"
    for text in finding.against:
        yield f"against: {one_line(text)}"
    if finding.where is not None:
        yield f"where: {one_line(finding.where)}"
    if finding.prescription is not None:
        yield f"fix: {one_line(finding.prescription.summary)}"
    yield f"kddoctor explain {finding.code}"


def _skipped(code: str, reason: str, run: Run) -> ET.Element:
    case = _case(code, run)
    ET.SubElement(case, "skipped", message=one_line(reason))
    return case


def _case(code: str, run: Run, where: str | None = None) -> ET.Element:
    rule = all_rules()[code]
    return _test(f"kddoctor.{rule.family}", f"{code} {rule.name}", place_of(where, run.path))


def _test(classname: str, name: str, place: Place) -> ET.Element:
    # Servers match tests by class and name between builds: neither may depend on what was measured.
    return ET.Element(
        "testcase", classname=classname, name=name, file=one_line(place.path), line=str(place.position.line)
    )
