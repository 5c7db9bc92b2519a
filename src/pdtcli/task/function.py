"""Tasks that call a Python function per job, and the one that calls it in this process.

There is no process to leave behind and no live record: while a function runs, whoever runs it holds a lock of the
kernel on the job, named after the place of the `done` repository. It excludes others on the same machine, and dies with
its holder. Where `done` is in memory nobody else could run the job.
"""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Self

from .. import job as job_ids
from ..errors import UsageError
from ..lazy import lazy
from ..outcome import fresh_attempt, function_record, now
from ..repository.base import MetadataRepository, Repository
from ..state import LockFile, lock_file
from .base import Start, Task

if TYPE_CHECKING:
    import asyncio
else:
    asyncio = lazy("asyncio")

__all__ = ("FunctionTask", "InProcessSyncTask", "describe")


class FunctionTask(Task):
    """A task whose body is a Python function, given as `func` or by using the task as a decorator.

    The function, async or plain, takes `job` and any links by their names, as the linked repositories.
    """

    done: MetadataRepository

    def __init__(
        self,
        name: str,
        done: MetadataRepository,
        ready: Repository | None,
        func: Callable[..., Any] | None,
        failed: MetadataRepository | None,
        disabled: bool,
    ) -> None:
        super().__init__(name, ready, disabled)
        self.func = func
        self.link_outcomes(done, failed)
        self._lock_file: LockFile | None = None
        self._taken: tuple[bool, list[str]] | None = None

    def __call__(self, func: Callable[..., Any]) -> Self:
        """Use `func` as the body; for decorators."""
        self.func = func
        return self

    async def validate(self) -> None:
        """:raises UsageError: when there is no function, or it takes what is not linked."""
        self._taken = self._inspect()

    @property
    def _lock(self) -> LockFile | None:
        """The file of the locks on this task's jobs; None where nobody else could run them."""
        if self._lock_file is None and self.done.place is not None:
            self._lock_file = lock_file("task", f"{self.name}\n{self.done.place}")
        return self._lock_file

    def _arguments(self, job: str) -> dict[str, Any]:
        """What to call the function with."""
        if self._taken is None:
            self._taken = self._inspect()
        takes_job, links = self._taken
        arguments: dict[str, Any] = {name: self.links[name].repo for name in links}
        if takes_job:
            arguments["job"] = job
        return arguments

    def _inspect(self) -> tuple[bool, list[str]]:
        """Whether the function takes the job, and which links."""
        if self.func is None:
            raise UsageError(f"the task {self.name} has no function")
        takes_job = False
        links: list[str] = []
        for name, parameter in inspect.signature(self.func, follow_wrapped=True).parameters.items():
            if name == "job":
                takes_job = True
            elif name in self.links:
                links.append(name)
            elif parameter.kind is parameter.VAR_KEYWORD:
                links += [link for link in self.links if link not in links]
            elif parameter.default is parameter.empty and parameter.kind is not parameter.VAR_POSITIONAL:
                raise UsageError(
                    f"the function of the task {self.name} takes {name}, but the task has no link of that name"
                )
        return takes_job, links


class InProcessSyncTask(FunctionTask):
    """A task whose function runs in this process, in the pipeline's event loop.

    .. code:: python

        @pdtcli.InProcessSyncTask("copy", done)
        async def copy(job: str, inp: pdtcli.MetadataRepository, out: pdtcli.MetadataRepository):
            await out.dump(job, await inp.info(job))

        copy.link("inp", repo_input, is_input=True)
        copy.link("out", repo_output, is_output=True)

    :param done: where to record how jobs ended. Linked as `done`: status, inhibits start, required for output.
    :param ready: holds the jobs that may start, in place of what the links say.
    :param func: the function, when the task is not used as a decorator.
    :param failed: where to record failures, in place of `done`. Linked as `failed`: status, inhibits start and output.
    """

    signals_ends = True
    in_process = True
    here_only = True

    def __init__(
        self,
        name: str,
        done: MetadataRepository,
        ready: Repository | None = None,
        func: Callable[..., Any] | None = None,
        *,
        failed: MetadataRepository | None = None,
        disabled: bool = False,
    ) -> None:
        super().__init__(name, done, ready, func, failed, disabled)
        self._running: set[str] = set()

    @property
    def here(self) -> int:
        return len(self._running)

    async def update(self) -> bool:
        """Nothing to collect: a job is recorded by the call that runs it."""
        return bool(self._running)

    async def launch(self, job: str) -> None:
        await self.start(job, force=True)

    async def start(self, job: str, *, force: bool = False) -> Start:
        job_ids.check(job)
        arguments = self._arguments(job)
        if job in self._running:
            return Start.TAKEN
        self._running.add(job)
        try:
            lock = self._lock
            with lock.holding(job) if lock is not None else nullcontext(True) as got:
                if not got or (not force and not await self.may_start(job)):
                    return Start.TAKEN
                await self._run(job, arguments, force)
        finally:
            self._running.discard(job)
        return Start.STARTED

    async def _run(self, job: str, arguments: dict[str, Any], force: bool) -> None:
        assert self.func is not None
        self.tell_launched(job)
        start = now()
        exception = None
        trace: list[str] = []
        try:
            result = self.func(**arguments)
            if inspect.isawaitable(result):
                await result
        except (Exception, SystemExit, asyncio.CancelledError) as error:
            # It is either ours to obey, or that of something that the function awaited.
            current = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and current is not None and current.cancelling():
                raise
            exception, trace = describe(error)
        outcome = function_record(start, now(), fresh_attempt(), exception=exception, traceback=trace)
        await self.record(job, outcome, forced=force)
        self.tell_finished(job, outcome)


def describe(error: BaseException) -> tuple[str, list[str]]:
    """What a function raised, as text: the exception, and the frames below ours."""
    # The first frame is ours.
    frames = error.__traceback__.tb_next if error.__traceback__ is not None else None
    return repr(error), traceback.format_tb(frames)
