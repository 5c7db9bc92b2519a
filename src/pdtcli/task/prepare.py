"""The directory of a process job: the script filled in, its input at hand."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from ..manager.base import JobDirectory, Launch, StderrMode
from ..stream import copy_stream
from ..template import Lazy, read_template, render

if TYPE_CHECKING:
    from .process import ProcessTask

__all__ = ("prepare",)


async def prepare(task: ProcessTask, job: str, directory: JobDirectory) -> Launch:
    """Fill in the template and make the job's directory; the caller holds the job's claim and its lock.

    :return: what to spawn in the directory.
    :raises PdtError: when the template cannot be filled in or the input is not there; there is no directory then.
    """
    variables: dict[str, Any] = {"job": job, "task": task.name}
    variables |= {name: Lazy(partial(link.repo.info, job)) for name, link in task.links.items()}
    script = await render(read_template(task.template), variables)
    launch = Launch(
        script.encode("utf-8", "surrogateescape"),
        task.environ,
        await _stdin(task, job),
        task.stdout is not None,
        _stderr_mode(task),
    )
    if launch.stdin is not True:
        await task.manager.prepare(directory, launch)
        return launch
    assert task.stdin is not None
    # Opened before the directory is made, since this is what fails when the input is not there.
    async with await task.stdin.open(job, "rb") as reader:
        await task.manager.prepare(directory, launch)
        async with await task.manager.open_input(directory) as writer:
            await copy_stream(reader, writer)
    return launch


async def _stdin(task: ProcessTask, job: str) -> str | bool | None:
    """The path of a file that the job can read as it is, True when its input must be copied, None for no input."""
    if task.stdin is None:
        return None
    return (await task.stdin.local_file(job) if task.manager.is_local else None) or True


def _stderr_mode(task: ProcessTask) -> StderrMode:
    if task.own_stderr is not None:
        return StderrMode.FILE
    # Where it has no stream of its own it goes into that of standard output, or nowhere.
    return StderrMode.DISCARD if task.stderr is None else StderrMode.STDOUT
