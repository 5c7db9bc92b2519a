"""A task that runs a script, as a process on the machine of a manager.

The live record in `pids` is the claim: whoever creates it may start the job, and only the host named in it collects the
job. A launch is: claim the record, prepare the job's directory, spawn the runner, complete the record. It can be killed
between any two steps; `settle` says what is made of each state that leaves. Every transition of a job on one machine
happens under the job's lock (`ProcessManager.locked`).
"""

from __future__ import annotations

import copy
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from .. import job as job_ids
from ..errors import JobNotFound, NotReady, PdtError, UsageError, is_unreachable, sentence
from ..lazy import lazy
from ..manager.base import Phase, Process, ProcessManager
from ..outcome import now, process_record
from ..quota import ResourceManager, Resources
from ..report import Problem
from ..repository.base import BlobRepository, MetadataRepository, Repository
from ..stream import ReadStream
from ..template import locate, read_template
from .base import Start, Task
from .claim import claim
from .hearing import Hearing
from .live import LiveRecord
from .prepare import prepare
from .settle import Settler

if TYPE_CHECKING:
    import asyncio
else:
    asyncio = lazy("asyncio")

__all__ = ("STDOUT", "ProcessTask")

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

LOCK_PATIENCE = 5.0
"""Seconds to wait for the lock of a job that is to be stopped."""

LOCK_POLL = 0.02


class _StderrIsStdout:
    """The type of `STDOUT`."""

    def __repr__(self) -> str:
        return "STDOUT"


STDOUT = _StderrIsStdout()
"""As the `stderr` of a `ProcessTask`: into the same stream as standard output."""


