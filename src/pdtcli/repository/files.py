"""Repositories in a directory of this machine: a job is a file, or a directory, named after it.

A listing is one directory scan. A value is written under a hidden name and renamed when it is complete
(`pdtcli.atomic`); a scan sweeps what killed writers left.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable
from contextlib import asynccontextmanager
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from .. import atomic
from .. import job as job_ids
from ..errors import JobNotFound, PdtError
from ..offload import FEW, SMALL, offload
from ..paths import absolute
from ..stream import Reader, ReadStream, Writer, WriteStream
from .base import BlobRepository, Repository, job_getter

__all__ = ("DirectoryRepository", "FileReader", "FileRepository", "FileRepositoryBase", "FileWriter", "current_umask")

SMALL_DIRECTORY = 64 * 1024
"""A directory of at most so many bytes, which holds some thousand names, is listed without a thread."""


@lru_cache(maxsize=1)
def current_umask() -> int:
    # Not os.umask(), which can only be read by changing it, for all threads.
    try:
        with open("/proc/self/status", encoding="utf-8") as file:
            return next(int(line.split()[1], 8) for line in file if line.startswith("Umask:"))
    except (OSError, StopIteration):
        return 0o022


class FileReader(Reader):
    """A `ReadStream` over a file that is open already."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def fileno(self) -> int:
        """The file descriptor, for those who can copy faster than by reading."""
        return self._file.fileno()

    async def read(self, n: int | None = None, /) -> bytes:
        size = -1 if n is None else n
        return await offload(size < 0 or size > SMALL, self._file.read, size)

    async def close(self) -> None:
        self._file.close()


