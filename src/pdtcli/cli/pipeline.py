"""The commands about the whole pipeline: `tick`, `run`, `status` and `trace`."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import ExitCode, PdtError
from ..report import Event, Stopping
from . import options
from .context import Cli
from .options import DryRun, Jobs, Tasks, command

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

__all__ = ("app",)

app = options.group("The whole pipeline.")

SHOWN_FAILURES = 20

Fsync = Annotated[
    bool,
    typer.Option("--fsync", help="Wait for the disk with every record and output, against a loss of power."),
]


@command(
    app,
    "tick",
    example="""
    pdt tick --dry-run
    * * * * *  cd /data/books && pdt tick --log-file tick.log
    """,
)
def tick(
    cli: Cli,
    wait: Annotated[
        float | None,
        typer.Option("--wait", metavar="SECONDS", min=0, help="Wait so long for another tick that is at work."),
    ] = None,
    no_memory: Annotated[
        bool,
        typer.Option("--no-memory", help="Look at everything, also where nothing has changed since the last tick."),
    ] = False,
    fsync: Fsync = False,
    dry_run: DryRun = False,
) -> int:
    """One cycle: collect the jobs that have ended, then start those that are ready, within the quotas.

    Silent when nothing is wrong, so that cron has nothing to mail. Leaves with 1 when a job failed, with 5 when a
    store could not be reached, and with 75 when another tick is at work.
    """
    if dry_run:
        return _plan(cli)
    from .events import EventLog, both, exit_code

    memory = not (no_memory or os.environ.get("PDT_NO_MEMORY"))
    watch = both(EventLog(), _announce(cli))
    report = cli.open().tick(observer=watch, wait=wait, memory=memory, fsync=fsync)
    if cli.out.structured:
        cli.out.data(report)
    # What failed in an earlier tick was told by that one.
    return exit_code(report, failed=report.failed)


@command(
    app,
    "run",
    example="""
    pdt run
    pdt run --timeout 3600 --log-file run.log
    """,
)
def run(
    cli: Cli,
    forever: Annotated[bool, typer.Option("--forever", help="Go on when nothing is left, and wait for more.")] = False,
    launch_once: Annotated[
        bool, typer.Option("--launch-once", help="Start what is ready now, wait for its end, and leave.")
    ] = False,
    timeout: Annotated[
        float | None, typer.Option("--timeout", metavar="SECONDS", min=0, help="Leave after so long.")
    ] = None,
    cancel: Annotated[
        bool, typer.Option("--cancel", help="On Ctrl-C, cancel the live jobs instead of leaving them to run on.")
    ] = False,
    fsync: Fsync = False,
    no_progress: Annotated[bool, typer.Option("--no-progress", help="No live display.")] = False,
    dry_run: DryRun = False,
) -> int:
    """Cycles until nothing is left to do.

    Ctrl-C stops the launching and leaves; what is running goes on, and the next cycle collects it. Leaves with 1 when
    a job failed, now or earlier, and with 5 when a store could not be reached.
    """
    if dry_run:
        return _plan(cli)
    from .events import EventLog, Tally, both, exit_code, summary

    pipeline = cli.open()
    tally = Tally()
    display = None if no_progress else _display(cli)
    shown: AbstractContextManager[Any] = display if display is not None else nullcontext()
    watchers = [tally, EventLog(launched=logging.DEBUG, most=SHOWN_FAILURES), _announce(cli), *filter(None, [display])]
    try:
        with shown:
            report = pipeline.run(
                forever=forever,
                launch_once=launch_once,
                timeout=timeout,
                cancel=cancel,
                observer=both(*watchers),
                fsync=fsync,
            )
    except TimeoutError as error:
        raise PdtError(f"not all was done within {timeout:g} s; 'pdt run' goes on from here") from error
    for line in summary(report, tally):
        cli.say(line)
    if cli.out.structured:
        cli.out.data(report)
    return exit_code(report, failed=report.failed + report.failed_before)


@command(
    app,
    "status",
    example="""
    pdt status
    watch -n 5 pdt status -o table
    """,
)
def status(cli: Cli, tasks: Tasks = None) -> None:
    """Show how many jobs stand where, task by task, and how many each linked repository holds."""
    from . import views

    views.status(cli.out, cli.open().status(tasks or ()))


@command(app, "trace", example="pdt trace emma persuasion")
def trace(cli: Cli, jobs: Jobs) -> None:
    """Show the way of jobs through the tasks: how far each has come, and which repositories hold it."""
    from . import views

    views.trace(cli.out, cli.open().trace(jobs or ()))


def _plan(cli: Cli) -> int:
    from . import views

    rows = cli.open().plan()
    views.plan(cli.out, rows)
    if not rows and cli.out.form == "table":
        cli.say("nothing to do")
    return ExitCode.DONE


def _display(cli: Cli) -> Any:
    """The live display where there is a screen for it."""
    if cli.settings.quiet or not sys.stderr.isatty():
        return None
    from .progress import Display

    return Display()


def _announce(cli: Cli) -> Any:
    """An observer that says at once what an interruption does."""

    def observe(event: Event) -> None:
        if isinstance(event, Stopping):
            parts = []
            if event.live and event.cancel:
                parts.append(f"cancelling {_jobs(event.live)}")
            elif event.live:
                parts.append(f"{_jobs(event.live)} will run on, to be collected by the next cycle")
            if event.here:
                parts.append(f"waiting for {_jobs(event.here)} inside this process")
            cli.say(f"stopping: {', '.join(parts) or 'nothing is live'}; Ctrl-C again leaves at once")

    return observe


def _jobs(number: int) -> str:
    return "1 live job" if number == 1 else f"{number} live jobs"
