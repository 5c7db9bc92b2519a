"""A task that runs a script, as a process on the machine of a manager.

The live record in `pids` is the claim: whoever creates it may start the job, and only the host named in it collects the
job. Every transition of a job on one machine happens under the job's lock (`ProcessManager.locked`), and each step is
written so that it can be killed between any two lines and taken up again by `_settle`:

    claim the live record · prepare the directory · spawn · complete the record
    copy outputs · write done or failed · remove the directory · remove the live record · give back the quota
"""

from __future__ import annotations

import asyncio
import copy
import logging
import os
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from .. import job as job_ids
from ..errors import JobNotFound, PdtError, UsageError, sentence
from ..manager.base import Attempt, JobDirectory, Launch, Phase, Process, ProcessManager, StderrMode
from ..outcome import fresh_attempt, now, process_record
from ..quota import ResourceManager, Resources
from ..report import Problem
from ..repository.base import BlobRepository, MetadataRepository, Repository
from ..stream import ReadStream, copy_stream
from ..template import Lazy, read_template, render
from .base import Start, Task

__all__ = ("STDOUT", "ProcessTask")

log = logging.getLogger(__name__)

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class _StderrIsStdout:
    """The type of `STDOUT`."""

    def __repr__(self) -> str:
        return "STDOUT"


STDOUT = _StderrIsStdout()
"""As the `stderr` of a `ProcessTask`: into the same stream as standard output."""


