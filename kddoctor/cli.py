"""The command line: parse, call the API, print. Heavy imports happen inside the commands."""

import os
import shlex
import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from kddoctor.errors import KDDoctorError

app = typer.Typer(
    help="Finds out why a knowledge distillation failed, proves it, and retrains a corrected student.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    epilog="Exit codes: 0 healthy, 1 sick, 2 bad input or usage, 3 cannot tell, 4 kddoctor failed, 130 interrupted.",
)

EXIT = {"healthy": 0, "sick": 1, "inconclusive": 3}
BAD_INPUT, FAILED, INTERRUPTED = 2, 4, 130


class Format(StrEnum):
    """What stdout carries."""

    text = "text"
    json = "json"


RunDir = Annotated[Path, typer.Argument(metavar="RUN_DIR", help="A recorded run.", show_default=False)]


def _codes(text: str | None) -> list[str]:
    """Codes, prefixes of codes or names, comma-separated, as codes. Raises UsageError for what is none of them."""
    if text is None:
        return []
    from kddoctor.errors import UsageError
    from kddoctor.report.explain import find_rule
    from kddoctor.rules.registry import all_rules

    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        raise UsageError("no code is given; `kddoctor explain` lists them")
    known = all_rules()
    return [
        part.upper() if any(code.startswith(part.upper()) for code in known) else find_rule(part).code for part in parts
    ]


