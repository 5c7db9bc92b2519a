"""Streams from and into files of fsspec's; `fsspec` says which file system gets which."""

from __future__ import annotations

import logging
import shutil
import tempfile
from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from .. import atomic
from ..errors import BackendError, PdtError
from ..stream import CHUNK, MemoryWriter, Reader, Writer
from .fsspec_kinds import identity

if TYPE_CHECKING:
    from .fsspec import FsspecRepository

__all__ = ("CommittedWriter", "InMemoryWriter", "MovedWriter", "RemoteReader", "SpooledWriter")

REPLACED = 10
"""So often a value is read again from its beginning, when another took its place in the meantime."""

T = TypeVar("T")
log = logging.getLogger(__name__)


class _Stream:
    """What readers and writers have in common: blocking calls on one file, one after the other."""

    def __init__(self, repository: FsspecRepository, job: str) -> None:
        self._repository = repository
        self._job = job

    async def _do(self, verb: str, function: Callable[[Any], T]) -> T:
        try:
            return await self._repository.do(f"cannot {verb} {self._job}", function, again=False)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            reason = error.strerror or type(error).__name__
            raise BackendError(f"{self._repository} cannot {verb} {self._job}: {reason}") from None


class RemoteReader(_Stream, Reader):
    """A `ReadStream` over a file of fsspec's, which never gives a part of one value and a part of the next.

    :param opened: the file, and its `identity`.
    """

    def __init__(self, repository: FsspecRepository, job: str, path: str, opened: tuple[Any, Any]) -> None:
        super().__init__(repository, job)
        self._path = path
        self._opened: tuple[Any, Any] | None = opened
        self._untouched = True

    @staticmethod
    def begin(fs: Any, path: str) -> tuple[Any, Any]:
        """Open a file."""
        known = identity(fs, path)
        return fs.open(path, "rb"), known

    def _read(self, fs: Any, n: int) -> bytes | None:
        """What `read` returns; None when it is of another value than was opened."""
        assert self._opened is not None
        file, known = self._opened
        data = bytes(file.read(n))
        ended = n < 0 or (n > 0 and not data)
        return None if ended and known is not None and identity(fs, self._path) != known else data

    async def read(self, n: int | None = None, /) -> bytes:
        if self._opened is None:
            raise ValueError("read from a closed stream")
        size = -1 if n is None else n
        for _ in range(REPLACED):
            data = await self._do("read", lambda fs: self._read(fs, size))
            if data is not None:
                self._untouched = False
                return data
            if not self._untouched:
                break
            # Nobody has seen anything of it yet.
            await self.close()
            self._opened = await self._do("read", lambda fs: self.begin(fs, self._path))
        raise BackendError(f"{self._repository} cannot read {self._job}: it was replaced while it was read; try again")

    async def close(self) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            await self._do("read", lambda fs: opened[0].close())


class _Writer(_Stream, Writer):
    """A `WriteStream` into a file that is opened with the first write."""

    def __init__(self, repository: FsspecRepository, job: str, path: str) -> None:
        super().__init__(repository, job)
        self._path = path
        self._file: Any = None
        self._closed = False

    @abstractmethod
    def _begin(self, fs: Any) -> Any:
        """Open the file."""

    @abstractmethod
    def _finish(self, fs: Any, file: Any) -> None:
        """Make what is in the file the value."""

    @abstractmethod
    def _drop(self, fs: Any, file: Any) -> None:
        """Remove the file."""

    def _opened(self, fs: Any) -> Any:
        if self._file is None:
            self._file = self._begin(fs)
        return self._file

    async def write(self, data: bytes, /) -> int:
        if self._closed:
            raise ValueError("write to a closed stream")

        def append(fs: Any) -> None:
            file = self._opened(fs)
            view = memoryview(data)
            while view:
                # Some say how many they took, some take all and say nothing.
                taken = file.write(view)
                view = view[len(view) if taken is None else taken :]

        try:
            await self._do("write", append)
        except BaseException:
            await self.abort()  # whoever goes on in spite of it must not store half a value
            raise
        return len(data)

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            await self._do("write", lambda fs: self._finish(fs, self._opened(fs)))
        except BaseException:
            await self._discard()
            raise

    async def abort(self) -> None:
        if not self._closed:
            self._closed = True
            await self._discard()

    async def _discard(self) -> None:
        file, self._file = self._file, None
        if file is None:
            return
        try:
            await self._repository.do(f"cannot drop {self._job}", lambda fs: self._drop(fs, file), again=False)
        except FileNotFoundError:
            pass  # it did not come that far
        except (PdtError, OSError) as error:
            log.debug("%s: what was written of %s may be left: %s", self._repository, self._job, type(error).__name__)


class MovedWriter(_Writer):
    """A writer into a hidden file in the same directory, which is moved."""

    def __init__(self, repository: FsspecRepository, job: str, path: str) -> None:
        super().__init__(repository, job, path)
        self._temporary = f"{path.rpartition('/')[0]}/{atomic.temporary_name()}"

    def _begin(self, fs: Any) -> Any:
        return fs.open(self._temporary, "wb")

    def _finish(self, fs: Any, file: Any) -> None:
        file.close()
        fs.mv(self._temporary, self._path)

    def _drop(self, fs: Any, file: Any) -> None:
        file.close()
        fs.rm_file(self._temporary)


class CommittedWriter(_Writer):
    """A writer into an upload that is completed, or given up."""

    def _begin(self, fs: Any) -> Any:
        return fs.open(self._path, "wb", autocommit=False)

    def _finish(self, fs: Any, file: Any) -> None:
        file.close()
        file.commit()

    def _drop(self, fs: Any, file: Any) -> None:
        # Not close, which would upload the rest.
        file.discard()
        file.closed = True


class SpooledWriter(_Writer):
    """A writer into a temporary file of this machine, which is uploaded when it is complete."""

    def _begin(self, fs: Any) -> Any:
        return tempfile.TemporaryFile(prefix="pdt-")

    def _finish(self, fs: Any, file: Any) -> None:
        file.seek(0)
        with fs.open(self._path, "wb") as target:
            shutil.copyfileobj(file, target, CHUNK)
        file.close()

    def _drop(self, fs: Any, file: Any) -> None:
        file.close()


class InMemoryWriter(_Stream, MemoryWriter):
    """A `WriteStream` whose bytes become a file of fsspec's memory at the end."""

    def __init__(self, repository: FsspecRepository, job: str, path: str) -> None:
        _Stream.__init__(self, repository, job)
        MemoryWriter.__init__(self)
        self._path = path

    async def _store(self, value: bytes) -> None:
        await self._do("write", lambda fs: fs.pipe_file(self._path, value))
