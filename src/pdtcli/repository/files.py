"""Repositories in a directory of this machine: a job is a file, or a directory, named after it.

A listing is one directory scan. A value is written under a hidden name and renamed when it is complete
(`pdtcli.atomic`); a scan sweeps what killed writers left.
"""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Hashable, Iterable, Iterator
from contextlib import asynccontextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import atomic
from .. import job as job_ids
from ..errors import JobNotFound, PdtError
from ..host import current_umask
from ..lazy import lazy
from ..offload import FEW, offload
from ..paths import absolute
from ..stream import ReadStream, WriteStream
from .base import BlobRepository, Repository, job_getter
from .file_stream import FileReader, FileWriter
from .names import Names, Shelves, batches

if TYPE_CHECKING:
    import asyncio
else:
    asyncio = lazy("asyncio")

__all__ = ("DirectoryRepository", "FileReader", "FileRepository", "FileRepositoryBase", "FileWriter")

SMALL_DIRECTORY = 64 * 1024
"""A directory of at most so many bytes, which holds some thousand names, is listed without a thread."""


class FileRepositoryBase(Repository):
    """A directory in which the names of the members are the jobs.

    :param basedir: the directory; relative to that of the pipeline's file. Made when the pipeline opens.
    :param extension: what the names end in, beside the job.
    :param case_insensitive: whether upper and lower case are the same in the extension.
    :param shard: over how many directories below it the jobs are spread: 16 to that power, from 0 to 3. It belongs to
        how the data lies, and cannot be changed without moving it.
    """

    def __init__(
        self,
        basedir: str | os.PathLike[str],
        extension: str = "",
        case_insensitive: bool = False,
        *,
        shard: int = 0,
    ) -> None:
        if "/" in extension or "\0" in extension:
            raise PdtError(f"{extension!r} cannot be the extension of a file name")
        self.basedir = absolute(basedir)
        self.extension = extension
        self.case_insensitive = case_insensitive
        self.shard = shard
        self._names = Names(extension, case_insensitive)
        self._shelves = Shelves(self.basedir, shard)
        self.unsteady: bool | None = None
        """Whether the last listing met what changes without a trace in the directory: symbolic links, and files that
        are being written or were left by who wrote them; or names to warn of. None before there was one."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.basedir}/{self._pattern}>"

    @property
    def _pattern(self) -> str:
        return f"{'?' * self.shard}{'/' if self.shard else ''}*{self.extension}"

    @property
    def place(self) -> str:
        return f"file:{os.path.realpath(self.basedir)}/{self._pattern}"

    @property
    def listing(self) -> Hashable:
        # Whatever the values are taken for: the `done` of one task is often the input of the next by another class. But
        # a class that has its own way with any step of a listing, also one made elsewhere, may see other jobs.
        how = tuple(getattr(type(self), name) for name in ("keys", "scan", "_scan", "_list", "_members", "_is_present"))
        return (how, self.place, self.case_insensitive)

    @property
    def directories(self) -> list[str]:
        """The directories in which the jobs lie, which change whenever a job comes or goes."""
        return self._shelves.directories()

    @property
    def names_decide(self) -> bool:
        return True

    @property
    def watched_path(self) -> str:
        return str(self.basedir)

    @property
    def watched_paths(self) -> list[str]:
        return self.directories

    async def validate(self) -> None:
        """See `prepare`."""
        self.prepare()

    def prepare(self) -> None:
        """Create the directory where it is missing.

        :raises OSError: when it cannot be made or listed.
        """
        try:
            self._shelves.create()
        except FileExistsError:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(self.basedir)) from None
        if not os.access(self.basedir, os.R_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self.basedir))

    # ---- paths

    def fullpath(self, job: str) -> Path:
        """Where `job` is, or would be. What decides is `_path`: a subclass with a layout of its own replaces that.

        :raises InvalidJobId: for a name that is no job id, so that no path leads out of the directory.
        """
        return Path(self._path(job))

    def _path(self, job: str) -> str:
        """`fullpath` as text: each job is asked for several times while it starts and ends, and a `Path` takes longer
        to make than most system calls on it.

        :raises InvalidJobId: as `fullpath` does.
        """
        return f"{self._shelves.directory(job_ids.check(job))}/{job}{self.extension}"

    def _existing(self, job: str) -> str:
        """Where `job` is: `fullpath`, or that with the extension in other letters."""
        path = self._path(job)
        return path if not self.case_insensitive or self._is_present(path) else self._spellings([job])[job][-1]

    def _spellings(self, jobs: Iterable[str]) -> dict[str, list[str]]:
        """Where each of `jobs` may be: its `fullpath` and what else is there under its name."""
        found = {job: [self._path(job)] for job in jobs}
        if self.case_insensitive:
            for directory in dict.fromkeys(os.path.dirname(spellings[0]) for spellings in found.values()):
                if not os.path.isdir(directory):
                    continue
                for name in chain.from_iterable(self._list(directory)):
                    match = self._names.match(name)
                    if match is not None and match[1] in found and not name.endswith(self.extension):
                        found[match[1]].append(f"{directory}/{name}")
        return found

    @job_getter
    async def info(self, job: str, /) -> Any:
        """The full path, as a string."""
        return self._existing(job)

    # ---- keys

    def _members(self, entries: list[os.DirEntry[str]]) -> list[str]:
        """The names of those that are of the right kind, also of what is being made."""
        raise NotImplementedError

    def _list(self, directory: str | os.PathLike[str]) -> Iterator[list[str]]:
        """The names in one of the directories, a batch at a time; none where it is missing."""
        try:
            with os.scandir(directory) as entries:
                for batch in batches(entries):
                    yield self._members(batch)
        except FileNotFoundError:
            if not self.shard or not self.basedir.is_dir():
                raise

    def scan(self) -> Iterator[list[str]]:
        self.unsteady = False
        skipped: list[str] = []
        seen: set[str] = set()
        for directory in self.directories:
            others: list[str] = []
            for names in self._list(directory):
                jobs, rest = self._names.split(names)
                if self.case_insensitive:  # the same job may be there in several spellings
                    jobs = [job for job in dict.fromkeys(jobs) if job not in seen]
                    seen.update(jobs)
                others += rest
                yield jobs
            if others:
                temporary = [name for name in others if name.startswith(atomic.PREFIX)]
                atomic.sweep(directory, temporary)
                skipped += [name for name in others if name[0] != "." and self._names.has_extension(name)]
                self.unsteady = self.unsteady or bool(temporary or skipped)
        self.warn_skipped(skipped)

    def _scan(self) -> set[str]:
        found: set[str] = set()
        for jobs in self.scan():
            found.update(jobs)
        return found

    _removes_slowly = False

    def _is_large(self) -> bool:
        return bool(self.shard) or os.stat(self.basedir).st_size > SMALL_DIRECTORY

    async def keys(self) -> set[str]:
        return await offload(self._is_large(), self._scan)

    async def unfiltered_iter(self) -> AsyncIterator[str]:
        for job in await self.keys():
            yield job

    async def sweep(self) -> None:
        def sweep() -> None:
            for directory in filter(os.path.isdir, self.directories):
                atomic.sweep(directory, [name for name in os.listdir(directory) if name.startswith(atomic.PREFIX)])

        await offload(self._is_large(), sweep)

    def _is_present(self, path: str) -> bool:
        raise NotImplementedError

    def _contains(self, job: str) -> bool:
        return job_ids.is_valid(job) and self._is_present(self._existing(job))

    async def contains(self, job: str, /) -> bool:
        return self._contains(job)

    async def among(self, jobs: Collection[str]) -> set[str]:
        if len(jobs) <= FEW and not self.case_insensitive:
            return {job for job in jobs if self._contains(job)}
        return (await self.keys()).intersection(jobs)

    # ---- deletes

    def _remove(self, path: str) -> None:
        raise NotImplementedError

    async def delete(self, job: str, /) -> None:
        await self.delete_many([job])

    async def delete_many(self, jobs: Iterable[str]) -> None:
        doomed = list(jobs)

        def remove_all() -> None:
            for spellings in self._spellings(doomed).values():
                for path in spellings:
                    self._remove(path)

        await offload(len(doomed) > FEW or self._removes_slowly, remove_all)


class FileRepository(FileRepositoryBase, BlobRepository):
    """A directory whose files are the values; what else is in it does not count."""

    def _members(self, entries: list[os.DirEntry[str]]) -> list[str]:
        names = [entry.name for entry in entries if entry.is_file(follow_symlinks=False)]
        if len(names) < len(entries) and (links := [entry for entry in entries if entry.is_symlink()]):
            self.unsteady = True
            names += [entry.name for entry in links if entry.is_file()]
        return names

    def _is_present(self, path: str) -> bool:
        return os.path.isfile(path)

    def _remove(self, path: str) -> None:
        try:
            os.unlink(path)
        except (FileNotFoundError, IsADirectoryError):
            pass

    async def open_reader(self, job: str, /) -> ReadStream:
        try:
            return FileReader(open(self._existing(job), "rb", buffering=0))
        except (FileNotFoundError, IsADirectoryError):
            raise JobNotFound(f"{self} does not hold {job}") from None

    async def open_writer(self, job: str, /) -> WriteStream:
        return FileWriter(self._path(job), self.durable)

    @job_getter
    async def local_file(self, job: str, /) -> str | None:
        path = self._existing(job)
        return path if self._is_present(path) else None

    @job_getter
    async def collect(self, job: str, source: Callable[[], Awaitable[ReadStream]], path: str | None = None, /) -> None:
        """Store what a job left behind; on the same file system the file is moved, whatever its size."""
        target = self._path(job)
        if path is not None:
            try:
                os.chmod(path, 0o666 & ~current_umask())
            except FileNotFoundError:
                raise JobNotFound(f"{path} is not there") from None
            if not atomic.is_being_written(path):
                try:
                    await offload(self.durable, atomic.publish, path, target, self.durable)
                    return
                except OSError:
                    pass  # another file system, most likely; if not, the copy fails with the same reason
        await super().collect(job, source, path)


class DirectoryRepository(FileRepositoryBase):
    """A directory whose directories are the values; what else is in it does not count.

    :param discard_empty: whether only directories with something in them count as present.
    """

    def __init__(
        self,
        basedir: str | os.PathLike[str],
        extension: str = "",
        case_insensitive: bool = False,
        discard_empty: bool = False,
        *,
        shard: int = 0,
    ) -> None:
        super().__init__(basedir, extension, case_insensitive, shard=shard)
        self.discard_empty = discard_empty

    @property
    def listing(self) -> Hashable:
        return (super().listing, self.discard_empty)

    @property
    def names_decide(self) -> bool:
        return not self.discard_empty

    def _is_present(self, path: str) -> bool:
        if not self.discard_empty:
            return os.path.isdir(path)
        try:
            with os.scandir(path) as entries:
                return next(entries, None) is not None
        except (FileNotFoundError, NotADirectoryError):
            return False

    _removes_slowly = True

    def _members(self, entries: list[os.DirEntry[str]]) -> list[str]:
        self.unsteady = self.unsteady or any(entry.is_symlink() for entry in entries)
        names = [entry.name for entry in entries if entry.is_dir()]
        if self.discard_empty:
            parent = os.path.dirname(entries[0].path)
            names = [name for name in names if name.startswith(atomic.PREFIX) or self._is_present(f"{parent}/{name}")]
        return names

    def _remove(self, path: str) -> None:
        if os.path.isdir(path):
            atomic.remove_tree(path)

    @job_getter
    async def mkdir(self, job: str, /) -> None:
        """Create an empty directory for `job`; do nothing when there is one."""
        path = self.fullpath(job)
        with atomic.writing(path):
            path.mkdir(exist_ok=True)

    @asynccontextmanager
    async def _creating(self, job: str) -> AsyncIterator[Path]:
        target = self.fullpath(job)
        temporary = target.parent / atomic.temporary_name()
        with atomic.writing(target):
            temporary.mkdir()
        try:
            yield temporary
            with atomic.writing(target):
                await asyncio.to_thread(atomic.replace_tree, target, temporary, self.durable)
        except BaseException:
            await asyncio.to_thread(atomic.remove_tree, temporary)
            raise

    @job_getter
    async def create(self, job: str, /) -> Any:
        """A whole directory at once: an async context manager that gives a hidden directory to fill.

        .. code:: python

            async with await repository.create(job) as path:
                (path / "part").write_text("…")

        It becomes the value of `job`, in place of what was there, when the block ends without an exception, and
        vanishes when it does not.

        :raises InvalidJobId: before anything is touched.
        """
        self.fullpath(job)
        return self._creating(job)
