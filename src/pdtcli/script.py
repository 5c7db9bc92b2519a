"""Functions for scripts that define a pipeline and drive it themselves, by the names that pydatatask gave them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from .errors import NotReady, Unsupported
from .facade import PipelineHandle
from .handles import RepositoryHandle
from .link import Link
from .pipeline import Pipeline
from .repository.base import Repository
from .survey import Survey
from .task.base import Start, Task

if TYPE_CHECKING:
    from .cli.app import Instrument

__all__ = (
    "cat_data",
    "delete_data",
    "inject_data",
    "launch",
    "list_data",
    "main",
    "print_status",
    "print_trace",
    "run",
    "shell",
    "update",
)


def main(pipeline: Pipeline, instrument: Instrument | None = None) -> None:
    """Make a script the command line of its pipeline: parse ``sys.argv`` as `pdt` does, do it, and exit.

    :param instrument: is given the Typer application, to add commands to it.
    """
    from .cli.app import main as run_main

    run_main(pipeline, instrument)


async def update(pipeline: Pipeline) -> None:
    """One cycle of an open pipeline."""
    await pipeline.update()


async def run(
    pipeline: Pipeline, forever: bool = False, launch_once: bool = False, timeout: float | None = None
) -> None:
    """Cycles of an open pipeline until nothing is left to do.

    :param forever: wait for more when nothing is left.
    :param launch_once: start only what is ready at first.
    :param timeout: seconds after which to give up.
    :raises TimeoutError: then.
    """
    await pipeline.run(forever=forever, launch_once=launch_once, timeout=timeout)


async def launch(
    pipeline: Pipeline, task_name: str, job: str, sync: bool = False, meta: bool = True, force: bool = False
) -> None:
    """Launch one job of an open pipeline.

    :param sync: wait for it to end.
    :param meta: whether it records how it ended.
    :param force: also when it is not ready.
    :raises NotReady: when it may not start, or is live.
    """
    task = pipeline.task(task_name)
    if not force and not await task.ready.contains(job):
        raise NotReady(f"{task_name}:{job} is not ready; it can be forced")
    pipeline.settings(sync, meta)
    try:
        if await task.start(job, force=force) is not Start.STARTED:
            raise NotReady(f"{task_name}:{job} is live, or has no room in its quota")
    finally:
        pipeline.settings()


def _links(task: Task, all_repos: bool) -> Iterator[tuple[str, Link]]:
    """The links of a task to show: inputs, then status, then the others."""
    shown = [
        (name, link)
        for name, link in task.links.items()
        if all_repos or link.is_status or link.is_input or link.is_output
    ]
    yield from sorted(shown, key=lambda item: 0 if item[1].is_input else 1 if item[1].is_status else 2)


async def print_status(pipeline: Pipeline, all_repos: bool = False) -> None:
    """Print how many jobs each repository of each task holds.

    :param all_repos: also those that are neither input, output nor status.
    """
    survey = Survey()
    for task in pipeline.tasks.values():
        print(task.name)
        for name, link in _links(task, all_repos):
            print(f"{task.name}.{name} {len(await survey.keys(link.repo))}")
        print()


async def print_trace(pipeline: Pipeline, all_repos: bool, job: Sequence[str]) -> None:
    """Print which of some jobs each repository of each task holds.

    :param all_repos: also those that are neither input, output nor status.
    """
    for task in pipeline.tasks.values():
        print(task.name)
        for name, link in _links(task, all_repos):
            present = await link.repo.among(job)
            print(f"{task.name}.{name} {' '.join(one for one in job if one in present)}")
        print()


async def delete_data(pipeline: Pipeline, data: str, recursive: bool, job: Sequence[str]) -> None:
    """Delete jobs from a repository (``task.link``) or from a task, and print what was deleted.

    :param recursive: also from all that depends on it.
    :param job: which; ``__all__`` as the first for all.
    """
    from .removal import remove

    node: Task | Repository = pipeline.tasks[data] if data in pipeline.tasks else _repository(pipeline, data).repository
    jobs = None if job and job[0] == "__all__" else job
    for removal in await remove(pipeline, node, jobs, recursive=recursive, dry_run=False):
        print(removal.job, removal.repository)


async def list_data(pipeline: Pipeline, data: Sequence[str]) -> None:
    """Print the jobs of a set expression over repositories."""
    from .expression import parse

    handle = PipelineHandle(pipeline, None)
    parsed = parse(" ".join(data), [row.name for row in handle.repositories()])
    survey = Survey()
    sets = {name: await survey.keys(handle.find_repository(name)) for name in parsed.names}
    for found in sorted(parsed.evaluate(sets)):
        print(found)


async def cat_data(pipeline: Pipeline, data: str, job: str) -> None:
    """Copy a value to standard output."""
    await _repository(pipeline, data).copy_out(job, sys.stdout.buffer)


async def inject_data(pipeline: Pipeline, data: str, job: str) -> None:
    """Store what standard input gives as a value."""
    await _repository(pipeline, data).copy_in(job, sys.stdin.buffer)


def _repository(pipeline: Pipeline, name: str) -> RepositoryHandle:
    return PipelineHandle(pipeline, None).repo(name)


def shell(pipeline: Pipeline) -> Any:
    """An interactive shell in which `pipeline` is this pipeline, and `await` works.

    :raises Unsupported: when IPython is not installed.
    """
    try:
        import IPython
    except ImportError:
        raise Unsupported("the shell needs IPython: pip install 'pdtcli[shell]'") from None
    import pdtcli

    return IPython.start_ipython(argv=[], user_ns={"pipeline": pipeline, "pdtcli": pdtcli})
