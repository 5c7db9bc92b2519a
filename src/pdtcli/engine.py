"""The cycle of a pipeline: collect, survey, start; once for a tick, and again at every event for a run.

In a run the end of a job is heard from the kernel or the executor, and what follows from it is worked out for that job
alone, so that its cost does not depend on how many there are. Surveys of everything come in between, as rarely as their
cost demands, for what no event tells: data that somebody else brought or removed, jobs under other names, quotas that
another process gave back. A run ends only on a survey that finds nothing to do.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from .dispatch import Dispatcher, Priority
from .errors import PdtError, is_unreachable, sentence
from .graph import Graph
from .quota import ResourceManager
from .report import Counts, Event, Finished, Launched, Problem, Report, Stopping, Surveyed
from .repository.base import Repository
from .survey import Survey
from .task.base import Task

__all__ = ("Engine",)

log = logging.getLogger(__name__)

POLL = 1.0
"""Seconds between two looks at what no event tells of."""

IDLE = 30.0
"""The same, where the kernel tells of changes and nothing is going on."""

QUIET = 0.02
"""Seconds between two surveys at the least."""

PATIENCE = 8
"""So many surveys wait for live jobs of this host that nobody seems to collect."""

SHARE = 20
"""Surveys take at most one part in so many of the time, while there is something else to do."""

BATCH = 32
"""So many ended jobs are collected side by side."""


class Engine:
    """Drives the tasks of an open pipeline for the length of one command.

    :param tasks: the tasks, in the pipeline's order.
    :param graph: of the pipeline.
    :param quotas: all quotas that the tasks use.
    :param priority: gives the priority of a task and a job.
    :param emit: tells whoever watches.
    """

    def __init__(
        self,
        tasks: list[Task],
        graph: Graph,
        quotas: list[ResourceManager],
        priority: Priority | None,
        emit: Callable[[Event], None],
    ) -> None:
        self.tasks = tasks
        self.graph = graph
        self.quotas = quotas
        self.report = Report()
        self.emit = emit
        self._dispatcher = Dispatcher(tasks, priority, self._note)
        self._ended: list[tuple[Task, str]] = []
        self._wake = asyncio.Event()
        self._stop = False
        self._cancel = False
        self._once = False
        self._dirty = False
        self._patience = PATIENCE
        self._polled_live = False
        self._surveyed = 0.0
        self._survey_cost = 0.0
        self._told_of_changes = False
        self._listed: set[Repository] = set()
        self._followers: dict[Task, list[tuple[Task, Repository]]] = {}
        # Jobs that ended in this run although nothing they left behind tells so; they must not start again in it.
        self._forgotten: set[tuple[Task, str]] = set()
        self._remembers = {task for task in tasks if task.remembers}
        self._failed: dict[str, set[str]] = {task.name: set() for task in tasks}

    # ---- what others call

    def stop(self, *, cancel: bool = False) -> None:
        """Start nothing more and come to an end; with `cancel`, stop what runs as well."""
        self._stop = True
        self._cancel = self._cancel or cancel
        for task in self.tasks:
            task.stopping = True
        self._wake.set()

    def note(self, event: Event) -> None:
        """Hear an event, of a task of this pipeline, as it is told to others."""
        match event:
            case Launched():
                self.report.launched += 1
            case Finished(task=task, job=job, success=success):
                if success:
                    self.report.done += 1
                    self._failed[task].discard(job)
                else:
                    self.report.failed += 1
                    self._failed[task].add(job)
            case Problem(unreachable=unreachable):
                self.report.problems += 1
                self.report.unreachable += unreachable

    async def tick(self) -> Report:
        """One cycle; waits for jobs that only this process can collect."""
        started = time.monotonic()
        try:
            self._once = True
            self._listen(lambda task: task.here_only)
            await self._collect_all()
            await self._survey()
            while True:
                if not self._stop:
                    await self._dispatcher.fill()
                if not self._here(only_here=True):
                    break
                if self._stop and not self.report.interrupted:
                    await self._wind_down()
                else:
                    await self._next_event(None)
        finally:
            await self._finish(started)
        return self.report

    async def run(self, *, forever: bool = False, launch_once: bool = False, timeout: float | None = None) -> Report:
        """Cycles until nothing is left to do.

        :param forever: wait for more when nothing is left.
        :param launch_once: start only what is ready at first.
        :param timeout: seconds after which to give up.
        :raises TimeoutError: then; what runs is left alone.
        """
        from .watch import DirectoryWatch

        started = time.monotonic()
        watch = DirectoryWatch(self.graph.sources(), self._changed) if forever else None
        self._told_of_changes = watch is not None and watch.complete
        try:
            async with asyncio.timeout(timeout):
                self._listen(lambda task: True)
                await self._collect_all()
                await self._survey()
                self._once = launch_once
                while not self._stop and await (self._cycle_once() if launch_once else self._cycle(forever)):
                    pass
                if self._stop:
                    await self._wind_down()
                if self._dirty:
                    await self._survey()  # for the counts at the end
        finally:
            if watch is not None:
                watch.close()
            await self._finish(started)
        return self.report

    # ---- the cycle

    async def _cycle(self, forever: bool) -> bool:
        """Start what fits, wait for an event, act on it; whether there may be more to do."""
        await self._fill()
        busy = self._here() or self._polled_live
        waiting = self._dispatcher.queued or self._dispatcher.taken
        unheard = self._unheard()
        if unheard and self._patience <= 0:
            waiting = 0  # they hold the quota that the others wait for
        if not (busy or waiting or self._dirty or (unheard and self._patience > 0) or forever):
            return False
        await self._next_event(self._until_survey())
        if self._until_survey() <= 0 and not self._stop:
            await self._collect_all()
            await self._survey()
            self._patience -= 1
        return True

    async def _cycle_once(self) -> bool:
        """The same for what was ready at first, and that alone."""
        await self._fill()
        if not self._here() and not self._polled_live and not self._dispatcher.queued:
            return False
        await self._next_event(POLL if self._polled_live or not self._here() else None)
        if self._polled_live or self._dispatcher.queued:
            await self._collect_all()
            self._dispatcher.release_all()
        return True

    async def _fill(self) -> None:
        """Start what fits."""
        await self._dispatcher.fill()
        self._polled_live = self._polled_live or self._dispatcher.unheard
        self._dispatcher.unheard = False

    def _unheard(self) -> bool:
        """Whether the last survey found live jobs of this host whose end we would not hear, so that it is repeated.

        Another process started them after we looked, and it may be killed. Or they cannot be collected, for want of
        space for instance: then patience comes to an end.
        """
        heard = sum(task.here + task.elsewhere for task in self.tasks)
        if self.report.live <= heard:
            self._patience = PATIENCE
        return self.report.live > heard

    def _until_survey(self) -> float:
        """Seconds until the next survey is due."""
        since = time.monotonic() - self._surveyed
        if self._dirty and not self._dispatcher.queued:
            if not self._here() and not self._polled_live:
                return 0.0  # nothing else to do: this one decides whether the run is over
            return max(QUIET, SHARE / 2 * self._survey_cost) - since
        wait = POLL
        if self._dispatcher.taken or (not self._here() and (self._dispatcher.queued or self._unheard())):
            wait = POLL / 4  # somebody else is at work on the same
        idle = not self._here() and not self._polled_live and not self._dispatcher.queued
        if idle and self._told_of_changes and not self._dispatcher.taken:
            wait = IDLE
        return max(wait, SHARE * self._survey_cost) - since

    async def _next_event(self, timeout: float | None) -> None:
        """Wait until a job ends, something changes or `timeout` seconds pass; collect what has ended."""
        if not self._ended and not self._wake.is_set() and (timeout is None or timeout > 0):
            try:
                async with asyncio.timeout(timeout):
                    await self._wake.wait()
            except TimeoutError:
                pass
        self._wake.clear()
        while self._ended:
            batch, self._ended = self._ended[:BATCH], self._ended[BATCH:]
            left = [(task, job) for task, job in batch if not task.in_process]  # the others collected themselves
            if len(left) == 1:
                await left[0][0].collect(left[0][1])
            elif left:
                await asyncio.gather(*(task.collect(job) for task, job in left))
            for task, job in batch:
                await self._follow(task, job)

    def _note(self, task: Task, job: str, ran: bool = True) -> None:
        if ran:
            self._ended.append((task, job))
        self._wake.set()

    def _changed(self) -> None:
        self._dirty = True
        self._wake.set()

    async def _follow(self, task: Task, job: str) -> None:
        """A job has ended: who waited for its resources, and who for its results?"""
        self._dirty = True
        self._dispatcher.release(task)
        if task not in self._remembers:
            self._forgotten.add((task, job))
        if self._once:
            return
        for follower, ready in self._followers_of(task):
            if not follower.disabled and (follower, job) not in self._forgotten:
                try:
                    if await ready.contains(job):
                        self._dispatcher.add(follower, job)
                except Exception:  # the next survey will meet it again, and tell
                    log.debug("%s cannot be asked for %s", ready, job, exc_info=True)

    def _followers_of(self, task: Task) -> list[tuple[Task, Repository]]:
        if task not in self._followers:
            near = self.graph.readers(task) - {task}
            self._followers[task] = [(other, other.ready) for other in self.tasks if other in near]
        return self._followers[task]

    # ---- collect and survey

    def _listen(self, to: Callable[[Task], bool]) -> None:
        for task in self.tasks:
            if task.signals_ends and to(task):
                task.ended = self._ear(task)

    def _ear(self, task: Task) -> Callable[[str], None]:
        return lambda job: self._note(task, job)

    async def _collect_all(self) -> None:
        before = self.report.done + self.report.failed

        async def update(task: Task) -> bool:
            try:
                return bool(await task.update()) and not task.signals_ends
            except Exception as error:
                self._problem(task, "its live jobs cannot be collected", error)
                return False

        self._polled_live = any(await asyncio.gather(*(update(task) for task in self.tasks)))
        for quota in self.quotas:
            await quota.flush()
        if self.report.done + self.report.failed > before:
            self._dirty = True

    async def _survey(self) -> None:
        began = time.monotonic()
        self._dirty = False
        survey = Survey()
        counts: list[Counts] = []
        self._dispatcher.taken = 0
        self._dispatcher.release_all()
        for task in self.tasks:
            try:
                standing = await survey.standing(task)
                ready = await survey.ready(task)
                if task.disabled:
                    ready = set()
                if self._forgotten:
                    ready = {job for job in ready if (task, job) not in self._forgotten}
                self._dispatcher.offer(task, ready)
                counts.append(self._counts(task, standing.counts(task, {})))
            except Exception as error:
                self._problem(task, "its jobs cannot be listed", error)
                self._dispatcher.offer(task, ())
        self._surveyed = time.monotonic()
        self._survey_cost = self._surveyed - began
        self._listed = survey.listed
        self.emit(Surveyed(counts))
        self.report.live = sum(row.live for row in counts)
        self.report.ready = sum(row.ready for row in counts)
        self.report.waiting = sum(row.waiting for row in counts)
        self.report.failed_before = sum(row.failed for row in counts)

    def _counts(self, task: Task, row: Counts) -> Counts:
        """The row, with what only this process knows: jobs that it runs itself, and failures among what is done."""
        running = min(task.here, row.ready) if task.in_process else 0
        failed = min(len(self._failed[task.name]), row.done) if task.failed is None else 0
        return row.replace(
            ready=row.ready - running,
            live=row.live + running,
            done=row.done - failed,
            failed=row.failed + failed,
        )

    def _problem(self, task: Task, what: str, error: Exception) -> None:
        log.debug("%s: %s", task.name, what, exc_info=error)
        task.emit(Problem(task.name, None, f"{what}: {sentence(error)}", is_unreachable(error)))

    # ---- the end

    def _here(self, *, only_here: bool = False) -> int:
        """How many jobs this process waits for."""
        tasks = [task for task in self.tasks if task.here_only] if only_here else self.tasks
        return sum(task.here for task in tasks if not task.in_process) + self._dispatcher.running + len(self._ended)

    async def _wind_down(self) -> None:
        self._dispatcher.clear()
        here = self._here(only_here=True)
        self.report.interrupted = self._dirty = True
        self.emit(Stopping(self._here() - here, self._cancel, here))
        if self._cancel:
            survey = Survey()
            cancels = [
                task.cancel(job) for task in self.tasks if task.live is not None for job in await survey.keys(task.live)
            ]
            await asyncio.gather(*cancels)
        else:
            for task in self.tasks:
                if task.here_only:
                    for job in await Survey().keys(task.live) if task.live is not None else ():
                        await task.cancel(job)  # takes back what has not begun
        while self._here(only_here=True):
            await self._next_event(None)

    async def _finish(self, started: float) -> None:
        await self._dispatcher.abandon()
        if not self.report.idle:
            await self._sweep()
        for task in self.tasks:
            task.ended = None
            task.stopping = False
        self.report.seconds = time.monotonic() - started

    async def _sweep(self) -> None:
        """Remove what killed writers left where no task reads, so that no survey lists it.

        Only after a cycle with something to do: what was killed in the middle of writing left its job to be done.
        """
        for node in self.graph.nodes:
            if isinstance(node, Repository) and node not in self._listed:
                try:
                    await node.sweep()
                except (PdtError, OSError) as error:
                    log.debug("%s cannot be swept: %s", node, error)
