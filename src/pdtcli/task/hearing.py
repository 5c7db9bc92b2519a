"""The live jobs of a task whose end, or timeout, this process hears of.

What is known of them is remembered with them, so that collecting one need not read its live record again. Nothing else
relies on it: another process finds the same in the records.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..lazy import lazy
from .live import LiveRecord

if TYPE_CHECKING:
    import asyncio

    from .process import ProcessTask
else:
    asyncio = lazy("asyncio")

__all__ = ("Hearing",)


class Hearing:
    """Watches the processes of live jobs, for as long as somebody listens to the task (`Task.ended`).

    :param task: whose `ended` is called, and whose `stop` when a job has used up its time.
    """

    def __init__(self, task: ProcessTask) -> None:
        self._task = task
        self._records: dict[str, LiveRecord] = {}
        self._watches: dict[str, Callable[[], None]] = {}
        self._stopping: set[asyncio.Task[bool]] = set()

    def __len__(self) -> int:
        return len(self._watches)

    def add(self, job: str, record: LiveRecord) -> None:
        """Hear of a live job, unless that is so already or nobody listens."""
        task = self._task
        if task.ended is None or job in self._watches or record.process is None:
            return
        self._records[job] = record
        loop = asyncio.get_running_loop()
        timer: asyncio.TimerHandle | None = None

        def ended() -> None:
            stop()
            self._watches.pop(job, None)
            if task.ended is not None:
                task.ended(job)

        def expire() -> None:
            stopping = loop.create_task(task.stop(job, "timeout"))
            self._stopping.add(stopping)
            stopping.add_done_callback(self._stopping.discard)

        def stop() -> None:
            unwatch()
            if timer is not None:
                timer.cancel()

        if (left := task.time_left(record)) is not None:
            timer = loop.call_later(left, expire)
        unwatch = task.manager.watch(record.process, ended)
        self._watches[job] = stop

    def record(self, job: str) -> LiveRecord | None:
        """What is remembered of a job."""
        return self._records.get(job)

    def remember(self, job: str, record: LiveRecord) -> None:
        """Take a new record for one that is remembered."""
        if job in self._records:
            self._records[job] = record

    def forget(self, job: str) -> None:
        """Hear no more of a job."""
        self._records.pop(job, None)
        if (stop := self._watches.pop(job, None)) is not None:
            stop()

    def close(self) -> None:
        """Hear no more of any."""
        for stop in self._watches.values():
            stop()
        self._watches.clear()
        self._records.clear()
        for stopping in self._stopping:
            stopping.cancel()
