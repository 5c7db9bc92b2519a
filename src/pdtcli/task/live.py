"""The live record of a process job: the claim on it, and who runs it where."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

from ..errors import InvalidValue
from ..manager.base import JobDirectory, Phase, Process, ProcessManager
from ..outcome import fresh_attempt, now
from ..repository.base import MetadataRepository

__all__ = ("LiveRecord",)


@lru_cache(maxsize=16)
def _real(path: Path) -> str:
    return os.path.realpath(path)


@dataclass(slots=True)
class LiveRecord:
    """What `pids` holds for a job.

    :ivar host: only this host's pdt collects the job.
    :ivar boot_id: in which life of the host it was launched.
    :ivar basedir: the manager's directory on that host: another user of it, or another pdt with a state directory of
        its own, has other locks and cannot tell what became of the job.
    :ivar attempt: names the attempt, here, in the job's directory and in what is recorded at the end.
    :ivar process: the runner, once it was spawned.
    :ivar forced: launched although something inhibited it.
    :ivar stop: why the job is being stopped: `cancelled` or `timeout`.
    """

    host: str
    boot_id: str = ""
    basedir: str = ""
    attempt: str = field(default_factory=fresh_attempt)
    start_time: datetime = field(default_factory=now)
    process: Process | None = None
    forced: bool = False
    stop: str | None = None

    @classmethod
    def on(cls, manager: ProcessManager, **known: Any) -> Self:
        """A record of a job that is launched on that manager's host now."""
        return cls(manager.host, manager.boot_id, _real(manager.basedir), **known)

    @classmethod
    async def read(cls, pids: MetadataRepository, job: str, default_host: str) -> Self:
        """The record of a job that is there; the emptiest one when what is stored is no value at all."""
        try:
            return cls.parse(await pids.info(job), default_host)
        except InvalidValue:
            return cls.parse(None, default_host)

    @classmethod
    async def read_all(cls, pids: MetadataRepository, default_host: str) -> dict[str, Self]:
        """All records, whether or not somebody damaged some."""
        try:
            return {job: cls.parse(value, default_host) for job, value in (await pids.info_all()).items()}
        except InvalidValue:
            return {job: await cls.read(pids, job, default_host) for job in await pids.keys()}

    @classmethod
    def parse(cls, value: Any, default_host: str) -> Self:
        """The record in a stored value; what a user damaged, or another tool left out, is made up as well as can be."""
        value = value if isinstance(value, Mapping) else {}
        start = value.get("start_time")
        if not isinstance(start, datetime):
            start = now()
        elif start.tzinfo is None:
            start = start.replace(tzinfo=UTC)
        pid, ticks = value.get("pid"), value.get("process_start")
        host = value.get("host")
        return cls(
            host=host if isinstance(host, str) else default_host,
            boot_id=str(value.get("boot_id", "")),
            basedir=str(value.get("basedir", "")),
            attempt=str(value.get("attempt", "")),
            start_time=start,
            process=Process(pid, ticks) if isinstance(pid, int) and isinstance(ticks, int) else None,
            forced=bool(value.get("forced", False)),
            stop=str(value["stop"]) if value.get("stop") else None,
        )

    def value(self) -> dict[str, Any]:
        """The record as it is stored."""
        value: dict[str, Any] = {
            "host": self.host,
            "boot_id": self.boot_id,
            "basedir": self.basedir,
            "attempt": self.attempt,
            "start_time": self.start_time,
        }
        if self.process is not None:
            value |= {"pid": self.process.pid, "process_start": self.process.start}
        if self.forced:
            value["forced"] = True
        if self.stop is not None:
            value["stop"] = self.stop
        return value

    def is_of(self, manager: ProcessManager) -> bool:
        """Whether the job runs on that manager's host and in its directory, so that it is ours to collect."""
        return self.host == manager.host and self.basedir in ("", _real(manager.basedir))

    async def has_moved_to(self, manager: ProcessManager, task: str, job: str) -> bool:
        """Whether the job's directory is that manager's by now, although another one launched it on the same host."""
        if self.host != manager.host:
            return False
        found = await manager.inspect(self.directory(task, job))
        return found.phase not in (Phase.ABSENT, Phase.OTHER)

    def is_stale(self, manager: ProcessManager) -> bool:
        """Whether the host was restarted since, so that no process of the record can be alive."""
        return self.boot_id not in ("", manager.boot_id)

    def directory(self, task: str, job: str) -> JobDirectory:
        """The directory of the attempt."""
        return JobDirectory(task, job, self.attempt)
