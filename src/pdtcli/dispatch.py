"""Which ready job starts next, within quotas and priorities.

No job of a lower priority starts while one of a higher priority could: when a job does not fit its quota, everything
of a lower priority waits for that quota as well, though not for others. Among equals the tasks at the end of the
pipeline come first, so that what is begun gets finished, and then the jobs by name.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import Callable, Iterable, Sequence

from .errors import is_unreachable, sentence
from .quota import ResourceManager
from .report import Problem
from .task.base import Start, Task

__all__ = ("Dispatcher", "Priority")

log = logging.getLogger(__name__)

Priority = Callable[[str, str], int]

IN_PROCESS_SLOTS = 16
"""So many jobs of an in-process task run at a time, and take turns where they await."""

MAX_REFUSALS = 5
"""After so many jobs in a row that could not be started, a task is left alone for the rest of the command."""


class Dispatcher:
    """Queues of ready jobs, one a task.

    :param tasks: the tasks, in the pipeline's order.
    :param priority: gives the priority of a task and a job; larger numbers first.
    :param ended: called when an in-process task is through with a job, with whether the job ran or was somebody else's.
    """

    def __init__(
        self, tasks: Sequence[Task], priority: Priority | None, ended: Callable[[Task, str, bool], None]
    ) -> None:
        self._order = list(reversed(tasks))
        self._priority = priority
        self._ended = ended
        self._queues: dict[Task, list[tuple[int, str]]] = {task: [] for task in tasks}
        self._queued: dict[Task, set[str]] = {task: set() for task in tasks}
        self._paused: set[Task] = set()
        # By quota, the priority of the job that did not fit.
        self._held: dict[ResourceManager, int] = {}
        self._running: dict[Task, dict[str, asyncio.Task[None]]] = {task: {} for task in tasks}
        self._refusals: dict[Task, int] = dict.fromkeys(tasks, 0)
        self._impossible: set[Task] = set()
        self._abandoned = False
        self.refused: set[tuple[Task, str]] = set()
        self.taken = 0
        """How many jobs turned out to be somebody else's since the last `offer`."""
        self.unheard = False
        """Whether a job was started whose end will not be heard, so that its task must be asked."""

    # ---- queues

    def offer(self, task: Task, jobs: Iterable[str]) -> None:
        """Make `jobs` all that is queued for a task."""
        running = self._running[task]
        wanted = {job for job in jobs if (task, job) not in self.refused and job not in running}
        if wanted and task.impossible() is not None:
            self._tell_impossible(task)
            wanted = set()
        self._queued[task] = wanted
        queue = [(-self._rank(task, job), job) for job in wanted]
        heapq.heapify(queue)
        self._queues[task] = queue

    def add(self, task: Task, job: str) -> None:
        """Queue one more job, unless it is queued or runs already."""
        if job in self._queued[task] or job in self._running[task]:
            return
        if (task, job) not in self.refused and task not in self._impossible:
            if task.impossible() is not None:
                self._tell_impossible(task)
                return
            self._queued[task].add(job)
            heapq.heappush(self._queues[task], (-self._rank(task, job), job))

    def _rank(self, task: Task, job: str) -> int:
        return 0 if self._priority is None else self._priority(task.name, job)

    def _tell_impossible(self, task: Task) -> None:
        if task in self._impossible:
            return
        self._impossible.add(task)
        kind = task.impossible()
        assert kind is not None
        message = f"one job needs more {kind.word} than its whole quota has, so that none can ever start"
        task.emit(Problem(task.name, None, message))

    @property
    def queued(self) -> int:
        """How many jobs wait for their turn."""
        return sum(map(len, self._queued.values()))

    def queued_for(self, task: Task) -> int:
        """How many jobs of a task wait for their turn."""
        return len(self._queued[task])

    @property
    def running(self) -> int:
        """How many jobs of in-process tasks run."""
        return sum(map(len, self._running.values()))

    def clear(self) -> None:
        """Forget all that is queued."""
        for task in self._order:
            self._queues[task].clear()
            self._queued[task].clear()

    def release(self, task: Task) -> None:
        """Room was made by a job of this task: whoever waits for the same quota may try again."""
        quota = task.resource_manager
        self._paused.discard(task)
        if quota is not None:
            self._held.pop(quota, None)
            self._paused = {paused for paused in self._paused if paused.resource_manager is not quota}

    def release_all(self) -> None:
        """Whoever waits for a quota may try again."""
        self._paused.clear()
        self._held.clear()

    async def abandon(self) -> None:
        """Cancel the jobs of in-process tasks that still run, when nobody will wait for them any more."""
        self._abandoned = True
        left = [work for running in self._running.values() for work in running.values()]
        for work in left:
            work.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    # ---- start

    async def fill(self) -> None:
        """Start jobs until none is left that fits."""
        started = 0
        while (task := self._next()) is not None:
            rank, job = heapq.heappop(self._queues[task])
            if job not in self._queued[task]:
                continue
            if task.in_process:
                self._queued[task].discard(job)
                self._running[task][job] = asyncio.create_task(self._run_here(task, job))
                continue
            if await self._start(task, job) is Start.LIMITED:
                heapq.heappush(self._queues[task], (rank, job))
                self._pause(task, -rank)
                continue
            self._queued[task].discard(job)
            started += 1
            if started % IN_PROCESS_SLOTS == 0:
                await asyncio.sleep(0)  # let what has ended be heard

    def _next(self) -> Task | None:
        best: Task | None = None
        best_rank = 0
        for task in self._order:
            queue = self._queues[task]
            if not queue or task in self._paused or task.disabled or len(self._running[task]) >= IN_PROCESS_SLOTS:
                continue
            rank = -queue[0][0]
            quota = task.resource_manager
            if quota is not None and rank < self._held.get(quota, rank):
                continue
            if best is None or rank > best_rank:
                best, best_rank = task, rank
        return best

    def _pause(self, task: Task, rank: int) -> None:
        self._paused.add(task)
        quota = task.resource_manager
        if quota is not None:
            self._held[quota] = max(rank, self._held.get(quota, rank))

    async def _run_here(self, task: Task, job: str) -> None:
        ran = False
        try:
            ran = await self._start(task, job) is Start.STARTED
        except asyncio.CancelledError:
            if not self._abandoned:
                self.refused.add((task, job))
                task.emit(Problem(task.name, job, "has cancelled the asyncio task it runs in: it is not recorded"))
            raise
        finally:
            del self._running[task][job]
            self._ended(task, job, ran)

    async def _start(self, task: Task, job: str) -> Start:
        try:
            result = await task.start(job)
        except Exception as error:  # whatever a user's repository or template raises must not stop the others
            log.debug("%s:%s could not be started", task.name, job, exc_info=True)
            self.refused.add((task, job))
            task.emit(Problem(task.name, job, f"cannot be started: {sentence(error)}", is_unreachable(error)))
            self._refusals[task] += 1
            if self._refusals[task] >= MAX_REFUSALS and self._queues[task]:
                message = f"left alone: its last {MAX_REFUSALS} jobs could not be started"
                task.emit(Problem(task.name, None, message))
                self.refused |= {(task, waiting) for waiting in self._queued[task]}
                self._queues[task].clear()
                self._queued[task].clear()
            return Start.TAKEN
        self._refusals[task] = 0
        if result is Start.TAKEN:
            self.taken += 1
        elif result is Start.STARTED and not task.signals_ends:
            self.unheard = True
        return result
