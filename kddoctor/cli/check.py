"""``kddoctor check``."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from kddoctor.cli.arguments import Config, RunDir, codes_in, policy_of
from kddoctor.cli.exits import PYTEST, guarded
from kddoctor.cli.files import write_whole

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
    run_dir: RunDir,
    select: Annotated[str | None, typer.Option(help="Only these codes (prefixes, comma-separated).")] = None,
    ignore: Annotated[str | None, typer.Option(help="Not these codes.")] = None,
    require: Annotated[
        str | None, typer.Option(help="These have to be judged: skipped, they fail.", metavar="CODES")
    ] = None,
    junit: Annotated[Path | None, typer.Option(help="Write the checks as JUnit XML, too.", metavar="FILE")] = None,
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

        checks = check_run(
            run_dir,
            policy_of(config),
            select=codes_in(select),
            ignore=codes_in(ignore),
            require=codes_in(require),
        )
        if junit is not None:
            write_whole(junit, junit_text(checks))
        show_checks(checks, str(run_dir), verbose=verbose, quiet=quiet)
        if checks.failed:
            return SOME_FAILED
        return ALL_PASSED if checks.ran else NOTHING_RAN

    raise typer.Exit(guarded(checked, PYTEST))
