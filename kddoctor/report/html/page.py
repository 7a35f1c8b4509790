"""Puts the page together: which sections there are, and what stands in them."""

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from kddoctor.engine.diagnosis import Diagnosis
from kddoctor.engine.leads import MEANING
from kddoctor.engine.measuring import measure
from kddoctor.errors import one_line
from kddoctor.probes.proportions import SURE
from kddoctor.report.html.cause_cards import cards, evidence_table, inline_markup
from kddoctor.report.html.next_steps import next_steps
from kddoctor.report.html.palette import DARK, LIGHT, css_variables
from kddoctor.report.html.pictures import Picture, picture_of
from kddoctor.report.html.provenance import provenance
from kddoctor.report.html.soft_target_slider import slider_of
from kddoctor.report.html.tables import table_of
from kddoctor.report.views import (
    Examples,
    Missing,
    View,
    before_after,
    capacity_or_training,
    cartography,
    checks,
    confusion_difference,
    entropy_curve,
    gap_map,
    gap_waterfall,
    layer_similarity,
    loss_balance,
    read_examples,
    reliability,
    similarity_over_time,
    tradeoff,
    training_curves,
    worst_examples,
)
from kddoctor.report.views.target_rows import target_temperature
from kddoctor.run.directory import Run
from kddoctor.treatment.reading import treatment_of

PACKAGE = "kddoctor.report.html"
#: Anchor and heading of each section of pictures, and its views, in the order of the page. Without a heading, the
#: question of its only picture is one.
SECTIONS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("gap", "", ("gap_waterfall",)),
    ("signal", "", ("entropy_curve",)),
    ("training", "The loss and the training", ("loss_balance", "training_curves", "capacity_or_training")),
    ("layers", "The layers", ("layer_similarity", "similarity_over_time")),
    ("examples", "Examples and classes", ("gap_map", "cartography", "confusion_difference")),
    ("confidence", "", ("reliability",)),
    ("worth", "", ("tradeoff",)),
    ("treatment", "", ("before_after",)),
)
#: Worst examples that are listed.
WORST = 20
WORST_COLUMNS = (
    *("row", "id", "label", "teacher", "student"),
    *("teacher_confidence", "student_confidence", "student_loss", "kl"),
)


@dataclass(frozen=True)
class Section:
    """Pictures under one heading."""

    anchor: str
    heading: str
    pictures: tuple[Picture, ...]


def render_html(
    diagnosis: Diagnosis,
    run: Run,
    *,
    measured: Mapping[type, object] | None = None,
    before: Run | None = None,
) -> str:
    """The whole report, the same bytes for the same run.

    measured: what ``measure`` gave for the run, where it was called already. before: the run that this one is a
    treatment of, for a comparison row by row. Raises RunError for a record that cannot be read.
    """
    measured = measure(run) if measured is None else measured
    examples = read_examples(run)
    views = _views(diagnosis, run, measured, examples, before)
    pictures = {view.name: picture_of(view) for view in views if isinstance(view, View)}
    sections = [
        Section(anchor, heading, tuple(pictures[name] for name in names if name in pictures))
        for anchor, heading, names in SECTIONS
    ]
    checked = checks(diagnosis)
    script = _text("slider.js")
    style = _text("report.css")
    style = style.replace("/*light*/", css_variables(LIGHT)).replace("/*dark*/", css_variables(DARK))
    return (
        _environment()
        .get_template("report.html.jinja")
        .render(
            diagnosis=diagnosis,
            gap=diagnosis.gap,
            half_width=SURE * (diagnosis.gap.standard_error or 0.0),
            path=one_line(str(run.path)),
            steps=next_steps(diagnosis, str(run.path)),
            cards=cards(run, diagnosis, frozenset(pictures)),
            sections=[section for section in sections if section.pictures],
            worst=None if isinstance(examples, Missing) else _worst(examples),
            slider=slider_of(run, examples, target_temperature(run, measured)),
            flips=_flips(views),
            missing=[view for view in views if isinstance(view, Missing) and view.name != "before_after"],
            checked=checked,
            states={state: checked.frame[checked.frame["state"] == state] for state in checked.frame["state"].unique()},
            limits=evidence_table([item for finding in diagnosis.findings for item in finding.evidence]),
            leads_are=MEANING,
            reassuring=evidence_table(list(diagnosis.reassuring)),
            provenance=provenance(run),
            style=Markup(style),
            script=Markup(script),
            style_hash=_hash(style),
            script_hash=_hash(script),
            data=_embedded(diagnosis),
        )
    )


def _views(
    diagnosis: Diagnosis,
    run: Run,
    measured: Mapping[type, object],
    examples: Examples | Missing,
    before: Run | None,
) -> list[View | Missing]:
    treatment = treatment_of(run)
    per_row: list[View | Missing] = [examples] if isinstance(examples, Missing) else []
    if not isinstance(examples, Missing):
        per_row = [gap_map(examples), confusion_difference(examples), reliability(examples)]
    return [
        gap_waterfall(diagnosis, treatment),
        entropy_curve(run, measured),
        loss_balance(run, measured),
        training_curves(run),
        capacity_or_training(measured),
        layer_similarity(run, measured),
        similarity_over_time(run),
        cartography(run),
        *per_row,
        tradeoff(run, diagnosis, treatment),
        before_after(examples, None if before is None else read_examples(before), treatment),
    ]


def _worst(examples: Examples) -> tuple[View, object]:
    view = worst_examples(examples, WORST)
    # Where the record has no ids, they are the rows.
    hidden = "id" if view.frame["id"].equals(view.frame["row"]) else None
    return view, table_of(view.frame[[name for name in WORST_COLUMNS if name != hidden]])


def _flips(views: list[View | Missing]) -> dict[str, int]:
    """Rows by what became of their answer; nothing without the run before treatment."""
    frames = [view.frame for view in views if isinstance(view, View) and view.name == "before_after"]
    turned = [frame[frame["kind"] == "flip"] for frame in frames]
    pairs = [pair for frame in turned if len(frame) for pair in zip(frame["name"], frame["rows"], strict=True)]
    return {str(name): int(rows) for name, rows in pairs}


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader(PACKAGE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["inline"] = inline_markup
    return environment


def _text(name: str) -> str:
    return resources.files(PACKAGE).joinpath("templates", name).read_text("utf-8").strip()


def _hash(text: str) -> str:
    """As a content security policy wants it."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _embedded(diagnosis: Diagnosis) -> Markup:
    """JSON that no HTML parser can take for anything else."""
    text = json.dumps(json.loads(diagnosis.to_json()), ensure_ascii=False, separators=(",", ":"))
    # Inside strings only, where the escapes mean the same characters.
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))
