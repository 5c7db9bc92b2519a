"""`pdt task`: look into tasks, and run, stop and retry their jobs by hand."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from . import options
from .context import Cli
from .options import All, DryRun, Job, Jobs, TaskName, Tasks, command, named

__all__ = ("app",)

app = options.group(
    "Look into tasks, and run, stop and retry their jobs by hand.",
    example="""
    pdt task status
    pdt task why count emma
    """,
)


@command(app, "ls", example="pdt task ls")
def ls(cli: Cli) -> None:
    """List the tasks: what kind they are, what they read and what they write."""
    from . import views

    views.tasks(cli.out, cli.open().tasks())


@command(
    app,
    "status",
    example="""
    pdt task status
    pdt task status count | awk '$2 == "failed" { print $3 }'
    """,
)
def status(cli: Cli, tasks: Tasks = None) -> None:
    """Show how many jobs stand where, and how many each linked repository holds.

    In a pipe, a line has the task, then a state or a repository as TASK.LINK, then the number of jobs.
    """
    from . import views

    views.status(cli.out, cli.open().status(tasks or ()))


@command(
    app,
    "run",
    example="""
    pdt task run count emma
    pdt task run count emma --force --sync -v
    """,
)
def run(
    cli: Cli,
    task: TaskName,
    jobs: Jobs,
    force: Annotated[bool, typer.Option("--force", help="Start it even if its links do not allow it.")] = False,
    sync: Annotated[bool, typer.Option("--sync", help="Run it in this process where possible, and wait.")] = False,
    no_meta: Annotated[bool, typer.Option("--no-meta", help="Write no records: neither done nor logs.")] = False,
    dry_run: DryRun = False,
) -> int:
    """Start jobs by hand."""
    from . import views
    from .events import EventLog, exit_code

    report = (
        cli.open()
        .task(task)
        .run(jobs or (), force=force, sync=sync, meta=not no_meta, dry_run=dry_run, observer=EventLog())
    )
    if dry_run:
        views.job_rows(cli.out, task, jobs or (), action="start")
    elif cli.out.structured:
        cli.out.data(report)
    return exit_code(report, failed=report.failed)


@command(app, "why", example="pdt task why count emma")
def why(cli: Cli, task: TaskName, job: Job) -> None:
    """Tell which link lets a job start or holds it back."""
    from . import views

    views.why(cli.out, cli.open().task(task).why(job))


@command(
    app,
    "logs",
    example="""
    pdt task logs count emma
    pdt task logs -f --stderr count emma
    """,
)
def logs(
    cli: Cli,
    task: TaskName,
    job: Job,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job ends.")] = False,
    stderr: Annotated[bool, typer.Option("--stderr", help="Its stderr instead of its stdout.")] = False,
) -> None:
    """Show the output of a job, while it runs or after."""
    cli.open().task(task).logs(job, sys.stdout.buffer, follow=follow, stream="stderr" if stderr else "stdout")


@command(
    app,
    "cancel",
    example="""
    pdt task cancel count emma
    pdt task cancel count --all --host worker3
    """,
)
def cancel(
    cli: Cli,
    task: TaskName,
    jobs: Jobs = None,
    everything: All = False,
    host: Annotated[
        str | None,
        typer.Option("--host", metavar="HOST", help="The jobs of this host, which will not come back to end them."),
    ] = None,
    dry_run: DryRun = False,
) -> None:
    """Stop live jobs, which then count as failed."""
    from . import views

    chosen = None if host is not None and not jobs else named(jobs, everything)
    views.job_rows(cli.out, task, cli.open().task(task).cancel(chosen, host=host, dry_run=dry_run))


@command(
    app,
    "retry",
    example="""
    pdt task retry count emma
    pdt task retry count --all --dry-run
    """,
)
def retry(cli: Cli, task: TaskName, jobs: Jobs = None, everything: All = False, dry_run: DryRun = False) -> None:
    """Forget that jobs failed, so that the next cycle runs them again."""
    from . import views

    chosen = named(jobs, everything)
    views.job_rows(cli.out, task, cli.open().task(task).retry(chosen, dry_run=dry_run))
