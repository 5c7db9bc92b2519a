"""Streams from and into files, for the repositories that keep values in them."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import IO

from .. import atomic
from ..offload import SMALL, offload
from ..pump import PIECE, copy
from ..stream import Reader, Writer

__all__ = ("FileReader", "FileWriter")


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

    def __init__(self, path: str | os.PathLike[str], durable: bool = False, *, mode: int | None = None) -> None:
        self._path = os.fspath(path)
        self._durable = durable
        self._temporary = os.path.join(os.path.dirname(self._path), atomic.temporary_name())
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

    def take(self, source: int) -> int | None:
        """Write all that is left in a file descriptor; None when the kernel cannot do that (`pdtcli.pump`)."""
        if self._file is None:
            raise ValueError("write to a closed stream")
        with atomic.writing(self._path):
            return copy(source, self._file.fileno())

    @staticmethod
    def _write_all(file: IO[bytes], data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[file.write(view[:PIECE]) :]

    async def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            try:
                with atomic.writing(self._path):
                    file.close()
                    await offload(self._durable, atomic.publish, self._temporary, self._path, self._durable)
            except BaseException:
                self._drop()
                raise

    async def abort(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()
            self._drop()

    def _drop(self) -> None:
        with suppress(OSError):  # what cannot be removed is swept with other litter
            os.unlink(self._temporary)

    def __del__(self) -> None:
        # A writer that was opened and never entered leaves nothing behind either.
        if getattr(self, "_file", None) is not None:
            self._file.close()  # type: ignore[union-attr]
            self._drop()
