"""Checks as a JUnit file: one suite a family, one test case a check, in the form that pytest's --junitxml has."""

from collections.abc import Iterator
from xml.etree import ElementTree as ET

from kddoctor.checks.results import CheckResult, Outcome, RunChecks, by_family


def junit_text(checks: RunChecks) -> str:
    """The XML, the same bytes for the same checks: it holds no time and no machine."""
    root = ET.Element("testsuites", {"name": f"kddoctor check {checks.run}", **_totals(checks.results)})
    for family, members in by_family(checks.results):
        suite = ET.SubElement(root, "testsuite", {"name": family, **_totals(members)})
        for result in members:
            suite.append(_case(checks.run, result))
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _totals(results: tuple[CheckResult, ...]) -> dict[str, str]:
    outcomes = [result.outcome for result in results]
    return {
        "tests": str(len(outcomes)),
        "failures": str(outcomes.count(Outcome.FAILED)),
        "errors": str(outcomes.count(Outcome.ERROR)),
        "skipped": str(outcomes.count(Outcome.SKIPPED) + outcomes.count(Outcome.XFAILED)),
    }


def _case(run: str, result: CheckResult) -> ET.Element:
    case = ET.Element("testcase", classname=f"{run}.{result.family}", name=result.id, time="0")
    properties = ET.SubElement(case, "properties")
    for name, value in result.properties():
        ET.SubElement(properties, "property", name=name, value=str(value))
    for tag, attributes, text in _outcome(result):
        ET.SubElement(case, tag, attributes).text = text
    return case


def _outcome(result: CheckResult) -> Iterator[tuple[str, dict[str, str], str]]:
    if result.outcome is Outcome.FAILED:
        yield "failure", {"message": result.headline}, result.message
    elif result.outcome is Outcome.ERROR:
        yield "error", {"message": result.headline}, result.headline
    elif result.outcome is Outcome.SKIPPED:
        yield "skipped", {"type": "pytest.skip", "message": result.reason}, result.reason
    elif result.outcome is Outcome.XFAILED:
        yield "skipped", {"type": "pytest.xfail", "message": result.reason}, result.reason
