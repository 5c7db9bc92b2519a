"""The synchronous face of a pipeline: blocking calls for scripts, notebooks and the command line.

Every call is a cycle of its own (one event loop, the session opened, the work, the session closed), and so is a
``with`` block around several calls.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from . import explain
from .errors import JobNotFound, LockHeld, UnknownRepository, UsageError
from .loader import discover, identity, load
from .pipeline import Pipeline
from .portal import Portal, interruptible
from .report import (
    Counts,
    Finding,
    Observer,
    PlanRow,
    QuotaRow,
    Removal,
    Report,
    RepositoryRow,
    TaskRow,
    TraceRow,
)
from .repository.base import Repository
from .survey import Survey

if TYPE_CHECKING:
    from .handles import RepositoryHandle, TaskHandle

__all__ = ("PipelineHandle", "open_pipeline")

T = TypeVar("T")

LOCK_POLL = 0.05
"""Seconds between two tries at the lock of a tick that is waited for."""


def open_pipeline(spec: str | Pipeline | None = None) -> PipelineHandle:
    """Load a pipeline and give a handle on it.

    .. code:: python

        with pdtcli.open_pipeline("pipeline.py") as words:
            words.tick()
            print(words.repo("count.done").ls())

    :param spec: ``FILE.py[:NAME]``, ``MODULE[:NAME]`` or a `Pipeline`; found as the command line finds it when None.
    :raises LoadError: when there is no such pipeline.
    """
    if isinstance(spec, Pipeline):
        return PipelineHandle(spec, None)
    found = spec or discover()
    return PipelineHandle(load(found), found)


class PipelineHandle:
    """Blocking calls on one pipeline.

    :ivar pipeline: the pipeline itself.
    :ivar name: what to call it in messages.
    """

    def __init__(self, pipeline: Pipeline, spec: str | None) -> None:
        self.pipeline = pipeline
        self.name = spec if spec is not None else "the pipeline"
        # Two ticks of a script's own pipeline exclude each other by the places that it works on.
        places = sorted({repo.place for repo in pipeline.repositories() if repo.place is not None})
        self._identity = identity(spec) if spec is not None else "\n".join(places)
        self._portal: Portal | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    # ---- cycles

    def __enter__(self) -> Self:
        portal = Portal(self.pipeline.stop)
        try:
            portal.run(self.pipeline.open)
        except BaseException:
            portal.close()
            raise
        self._portal = portal
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        portal, self._portal = self._portal, None
        assert portal is not None
        try:
            portal.run(self.pipeline.close)
        finally:
            portal.close()

    def call(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run something asynchronous on the open pipeline, in the cycle that is going on or in one of its own."""
        if self._portal is not None:
            return self._portal.run(work)
        with self as opened:
            return opened.call(work)

    # ---- what there is

    def repositories(self) -> list[RepositoryRow]:
        """Every link of every task, with its repository."""
        return [
            RepositoryRow(f"{task.name}.{name}", type(link.repo).__name__, link.role, _where(link.repo))
            for task in self.pipeline.tasks.values()
            for name, link in task.links.items()
        ]

    def tasks(self) -> list[TaskRow]:
        """The tasks, in the pipeline's order."""
        return [
            TaskRow(task.name, type(task).__name__, task.disabled, tuple(task.input), tuple(task.output))
            for task in self.pipeline.tasks.values()
        ]

    def find_repository(self, name: str) -> Repository:
        """The repository that a task links, by ``TASK.LINK``.

        :raises UnknownRepository: when there is none of that name.
        """
        for task in self.pipeline.tasks.values():
            if name.startswith(f"{task.name}."):
                link = task.links.get(name[len(task.name) + 1 :])
                if link is not None:
                    return link.repo
        names = [row.name for row in self.repositories()]
        import difflib

        close = difflib.get_close_matches(name, names, 1)
        hint = f"did you mean {close[0]}?" if close else "'pdt repo ls' lists them"
        raise UnknownRepository(f"there is no repository {name!r}: {hint}")

    def repo(self, name: str) -> RepositoryHandle:
        """A handle on a repository, by ``TASK.LINK``.

        :raises UnknownRepository: when there is none of that name.
        """
        from .handles import RepositoryHandle

        return RepositoryHandle(self, name, self.find_repository(name))

    def task(self, name: str) -> TaskHandle:
        """A handle on a task.

        :raises UnknownTask: when there is none of that name.
        """
        from .handles import TaskHandle

        return TaskHandle(self, self.pipeline.task(name))

    # ---- questions

    def select(self, expression: str) -> set[str]:
        """The jobs of a set expression over repositories, such as ``count.books - count.done``.

        :raises UsageError: when it is none.
        :raises UnknownRepository: when it names one that is not there.
        """
        from .expression import parse

        parsed = parse(expression, [row.name for row in self.repositories()])

        async def evaluate() -> set[str]:
            survey = Survey()
            names = sorted(parsed.names)
            sets = await asyncio.gather(*(survey.keys(self.find_repository(name)) for name in names))
            return parsed.evaluate(dict(zip(names, sets, strict=True)))

        return self.call(evaluate)

    def status(self, tasks: Sequence[str] = ()) -> list[Counts]:
        """How many jobs stand where, for the named tasks or all."""
        chosen = [self.pipeline.task(name) for name in tasks] or list(self.pipeline.tasks.values())
        return self.call(lambda: Survey().counts(chosen, look_into_records=True))

    def trace(self, jobs: Sequence[str]) -> list[TraceRow]:
        """The way of some jobs through the tasks."""
        return self.call(lambda: explain.trace(self.pipeline.tasks.values(), jobs))

    def quotas(self) -> list[QuotaRow]:
        """Limits and use of all quotas."""
        return self.call(lambda: explain.quota_rows(self.pipeline.resources))

    def plan(self, tasks: Sequence[str] = ()) -> list[PlanRow]:
        """What a tick would start, and for what the other jobs wait."""
        chosen = [self.pipeline.task(name) for name in tasks] or list(self.pipeline.tasks.values())
        return self.call(lambda: explain.plan(chosen))

    # ---- work

    def remove(
        self, target: str, jobs: Sequence[str] | None, *, recursive: bool = False, dry_run: bool = False
    ) -> list[Removal]:
        """Delete jobs from a repository, or from all that a task fills.

        :param target: ``TASK.LINK`` or the name of a task.
        :param jobs: which; all when None.
        :param recursive: also from everything that depends on the target.
        :param dry_run: only tell what would be deleted.
        :return: what was there and is deleted.
        :raises NotReady: when one of the jobs is live; nothing is deleted then.
        """
        from .removal import remove

        is_task = target in self.pipeline.tasks
        node = self.pipeline.tasks[target] if is_task else self.find_repository(target)
        return self.call(lambda: remove(self.pipeline, node, jobs, recursive=recursive, dry_run=dry_run))

    def copy(
        self,
        source: str,
        target: str,
        jobs: Sequence[str] | None,
        *,
        skip_existing: bool = False,
        dry_run: bool = False,
        copied: Callable[[str, int], None] | None = None,
    ) -> list[str]:
        """Copy values from one repository to another, in place of what is there.

        :param source: ``TASK.LINK``; so is `target`.
        :param jobs: which; all when None.
        :param skip_existing: leave out those that the target has.
        :param dry_run: only tell which would be copied.
        :param copied: called with each job that was copied, and its number of bytes.
        :return: the jobs that were, or would be, copied.
        :raises JobNotFound: when the source does not hold one that is named.
        """
        from .transfer import copy_jobs

        origin, destination = self.find_repository(source), self.find_repository(target)

        async def work() -> list[str]:
            present = await origin.keys() if jobs is None else await origin.among(jobs)
            for job in jobs or ():
                if job not in present:
                    raise JobNotFound(f"{source} does not hold {job}: 'pdt repo ls {source}' lists what it does")
            chosen = present - await destination.among(present) if skip_existing else present
            if not dry_run:
                await copy_jobs(origin, destination, chosen, copied)
            return sorted(chosen)

        if origin is destination:
            raise UsageError(f"{source} and {target} are the same repository")
        return self.call(work)

    def tick(self, *, observer: Observer | None = None, wait: float | None = None, fsync: bool = False) -> Report:
        """One cycle: collect what has ended, start what is ready.

        :param fsync: as for `Pipeline`.
        :param wait: seconds to wait for another tick of this pipeline on this machine to end.
        :raises LockHeld: when it does not end by then.
        """
        self.pipeline.fsync = self.pipeline.fsync or fsync
        with self._tick_lock(wait), self._observed(observer):
            return self.call(lambda: interruptible(self.pipeline.tick, self.pipeline.stop))

    def check(self) -> list[Finding]:
        """What is wrong with the pipeline although it loads; nothing is opened for that."""
        from .check import check

        return check(self.pipeline)

    def run(
        self,
        *,
        forever: bool = False,
        launch_once: bool = False,
        timeout: float | None = None,
        cancel: bool = False,
        observer: Observer | None = None,
        fsync: bool = False,
    ) -> Report:
        """Cycles until nothing is left to do.

        The first SIGINT or SIGTERM brings it to an end: nothing more is started, `Report.interrupted` is true. The
        second one raises KeyboardInterrupt.

        :param forever: wait for more when nothing is left.
        :param launch_once: start only what is ready at first.
        :param timeout: seconds after which to give up.
        :param cancel: whether the first signal also stops the live jobs.
        :param fsync: as for `Pipeline`.
        :raises TimeoutError: after `timeout`.
        """
        self.pipeline.fsync = self.pipeline.fsync or fsync
        with self._observed(observer):
            return self.call(
                lambda: interruptible(
                    lambda: self.pipeline.run(forever=forever, launch_once=launch_once, timeout=timeout),
                    lambda: self.pipeline.stop(cancel=cancel),
                )
            )

    @contextmanager
    def _observed(self, observer: Observer | None) -> Iterator[None]:
        before, self.pipeline.observer = self.pipeline.observer, observer
        try:
            yield
        finally:
            self.pipeline.observer = before

    @contextmanager
    def _tick_lock(self, wait: float | None) -> Iterator[None]:
        from .state import lock_file

        if not self._identity:
            yield  # all is in this process's memory, where no other can meddle
            return
        lock = lock_file("tick", self._identity)
        deadline = time.monotonic() + (wait or 0.0)
        try:
            while not lock.acquire("tick"):
                if time.monotonic() >= deadline:
                    waited = f" after {wait:g} seconds" if wait else ""
                    raise LockHeld(f"another tick of {self.name} is still going on{waited}")
                time.sleep(LOCK_POLL)
            yield
        finally:
            lock.close()


def _where(repository: Repository) -> str:
    text = repr(repository)
    kind = type(repository).__name__
    return text.removeprefix(f"<{kind}").removesuffix(">").strip() if text.startswith(f"<{kind}") else text
