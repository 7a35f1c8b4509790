"""``kddoctor explain``."""

from pathlib import Path
from typing import Annotated

import typer

from kddoctor.cli.arguments import Config, policy_of
from kddoctor.cli.opened import opened


def explain(
    code: Annotated[str | None, typer.Argument(help="A code or a name; all of them when left out.")] = None,
    run_dir: Annotated[
        Path | None, typer.Argument(metavar="[RUN_DIR]", help="Say why it was named, or not, in this run.")
    ] = None,
    config: Config = None,
) -> None:
    """What a code means, what it is confused with, and how to mend it; or what became of it in one run."""
    from kddoctor.report.explain import show_all, show_answer, show_rule
    from kddoctor.rules.naming import find_rule

    if code is None:
        show_all()
    elif run_dir is not None:
        from kddoctor.engine.questioning import question

        policy = policy_of(config)
        with opened(run_dir) as run:
            show_answer(question(run, find_rule(code).code, policy), str(run_dir))
    else:
        show_rule(code)
