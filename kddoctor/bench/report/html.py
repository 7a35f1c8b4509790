"""The report as one HTML file that asks nothing of the network."""

import io
from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from kddoctor.bench.report.tables import all_tables, left_out


def render_html(summary: Mapping[str, Any], command: str) -> str:
    """The whole report, the same bytes for the same summary."""
    environment = Environment(
        loader=PackageLoader("kddoctor.bench.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("benchmark.html.jinja").render(
        summary=summary,
        command=command,
        tables=all_tables(summary),
        left_out=left_out(summary),
        runs=sum(summary["counts"]["groups"].values()),
        reliability=reliability_diagram(summary),
    )


def reliability_diagram(summary: Mapping[str, Any]) -> str:
    """Stated confidence against the share that was right, as SVG."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.hashsalt": "kddoctor", "svg.fonttype": "none"}):
        figure = Figure(figsize=(4.2, 4.2), layout="constrained")
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle="--", label="perfect")
        for name, mark in (("seen", "o"), ("unseen", "s")):
            points = summary["reliability"][name]
            axes.plot([p["confidence"] for p in points], [p["right"] for p in points], mark, label=name)
        axes.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="stated confidence", ylabel="share right")
        axes.legend(loc="lower right")
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    svg = out.getvalue()
    return svg[svg.index("<svg") :]
