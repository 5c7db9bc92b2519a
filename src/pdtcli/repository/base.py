"""What a repository is: a key-value store whose keys are jobs.

The base class knows keys only. A `MetadataRepository` holds small structured values, a `BlobRepository` streams bytes.
A new kind of repository implements `unfiltered_iter`, `info` and `delete`, and is fast once it overrides `keys` (one
bulk listing) and `contains` (one look-up).
"""

from __future__ import annotations

import inspect
import logging
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Hashable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from .. import job as job_ids
from ..errors import Unsupported
from ..stream import CHUNK, ReadStream, TextReader, TextWriter, WriteStream, copy_stream

if TYPE_CHECKING:
    from .combine import MapRepository

__all__ = (
    "BlobRepository",
    "DerivedRepository",
    "Lister",
    "MetadataRepository",
    "Repository",
    "can_do",
    "job_getter",
)

log = logging.getLogger(__name__)

Lister = Callable[["Repository"], Awaitable[set[str]]]
"""Gives the keys of a repository; a cycle's is one that lists each repository once."""

F = TypeVar("F", bound=Callable[..., Any])


def job_getter(function: F) -> F:
    """Mark an async method whose first parameter is a job, so that `RelatedItemRepository` translates it."""
    if not inspect.iscoroutinefunction(function):
        raise TypeError("only async functions can be job getters")
    vars(function)["is_job_getter"] = True
    return function


class Repository(ABC):
    """A set of jobs, each with a value of some kind; async iteration gives the jobs."""

    _skipped: frozenset[str] = frozenset()
    """The names that were warned about."""

    @staticmethod
    def is_valid_job_id(job: object) -> bool:
        """Whether `job` may name a job, by the one grammar there is (`pdtcli.job`)."""
        return job_ids.is_valid(job)

    @property
    def place(self) -> str | None:
        """A stable name of where the data is, the same in every process; None when it is in this process only."""
        return None

    @property
    def listing(self) -> Hashable:
        """What its keys are the keys of: of two repositories with the same one, a listing of either serves both."""
        return self

    @property
    def watched_path(self) -> str | None:
        """A directory of this machine that changes when the keys do, or None."""
        return None

    @property
    def watched_paths(self) -> Sequence[str]:
        """All the directories of this machine of which one changes when the keys do; none where it cannot be told."""
        return () if self.watched_path is None else (self.watched_path,)

    @property
    def names_decide(self) -> bool:
        """Whether the jobs are what the names in `watched_paths` say, and nothing else has a say."""
        return False

    bases_decide = False
    """Whether the jobs follow from those of `bases`, and nothing else has a say."""

    durable = False
    """Whether a write returns only when the disk has it, so that it outlives a loss of power. For repositories in files
    of this machine; other stores have their own ways. See `Pipeline`."""

    holds_images = False
    """Whether the jobs are tags of container images, which are copied with all that they are made of."""

    @property
    def does(self) -> type[Repository]:
        """The class whose methods this can be called with."""
        return type(self)

    @property
    def bases(self) -> tuple[Repository, ...]:
        """The repositories that this one is made of."""
        return ()

    # ---- keys

    @abstractmethod
    def unfiltered_iter(self) -> AsyncIterator[str]:
        """Every string that could be a job here, in any order; an async generator."""

    def __aiter__(self) -> AsyncIterator[str]:
        return self._filtered()

    async def _filtered(self) -> AsyncIterator[str]:
        skipped: list[str] = []
        async for name in self.unfiltered_iter():
            if job_ids.is_valid(name):
                yield name
            else:
                skipped.append(name)
        self.warn_skipped(skipped)

    async def keys(self) -> set[str]:
        """All jobs, in one trip where the store allows it; the set is the caller's own."""
        return {job async for job in self}

    def warn_skipped(self, names: Collection[str]) -> None:
        """Tell, in one warning, that a listing met names that are no job ids; once, however often it is listed."""
        if not self._skipped.issuperset(names):
            self._skipped = frozenset(names)
            examples = ", ".join(repr(name) for name in sorted(names)[:3]) + (", …" if len(names) > 3 else "")
            what = "name that is not a valid job id" if len(names) == 1 else "names that are not valid job ids"
            log.warning("%s: skipped %d %s: %s", self, len(names), what, examples)

    def prepare(self) -> None:
        """What `validate` does of which `scan` cannot do without."""

    def scan(self) -> Iterator[list[str]] | None:
        """The jobs, each once and in any order, as they are found; None where that takes an event loop.

        For who has nothing else to do: the import of asyncio takes as long as a listing of ten thousand files.
        """
        return None

    async def contains(self, job: str, /) -> bool:
        """Whether `job` is here. An invalid name is nowhere."""
        async for present in self:
            if present == job:
                return True
        return False

    async def among(self, jobs: Collection[str]) -> set[str]:
        """Those of `jobs` that are here."""
        return (await self.keys()).intersection(jobs)

    # ---- values

    @abstractmethod
    async def info(self, job: str, /) -> Any:
        """What templates see for `job`; something meaningful also when the job is not here."""

    @abstractmethod
    async def delete(self, job: str, /) -> None:
        """Remove `job`; do nothing when it is not here.

        :raises InvalidJobId: before anything is touched.
        """

    async def delete_many(self, jobs: Iterable[str]) -> None:
        """Remove several jobs.

        :raises InvalidJobId: before anything is touched.
        """
        for job in [job_ids.check(job) for job in jobs]:
            await self.delete(job)

    async def info_all(self) -> dict[str, Any]:
        """The info of every job that is here."""
        return await self.info_many(await self.keys())

    async def info_many(self, jobs: Collection[str]) -> dict[str, Any]:
        """The info of those of `jobs` that are here."""
        return {job: await self.info(job) for job in await self.among(jobs)}

    async def sweep(self) -> int | None:
        """Remove what writers that were killed left behind; how much, where that is counted.

        A listing may do the same on its way.
        """
        return None

    async def validate(self) -> None:
        """Get ready for use, and raise when the repository is misconfigured; the pipeline calls it when it opens."""

    def map(
        self,
        func: Callable[[Any], Awaitable[Any]],
        filt: Callable[[str], Awaitable[bool]] | None = None,
        allow_deletes: bool = False,
    ) -> MapRepository:
        """This repository seen through functions.

        :param func: async, turns this repository's info into the mapped one's.
        :param filt: async, tells whether a job belongs to the mapped repository; all do when None.
        :param allow_deletes: whether a delete reaches this repository, or does nothing.
        """
        from .combine import MapRepository

        return MapRepository(self, func, filt, allow_deletes=allow_deletes)


