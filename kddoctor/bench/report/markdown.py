"""The report as Markdown, and the README's table."""

from collections.abc import Mapping
from typing import Any

from kddoctor.bench.report.tables import ALARMS, NAMES, Table, all_tables, left_out
from kddoctor.errors import UsageError

OPEN, CLOSE = "<!-- benchmark -->", "<!-- /benchmark -->"
README_FIGURES = (
    "detection",
    "top1",
    "top3",
    *ALARMS,
    "unknown",
    "pair_first",
    "precision_at_09",
    "top1_with_missing",
)


def render_markdown(summary: Mapping[str, Any], command: str) -> str:
    """The whole report. command: what makes it anew."""
    counts = summary["counts"]
    parts = [
        "# The fault benchmark",
        f"Made by `{command}`. {sum(counts['groups'].values())} runs of {len(summary['tasks'])} tasks: "
        f"{counts['faults_with_effect']} faults with a measured effect, {counts['sound_certified']} sound runs "
        f"({counts['lookalikes_certified']} of them look ill), {counts['pairs_with_effect']} pairs, "
        f"{counts['outside_with_effect']} faults outside the catalogue.{left_out(summary)}",
        *(f"## {table.title}\n\n{table.caption}\n\n{_grid(table)}" for table in all_tables(summary)),
        _small_print(summary),
    ]
    return "\n\n".join(parts) + "\n"


def _grid(table: Table) -> str:
    lines = [table.heads, tuple("---" for _ in table.heads), *table.rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _small_print(summary: Mapping[str, Any]) -> str:
    latent, cost = summary["latent"], summary["cost"]
    return "\n\n".join(
        [
            "## Small print",
            f"Latent: {latent['n']} runs with a mistake did no measurable harm and count nowhere above. Of these "
            f"{latent['named_right']} were named rightly, {latent['called_otherwise']} by another code, "
            f"{latent['silent']} not at all. By code: {_listed(latent['by_code'])}.",
            f"Sound runs left out, since their outcome is not that of a sound run: {len(summary['uncertified'])}.\n"
            + "".join(f"\n- {line}" for line in summary["uncertified"]),
            f"Seeds alone move the metric by (standard deviation): {_listed(summary['deviation'], '{:.4f}')}.",
            f"Codes with a fault and without a rule, counted as misses where it says so: "
            f"{', '.join(summary['codes_without_rule']) or 'none'}.",
            "Codes without a fault:\n"
            + "".join(f"\n- {c}: {why}" for c, why in summary["codes_without_fault"].items()),
            f"Median seconds of a diagnosis {cost['diagnosis_seconds_median']:.2f}, longest "
            f"{cost['diagnosis_seconds_max']:.2f}; of a training {cost['training_seconds_median']:.2f}.",
            f"Cases that could not be made: {len(summary['broken'])}."
            + "".join(f"\n- {b['label']}: {b['error']}" for b in summary["broken"]),
        ]
    )


def _listed(values: Mapping[str, Any], form: str = "{}") -> str:
    return ", ".join(f"{key} {form.format(value)}" for key, value in values.items()) or "none"


def readme_table(summary: Mapping[str, Any]) -> str:
    """A few figures, seen beside unseen."""
    lines = ["| | seen tasks and implementations | unseen | target |", "| --- | --- | --- | --- |"]
    wanted = {t["name"]: t for t in summary["targets"]}
    for name in README_FIGURES:
        seen, unseen = (_shown(summary[which][name]) for which in ("seen", "unseen"))
        target = wanted.get(name)
        bound = "" if target is None else _bound(target)
        lines.append(f"| {NAMES[name]} | {seen} | {unseen} | {bound} |")
    return "\n".join(lines)


def fill_readme(text: str, summary: Mapping[str, Any]) -> str:
    """The README with the table between its two marks. Raises UsageError where the marks are missing."""
    before, opened, rest = text.partition(OPEN)
    _, closed, after = rest.partition(CLOSE)
    if not opened or not closed:
        raise UsageError(f"README.md: found no {OPEN} … {CLOSE} to fill")
    return f"{before}{OPEN}\n{readme_table(summary)}\n{CLOSE}{after}"


def _bound(target: Mapping[str, Any]) -> str:
    least, most = target["at_least"], target["at_most"]
    return f"≥ {_shown(least)}" if least is not None else f"≤ {_shown(most)}"


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.0f} %"
