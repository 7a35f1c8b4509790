"""What is worked out from a run before its pages can be shown. Imports the whole of kddoctor but torch."""

from collections.abc import Callable, Mapping
from pathlib import Path

from kddoctor.app.preparing import Report
from kddoctor.app.summary import write_report, write_summary
from kddoctor.app.thumbnails import thumbnails
from kddoctor.engine.diagnosis import Diagnosis, diagnose
from kddoctor.engine.measuring import measure
from kddoctor.report import views
from kddoctor.report.html import render_html
from kddoctor.report.views import Examples, Missing, View
from kddoctor.report.views.cause_changes import cause_changes
from kddoctor.report.views.check_evidence import check_evidence
from kddoctor.report.views.config_difference import config_difference
from kddoctor.report.views.curve_window import curves_of_two
from kddoctor.report.views.entropy_histogram import entropy_histogram
from kddoctor.report.views.flipped_examples import flipped_examples
from kddoctor.report.views.layer_dimensions import layer_dimensions
from kddoctor.report.views.layer_spectra import layer_spectra
from kddoctor.run.directory import Run, load
from kddoctor.treatment.reading import treatment_of
from kddoctor.treatment.treat import Treatment

Shown = View | Missing


def summarise(path: Path, target: Path, report: Report) -> None:
    """Diagnose a run, work out every picture's numbers, and write them to ``target``; then the report. Raises RunError.

    The pages can be shown as soon as the numbers are there; the report is for taking away.
    """
    steps = 4
    report("measuring", 0, steps)
    run = load(path)
    measured = measure(run)
    report("weighing the evidence", 1, steps)
    diagnosis = diagnose(run, measured=measured)
    report("reading the examples", 2, steps)
    examples = views.read_examples(run)
    report("drawing up the pictures", 3, steps)
    made = pictures(run, measured, diagnosis, examples, treatment_of(run))
    write_summary(target, diagnosis, made)
    write_report(target, render_html(diagnosis, run, measured=measured))


def pictures(
    run: Run,
    measured: Mapping[type, object],
    diagnosis: Diagnosis,
    examples: Examples | Missing,
    treatment: Treatment | None,
) -> dict[str, Shown]:
    """Every view of one run, by name."""
    made: list[Shown] = [
        views.gap_waterfall(diagnosis, treatment),
        views.causes(diagnosis),
        views.checks(diagnosis),
        views.entropy_curve(run, measured),
        entropy_histogram(run),
        views.layer_similarity(run, measured),
        views.similarity_over_time(run),
        views.cartography(run),
        layer_dimensions(measured),
        layer_spectra(run),
        check_evidence(measured),
        views.loss_balance(run, measured),
        views.training_curves(run),
        views.capacity_or_training(measured),
        views.tradeoff(run, diagnosis, treatment),
    ]
    by_name = {view.name: view for view in made}
    of_examples: Mapping[str, Callable[[Examples], Shown]] = {
        "reliability": views.reliability,
        "gap_map": views.gap_map,
        "worst_examples": views.worst_examples,
        "confusion_difference": views.confusion_difference,
    }
    for name, view in of_examples.items():
        by_name[name] = examples if isinstance(examples, Missing) else view(examples)
    worst = by_name["worst_examples"]
    by_name["thumbnails"] = worst if isinstance(worst, Missing) else thumbnails(run, list(worst.frame["row"]))
    return by_name


def summarise_pair(a: Path, b: Path, target: Path, report: Report) -> None:
    """Compare two runs, example by example, and write that to ``target``. Raises RunError."""
    steps = 5
    report("measuring A", 0, steps)
    runs = load(a), load(b)
    diagnoses = [diagnose(runs[0])]
    report("measuring B", 1, steps)
    diagnoses.append(diagnose(runs[1]))
    report("reading the examples of A", 2, steps)
    examples = [views.read_examples(runs[0])]
    report("reading the examples of B", 3, steps)
    examples.append(views.read_examples(runs[1]))
    report("comparing", 4, steps)
    flips = flipped_examples(*examples)
    curves = [views.training_curves(run) for run in runs]
    made: dict[str, Shown] = {
        "config_difference": config_difference(runs[0].manifest, runs[1].manifest),
        "cause_changes": cause_changes(*diagnoses),
        "metric_changes": flips if isinstance(flips, Missing) else views.before_after(examples[1], examples[0]),
        "flipped_examples": flips,
        "curves_of_two": _together(*curves),
    }
    write_summary(target, None, made)


def _together(a: Shown, b: Shown) -> Shown:
    if isinstance(a, Missing):
        return a
    return b if isinstance(b, Missing) else curves_of_two(a, b)
