"""Handles on one repository and one task of an open pipeline: the blocking calls of the facade that are about them."""

from __future__ import annotations

import io
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

from . import explain
from . import job as job_ids
from .errors import JobNotFound, NotReady, Unsupported
from .lazy import lazy
from .offload import SMALL
from .pump import copy, descriptor
from .report import Counts, Observer, Report, State, Verdict
from .repository.base import BlobRepository, MetadataRepository, Repository, can_do
from .repository.file_stream import FileReader, FileWriter
from .stream import CHUNK, ReadStream
from .survey import Survey
from .task.base import Start, Task
from .task.process import ProcessTask

if TYPE_CHECKING:
    import asyncio

    from .facade import PipelineHandle
else:
    asyncio = lazy("asyncio")

__all__ = ("RepositoryHandle", "TaskHandle")

FOLLOW_POLL = 0.1
"""Seconds between two looks at the output of a live job that is followed."""


class RepositoryHandle:
    """Blocking calls on one repository.

    :ivar name: ``TASK.LINK``.
    :ivar repository: the repository itself.
    """

    def __init__(self, pipeline: PipelineHandle, name: str, repository: Repository) -> None:
        self.name = name
        self.repository = repository
        self._pipeline = pipeline

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    def ls(self) -> set[str]:
        """The jobs."""
        return self._pipeline.call(self.repository.keys)

    def __contains__(self, job: str) -> bool:
        return self._pipeline.call(lambda: self.repository.contains(job))

    def info(self, job: str) -> Any:
        """What templates see for a job."""
        return self._pipeline.call(lambda: self.repository.info(job_ids.check(job)))

    def rm(self, *jobs: str) -> None:
        """Delete jobs; those that are not there are no error."""
        for job in jobs:
            job_ids.check(job)
        self._pipeline.call(lambda: self.repository.delete_many(jobs))

    def read(self, job: str) -> bytes:
        """A whole value."""
        out = io.BytesIO()
        self.cat(job, out)
        return out.getvalue()

    def write(self, job: str, data: bytes) -> None:
        """Store a value."""
        self.put(job, io.BytesIO(data))

    def cat(self, job: str, out: BinaryIO) -> int:
        """Copy a value to a binary file, as it is stored; metadata as YAML. The number of bytes.

        :raises JobNotFound: when the job is not there.
        :raises Unsupported: when what the repository holds has no bytes.
        """
        job_ids.check(job)
        return self._pipeline.call(lambda: self.copy_out(job, out))

    async def copy_out(self, job: str, out: BinaryIO) -> int:
        """`cat`, inside an event loop."""
        repository: Any = self.repository
        if can_do(self.repository, BlobRepository):
            try:
                reader = await repository.open(job, "rb")
            except JobNotFound as error:
                raise self._absent(job) from error
            async with reader:
                return await _pump(reader, out)
        if not can_do(self.repository, MetadataRepository):
            raise Unsupported(f"{self.name} holds neither bytes nor metadata: 'pdt repo info' tells what there is")
        if not await self.repository.contains(job):
            raise self._absent(job)
        from .repository.yaml import dump

        text = dump(await self.repository.info(job))
        out.write(text)
        return len(text)

    def _absent(self, job: str) -> JobNotFound:
        return JobNotFound(f"{self.name} does not hold {job}: 'pdt repo ls {self.name}' lists what it does")

    def put(self, job: str, source: BinaryIO) -> int:
        """Store what a binary file holds. The number of bytes read.

        :raises InvalidJobId: before anything is read.
        :raises InvalidValue: when the repository holds metadata and this is not YAML.
        :raises Unsupported: when nothing can be stored in the repository.
        """
        job_ids.check(job)
        return self._pipeline.call(lambda: self.copy_in(job, source))

    async def copy_in(self, job: str, source: BinaryIO) -> int:
        """`put`, inside an event loop."""
        repository: Any = self.repository
        if can_do(self.repository, MetadataRepository):
            from .repository.yaml import load

            text = source.read()
            await repository.dump(job, load(text, "the input"))
            return len(text)
        if not can_do(self.repository, BlobRepository):
            raise Unsupported(f"{self.name} takes neither bytes nor metadata")
        total = 0
        # The source is read in this thread: it is all that this process does, and Ctrl-C can break it off.
        read = getattr(source, "read1", source.read)
        async with await repository.open(job, "wb") as writer:
            file = descriptor(source) if isinstance(writer, FileWriter) else None
            if file is not None and (copied := writer.take(file)) is not None:
                return int(copied)
            # In the pieces that a pipe gives: asking for more has memory mapped for it and returned each time, which
            # takes longer than the copy.
            while data := read(SMALL):
                await writer.write(data)
                total += len(data)
        return total