class ProcessTask(Task):
    """A task that runs a script per job.

    :param name: the name of the task.
    :param manager: gives the manager of the machine to run on; usually a session's resource.
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
        manager: Callable[[], ProcessManager],
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
        for variable in environ or {}:
            if _VARIABLE.fullmatch(variable) is None:
                raise UsageError(f"{variable!r} cannot be an environment variable of the task {name}")
        self._manager = manager
        self.resource_manager: ResourceManager = resource_manager
        self.job_resources: Resources = replace(copy.copy(job_resources), launches=1)
        self.pids = pids
        self.live = pids
        self.template = template
        self.window = window
        self.environ = dict(environ or {})
        self.stdin = stdin
        self.stdout = stdout
        self._stderr = stderr
        self.timeout = timeout
        self.grace = grace
        # Live records of jobs that this process started or looked at, so that collecting one need not read it again.
        self._records: dict[str, dict[str, Any]] = {}
        self._watches: dict[str, Callable[[], None]] = {}
        self._stopping: set[asyncio.Task[bool]] = set()

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
        return len(self._watches)

    async def validate(self) -> None:
        await self.manager.validate(self.name)
        read_template(self.template)

    async def close(self) -> None:
        for stop in self._watches.values():
            stop()
        self._watches.clear()
        self._records.clear()
        for stopping in self._stopping:
            stopping.cancel()

    async def _load(self) -> Resources:
        if self.resource_manager.quota.launches is None:
            return replace(self.job_resources, launches=0) * len(await self.pids.keys())
        records = await self.pids.info_all()
        since = now() - self.window
        recent = sum(_start_time(record) > since for record in records.values())
        return replace(self.job_resources * len(records), launches=recent)

    # ---- start

    async def launch(self, job: str) -> None:
        await self.start(job, force=True)

    async def start(self, job: str, *, force: bool = False) -> Start:
        job_ids.check(job)
        with self.manager.locked(self.name, job) as got:
            if not got:
                return Start.TAKEN
            record = {
                "host": self.manager.host,
                "boot_id": self.manager.boot_id,
                "attempt": fresh_attempt(),
                "start_time": now(),
            }
            if force:
                record["forced"] = True
            async with self.resource_manager.admission():
                if await self.resource_manager.reserve(self.job_resources) is not None:
                    return Start.LIMITED
                claimed = False
                try:
                    claimed = await self.pids.claim(job, record)
                finally:
                    if not claimed:
                        await self.resource_manager.relinquish(self.job_resources)
                if not claimed:
                    return Start.TAKEN
            process = await self._start_claimed(job, record, force)
            if process is None:
                return Start.TAKEN
        self.tell_launched(job)
        if self.synchronous:
            ended = asyncio.Event()
            stop = self.manager.watch(process, ended.set)
            try:
                await ended.wait()
            finally:
                stop()
            await self._settle(job)
        elif self.ended is not None:
            self._watch(job, process, record)
        return Start.STARTED

    async def _start_claimed(self, job: str, record: dict[str, Any], force: bool) -> Process | None:
        directory = JobDirectory(self.name, job, record["attempt"])
        try:
            if await self._adopted(job, directory):
                return None
            if not force and not await self.may_start(job):
                await self._withdraw(job, directory)
                return None
            launch = await self._prepare(job, directory)
            process = await self.manager.spawn(directory, launch)
        except BaseException:
            await self._withdraw(job, directory)
            raise
        record |= {"pid": process.pid, "process_start": process.start}
        self._records[job] = record
        try:
            await self.pids.dump(job, record)
        except (PdtError, OSError) as error:
            # The job runs, and its directory tells its pid to whoever collects it.
            log.warning("%s:%s: its live record could not be completed: %s", self.name, job, error)
        return process

    async def _prepare(self, job: str, directory: JobDirectory) -> Launch:
        variables: dict[str, Any] = {"job": job, "task": self.name}
        variables |= {name: Lazy(partial(link.repo.info, job)) for name, link in self.links.items()}
        script = await render(read_template(self.template), variables)
        stderr = StderrMode.DISCARD
        if self.own_stderr is not None:
            stderr = StderrMode.FILE
        elif self._stderr is not None:
            stderr = StderrMode.STDOUT
        stdin: str | bool | None = None
        if self.stdin is not None:
            stdin = (await self.stdin.local_file(job) if self.manager.is_local else None) or True
        launch = Launch(script.encode("utf-8", "surrogateescape"), self.environ, stdin, self.stdout is not None, stderr)
        if stdin is True:
            assert self.stdin is not None
            # Opened before the directory is made, since this is what fails when the input is not there.
            async with await self.stdin.open(job, "rb") as reader:
                await self.manager.prepare(directory, launch)
                async with await self.manager.open_input(directory) as writer:
                    await copy_stream(reader, writer)
        else:
            await self.manager.prepare(directory, launch)
        return launch

    async def _adopted(self, job: str, directory: JobDirectory) -> bool:
        """Whether an attempt whose live record was removed still runs; it gets the record back."""
        found = await self.manager.inspect(directory)
        if found.phase is not Phase.OTHER or found.token is None:
            return False
        other = replace(directory, token=found.token)
        attempt = await self.manager.inspect(other)
        if attempt.phase is Phase.LOST and attempt.process is not None:
            await self.manager.kill_session(attempt.process, grace=0)
        if attempt.phase is not Phase.RUNNING:
            return False
        log.warning("%s:%s still runs, although its live record was removed: it is live again", self.name, job)
        record = {
            "host": self.manager.host,
            "boot_id": self.manager.boot_id,
            "attempt": other.token,
            "start_time": now(),
        }
        if attempt.process is not None:
            record |= {"pid": attempt.process.pid, "process_start": attempt.process.start}
            if self.ended is not None:
                self._watch(job, attempt.process, record)
        await self.pids.dump(job, record)
        return True

    async def _withdraw(self, job: str, directory: JobDirectory) -> None:
        """Undo a claim under which nothing was started, as far as we know: a runner that is quicker keeps it."""
        self._records.pop(job, None)
        found = await self.manager.inspect(directory)
        if found.phase is Phase.PREPARED and not await self.manager.forestall(directory):
            return
        if found.phase in (Phase.RUNNING, Phase.ENDED, Phase.LOST):
            return
        if found.phase is Phase.PREPARED or (found.phase is Phase.OTHER and found.token is None):
            await self.manager.discard(directory)
        await self.pids.delete(job)
        await self.resource_manager.relinquish(self.job_resources)

    # ---- collect

    async def update(self) -> bool:
        records = {
            job: record if isinstance(record, dict) else {} for job, record in (await self.pids.info_all()).items()
        }
        ours = {job: record for job, record in records.items() if self._is_ours(record)}
        directories = {job: JobDirectory(self.name, job, str(record.get("attempt"))) for job, record in ours.items()}
        found = await self.manager.inspect_many(
            {directory: self._hint(ours[job]) for job, directory in directories.items()}
        )
        overdue = []
        for job, directory in directories.items():
            attempt = found[directory]
            if attempt.phase is not Phase.RUNNING or "pid" not in ours[job] or self._is_stale(ours[job]):
                await self._guarded(job, self._settle(job))
            elif self._time_left(ours[job]) == 0:
                overdue.append(self._guarded(job, self.stop(job, "timeout")))
            elif self.ended is not None and job not in self._watches and attempt.process is not None:
                self._watch(job, attempt.process, ours[job])
        await asyncio.gather(*overdue)
        return bool(records)

    async def _guarded(self, job: str, work: Awaitable[object]) -> None:
        """Do the work on one job; tell of an error, so that the others are worked on too."""
        try:
            await work
        except (PdtError, OSError, ValueError) as error:
            self.emit(Problem(self.name, job, f"cannot be collected: {sentence(error)}"))

    async def collect(self, job: str) -> None:
        await self._guarded(job, self._settle(job))

    def _is_ours(self, record: Mapping[str, Any]) -> bool:
        return bool(record.get("host", self.manager.host) == self.manager.host)

    def _is_stale(self, record: Mapping[str, Any]) -> bool:
        """Whether the machine was restarted since, so that no process of the record can be alive."""
        return bool(record.get("boot_id") != self.manager.boot_id)

    def _hint(self, record: Mapping[str, Any]) -> Process | None:
        pid, start = record.get("pid"), record.get("process_start")
        return Process(pid, start) if isinstance(pid, int) and isinstance(start, int) else None

    async def _settle(self, job: str) -> None:
        """Bring a live record of this host up to date with what became of its process."""
        with self.manager.locked(self.name, job) as got:
            if not got:
                return  # whoever has the lock is launching or collecting it
            record = self._records.get(job)
            attempt = None
            if record is not None:
                # As long as the directory is there, so is the record, unless a user removed it.
                attempt = await self._inspect(job, record)
            if record is None or attempt is None or attempt.phase in (Phase.ABSENT, Phase.OTHER):
                if not await self.pids.contains(job):
                    self._forget(job)
                    return
                stored = await self.pids.info(job)
                record = stored if isinstance(stored, dict) else {}
                if not self._is_ours(record):
                    return
                attempt = await self._inspect(job, record)
            await self._act(job, record, attempt)

    async def _inspect(self, job: str, record: Mapping[str, Any]) -> Attempt:
        hint = None if self._is_stale(record) else self._hint(record)
        attempt = await self.manager.inspect(JobDirectory(self.name, job, str(record.get("attempt"))), hint)
        if attempt.phase is Phase.RUNNING and self._is_stale(record):
            return Attempt(Phase.LOST, attempt.token)  # another process by the same number
        return attempt

    async def _act(self, job: str, record: dict[str, Any], attempt: Attempt) -> None:
        directory = JobDirectory(self.name, job, str(record.get("attempt")))
        match attempt.phase:
            case Phase.ENDED:
                await self._finish(job, record, directory, attempt)
            case Phase.LOST:
                if attempt.process is not None and not self._is_stale(record):
                    # What the runner started may have outlived it, and must not meet another attempt.
                    await self.manager.kill_session(attempt.process, grace=0)
                await self._finish(job, record, directory, attempt, "lost")
            case Phase.RUNNING:
                if "pid" not in record and attempt.process is not None:
                    record |= {"pid": attempt.process.pid, "process_start": attempt.process.start}
                    await self.pids.dump(job, record)
                if self.ended is not None and attempt.process is not None and job not in self._watches:
                    self._watch(job, attempt.process, record)
            case Phase.PREPARED:
                await self._give_up_unstarted(job, record, directory)
            case Phase.OTHER:
                if not await self._adopted(job, directory):
                    await self.manager.discard(directory)
                    await self._drop(job)
            case Phase.ABSENT:
                await self._act_on_absence(job, record, directory, attempt)

    async def _give_up_unstarted(self, job: str, record: dict[str, Any], directory: JobDirectory) -> None:
        hint = self._hint(record)
        if hint is not None and not self._is_stale(record) and self._is_running(hint):
            return  # spawned a moment ago
        if await self.manager.forestall(directory):
            await self.manager.discard(directory)
            await self._drop(job)
            if hint is not None:
                raise PdtError(f"the runner could not start in {self.manager.basedir}/{self.name}/{job}")

    def _is_running(self, process: Process) -> bool:
        from ..host import is_alive

        return self.manager.is_local and is_alive(process.pid, process.start)

    async def _act_on_absence(
        self, job: str, record: dict[str, Any], directory: JobDirectory, attempt: Attempt
    ) -> None:
        hint = self._hint(record)
        if hint is None or self.done is None or await self._is_recorded(job, directory.token):
            await self._drop(job)  # never started, or collected but for this last step
        elif self._is_stale(record) or not self._is_running(hint):
            await self._finish(job, record, directory, attempt, "lost")
        # Otherwise somebody removed the directory of a job that runs: it is left alone until it ends.

    async def _is_recorded(self, job: str, token: str) -> bool:
        for repository in (self.done, self.failed):
            if repository is not None and await repository.contains(job):
                record = await repository.info(job)
                if isinstance(record, Mapping) and record.get("attempt") == token:
                    return True
        return False

    async def _finish(
        self, job: str, record: dict[str, Any], directory: JobDirectory, attempt: Attempt, reason: str | None = None
    ) -> None:
        if self.stdout is not None:
            await self._collect_output(job, directory, "stdout", self.stdout)
        if self.own_stderr is not None:
            await self._collect_output(job, directory, "stderr", self.own_stderr)
        outcome = process_record(
            attempt.return_code,
            _start_time(record),
            attempt.ended or now(),
            directory.token,
            host=self.manager.host,
            reason=record.get("stop") or reason,
        )
        await self.record(job, outcome, forced=bool(record.get("forced")))
        await self.manager.discard(directory)
        await self._drop(job, _start_time(record))
        self.tell_finished(job, outcome)

    async def _collect_output(self, job: str, directory: JobDirectory, name: str, target: BlobRepository) -> None:
        source = partial(self.manager.open_output, directory, name)
        try:
            await target.collect(job, source, self.manager.local_output(directory, name))
        except JobNotFound:
            pass  # collected by an earlier try, or never made

    async def _drop(self, job: str, started: datetime | None = None) -> None:
        """Remove the live record and what goes with it."""
        await self.pids.delete(job)
        self._forget(job)
        lingering = 0.0 if started is None else (started + self.window - now()).total_seconds()
        await self.resource_manager.relinquish(self.job_resources, lingering=lingering)

    def _forget(self, job: str) -> None:
        self._records.pop(job, None)
        if (stop := self._watches.pop(job, None)) is not None:
            stop()

    # ---- watch and stop

    def _watch(self, job: str, process: Process, record: dict[str, Any]) -> None:
        self._records[job] = record
        loop = asyncio.get_running_loop()
        timer: asyncio.TimerHandle | None = None

        def ended() -> None:
            stop()
            self._watches.pop(job, None)
            if self.ended is not None:
                self.ended(job)

        def expire() -> None:
            stopping = loop.create_task(self.stop(job, "timeout"))
            self._stopping.add(stopping)
            stopping.add_done_callback(self._stopping.discard)

        if (left := self._time_left(record)) is not None:
            timer = loop.call_later(left, expire)
        unwatch = self.manager.watch(process, ended)

        def stop() -> None:
            unwatch()
            if timer is not None:
                timer.cancel()

        self._watches[job] = stop

    def _time_left(self, record: Mapping[str, Any]) -> float | None:
        if self.timeout is None:
            return None
        return max(0.0, (_start_time(record) + self.timeout - now()).total_seconds())

    async def cancel(self, job: str) -> bool:
        return await self.stop(job, "cancelled")

    async def stop(self, job: str, reason: str) -> bool:
        """End a live job of this host and collect it; it counts as failed for `reason`. Whether it was live here."""
        with self.manager.locked(self.name, job) as got:
            if not got:
                return False
            stored = await self.pids.info(job) if await self.pids.contains(job) else None
            if not isinstance(stored, dict) or not self._is_ours(stored):
                return False
            attempt = await self._inspect(job, stored)
            if attempt.phase is not Phase.RUNNING:
                await self._act(job, stored, attempt)
                return attempt.phase is not Phase.ABSENT
            # First the reason, so that whoever collects the job knows it, should this process be killed.
            stored["stop"] = reason
            await self.pids.dump(job, stored)
            if job in self._records:
                self._records[job] = stored
        if attempt.process is not None:
            await self.manager.kill_session(attempt.process, grace=self.grace.total_seconds())
        await self._settle(job)
        return True

    async def give_up(self, job: str, host: str) -> bool:
        """Record a live job of a host that will not come back as lost; whether there was one."""
        stored = await self.pids.info(job) if await self.pids.contains(job) else None
        if not isinstance(stored, dict) or stored.get("host") != host:
            return False
        if host == self.manager.host:
            return await self.stop(job, "cancelled")
        token = str(stored.get("attempt"))
        outcome = process_record(None, _start_time(stored), now(), token, host=host, reason="lost")
        await self.record(job, outcome, forced=bool(stored.get("forced")))
        await self._drop(job)
        self.tell_finished(job, outcome)
        return True

    async def is_running(self, job: str) -> bool:
        """Whether the process of a job that is live on this host has not ended yet."""
        stored = await self.pids.info(job) if await self.pids.contains(job) else None
        if not isinstance(stored, dict) or not self._is_ours(stored):
            return False
        return (await self._inspect(job, stored)).phase in (Phase.RUNNING, Phase.PREPARED)

    async def open_live_output(self, job: str, stream: str) -> ReadStream | None:
        """What a live job of this host has written so far to `stdout` or `stderr`; None when it is not live here."""
        stored = await self.pids.info(job) if await self.pids.contains(job) else None
        if not isinstance(stored, dict) or not self._is_ours(stored):
            return None
        try:
            return await self.manager.open_output(JobDirectory(self.name, job, str(stored.get("attempt"))), stream)
        except JobNotFound:
            return None


def _start_time(record: Mapping[str, Any]) -> datetime:
    value = record.get("start_time")
    if not isinstance(value, datetime):
        return now()
    return value if value.tzinfo is not None else value.replace(tzinfo=UTC)