class ProcessTask(Task):
    """A task that runs a script per job.

    :param name: the name of the task.
    :param manager: the machine to run on: a manager, or what gives one, such as a session's resource.
    :param resource_manager: the quota that live jobs count against; one quota may serve several tasks.
    :param job_resources: what one job counts as. It is not enforced on the job.
    :param pids: holds the live records. Linked as `pids`: status, inhibits start and output.
    :param template: the script, a jinja2 template as text or as a path; its first line names the interpreter, sh by
        default. It sees `job`, `task` and the info of every link by the link's name. Quote what goes into a shell:
        ``{{ input | shquote }}``.
    :param window: for how long a launch counts against the quota's launch rate.
    :param environ: variables to add to the environment. `PDT_TASK`, `PDT_JOB` and `PDT_ATTEMPT` are always there.
    :param done: where to record how jobs ended. Linked as `done`: status, inhibits start, required for output.
    :param stdin: what jobs read. Linked as `stdin`: input.
    :param stdout: where what jobs write goes. Linked as `stdout`: output.
    :param stderr: where their standard error goes, or `STDOUT`; nowhere when None. Linked as `stderr`: output.
    :param ready: holds the jobs that may start, in place of what the links say.
    :param failed: where to record failures, in place of `done`. Linked as `failed`: status, inhibits start and output.
    :param timeout: how long a job may take; it is then stopped and counts as failed. Enforced by `run`, and by `tick`
        when it comes by.
    :param grace: how long a job that is stopped has between SIGTERM and SIGKILL.
    """

    signals_ends = True

    def __init__(
        self,
        name: str,
        manager: Callable[[], ProcessManager] | ProcessManager,
        resource_manager: ResourceManager,
        job_resources: Resources,
        pids: MetadataRepository,
        template: str | os.PathLike[str],
        window: timedelta = timedelta(minutes=1),
        environ: Mapping[str, str] | None = None,
        done: MetadataRepository | None = None,
        stdin: BlobRepository | None = None,
        stdout: BlobRepository | None = None,
        stderr: BlobRepository | _StderrIsStdout | None = None,
        ready: Repository | None = None,
        *,
        failed: MetadataRepository | None = None,
        timeout: timedelta | None = None,
        grace: timedelta = timedelta(seconds=10),
        disabled: bool = False,
    ) -> None:
        super().__init__(name, ready=ready, disabled=disabled)
        for variable, value in (environ or {}).items():
            if _VARIABLE.fullmatch(variable) is None or "\0" in value:
                raise UsageError(f"{variable!r} cannot be an environment variable of the task {name}")
        self._manager = manager if callable(manager) else lambda: manager
        self.resource_manager: ResourceManager = resource_manager
        self.job_resources: Resources = replace(copy.copy(job_resources), launches=1)
        self.pids = pids
        self.live = pids
        self.template = locate(template)
        self.window = window
        self.environ = dict(environ or {})
        self.stdin = stdin
        self.stdout = stdout
        self._stderr = stderr
        self.timeout = timeout
        self.grace = grace
        self._settler = Settler(self)
        self._hearing = Hearing(self)
        self._elsewhere = 0

        resource_manager.register(self._load, label=name, place=pids.place)
        self.link("pids", pids, is_status=True, inhibits_start=True, inhibits_output=True)
        if stdin is not None:
            self.link("stdin", stdin, is_input=True)
        if stdout is not None:
            self.link("stdout", stdout, is_output=True)
        if stderr is not None and not isinstance(stderr, _StderrIsStdout):
            self.link("stderr", stderr, is_output=True)
        self.link_outcomes(done, failed)

    @property
    def manager(self) -> ProcessManager:
        """The manager; raises `PdtError` when it is a resource of a session that is not open."""
        return self._manager()

    @property
    def stderr(self) -> BlobRepository | None:
        """Where standard error ends up, or None when it is discarded."""
        return self.stdout if isinstance(self._stderr, _StderrIsStdout) else self._stderr

    @property
    def own_stderr(self) -> BlobRepository | None:
        """Where standard error goes when it has a stream of its own."""
        return None if isinstance(self._stderr, _StderrIsStdout) else self._stderr

    @property
    def here(self) -> int:
        return len(self._hearing)

    @property
    def elsewhere(self) -> int:
        return self._elsewhere

    async def validate(self) -> None:
        await self.manager.validate(self.name)
        read_template(self.template)

    async def close(self) -> None:
        self._hearing.close()

    async def _load(self) -> Resources:
        if self.resource_manager.quota.launches is None:
            return replace(self.job_resources, launches=0) * len(await self.pids.keys())
        records = await LiveRecord.read_all(self.pids, "")
        since = now() - self.window
        recent = sum(record.start_time > since for record in records.values())
        return replace(self.job_resources * len(records), launches=recent)

    # ---- start

    async def launch(self, job: str) -> None:
        await self.start(job, force=True)

    async def start(self, job: str, *, force: bool = False) -> Start:
        job_ids.check(job)
        if self.resource_manager.is_full_for(self.job_resources):
            return Start.LIMITED
        with self.manager.locked(self.name, job) as got:
            if not got:
                return Start.TAKEN
            record = LiveRecord.on(self.manager, forced=force)
            claimed = await claim(self, job, record)
            if claimed is not Start.STARTED:
                return claimed
            directory = record.directory(self.name, job)
            try:
                adopted = await self._settler.adopt(job, directory)
                if adopted is not None:
                    self._hearing.add(job, adopted)
                    return Start.TAKEN
                if not force and not await self.may_start(job):
                    await self._settler.withdraw(job, directory)
                    return Start.TAKEN
                launch = await prepare(self, job, directory)
                record.process = await self.manager.spawn(directory, launch)
            except BaseException:
                await self._settler.withdraw(job, directory)
                raise
            await self._complete(job, record)
        self.tell_launched(job)
        if self.synchronous:
            await self._wait(record.process)
            await self._settle(job)
        else:
            self._hearing.add(job, record)
        return Start.STARTED

    async def _complete(self, job: str, record: LiveRecord) -> None:
        try:
            await self.pids.dump(job, record.value())
        except (PdtError, OSError) as error:
            # The job runs all the same, and its directory tells its pid to whoever collects it.
            message = f"has a live record that could not be completed: {sentence(error)}"
            self.emit(Problem(self.name, job, message, is_unreachable(error)))

    async def _wait(self, process: Process) -> None:
        ended = asyncio.Event()
        stop = self.manager.watch(process, ended.set)
        try:
            await ended.wait()
        finally:
            stop()

    # ---- collect

    async def update(self) -> bool:
        records = await LiveRecord.read_all(self.pids, self.manager.host)
        ours = {job: record for job, record in records.items() if await self._is_ours(job, record)}
        self._elsewhere = len(records) - len(ours)
        directories = {job: record.directory(self.name, job) for job, record in ours.items()}
        found = await self.manager.inspect_many(
            {directory: ours[job].process for job, directory in directories.items()}
        )
        overdue = []
        for job, record in ours.items():
            phase = found[directories[job]].phase
            if phase is not Phase.RUNNING or record.process is None or record.is_stale(self.manager):
                await self._guarded(job, self._settle(job))
            elif self.time_left(record) == 0:
                overdue.append(self._guarded(job, self.stop(job, "timeout")))
            else:
                self._hearing.add(job, record)
        await asyncio.gather(*overdue)
        return bool(records)

    async def collect(self, job: str) -> None:
        await self._guarded(job, self._settle(job))

    async def _guarded(self, job: str, work: Awaitable[object]) -> None:
        """Do the work on one job; tell of an error, so that the others are worked on too."""
        try:
            await work
        except (PdtError, OSError, ValueError) as error:
            self.emit(Problem(self.name, job, f"cannot be collected: {sentence(error)}", is_unreachable(error)))

    async def _read(self, job: str) -> LiveRecord | None:
        """The live record of a job of this host; None when there is none."""
        if not await self.pids.contains(job):
            return None
        record = await LiveRecord.read(self.pids, job, self.manager.host)
        return record if await self._is_ours(job, record) else None

    async def _is_ours(self, job: str, record: LiveRecord) -> bool:
        return record.is_of(self.manager) or await record.has_moved_to(self.manager, self.name, job)

    async def _settle(self, job: str) -> None:
        """Bring a live record of this host up to date with what became of its process."""
        with self.manager.locked(self.name, job) as got:
            if not got:
                return  # whoever has the lock is launching or collecting it
            record = self._hearing.record(job)
            attempt = None if record is None else await self._settler.inspect(job, record)
            if record is None or attempt is None or attempt.phase is not Phase.ENDED or attempt.return_code != 0:
                # What we remember is true as long as the directory is there, but for the reason that somebody else
                # may have written before they stopped the job.
                record = await self._read(job)
                if record is None:
                    self._hearing.forget(job)
                    return
                attempt = await self._settler.inspect(job, record)
            if await self._settler.act(job, record, attempt):
                self._hearing.add(job, record)
            else:
                self._hearing.forget(job)

    # ---- stop

    def time_left(self, record: LiveRecord) -> float | None:
        """Seconds that a live job may still take; None without a timeout."""
        if self.timeout is None:
            return None
        return max(0.0, (record.start_time + self.timeout - now()).total_seconds())

    async def cancel(self, job: str) -> bool:
        return await self.stop(job, "cancelled")

    async def stop(self, job: str, reason: str) -> bool:
        """End a live job of this host and collect it; it counts as failed for `reason`. Whether it was live here."""
        async with self._locked_patiently(job):
            record = await self._read(job)
            if record is None:
                return False
            attempt = await self._settler.inspect(job, record)
            spawned = attempt.phase is Phase.PREPARED and attempt.process is not None
            if attempt.phase is not Phase.RUNNING and not spawned:
                await self._settler.act(job, record, attempt)
                return True
            # First the reason, so that whoever collects the job knows it, should this process be killed.
            record.stop = reason
            await self.pids.dump(job, record.value())
            self._hearing.remember(job, record)
        if attempt.process is not None:
            await self.manager.kill_session(attempt.process, grace=self.grace.total_seconds())
        await self._settle(job)
        return True

    @asynccontextmanager
    async def _locked_patiently(self, job: str) -> AsyncIterator[None]:
        """A block with the job's lock, which whoever launches or collects the job has for a moment."""
        deadline = asyncio.get_running_loop().time() + LOCK_PATIENCE
        while True:
            with self.manager.locked(self.name, job) as got:
                if got:
                    yield
                    return
            if asyncio.get_running_loop().time() >= deadline:
                raise NotReady(f"{self.name}:{job} is being launched or collected by another process; try again")
            await asyncio.sleep(LOCK_POLL)

    async def give_up(self, job: str, host: str) -> bool:
        """Record a live job of a host that will not come back as lost; whether there was one."""
        if not await self.pids.contains(job):
            return False
        record = await LiveRecord.read(self.pids, job, self.manager.host)
        if record.host != host:
            return False
        if await self._is_ours(job, record):
            return await self.stop(job, "cancelled")
        if record.process is not None and host == self.manager.host and not record.is_stale(self.manager):
            # Of this host, but in another state directory: whoever it is that cannot collect it, it must not run on.
            await self.manager.kill_session(record.process, grace=self.grace.total_seconds())
        outcome = process_record(None, record.start_time, now(), record.attempt, host=host, reason="lost")
        await self.record(job, outcome, forced=record.forced)
        await self._settler.drop(job)
        self.tell_finished(job, outcome)
        return True

    # ---- output

    async def is_running(self, job: str) -> bool:
        """Whether the process of a job that is live on this host has not ended yet."""
        record = await self._read(job)
        if record is None:
            return False
        return (await self._settler.inspect(job, record)).phase in (Phase.RUNNING, Phase.PREPARED)

    async def open_live_output(self, job: str, stream: str) -> ReadStream | None:
        """What a live job of this host has written so far to `stdout` or `stderr`; None when it is not live here."""
        record = await self._read(job)
        if record is None:
            return None
        try:
            return await self.manager.open_output(record.directory(self.name, job), stream)
        except JobNotFound:
            return None
