"""``kddoctor import``."""

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from kddoctor.errors import UsageError


def _array(what: str) -> Any:
    return typer.Option(metavar="FILE", help=what, show_default=False, rich_help_panel="Logits")


def import_run(
    source: Annotated[
        Path | None,
        typer.Argument(metavar="SOURCE", help="A file or directory of another tool; may be left out with logits."),
    ] = None,
    run_dir: Annotated[
        Path | None, typer.Argument(metavar="RUN_DIR", help="Where the run directory goes.", show_default=False)
    ] = None,
    teacher_logits: Annotated[Path | None, _array("The teacher's, before any softmax.")] = None,
    student_logits: Annotated[Path | None, _array("The student's, of the same rows.")] = None,
    labels: Annotated[Path | None, _array("Their labels.")] = None,
    baseline_logits: Annotated[Path | None, _array("Of the same student trained without a teacher.")] = None,
    group_ids: Annotated[Path | None, _array("Query or user of each row.")] = None,
    split: Annotated[str, typer.Option(help="train, val or test: the split of logits whose names say none.")] = "val",
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Outputs are probabilities, of models whose loss saw logits.")
    ] = False,
    task: Annotated[str | None, typer.Option(help="multiclass, binary, multilabel, ranking or tokens.")] = None,
    num_classes: Annotated[int | None, typer.Option(min=2, help="Classes, or tokens of the vocabulary.")] = None,
    class_names: Annotated[str | None, typer.Option(help="Comma-separated, in the order of the logits.")] = None,
    loss: Annotated[str | None, typer.Option(help="What was meant: kl, reverse-kl, jsd, mse, none or custom.")] = None,
    temperature: Annotated[float | None, typer.Option(help="What was meant.")] = None,
    alpha: Annotated[float | None, typer.Option(help="Weight of the teacher's term that was meant.")] = None,
    run_id: Annotated[str | None, typer.Option(help="MLflow, W&B: another run than the last.")] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="torchdistill, mdistiller: the .yaml of the training.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing run directory.")] = False,
) -> None:
    """Make a run directory from another tool's files.

    Logits, or what Hugging Face's Trainer, Lightning, TensorBoard, MLflow, W&B, torchdistill or mdistiller wrote.
    """
    from kddoctor.importers import Given
    from kddoctor.importers import import_run as bring_in
    from kddoctor.report.imported import show_import
    from kddoctor.run import load

    arrays = {
        "teacher_logits": teacher_logits,
        "student_logits": student_logits,
        "labels": labels,
        "baseline_logits": baseline_logits,
        "group_ids": group_ids,
    }
    given = Given(
        task=task,
        num_classes=num_classes,
        class_names=tuple(name.strip() for name in class_names.split(",")) if class_names else None,
        loss=loss,
        temperature=temperature,
        alpha=alpha,
        split=split,
        run_id=run_id,
        config=config,
        probabilities=probabilities,
        arrays={name: path for name, path in arrays.items() if path is not None},
    )
    if run_dir is None:
        # The only name given is that of the run directory where flags say what there is to import.
        source, run_dir = (None, source) if given.arrays else (source, None)
    if run_dir is None:
        raise UsageError("kddoctor import takes SOURCE and RUN_DIR; see kddoctor import --help.")
    imported = bring_in(source, run_dir, given, overwrite=overwrite)
    show_import(imported, load(run_dir), str(source) if source is not None else "logits")
    typer.echo(f"\nwritten to {run_dir}; next: {shlex.join(['kddoctor', 'diagnose', str(run_dir)])}")
