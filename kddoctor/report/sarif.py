"""The diagnosis as SARIF 2.1.0, for code scanning and editors."""

import hashlib
import json
import re
from typing import Any

from kddoctor import __version__
from kddoctor.engine.diagnosis import Diagnosis, FindingReport
from kddoctor.errors import one_line
from kddoctor.report.explain_markdown import explain_markdown
from kddoctor.report.place import place_of
from kddoctor.rules.finding import Finding
from kddoctor.rules.registry import Rule, all_rules
from kddoctor.run.directory import Run
from kddoctor.run.key_position import START, KeyPosition

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
#: Levels of SARIF are called as severities are; rules that say nothing else find errors.
USUAL_LEVEL = Finding().severity
#: Names the root of the checkout, from which URIs are relative.
ROOT = "SRCROOT"

Json = dict[str, Any]


def render_sarif(diagnosis: Diagnosis, run: Run) -> str:
    """One SARIF log of one run: a rule for each code, a result for each finding, a notification for what was not seen.

    A symptom is a note, since its cause is reported. Where the verdict is inconclusive the execution counts as
    unsuccessful, so that a log without results is not taken for a clean one.
    """
    codes = list(all_rules())
    log = {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "kddoctor",
                        "semanticVersion": __version__,
                        "rules": [_rule(rule) for rule in all_rules().values()],
                    }
                },
                # The identity of this run among the uploads of one commit.
                "automationDetails": {"id": f"kddoctor/{one_line(diagnosis.run)}/"},
                "columnKind": "unicodeCodePoints",
                "originalUriBaseIds": {ROOT: {"description": {"text": "The directory that kddoctor was run in."}}},
                "invocations": [_invocation(diagnosis, codes)],
                "results": [_result(finding, diagnosis, run, codes) for finding in diagnosis.findings],
                "properties": {"verdict": diagnosis.verdict, "gap": diagnosis.gap.model_dump()},
            }
        ],
    }
    return json.dumps(log, indent=2, ensure_ascii=False) + "\n"


def _rule(rule: Rule) -> Json:
    title = rule.title.rstrip(".") + "."
    return {
        "id": rule.code,
        "name": "".join(part.capitalize() for part in rule.name.split("-")),
        "shortDescription": {"text": title},
        "fullDescription": {"text": title},
        "help": {"text": rule.page, "markdown": explain_markdown(rule)},
        "defaultConfiguration": {"level": USUAL_LEVEL},
        "properties": {"tags": [rule.family]},
    }


def _result(finding: FindingReport, diagnosis: Diagnosis, run: Run, codes: list[str]) -> Json:
    place = place_of(finding.where, run.path)
    identity = f"{diagnosis.run}:{finding.code}"
    location: Json = {
        "physicalLocation": {
            "artifactLocation": {"uri": place.uri, "uriBaseId": ROOT},
            "region": _region(place.position),
        }
    }
    if finding.where is not None:
        location["message"] = {"text": _plain(finding.where)}
    return {
        "ruleId": finding.code,
        "ruleIndex": codes.index(finding.code),
        "level": "note" if finding.role == "symptom" else finding.severity,
        "message": {"text": _message(finding)},
        "locations": [location],
        "partialFingerprints": {
            "runAndCode/v1": identity,
            # The one that GitHub compares; without it GitHub hashes the line, and needs the file in the repository.
            "primaryLocationLineHash": f"{hashlib.sha256(identity.encode()).hexdigest()[:16]}:1",
        },
        "rank": round(100 * finding.confidence, 1),
        "properties": {
            "role": finding.role,
            "status": finding.status,
            "confidence": finding.confidence,
            "explained_by": finding.explained_by,
        },
    }


def _region(position: KeyPosition) -> Json:
    line: Json = {"startLine": position.line}
    # A finding that names no key is one of the whole file.
    return line if position == START else {**line, "startColumn": position.column, "endColumn": position.end_column}


def _message(finding: FindingReport) -> str:
    lines = [finding.summary or finding.title]
    if finding.explained_by is not None:
        lines.append(f"Explained by {finding.explained_by}.")
    lines += [f"For: {item.text}" for item in finding.evidence if item.supports]
    lines += [f"Against: {text}" for text in finding.against]
    if finding.prescription is not None:
        lines.append(f"Fix: {finding.prescription.summary}")
    return "\n".join(_plain(line) for line in lines)


def _plain(text: str) -> str:
    """A line without the brackets that SARIF (section 3.11.6) reads as a link."""
    return re.sub(r"([\[\]\\])", r"\\\1", one_line(text))


def _invocation(diagnosis: Diagnosis, codes: list[str]) -> Json:
    silent = [
        {
            "descriptor": {"id": "not-examined"},
            "associatedRule": {"id": item.code, "index": codes.index(item.code)},
            "level": "note",
            "message": {"text": _plain(f"{item.code} was not examined: {item.how}")},
        }
        for item in diagnosis.not_examined
    ]
    if diagnosis.verdict != "inconclusive":
        return {"executionSuccessful": True, "toolExecutionNotifications": silent}
    advice = [f"To get an answer: {line}" for line in diagnosis.advice]
    cannot_tell = {
        "descriptor": {"id": "inconclusive"},
        "level": "error",
        "message": {"text": "\n".join(map(_plain, [f"Cannot tell. {diagnosis.summary}", *advice]))},
    }
    return {"executionSuccessful": False, "toolExecutionNotifications": [cannot_tell, *silent]}