async def _pump(reader: ReadStream, out: BinaryIO) -> int:
    source, target = (reader.fileno() if isinstance(reader, FileReader) else None), descriptor(out)
    if source is not None and target is not None and (copied := copy(source, target)) is not None:
        return copied
    total = 0
    while data := await reader.read(CHUNK):
        out.write(data)
        total += len(data)
    return total


class TaskHandle:
    """Blocking calls on one task.

    :ivar name: of the task.
    :ivar task: the task itself.
    """

    def __init__(self, pipeline: PipelineHandle, task: Task) -> None:
        self.name = task.name
        self.task = task
        self._pipeline = pipeline

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    def status(self) -> Counts:
        """How many jobs stand where."""
        return self._pipeline.status([self.name])[0]

    def why(self, job: str) -> Verdict:
        """Which link lets a job start or holds it back."""
        job_ids.check(job)
        return self._pipeline.call(lambda: explain.explain(self.task, job))

    # ---- run

    def run(
        self,
        jobs: Sequence[str],
        *,
        force: bool = False,
        sync: bool = False,
        meta: bool = True,
        dry_run: bool = False,
        observer: Observer | None = None,
    ) -> Report:
        """Launch jobs by hand, within the quota.

        :param force: also when the links do not allow it; a job that is live is never launched again.
        :param sync: wait for each to end.
        :param meta: whether they record how they ended.
        :param dry_run: only check whether they could start.
        :raises NotReady: when one of them may not start, before any is launched; or when there is no room in the quota.
        """
        for job in jobs:
            job_ids.check(job)

        async def work() -> Report:
            await self._require_startable(jobs, force)
            return Report() if dry_run else await self._launch(jobs, force)

        pipeline = self._pipeline.pipeline
        pipeline.settings(sync, meta)
        try:
            with self._pipeline._observed(observer):
                return self._pipeline.call(work)
        finally:
            pipeline.settings()

    async def _require_startable(self, jobs: Sequence[str], force: bool) -> None:
        if (kind := self.task.impossible()) is not None:
            raise NotReady(f"{self.name} needs more {kind.word} than its whole quota has")
        for job in jobs:
            verdict = await explain.explain(self.task, job)
            if verdict.state is State.LIVE or (verdict.state is not State.READY and not force):
                raise NotReady(verdict.summary)

    async def _launch(self, jobs: Sequence[str], force: bool) -> Report:
        with self._pipeline.pipeline.counting() as report:
            began = time.monotonic()
            for job in jobs:
                match await self.task.start(job, force=force):
                    case Start.LIMITED:
                        raise NotReady(f"{self.name}:{job} has no room in its quota now: the next tick starts it")
                    case Start.TAKEN:
                        raise NotReady(f"{self.name}:{job} is being run by another process, or was just now")
            # What only this process can collect must be waited for.
            while self.task.here_only and self.task.here:
                await self.task.update()
                await asyncio.sleep(FOLLOW_POLL / 10)
            report.seconds = time.monotonic() - began
        return report

    # ---- logs

    def logs(self, job: str, out: BinaryIO, *, follow: bool = False, stream: str = "stdout") -> None:
        """Copy what a job wrote to a binary file: what it has written so far while it is live, all of it afterwards.

        :param follow: go on until the job has ended.
        :param stream: ``stdout`` or ``stderr``.
        :raises JobNotFound: when there is nothing of that job.
        :raises Unsupported: when the task keeps no such stream.
        """
        job_ids.check(job)
        self._pipeline.call(lambda: self._logs(job, out, follow, stream))

    async def _logs(self, job: str, out: BinaryIO, follow: bool, stream: str) -> None:
        task = self.task
        if not isinstance(task, ProcessTask):
            raise Unsupported(f"{self.name} keeps no logs: only process tasks do")
        target = task.stdout if stream == "stdout" else task.stderr
        if target is None:
            raise Unsupported(f"{self.name} does not keep the {stream} of its jobs")
        name = "stdout" if target is task.stdout else "stderr"
        while (live := await task.open_live_output(job, name)) is None and await task.is_running(job):
            if not follow:
                return
            await asyncio.sleep(FOLLOW_POLL / 10)  # it was started just now and has not opened its output
        if live is None:
            async with await target.open(job, "rb") as reader:
                await _pump(reader, out)
            return
        async with live:
            while True:
                ended = not await task.is_running(job)
                # What is there is read after the look, so that nothing written before the end is missed.
                await _pump(live, out)
                out.flush()
                if ended or not follow:
                    return
                await asyncio.sleep(FOLLOW_POLL)

    # ---- cancel and retry

    def cancel(self, jobs: Sequence[str] | None, *, host: str | None = None, dry_run: bool = False) -> list[str]:
        """Stop live jobs; they count as failed, for the reason `cancelled`. The jobs that were, or would be, stopped.

        :param jobs: which; all that are live when None.
        :param host: give up the jobs of a host that will not come back, without reaching it.
        :raises JobNotFound: when a job that is named is not live.
        """

        async def work() -> list[str]:
            live = await self._live_jobs(host)
            chosen = _choose(jobs, live, f"live in {self.name}" + (f" on {host}" if host else ""))
            if not dry_run:
                await asyncio.gather(*(self._cancel(job, host) for job in chosen))
            return chosen

        return self._pipeline.call(work)

    async def _live_jobs(self, host: str | None) -> set[str]:
        if self.task.live is None:
            return set()
        if host is None:
            return await self.task.live.keys()
        records = await self.task.live.info_all()
        return {job for job, record in records.items() if isinstance(record, dict) and record.get("host") == host}

    async def _cancel(self, job: str, host: str | None) -> None:
        if host is not None and isinstance(self.task, ProcessTask):
            await self.task.give_up(job, host)
        elif not await self.task.cancel(job):
            raise NotReady(
                f"{self.name}:{job} does not run on this machine: cancel it there, or give its host up with --host"
            )

    def retry(self, jobs: Sequence[str] | None, *, dry_run: bool = False) -> list[str]:
        """Remove the records of failed jobs, so that the next cycle runs them again. The jobs.

        :param jobs: which; all that failed when None.
        :raises JobNotFound: when a job that is named has not failed.
        """

        async def work() -> list[str]:
            failed = (await Survey().standing(self.task, look_into_records=True)).failed
            chosen = _choose(jobs, failed, f"failed in {self.name}")
            records = self.task.failed if self.task.failed is not None else self.task.done
            if not dry_run and records is not None:
                await records.delete_many(chosen)
            return chosen

        return self._pipeline.call(work)


def _choose(jobs: Sequence[str] | None, candidates: set[str], what: str) -> list[str]:
    if jobs is None:
        return sorted(candidates)
    for job in jobs:
        if job_ids.check(job) not in candidates:
            raise JobNotFound(f"{job} is not {what}")
    return list(dict.fromkeys(jobs))
