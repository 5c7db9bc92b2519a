"""From a live record to what became of its process, whatever was killed at whatever moment.

A job of this host is always in one of the phases of `manager.base.Phase`. For each there is one thing to do, under the
job's lock, and every step can be repeated:

    ENDED      copy the outputs, record the outcome, remove the directory, then the live record
    LOST       end what the runner left running, then the same, with the reason `lost`
    RUNNING    complete the live record if its launcher could not
    PREPARED   keep the runner from starting any more; the job is ready again
    OTHER      the launcher was killed before it made the directory anew; the job is ready again, unless what the
               directory belongs to still runs
    ABSENT     never prepared: ready again. Or collected but for the last step: remove the live record
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from ..errors import JobNotFound, PdtError
from ..manager.base import Attempt, JobDirectory, Phase
from ..outcome import now, process_record
from ..repository.base import BlobRepository
from .live import LiveRecord

if TYPE_CHECKING:
    from .process import ProcessTask

__all__ = ("Settler",)

log = logging.getLogger(__name__)

TRIES = 3
"""After so many runners of a job that ended before they took its directory, somebody is told."""


class Settler:
    """Settles the live records of a task; only called by the holder of a job's lock."""

    def __init__(self, task: ProcessTask) -> None:
        self._task = task
        self._unstarted: Counter[str] = Counter()

    async def inspect(self, job: str, record: LiveRecord) -> Attempt:
        """How far the attempt of a record of this host got."""
        manager = self._task.manager
        stale = record.is_stale(manager)
        attempt = await manager.inspect(record.directory(self._task.name, job), None if stale else record.process)
        if attempt.phase is Phase.RUNNING and stale:
            return Attempt(Phase.LOST, attempt.token)  # another process by the same number
        return attempt

    async def act(self, job: str, record: LiveRecord, attempt: Attempt) -> bool:
        """Do what the phase asks for; whether the job still runs."""
        directory = record.directory(self._task.name, job)
        match attempt.phase:
            case Phase.ENDED:
                await self._finish(job, record, attempt)
            case Phase.LOST:
                if attempt.process is not None and not record.is_stale(self._task.manager):
                    # What the runner started may have outlived it, and must not meet another attempt.
                    await self._task.manager.kill_session(attempt.process, grace=0)
                if await self._is_recorded(job, record.attempt):
                    # A loss of power may take the exit status back, and not the outcome that was recorded after it.
                    await self._task.manager.discard(directory)
                    await self.drop(job)
                else:
                    await self._finish(job, record, attempt, "lost")
            case Phase.RUNNING:
                if record.process is None and attempt.process is not None:
                    record.process = attempt.process
                    await self._task.pids.dump(job, record.value())
                return True
            case Phase.PREPARED:
                return await self._give_up_unstarted(job, record, directory)
            case Phase.OTHER:
                if await self.adopt(job, directory) is not None:
                    return True
                await self._task.manager.discard(directory)
                await self.drop(job)
            case Phase.ABSENT:
                return await self._act_on_absence(job, record, attempt)
        return False

    async def adopt(self, job: str, directory: JobDirectory) -> LiveRecord | None:
        """Give an attempt whose live record was removed, but that still runs, its record back."""
        manager = self._task.manager
        found = await manager.inspect(directory)
        if found.phase is not Phase.OTHER or found.token is None:
            return None
        attempt = await manager.inspect(replace(directory, token=found.token))
        if attempt.phase is Phase.LOST and attempt.process is not None:
            await manager.kill_session(attempt.process, grace=0)
        if attempt.phase is not Phase.RUNNING:
            return None
        log.warning("%s:%s still runs although its live record was removed; it is live again", directory.task, job)
        record = LiveRecord.on(manager, attempt=found.token, process=attempt.process)
        await self._task.pids.dump(job, record.value())
        return record

    async def withdraw(self, job: str, directory: JobDirectory) -> None:
        """Undo a claim under which nothing was started, as far as we know: a runner that is quicker keeps it."""
        manager = self._task.manager
        found = await manager.inspect(directory)
        if found.phase is Phase.PREPARED and not await manager.forestall(directory):
            return
        if found.phase in (Phase.RUNNING, Phase.ENDED, Phase.LOST):
            return
        if found.phase is Phase.PREPARED or (found.phase is Phase.OTHER and found.token is None):
            await manager.discard(directory)
        await self.drop(job)

    async def drop(self, job: str) -> None:
        """Remove the live record and give back the quota."""
        await self._task.pids.delete(job)
        await self._task.resource_manager.relinquish(self._task.job_resources)

    async def _give_up_unstarted(self, job: str, record: LiveRecord, directory: JobDirectory) -> bool:
        manager = self._task.manager
        process = None if record.is_stale(manager) else record.process
        if process is not None and await manager.is_alive(process):
            return True  # spawned a moment ago
        if not await manager.forestall(directory):
            return True
        if record.stop is not None:
            await self._finish(job, record, Attempt(Phase.LOST, record.attempt))  # stopped before it could begin
            return False
        await manager.discard(directory)
        await self.drop(job)
        if process is not None:
            # A signal to the whole process group reaches a runner that has no session of its own yet; that is no
            # reason to complain. If it happens again and again, something else is.
            self._unstarted[job] += 1
            if self._unstarted[job] >= TRIES:
                raise PdtError(f"the runner ends before it begins, in {manager.basedir}/{directory.task}/{job}")
        return False

    async def _act_on_absence(self, job: str, record: LiveRecord, attempt: Attempt) -> bool:
        manager = self._task.manager
        process = record.process
        if process is not None and not record.is_stale(manager) and await manager.is_alive(process):
            return True  # somebody removed the directory of a job that runs, or it is the runner's last moment
        if process is None or self._task.done is None or await self._is_recorded(job, record.attempt):
            await self.drop(job)
        else:
            await self._finish(job, record, attempt, "lost")
        return False

    async def _is_recorded(self, job: str, token: str) -> bool:
        for repository in (self._task.done, self._task.failed):
            if repository is not None and await repository.contains(job):
                record = await repository.info(job)
                if isinstance(record, Mapping) and record.get("attempt") == token:
                    return True
        return False

    async def _finish(self, job: str, record: LiveRecord, attempt: Attempt, reason: str | None = None) -> None:
        task = self._task
        directory = record.directory(task.name, job)
        if task.stdout is not None:
            await self._collect(job, directory, "stdout", task.stdout)
        if task.own_stderr is not None:
            await self._collect(job, directory, "stderr", task.own_stderr)
        outcome = process_record(
            attempt.return_code,
            record.start_time,
            attempt.ended or now(),
            record.attempt,
            host=record.host,
            reason=record.stop or reason,
        )
        await task.record(job, outcome, forced=record.forced)
        await task.manager.discard(directory)
        await self.drop(job)
        task.tell_finished(job, outcome)

    async def _collect(self, job: str, directory: JobDirectory, name: str, target: BlobRepository) -> None:
        manager = self._task.manager
        source = partial(manager.open_output, directory, name)
        try:
            await target.collect(job, source, manager.local_output(directory, name))
        except JobNotFound:
            pass  # collected by an earlier try, or never made
