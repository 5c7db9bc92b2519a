"""Byte strings in whatever fsspec opens: SFTP, Google Cloud Storage, Azure, HTTP, archives, and so on.

What a value that is half written looks like is the file system's affair, and fsspec does not say. So every file system
is sorted into one of the `Writing` kinds: those that are known get the way of writing that is atomic on them, the
others are written as well as can be, and `FsspecRepository.atomic` tells which it is. No claims are possible on any.

Interface: https://filesystem-spec.readthedocs.io/en/latest/api.html.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import threading
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, TypeVar

from .. import atomic
from .. import job as job_ids
from ..errors import BackendError, JobNotFound, PdtError, Unsupported, UsageError
from ..paths import absolute
from ..stream import MemoryReader, ReadStream, WriteStream
from .base import BlobRepository, job_getter
from .files import FileReader, FileWriter
from .fsspec_kinds import Writing, is_absent, is_lost, open_file_system, writing_on
from .fsspec_secrets import public, secrets_of, without_secrets
from .fsspec_stream import CommittedWriter, InMemoryWriter, MovedWriter, RemoteReader, SpooledWriter

__all__ = ("FsspecRepository", "Writing")

T = TypeVar("T")
log = logging.getLogger(__name__)

AT_ONCE = 8
"""So many files are deleted at the same time, where the file system can do that."""

STALE = 24 * 3600.0
"""Seconds after which a temporary file of a writer that cannot be asked counts as litter."""


class FsspecRepository(BlobRepository):
    """A blob repository in a directory of a file system that fsspec knows.

    .. code:: python

        pdtcli.FsspecRepository("sftp://data.example.org/srv/books", ".txt", username="me")

    :param url: of the directory, as for `fsspec.core.url_to_fs`; chained ones, such as ``zip://::file:///x.zip``, too.
    :param suffix: what the names end in, beside the job.
    :param storage_options: for the file system; such as credentials and time limits. They are never shown.
    """

    def __init__(self, url: str, suffix: str = "", **storage_options: Any) -> None:
        if "/" in suffix or "\0" in suffix:
            raise PdtError(f"{suffix!r} cannot be what a file name ends in")
        self.url = url if "://" in url or "::" in url else str(absolute(url))
        self.suffix = suffix
        self.storage_options = storage_options
        self._opened: tuple[Any, str] | None = None
        self._guard: Any = nullcontext()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {public(self.url).rstrip('/')}/*{self.suffix}>"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None, "_guard": nullcontext()}

    @property
    def place(self) -> str | None:
        if re.match(r"(?:.*::)?memory:", self.url):
            return None
        return f"fsspec:{public(self.url).rstrip('/')}/*{self.suffix}"

    # ---- the file system

    def _open(self) -> tuple[Any, str]:
        """The file system and the directory in it; anew when the connection has ended."""
        if self._opened is not None and is_lost(self._opened[0]):
            self._opened[0].clear_instance_cache()  # where fsspec would find it again
            self._opened = None
        if self._opened is None:
            with self._told("cannot be opened"):
                try:
                    fs, path = open_file_system(self.url, self.storage_options)
                except ModuleNotFoundError as error:
                    if error.name not in ("fsspec", "sshfs"):
                        raise UsageError(f"{self} needs another package: {self._clean(error)}") from None
                    raise UsageError(
                        f"{self} needs the package {error.name}: 'pip install pdtcli[fsspec]' installs it"
                    ) from None
                except ImportError as error:
                    raise UsageError(f"{self} needs another package: {self._clean(error)}") from None
                except OSError as error:
                    raise BackendError(f"{self} cannot be opened: {self._clean(error)}") from None
                except (ValueError, TypeError) as error:
                    # Half a password may be what does not parse.
                    secret = any(without_secrets(part)[1] for part in self.url.split("::"))
                    reason = "it is not understood" if secret else self._clean(error)
                    raise UsageError(f"{self} cannot be opened: {reason}: check the URL") from None
            if not getattr(fs, "async_impl", False) and writing_on(fs) not in (Writing.LOCAL, Writing.MEMORY):
                self._guard = threading.RLock()  # one connection, one archive: not for several threads at once
            self._opened = fs, path.rstrip("/")
        return self._opened

    async def _connect(self) -> None:
        if self._opened is None:
            await asyncio.to_thread(self._open)

    @property
    def writing(self) -> Writing:
        """How values are written; asks the file system, and so may connect to it."""
        return writing_on(self._open()[0])

    @property
    def atomic(self) -> bool:
        """Whether a reader sees the old value or the new one, and never a half; False where nobody can tell."""
        return self.writing.is_atomic

    def path(self, job: str) -> str:
        """Where `job` is in the file system, or would be.

        :raises InvalidJobId: for a name that is no job id, so that no path leads out of the directory.
        """
        name = job_ids.check(job) + self.suffix
        return f"{self._open()[1]}/{name}"

    async def do(self, what: str, function: Callable[[Any], T], again: bool = True) -> T:
        """Call a blocking function of the file system in a thread.

        :param what: what it does, for the sentence of a failure.
        :param again: whether it may be called twice, the second time over a new connection.
        """

        def call() -> T:
            with self._told(what):
                fs, _ = self._open()
                try:
                    with self._guard:
                        return function(fs)
                except Exception:
                    if not again or not is_lost(fs):
                        raise
                return function(self._open()[0])

        return await asyncio.to_thread(call)

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """A block whose failures, of whatever kind the file system has, are told without credentials."""
        try:
            try:
                yield
            except FileNotFoundError as error:
                if is_absent(error):
                    raise
                raise (error.__cause__ or error) from None
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError, PdtError):
            raise
        except NotImplementedError as error:
            raise Unsupported(f"{self} {what}: its file system does not do that") from error
        except Exception as error:
            reason = self._clean(error)
            if re.search(r"(?i)read.?only|only be open", reason) and isinstance(error, OSError):
                raise Unsupported(f"{self} {what}: {reason}") from None
            # The cause may show what the sentence does not.
            raise BackendError(f"{self} {what}: {reason}") from None

    def _clean(self, error: BaseException) -> str:
        """What an error says, without anything secret."""
        text = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, OSError) and error.strerror:
            # asyncio puts words of its own in place of the system's.
            text = os.strerror(error.errno) if error.errno is not None and error.errno > 0 else error.strerror
        elif isinstance(error, TimeoutError):
            text = "it did not answer in time"
        for secret in sorted(secrets_of(self.url, self.storage_options), key=len, reverse=True):
            text = text.replace(secret, "***")
        return text if len(text) <= 200 else text[:199] + "…"

    async def validate(self) -> None:
        """Make the directory where there are such things.

        :raises BackendError: when the file system cannot be reached.
        :raises UsageError: for a URL that fsspec does not know, or whose package is not installed.
        """

        def prepare(fs: Any) -> None:
            directory = self._open()[1]
            if writing_on(fs) is Writing.LOCAL or not self._exists(fs, directory):
                try:
                    fs.makedirs(directory, exist_ok=True)
                except (NotImplementedError, FileExistsError):
                    pass  # there are no directories, or it can only be read; a listing tells

        await self.do("cannot be used", prepare)
        await self.keys()

    @staticmethod
    def _exists(fs: Any, path: str) -> bool:
        try:
            fs.info(path)
        except FileNotFoundError as error:
            if not is_absent(error):
                raise
            return False
        return True

    # ---- keys

    def _list(self, fs: Any) -> list[str]:
        """The names of the files in the directory; sweeps what killed writers left."""
        directory = self._open()[1]
        _forget(fs)
        try:
            entries = fs.ls(directory or "/", detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return []
        files = [entry for entry in entries if entry.get("type") != "directory"]
        names = {entry["name"].rstrip("/").rpartition("/")[2]: entry for entry in files}
        litter = [name for name in names if name.startswith(atomic.PREFIX)]
        if litter and writing_on(fs) is Writing.LOCAL:
            atomic.sweep(directory, litter)
        else:
            self._sweep(fs, {name: names[name] for name in litter})
        return [name for name in names if not name.startswith(".")]

    def _sweep(self, fs: Any, litter: dict[str, Any]) -> None:
        for name, entry in litter.items():
            changed = entry.get("mtime", entry.get("LastModified", entry.get("created")))
            changed = changed.timestamp() if hasattr(changed, "timestamp") else changed
            if isinstance(changed, (int, float)) and time.time() - changed > STALE:
                try:
                    fs.rm_file(f"{self._open()[1]}/{name}")
                except Exception as error:  # a listing must not fail over it
                    log.debug("%s: %s was not swept: %s", self, name, self._clean(error))

    async def unfiltered_iter(self) -> AsyncIterator[str]:
        for name in await self.do("cannot be listed", self._list):
            if name.endswith(self.suffix):
                yield name[: len(name) - len(self.suffix)]

    async def keys(self) -> set[str]:
        good, bad = job_ids.split_valid([name async for name in self.unfiltered_iter()])
        self.warn_skipped(bad)
        return good

    async def contains(self, job: str, /) -> bool:
        if not job_ids.is_valid(job):
            return False
        await self._connect()
        path = self.path(job)

        def look(fs: Any) -> bool:
            _forget(fs)
            try:
                return bool(fs.info(path)["type"] == "file")
            except NotADirectoryError:
                return False
            except FileNotFoundError as error:
                if not is_absent(error):
                    raise
                return False

        return await self.do("cannot be read", look)

    @job_getter
    async def info(self, job: str, /) -> str:
        """The URL of the job's file, without credentials; on this machine its path."""
        await self._connect()
        path = self.path(job)
        if self.writing is Writing.LOCAL:
            return path
        first, _, rest = public(self.url).partition("::")
        chained = f"::{rest}" if rest else ""
        directory = first if first.endswith("://") else first.rstrip("/") + "/"
        return f"{directory}{job}{self.suffix}{chained}"

    # ---- deletes

    async def delete(self, job: str, /) -> None:
        await self.delete_many([job])

    async def delete_many(self, jobs: Iterable[str]) -> None:
        valid = [job_ids.check(job) for job in jobs]
        await self._connect()
        doomed = [self.path(job) for job in valid]

        def remove(paths: Collection[str]) -> Callable[[Any], None]:
            def work(fs: Any) -> None:
                _forget(fs)
                for path in paths:
                    try:
                        # Not rm, which takes a path for a pattern; nor a directory, which is no value.
                        if writing_on(fs) is not Writing.LOCAL or not fs.isdir(path):
                            fs.rm_file(path)
                    except (FileNotFoundError, IsADirectoryError):
                        pass

            return work

        lanes = AT_ONCE if getattr(self._open()[0], "async_impl", False) else 1
        shares = [share for lane in range(lanes) if (share := doomed[lane::lanes])]
        await asyncio.gather(*(self.do("cannot delete", remove(share)) for share in shares))

    # ---- values

    async def open_reader(self, job: str, /) -> ReadStream:
        await self._connect()
        path = self.path(job)

        def begin(fs: Any) -> ReadStream:
            _forget(fs)
            match writing_on(fs):
                case Writing.LOCAL:
                    return FileReader(open(path, "rb", buffering=0))
                case Writing.MEMORY:
                    return MemoryReader(fs.cat_file(path))  # its files share one position
            return RemoteReader(self, job, path, RemoteReader.begin(fs, path))

        try:
            return await self.do(f"cannot read {job}", begin)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise JobNotFound(f"{self} does not hold {job}") from None

    async def open_writer(self, job: str, /) -> WriteStream:
        await self._connect()
        path = self.path(job)
        match self.writing:
            case Writing.LOCAL:
                return FileWriter(path)
            case Writing.MEMORY:
                return InMemoryWriter(self, job, path)
            case Writing.COMMIT:
                return CommittedWriter(self, job, path)
            case Writing.RENAME | Writing.MOVE:
                return MovedWriter(self, job, path)
        return SpooledWriter(self, job, path)

    @job_getter
    async def local_file(self, job: str, /) -> str | None:
        await self._connect()
        local = self.writing is Writing.LOCAL and await self.contains(job)
        return self.path(job) if local else None


def _forget(fs: Any) -> None:
    """Drop what the file system remembers of directories: another process may have changed them."""
    fs.invalidate_cache()
