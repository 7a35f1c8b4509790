"""The evidence matrix: one line for every diagnosis, failures first."""

import csv
import io
from collections.abc import Sequence

from kddoctor.bench.gate import Gate
from kddoctor.bench.judging import Result

HEADS = (
    "failed",
    "group",
    "task",
    "seen_task",
    "code",
    "name",
    "unseen_implementation",
    "level",
    "seed",
    "tier",
    "severity",
    "verdict",
    "causes",
    "ranked",
    "confidence",
    "teacher",
    "student",
    "twin",
    "labels_only",
    "refused",
)


def evidence_matrix(results: Sequence[Result], gate: Gate) -> str:
    """CSV. Failed: a fault whose first cause is not true, a certified sound run called sick, an unknown one named."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(HEADS)
    rows = [_row(r, gate) for r in results]
    rows.sort(key=lambda row: (-int(row[0]), *row[1:]))
    writer.writerows(rows)
    return out.getvalue()


def _row(r: Result, gate: Gate) -> tuple[str, ...]:
    case = r.case
    severity = ("certified" if case.key in gate.certified else "uncertified") if case.sound else gate.severity[case.key]
    failed = r.sick if case.sound or not case.truth else not r.right
    return (
        str(int(failed and severity not in ("latent", "uncertified"))),
        case.group,
        case.task,
        str(int(not case.unseen_task)),
        "+".join(case.truth),
        case.name,
        str(int(case.unseen_implementation)),
        "" if case.level is None else case.level.name.lower(),
        str(case.seed),
        r.tier.value,
        str(severity),
        r.verdict,
        "+".join(r.causes),
        "+".join(r.ranked),
        f"{r.confidence:.2f}",
        *(f"{value:.4f}" for value in (r.outcome.teacher, r.outcome.student, r.twin.student)),
        "" if r.outcome.baseline is None else f"{r.outcome.baseline:.4f}",
        r.refused or "",
    )
