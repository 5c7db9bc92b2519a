"""Repositories in a dictionary of this process, gone when it ends: for tests, small scripts and intermediate values."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Collection, Iterable
from typing import Any

from .. import job as job_ids
from ..errors import JobNotFound
from ..stream import MemoryReader, MemoryWriter, ReadStream, WriteStream
from .base import BlobRepository, MetadataRepository, Repository, job_getter

__all__ = ("InProcessBlobRepository", "InProcessBlobStream", "InProcessMetadataRepository")


_claims = threading.Lock()


class _InProcess(Repository):
    """The keys of a dictionary."""

    data: dict[str, Any]

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    async def unfiltered_iter(self) -> AsyncIterator[str]:
        for job in list(self.data):
            yield job

    async def keys(self) -> set[str]:
        good, bad = job_ids.split_valid(list(self.data))
        self.warn_skipped(bad)
        return good

    async def contains(self, job: str, /) -> bool:
        return job_ids.is_valid(job) and job in self.data

    async def among(self, jobs: Collection[str]) -> set[str]:
        return {job for job in jobs if job_ids.is_valid(job) and job in self.data}

    async def delete(self, job: str, /) -> None:
        self.data.pop(job_ids.check(job), None)

    async def delete_many(self, jobs: Iterable[str]) -> None:
        for job in [job_ids.check(job) for job in jobs]:
            self.data.pop(job, None)


class InProcessMetadataRepository(_InProcess, MetadataRepository):
    """A metadata repository in a dictionary.

    :param data: the dictionary to use, job to value; a new one when None.
    """

    def __init__(self, data: dict[str, Any] | None = None) -> None:
        self.data = data if data is not None else {}

    @job_getter
    async def info(self, job: str, /) -> Any:
        """The value of `job`, or None."""
        return self.data.get(job)

    @job_getter
    async def dump(self, job: str, data: Any, /) -> None:
        self.data[job_ids.check(job)] = data

    @job_getter
    async def claim(self, job: str, data: Any, /) -> bool:
        job_ids.check(job)
        with _claims:
            if job in self.data:
                return False
            self.data[job] = data
            return True


class InProcessBlobStream(MemoryWriter):
    """Bytes on their way into an `InProcessBlobRepository`."""

    def __init__(self, repository: InProcessBlobRepository, job: str) -> None:
        super().__init__()
        self._repository = repository
        self._job = job

    async def _store(self, value: bytes) -> None:
        self._repository.data[self._job] = value


class InProcessBlobRepository(_InProcess, BlobRepository):
    """A blob repository in a dictionary.

    :param data: the dictionary to use, job to bytes; a new one when None.
    """

    def __init__(self, data: dict[str, bytes] | None = None) -> None:
        self.data: dict[str, bytes] = data if data is not None else {}

    @job_getter
    async def info(self, job: str, /) -> None:
        """Nothing: there is no path or URL that a template could use."""
        return None

    async def open_reader(self, job: str, /) -> ReadStream:
        try:
            return MemoryReader(self.data[job])
        except KeyError:
            raise JobNotFound(f"{self} does not hold {job}") from None

    async def open_writer(self, job: str, /) -> WriteStream:
        return InProcessBlobStream(self, job)
