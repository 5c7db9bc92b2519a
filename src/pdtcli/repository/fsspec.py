"""Byte strings in whatever fsspec opens: SFTP, Google Cloud Storage, Azure, HTTP, archives, and so on.

What a value that is half written looks like is the file system's affair, and fsspec does not say. So every file system
is sorted into one of the `Writing` kinds: those that are known get the way of writing that is atomic on them, the
others are written as well as can be, and `FsspecRepository.atomic` tells which it is. No claims are possible on any.

Interface: https://filesystem-spec.readthedocs.io/en/latest/api.html.
"""

from __future__ import annotations

import asyncio
import logging
import re
import threading
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote

from .. import atomic
from .. import job as job_ids
from ..errors import BackendError, JobNotFound, PdtError, Unsupported, UsageError
from ..paths import absolute
from ..stream import MemoryReader, ReadStream, WriteStream
from .base import BlobRepository, job_getter
from .files import FileReader, FileWriter
from .fsspec_stream import CommittedWriter, InMemoryWriter, MovedWriter, RemoteReader, SpooledWriter

__all__ = ("FsspecRepository", "Writing")

T = TypeVar("T")
log = logging.getLogger(__name__)

AT_ONCE = 8
"""So many files are deleted at the same time, where the file system can do that."""

STALE = 24 * 3600.0
"""Seconds after which a temporary file of a writer that cannot be asked counts as litter."""


class Writing(Enum):
    """How a value gets under its name."""

    LOCAL = "a file of this machine: a hidden file that is renamed"
    MEMORY = "this process's memory: stored in one step at the end"
    RENAME = "a hidden file that the server renames in one step"
    COMMIT = "an upload that the store shows when it is complete"
    MOVE = "a hidden file that is moved, in however many steps that takes"
    SPOOL = "a temporary file of this machine that is uploaded at the end, and may be seen half"

    @property
    def is_atomic(self) -> bool:
        return self not in (Writing.MOVE, Writing.SPOOL)


KNOWN = {
    **dict.fromkeys(("file", "local"), Writing.LOCAL),
    **dict.fromkeys(("memory",), Writing.MEMORY),
    # posix-rename@openssh.com, and HDFS's rename.
    **dict.fromkeys(("sftp", "ssh"), Writing.RENAME),
    **dict.fromkeys(("s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss", "oci"), Writing.COMMIT),
}
"""File systems, by what fsspec calls them, that are known to do better."""


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
        """The file system and the directory in it."""
        if self._opened is None:
            with self._told("cannot be opened"):
                try:
                    from fsspec.core import url_to_fs
                except ImportError:
                    raise UsageError(
                        f"{self} needs the package fsspec: 'pip install pdtcli[fsspec]' installs it"
                    ) from None
                try:
                    fs, path = url_to_fs(self.url, **self.storage_options)
                except ImportError as error:
                    raise UsageError(f"{self} needs another package: {self._clean(error)}") from None
                except OSError as error:
                    raise BackendError(f"{self} cannot be opened: {self._clean(error)}") from None
                except (ValueError, TypeError) as error:
                    # Half a password may be what does not parse.
                    secret = any(_without_secrets(part)[1] for part in self.url.split("::"))
                    reason = "it is not understood" if secret else self._clean(error)
                    raise UsageError(f"{self} cannot be opened: {reason}: check the URL") from None
            if not getattr(fs, "async_impl", False) and self._kind(fs) not in (Writing.LOCAL, Writing.MEMORY):
                self._guard = threading.RLock()  # one connection, one archive: not for several threads at once
            self._opened = fs, path.rstrip("/")
        return self._opened

    async def _connect(self) -> None:
        if self._opened is None:
            await asyncio.to_thread(self._open)

    @staticmethod
    def _kind(fs: Any) -> Writing:
        names = (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)
        from fsspec import AbstractFileSystem

        moves = type(fs).mv is not AbstractFileSystem.mv  # that one copies, and takes names for patterns
        return next((KNOWN[name] for name in names if name in KNOWN), Writing.MOVE if moves else Writing.SPOOL)

    @property
    def writing(self) -> Writing:
        """How values are written; asks the file system, and so may connect to it."""
        return self._kind(self._open()[0])

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

    async def do(self, what: str, function: Callable[[Any], T]) -> T:
        """Call a blocking function of the file system in a thread.

        :param what: what it does, for the sentence of a failure.
        """

        def call() -> T:
            with self._told(what):
                fs, _ = self._open()
                with self._guard:
                    return function(fs)

        return await asyncio.to_thread(call)

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """A block whose failures, of whatever kind the file system has, are told without credentials."""
        try:
            yield
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
            text = error.strerror
        for secret in sorted(_secrets(self.url, self.storage_options), key=len, reverse=True):
            text = text.replace(secret, "***")
        return text if len(text) <= 200 else text[:199] + "…"

    async def validate(self) -> None:
        """Make the directory where there are such things.

        :raises BackendError: when the file system cannot be reached.
        :raises UsageError: for a URL that fsspec does not know, or whose package is not installed.
        """

        def prepare(fs: Any) -> None:
            directory = self._open()[1]
            if self._kind(fs) is Writing.LOCAL or not self._exists(fs, directory):
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
        except FileNotFoundError:
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
        if litter and self._kind(fs) is Writing.LOCAL:
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
            except (FileNotFoundError, NotADirectoryError):
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
                        if self._kind(fs) is not Writing.LOCAL or not fs.isdir(path):
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
            match self._kind(fs):
                case Writing.LOCAL:
                    return FileReader(open(path, "rb", buffering=0))
                case Writing.MEMORY:
                    return MemoryReader(fs.cat_file(path))  # its files share one position
            return RemoteReader(self, job, fs.open(path, "rb"))

        try:
            return await self.do(f"cannot read {job}", begin)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise JobNotFound(f"{self} does not hold {job}") from None

    async def open_writer(self, job: str, /) -> WriteStream:
        await self._connect()
        path = self.path(job)
        match self.writing:
            case Writing.LOCAL:
                return FileWriter(Path(path))
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


# ---- what may be shown

HARMLESS = frozenset(
    {"host", "port", "protocol", "endpoint_url", "region_name", "mode", "compression", "project", "anon"}
)
"""Options whose values are no secrets."""


def public(url: str) -> str:
    """A URL without users, passwords and queries, in which keys and signatures are handed over."""
    return "::".join(_without_secrets(part)[0] for part in url.split("::"))


def _without_secrets(part: str) -> tuple[str, set[str]]:
    """One part of a chained URL that may be shown, and what was taken out of it."""
    scheme, mark, rest = part.partition("://")
    if not mark or scheme in ("file", "local", "memory"):
        return part, set()
    rest, _, query = rest.partition("?")
    authority = rest.partition("/")[0]
    end = rest.rfind("@") if ":" in authority and "@" not in authority else authority.rfind("@")
    user, _, password = rest[: max(end, 0)].partition(":")
    hidden = {password, unquote(password), user if not password else "", query}
    hidden |= {value for pair in query.split("&") for value in (pair.partition("=")[2],)}
    return f"{scheme}://{rest[end + 1 :]}", {text for text in hidden if text}


def _secrets(url: str, options: Any) -> set[str]:
    """Everything that may be a credential."""
    found: set[str] = set()
    for part in url.split("::"):
        found |= _without_secrets(part)[1]
    pending = [options]
    while pending:
        match pending.pop():
            case dict() as mapping:
                pending += [value for key, value in mapping.items() if key not in HARMLESS]
            case list() | tuple() as items:
                pending += items
            case str(text) if len(text) > 2:
                found.add(text)
    return found