class DerivedRepository(Repository):
    """A repository whose keys follow from those of others, by algebra on their sets."""

    @abstractmethod
    async def derive(self, keys: Lister) -> set[str]:
        """The jobs, given how to list others."""

    async def keys(self) -> set[str]:
        return await self.derive(lambda repository: repository.keys())

    async def unfiltered_iter(self) -> AsyncIterator[str]:
        for job in await self.keys():
            yield job


class MetadataRepository(Repository):
    """A repository of small structured values (what YAML can hold), read and written whole."""

    @abstractmethod
    async def info(self, job: str, /) -> Any:
        """The value of `job`, or an empty value when it is not here."""

    @abstractmethod
    async def dump(self, job: str, data: Any, /) -> None:
        """Store `data` under `job`.

        :raises InvalidJobId: before anything is touched.
        :raises InvalidValue: when the repository cannot hold it.
        """

    async def claim(self, job: str, data: Any, /) -> bool:
        """Store `data` under `job` unless something is there; whether it was stored.

        Atomic: of several that try at once, anywhere, exactly one is told True.

        :raises Unsupported: when this kind of repository cannot promise that.
        """
        raise Unsupported(f"{self} cannot hold live records: it has no atomic create")


class BlobRepository(Repository):
    """A repository of byte strings of any length, read and written as streams."""

    @overload
    async def open(self, job: str, mode: Literal["r"] = "r") -> TextReader: ...

    @overload
    async def open(self, job: str, mode: Literal["rb"]) -> ReadStream: ...

    @overload
    async def open(self, job: str, mode: Literal["w"]) -> TextWriter: ...

    @overload
    async def open(self, job: str, mode: Literal["wb"]) -> WriteStream: ...

    @job_getter
    async def open(self, job: str, mode: str = "r") -> TextReader | TextWriter | ReadStream | WriteStream:
        """A stream over the value of `job`, to be used with ``async with``.

        :param mode: `r` and `w` for text, `rb` and `wb` for bytes. A written value appears when its block ends well.
        :raises InvalidJobId: for a name that is no job id.
        :raises JobNotFound: when a job that is to be read is not here.
        """
        job_ids.check(job)
        match mode:
            case "rb":
                return await self.open_reader(job)
            case "r":
                return TextReader(await self.open_reader(job))
            case "wb":
                return await self.open_writer(job)
            case "w":
                return TextWriter(await self.open_writer(job))
        raise ValueError(f"a repository opens values in mode r, rb, w or wb, not {mode!r}")

    @abstractmethod
    async def open_reader(self, job: str, /) -> ReadStream:
        """The bytes of a valid job."""

    @abstractmethod
    async def open_writer(self, job: str, /) -> WriteStream:
        """Where the new bytes of a valid job go."""

    @job_getter
    async def read_bytes(self, job: str, /) -> bytes:
        """A whole value, which the caller knows to be small."""
        async with await self.open(job, "rb") as stream:
            return await stream.read()

    @job_getter
    async def write_bytes(self, job: str, data: bytes, /) -> None:
        """Store a value that is in memory."""
        async with await self.open(job, "wb") as stream:
            await stream.write(data)

    @job_getter
    async def local_file(self, job: str, /) -> str | None:
        """The path of a file on this machine that holds the value of a job that is here; None when there is none."""
        return None

    @job_getter
    async def collect(self, job: str, source: Callable[[], Awaitable[ReadStream]], path: str | None = None, /) -> None:
        """Store a value that a job left behind.

        :param source: opens it as a stream.
        :param path: where it lies as a file on this machine, if it does: it may then be moved instead of copied.
        :raises JobNotFound: when there is nothing any more.
        """
        async with await source() as reader, await self.open(job, "wb") as writer:
            await copy_stream(reader, writer, CHUNK)


def can_do(repository: Repository, kind: type[BlobRepository] | type[MetadataRepository]) -> bool:
    """Whether a repository can do what `kind` can; one of related items can do what its base can."""
    return issubclass(repository.does, kind)
