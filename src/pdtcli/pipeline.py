"""A pipeline: tasks, the session they need, and the cycle over them.

What the tasks have to do with each other is not stated but follows from the repositories that they share.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Self

from .errors import LoadError, PdtError, UnknownTask
from .quota import ResourceManager
from .report import Event, Observer, Problem, Report
from .repository.base import Repository
from .session import Session
from .task.base import Task

if TYPE_CHECKING:
    from .dispatch import Priority
    from .engine import Engine
    from .graph import Graph, Node

__all__ = ("Pipeline",)

log = logging.getLogger(__name__)


class Pipeline:
    """A set of tasks that are driven together.

    :param tasks: the tasks; where nothing else decides, jobs of later ones start first.
    :param session: what to open while the pipeline is open.
    :param resources: quotas, for those that no task tells of by itself.
    :param priority: takes the names of a task and a job and gives a number. No job starts while one with a larger
        number could.
    :param fsync: whether what is recorded, and what jobs and functions store in files of this machine, is on the disk
        before the next step is taken, so that a loss of power loses nothing either. It costs a few waits for the disk a
        job.
    """

    def __init__(
        self,
        tasks: Iterable[Task],
        session: Session | None = None,
        resources: Iterable[ResourceManager] = (),
        priority: Priority | None = None,
        *,
        fsync: bool = False,
    ) -> None:
        self.tasks: dict[str, Task] = {}
        for task in tasks:
            if task.name in self.tasks:
                raise LoadError(f"the pipeline has two tasks of the name {task.name}")
            self.tasks[task.name] = task
        self.session = session if session is not None else Session()
        found = [
            *resources,
            *(task.resource_manager for task in self.tasks.values() if task.resource_manager is not None),
        ]
        self.resources: list[ResourceManager] = list(dict.fromkeys(found))
        self.priority = priority
        self.fsync = fsync
        self.observer: Observer | None = None
        self._opened = False
        self._engine: Engine | None = None
        self._told: set[tuple[str | None, str | None, str]] = set()

    def __repr__(self) -> str:
        return f"<Pipeline {' '.join(self.tasks)}>"

    # ---- open and close

    async def open(self) -> None:
        """Open the session and get every task and repository ready.

        :raises PdtError: when the pipeline is open already, or something in it is misconfigured; all is closed then.
        """
        if self._opened:
            raise PdtError("the pipeline is open already")
        await self.session.open()
        try:
            for repository in self.repositories():
                repository.durable = repository.durable or self.fsync
                await repository.validate()
            for task in self.tasks.values():
                await task.validate()
        except BaseException:
            await self.session.close()
            raise
        for task in self.tasks.values():
            task.observer = self._hear
        self._opened = True
        self._told.clear()

    async def close(self) -> None:
        """Close the session; do nothing when the pipeline is closed already. Jobs that run are left alone."""
        if not self._opened:
            return
        self._opened = False
        try:
            for task in self.tasks.values():
                await task.close()
                task.observer = None
        finally:
            await self.session.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # ---- settings and structure

    def settings(self, synchronous: bool = False, metadata: bool = True) -> None:
        """How jobs are launched from now on.

        :param synchronous: whether a launch waits for the job to end.
        :param metadata: whether jobs record how they ended.
        """
        for task in self.tasks.values():
            task.synchronous = synchronous
            task.metadata = metadata

    def task(self, name: str) -> Task:
        """The task of that name.

        :raises UnknownTask: when there is none.
        """
        try:
            return self.tasks[name]
        except KeyError:
            raise UnknownTask(f"there is no task {name!r}: the tasks are {', '.join(self.tasks) or 'none'}") from None

    def repositories(self) -> Iterator[Repository]:
        """Every repository of the pipeline once, those that others are made of first."""
        seen: set[Repository] = set()

        def walk(repository: Repository) -> Iterator[Repository]:
            if repository not in seen:
                seen.add(repository)
                for base in repository.bases:
                    yield from walk(base)
                yield repository

        for task in self.tasks.values():
            for link in task.links.values():
                yield from walk(link.repo)
            if task.has_own_ready:
                yield from walk(task.ready)

    def graph(self) -> Graph:
        """Who depends on whom."""
        from .graph import Graph

        return Graph(self.tasks.values())

    def dependants(self, node: Node, recursive: bool) -> Iterator[Node]:
        """A task or repository and what depends on it, directly or in any number of steps."""
        return self.graph().dependants(node, recursive)

    # ---- cycles

    async def update(self) -> bool:
        """One cycle: collect, then launch. Whether anything happened or is going on."""
        report = await self.tick()
        return bool(not report.idle or report.live or report.ready)

    async def tick(self) -> Report:
        """One cycle: collect what has ended, start what is ready, within the quotas."""
        with self._driving() as engine:
            return await engine.tick()

    async def run(self, *, forever: bool = False, launch_once: bool = False, timeout: float | None = None) -> Report:
        """Cycles until nothing is left to do; see `Engine.run`."""
        with self._driving() as engine:
            return await engine.run(forever=forever, launch_once=launch_once, timeout=timeout)

    def stop(self, *, cancel: bool = False) -> None:
        """Have the cycle that is going on start nothing more and come to an end.

        :param cancel: stop the live jobs as well.
        """
        if self._engine is not None:
            self._engine.stop(cancel=cancel)

    @contextmanager
    def counting(self) -> Iterator[Report]:
        """A block whose events are counted, for work on single jobs outside a cycle."""
        with self._driving() as engine:
            yield engine.report

    @contextmanager
    def _driving(self) -> Iterator[Engine]:
        if not self._opened:
            raise PdtError("the pipeline is not open")
        if self._engine is not None:
            raise PdtError("the pipeline is being driven already")
        from .engine import Engine

        self._engine = Engine(list(self.tasks.values()), self.graph(), self.resources, self.priority, self._hear)
        try:
            yield self._engine
        finally:
            self._engine = None

    def _hear(self, event: Event) -> None:
        """The hub of all events: log what is wrong, once; count; pass on."""
        if isinstance(event, Problem):
            key = (event.task, event.job, event.message)
            if key in self._told:
                return
            self._told.add(key)
            log.error("%s", event, extra={"pdt": {"event": "problem", "task": event.task, "job": event.job}})
        if self._engine is not None:
            self._engine.note(event)
        if self.observer is not None:
            self.observer(event)
