"""``kddoctor check``."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from kddoctor.cli.arguments import Config, codes_in, policy_of
from kddoctor.cli.check_baseline import expiry_of, held_against, save, the_only
from kddoctor.cli.exits import PYTEST, guarded, reader_may_leave
from kddoctor.files import write_whole

#: pytest's exit codes of a session that came to its end.
ALL_PASSED, SOME_FAILED, NOTHING_RAN = 0, 1, 5


class PytestExits(TyperCommand):
    """A command whose bad usage ends as pytest's does: with 4, where 2 means interrupted."""

    def make_context(self, *arguments: Any, **settings: Any) -> Any:
        """Parse the command line."""
        try:
            return super().make_context(*arguments, **settings)
        except Exception as error:
            if getattr(error, "exit_code", None) == 2:  # click's UsageError, which typer may bring along itself
                error.exit_code = PYTEST.bad_input  # type: ignore[attr-defined]
            raise


def check(
    run_dirs: Annotated[
        list[Path], typer.Argument(metavar="RUN_DIR", help="A recorded run; several with --save-baseline.")
    ],
    select: Annotated[str | None, typer.Option(help="Only these codes (prefixes, comma-separated).")] = None,
    ignore: Annotated[str | None, typer.Option(help="Not these codes.")] = None,
    require: Annotated[
        str | None, typer.Option(help="These have to be judged: skipped, they fail.", metavar="CODES")
    ] = None,
    junit: Annotated[Path | None, typer.Option(help="Write the checks as JUnit XML, too.", metavar="FILE")] = None,
    baseline: Annotated[
        Path | None, typer.Option(help="Fail on regressions against this baseline, too.", metavar="FILE")
    ] = None,
    save_baseline: Annotated[
        Path | None, typer.Option(help="Save the run, or runs with other seeds, as a baseline.", metavar="FILE")
    ] = None,
    reason: Annotated[str | None, typer.Option(help="Why these runs, for --save-baseline.", metavar="TEXT")] = None,
    expires: Annotated[
        str | None, typer.Option(help="Last day of the baseline, as 2027-01-01.", metavar="DATE")
    ] = None,
    config: Config = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="One line a check.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="What failed, and the counts.")] = False,
) -> None:
    """Check a recorded run, one check a code, with pytest's exit codes: the same as ``pytest --kd-run``.

    0 all passed, 1 some failed, 2 interrupted, 3 kddoctor failed, 4 bad input or usage, 5 nothing could be checked.
    """

    def checked() -> int:
        from kddoctor.checks.junit import junit_text
        from kddoctor.checks.running import check_run
        from kddoctor.checks.terminal import show_checks
        from kddoctor.errors import UsageError
        from kddoctor.report.regressions import show_regressions

        policy = policy_of(config)
        if save_baseline is not None:
            save(run_dirs, save_baseline, policy, reason, expiry_of(expires))
            typer.echo(f"saved {save_baseline}", err=True)
            return ALL_PASSED
        if reason or expires:
            raise UsageError("--reason and --expires are for --save-baseline")
        run_dir = the_only(run_dirs)
        if baseline is not None:
            policy = held_against(policy, baseline)
        checks = check_run(
            run_dir,
            policy,
            select=codes_in(select),
            ignore=codes_in(ignore),
            require=codes_in(require),
        )
        if junit is not None:
            write_whole(junit, junit_text(checks))
        for warning in checks.warnings:
            typer.echo(f"warning: {warning}", err=True)
        with reader_may_leave():
            show_checks(checks, str(run_dir), verbose=verbose, quiet=quiet)
            if checks.regressions is not None:
                show_regressions(checks.regressions)
        if checks.failed:
            return SOME_FAILED
        return ALL_PASSED if checks.ran else NOTHING_RAN

    raise typer.Exit(guarded(checked, PYTEST))