@app.command()
def diagnose(
    run_dir: RunDir,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the diagnosis as JSON, too.")] = None,
    output_format: Annotated[Format, typer.Option("--format", help="What stdout carries.")] = Format.text,
    select: Annotated[str | None, typer.Option(help="Only these codes (prefixes, comma-separated).")] = None,
    ignore: Annotated[str | None, typer.Option(help="Not these codes.")] = None,
    live: Annotated[bool, typer.Option("--live", help="Import the run's own loss, and X-ray it on stderr.")] = False,
    exit_zero: Annotated[bool, typer.Option("--exit-zero", help="Exit 0 whatever the verdict.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Everything that was looked at.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="One line.")] = False,
) -> None:
    """Name the cause of a failed distillation, with the evidence for and against it."""
    chosen, ignored = _codes(select), _codes(ignore)
    from kddoctor.engine import diagnose as judge
    from kddoctor.rules.registry import all_rules
    from kddoctor.run import load

    run = load(run_dir)
    for warning in run.warnings:
        typer.echo(f"warning: {warning}", err=True)
    skipped = {code for code in all_rules() if code.startswith(tuple(ignored))} if ignored else set()
    diagnosis = judge(run, select=chosen, ignore=skipped)
    if json_file is not None:
        _write_whole(json_file, diagnosis.to_json())
    if output_format is Format.json:
        sys.stdout.write(diagnosis.to_json())
    elif quiet:
        causes = ",".join(diagnosis.cause_codes) or "-"
        typer.echo(f"{diagnosis.verdict}\t{causes}\t{diagnosis.summary}")
    else:
        from kddoctor.report.terminal import show_diagnosis

        show_diagnosis(diagnosis, str(run_dir), verbose=verbose)
    if live:
        from kddoctor.treatment.live import xray_of_run

        sys.stdout.flush()
        typer.echo(xray_of_run(run), err=True)
    raise typer.Exit(0 if exit_zero else EXIT[diagnosis.verdict])


@app.command()
def treat(
    run_dir: RunDir,
    output: Annotated[Path, typer.Option(help="Where the treated run goes.", show_default=False)],
    only: Annotated[str | None, typer.Option(help="Treat only these codes.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs, instead of the run's own.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be changed, change nothing.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where an interrupted treatment stopped.")] = False,
) -> None:
    """Retrain a corrected student and measure how much of the gap closes. Imports the run's code section."""
    codes = _codes(only)
    from kddoctor.report.treatment import show_plan, show_treatment
    from kddoctor.run import load
    from kddoctor.treatment.treat import plan_treatment
    from kddoctor.treatment.treat import treat as retrain

    run = load(run_dir)
    try:
        if dry_run:
            show_plan(plan_treatment(run, only=codes, epochs=epochs))
            return
        treatment = retrain(run, output, only=codes, epochs=epochs, resume=resume)
    except KeyboardInterrupt:
        asked = ["--only", only] if only else []
        asked += ["--epochs", str(epochs)] if epochs else []
        again = shlex.join(["kddoctor", "treat", str(run_dir), "--output", str(output), *asked, "--resume"])
        typer.echo(f"interrupted; go on with: {again}", err=True)
        raise typer.Exit(INTERRUPTED) from None
    show_treatment(treatment, str(output))


@app.command()
def explain(
    code: Annotated[str | None, typer.Argument(help="A code or a name; all of them when left out.")] = None,
    run_dir: Annotated[
        Path | None, typer.Argument(metavar="[RUN_DIR]", help="Say why it was named, or not, in this run.")
    ] = None,
) -> None:
    """What a code means, what it is confused with, and how to mend it; or what became of it in one run."""
    from kddoctor.report.explain import find_rule, show_all, show_answer, show_rule

    if code is None:
        show_all()
    elif run_dir is not None:
        from kddoctor.engine.questioning import question
        from kddoctor.run import load

        show_answer(question(load(run_dir), find_rule(code).code), str(run_dir))
    else:
        show_rule(code)


@app.command()
def demo(
    name: Annotated[str | None, typer.Argument(help="Which fault; `--list` shows them.")] = None,
    output: Annotated[Path, typer.Option(help="Where the runs go.")] = Path("demo"),
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of the whole demo.")] = 0,
    show_list: Annotated[bool, typer.Option("--list", help="List the faults.")] = False,
) -> None:
    """Record a sick distillation of real images, diagnose it, cure it, show the proof."""
    from kddoctor.demo.demo import list_faults, run_demo

    if show_list:
        for line in list_faults():
            typer.echo(line)
        return
    from kddoctor.report.terminal import show_diagnosis
    from kddoctor.report.treatment import show_treatment

    status = run_demo(
        name,
        output,
        seed=seed,
        echo=typer.echo,
        show_diagnosis=lambda diagnosis, path: show_diagnosis(diagnosis, str(path)),
        show_treatment=lambda treatment, path: show_treatment(treatment, str(path)),
    )
    raise typer.Exit(status)


@app.command()
def bench(
    quick: Annotated[
        bool, typer.Option("--quick", help="A slice in three minutes, against committed verdicts.")
    ] = False,
    accept: Annotated[
        bool, typer.Option("--accept", help="With --quick: make its verdicts the committed ones.")
    ] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Processes.")] = os.cpu_count() or 1,
    cache: Annotated[Path, typer.Option(help="Where records are kept, for the next time.")] = Path(".bench"),
    output: Annotated[Path, typer.Option(help="Where the report goes.")] = Path("reports"),
    cures: Annotated[bool, typer.Option(help="Also retrain by the prescriptions.")] = True,
    readme: Annotated[Path | None, typer.Option(help="Fill the benchmark's table in this file, too.")] = None,
    accuracy: Annotated[Path | None, typer.Option(help="Write how often each code is right here, too.")] = None,
    tasks: Annotated[str | None, typer.Option(help="Only these tasks: names with commas between them.")] = None,
) -> None:
    """The fault benchmark: how often the diagnosis is right, on faults that no rule was tuned on."""
    from kddoctor.bench.command import chosen_tasks, run_full, run_quick

    chosen = chosen_tasks(tasks)
    try:
        if quick:
            same = run_quick(cache, jobs, accept)
        else:
            same = run_full(cache, jobs, output, cures, _write_whole, chosen, readme=readme, accuracy=accuracy)
    except KeyboardInterrupt:
        typer.echo("interrupted; the same command goes on from here", err=True)
        raise typer.Exit(INTERRUPTED) from None
    raise typer.Exit(0 if same else 1)


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        from kddoctor import __version__

        typer.echo(f"kddoctor {__version__}")
        raise typer.Exit


def _write_whole(path: Path, text: str) -> None:
    """Write a file that is never seen half-written."""
    from kddoctor.errors import UsageError

    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise UsageError(f"{path}: cannot be written: {error.strerror or error}") from None


def main() -> None:
    """Entry point: every failure becomes one line and an exit code."""
    raise SystemExit(_guarded(app))


def _guarded(command: Callable[..., object]) -> int:
    try:
        result = command(standalone_mode=False)
        return result if isinstance(result, int) else 0
    except KDDoctorError as error:
        print(f"kddoctor: {error}", file=sys.stderr)  # noqa: T201
        return BAD_INPUT
    except (KeyboardInterrupt, typer.Abort):
        print("kddoctor: interrupted", file=sys.stderr)  # noqa: T201
        return INTERRUPTED
    except BrokenPipeError:
        # The reader (head, less) went away: nothing to say, and nobody to say it to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # the last resort, so that no user ever sees a traceback
        if type(error).__module__.startswith(("click", "typer")) and hasattr(error, "exit_code"):
            error.show() if hasattr(error, "show") else None
            return int(error.exit_code)
        return _own_failure(error)


def _own_failure(error: Exception) -> int:
    import tempfile
    import traceback

    with tempfile.NamedTemporaryFile("w", prefix="kddoctor-", suffix=".log", delete=False) as log:
        log.write("".join(traceback.format_exception(error)))
    reason = " ".join(str(error).split()) or type(error).__name__
    print(f"kddoctor: failed: {reason} (a bug; the details are in {log.name})", file=sys.stderr)  # noqa: T201
    return FAILED