class FileWriter(Writer):
    """A `WriteStream` into a temporary file that is renamed to `path` when it is closed; see `atomic.publish`.

    :param mode: of the file, whatever the umask; by default the umask decides.
    """

    def __init__(self, path: Path, durable: bool = False, *, mode: int | None = None) -> None:
        self._path = path
        self._durable = durable
        self._temporary = path.parent / atomic.temporary_name()
        with atomic.writing(path):
            self._file: IO[bytes] | None = open(self._temporary, "xb", buffering=0)  # noqa: SIM115 - closed by close()
            if mode is not None:
                os.fchmod(self._file.fileno(), mode)

    async def write(self, data: bytes, /) -> int:
        if self._file is None:
            raise ValueError("write to a closed stream")
        try:
            with atomic.writing(self._path):
                await offload(len(data) > SMALL, self._write_all, self._file, data)
        except BaseException:
            await self.abort()  # whoever goes on in spite of it must not store half a value
            raise
        return len(data)

    @staticmethod
    def _write_all(file: IO[bytes], data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[file.write(view) :]

    async def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            try:
                with atomic.writing(self._path):
                    file.close()
                    await offload(self._durable, atomic.publish, self._temporary, self._path, self._durable)
            except BaseException:
                self._temporary.unlink(missing_ok=True)
                raise

    async def abort(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()
            self._temporary.unlink(missing_ok=True)

    def __del__(self) -> None:
        # A writer that was opened and never entered leaves nothing behind either.
        if getattr(self, "_file", None) is not None:
            self._file.close()  # type: ignore[union-attr]
            self._temporary.unlink(missing_ok=True)


class FileRepositoryBase(Repository):
    """A directory in which the names of the members are the jobs.

    :param basedir: the directory; relative to that of the pipeline's file. Made when the pipeline opens.
    :param extension: what the names end in, beside the job.
    :param case_insensitive: whether upper and lower case are the same in the extension.
    """

    def __init__(self, basedir: str | os.PathLike[str], extension: str = "", case_insensitive: bool = False) -> None:
        if "/" in extension or "\0" in extension:
            raise PdtError(f"{extension!r} cannot be the extension of a file name")
        self.basedir = absolute(basedir)
        self.extension = extension
        self.case_insensitive = case_insensitive
        # ASCII, or the Kelvin sign would count as a k.
        flags = re.ASCII | (re.IGNORECASE if case_insensitive else 0)
        self._member = re.compile(f"({job_ids.GRAMMAR}){re.escape(extension)}", flags)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.basedir}/*{self.extension}>"

    @property
    def place(self) -> str:
        return f"file:{os.path.realpath(self.basedir)}/*{self.extension}"

    @property
    def watched_path(self) -> str:
        return str(self.basedir)

    async def validate(self) -> None:
        """Create the directory where it is missing.

        :raises OSError: when it cannot be made or listed.
        """
        try:
            self.basedir.mkdir(exist_ok=True, parents=True)
        except FileExistsError:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(self.basedir)) from None
        if not os.access(self.basedir, os.R_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self.basedir))

    # ---- paths

    def fullpath(self, job: str) -> Path:
        """Where `job` is, or would be.

        :raises InvalidJobId: for a name that is no job id, so that no path leads out of the directory.
        """
        return self.basedir / (job_ids.check(job) + self.extension)

    def existing_path(self, job: str) -> Path:
        """Where `job` is: `fullpath`, or that with the extension in other letters."""
        path = self.fullpath(job)
        return path if not self.case_insensitive or self._is_present(path) else self._spellings([job])[job][-1]

    def _spellings(self, jobs: Iterable[str]) -> dict[str, list[Path]]:
        """Where each of `jobs` may be: its `fullpath` and what else is there under its name."""
        found = {job: [self.fullpath(job)] for job in jobs}
        if self.case_insensitive and os.path.isdir(self.basedir):
            for name in self._list():
                match = self._member.fullmatch(name)
                if match is not None and match[1] in found and not name.endswith(self.extension):
                    found[match[1]].append(self.basedir / name)
        return found

    @job_getter
    async def info(self, job: str, /) -> Any:
        """The full path, as a string."""
        return str(self.existing_path(job))

    # ---- keys

    def _list(self) -> list[str]:
        """The names of all members, of the right kind, and of what is being made."""
        raise NotImplementedError

    def _scan(self) -> set[str]:
        match = self._member.fullmatch
        names = self._list()
        found = {m[1] for name in names if (m := match(name)) is not None}
        if len(found) < len(names):
            others = [name for name in names if match(name) is None]
            atomic.sweep(self.basedir, [name for name in others if name.startswith(atomic.PREFIX)])
            self.warn_skipped([name for name in others if name[0] != "." and self._has_extension(name)])
        return found

    def _has_extension(self, name: str) -> bool:
        if self.case_insensitive:
            return name.lower().endswith(self.extension.lower())
        return name.endswith(self.extension)

    _removes_slowly = False

    def _is_large(self) -> bool:
        return os.stat(self.basedir).st_size > SMALL_DIRECTORY

    async def keys(self) -> set[str]:
        return await offload(self._is_large(), self._scan)

    async def unfiltered_iter(self) -> AsyncIterator[str]:
        for job in await self.keys():
            yield job

    async def sweep(self) -> None:
        def sweep() -> None:
            atomic.sweep(self.basedir, [name for name in os.listdir(self.basedir) if name.startswith(atomic.PREFIX)])

        await offload(self._is_large(), sweep)

    def _is_present(self, path: Path) -> bool:
        raise NotImplementedError

    def _contains(self, job: str) -> bool:
        return job_ids.is_valid(job) and self._is_present(self.existing_path(job))

    async def contains(self, job: str, /) -> bool:
        return self._contains(job)

    async def among(self, jobs: Collection[str]) -> set[str]:
        if len(jobs) <= FEW and not self.case_insensitive:
            return {job for job in jobs if self._contains(job)}
        return (await self.keys()).intersection(jobs)

    # ---- deletes

    def _remove(self, path: Path) -> None:
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

    def _list(self) -> list[str]:
        with os.scandir(self.basedir) as entries:
            return [entry.name for entry in entries if entry.is_file()]

    def _is_present(self, path: Path) -> bool:
        return os.path.isfile(path)

    def _remove(self, path: Path) -> None:
        try:
            os.unlink(path)
        except (FileNotFoundError, IsADirectoryError):
            pass

    async def open_reader(self, job: str, /) -> ReadStream:
        try:
            return FileReader(open(self.existing_path(job), "rb", buffering=0))
        except (FileNotFoundError, IsADirectoryError):
            raise JobNotFound(f"{self} does not hold {job}") from None

    async def open_writer(self, job: str, /) -> WriteStream:
        return FileWriter(self.fullpath(job), self.durable)

    @job_getter
    async def local_file(self, job: str, /) -> str | None:
        path = self.existing_path(job)
        return str(path) if self._is_present(path) else None

    @job_getter
    async def collect(self, job: str, source: Callable[[], Awaitable[ReadStream]], path: str | None = None, /) -> None:
        """Store what a job left behind; on the same file system the file is moved, whatever its size."""
        target = self.fullpath(job)
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
    ) -> None:
        super().__init__(basedir, extension, case_insensitive)
        self.discard_empty = discard_empty

    def _is_present(self, path: Path) -> bool:
        if not self.discard_empty:
            return os.path.isdir(path)
        try:
            with os.scandir(path) as entries:
                return next(entries, None) is not None
        except (FileNotFoundError, NotADirectoryError):
            return False

    _removes_slowly = True

    def _list(self) -> list[str]:
        with os.scandir(self.basedir) as entries:
            names = [entry.name for entry in entries if entry.is_dir()]
        if self.discard_empty:
            names = [n for n in names if n.startswith(atomic.PREFIX) or self._is_present(self.basedir / n)]
        return names

    def _remove(self, path: Path) -> None:
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
        temporary = self.basedir / atomic.temporary_name()
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
