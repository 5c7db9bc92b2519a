"""`pdt check`: the lint of a pipeline."""

from __future__ import annotations

from ..errors import ExitCode
from . import options
from .context import Cli
from .options import command

__all__ = ("app",)

app = options.group("The lint of a pipeline.")


@command(
    app,
    "check",
    example="""
    pdt check
    pdt check --json | jq -r '.[].message'
    """,
)
def check(cli: Cli) -> int:
    """Load the pipeline and tell what is wrong with it, without touching any data.

    It finds values that a shell script does not quote, templates that use what is not linked, tasks that can never
    start or never stop starting, requests above a whole quota, repositories in memory, and status that two tasks
    share. A line for each finding; leaves with 1 when there is one.
    """
    from . import views

    findings = cli.open().check()
    views.findings(cli.out, findings)
    if not findings and cli.out.form == "table":
        cli.say("nothing is wrong")
    return ExitCode.FAILED if findings else ExitCode.DONE
