"""Byte and text streams: what `BlobRepository.open` hands out, and how one is copied into another.

A stream is used with ``async with``; a writer keeps its value only when the block ends without an exception. Text is
UTF-8, decoded incrementally, so that a character that spans two chunks is one character, and ``read(n)`` counts
characters.
"""

from __future__ import annotations

import codecs
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar

from .offload import SMALL

__all__ = (
    "CHUNK",
    "MemoryReader",
    "MemoryWriter",
    "ReadStream",
    "Reader",
    "TextReader",
    "TextWriter",
    "WriteStream",
    "Writer",
    "copy_stream",
)

CHUNK = 1024 * 1024
"""Bytes moved at a time: large enough that a thread hop per chunk does not show, small enough to hold a few."""


class ReadStream(Protocol):
    """Bytes, read in order."""

    async def read(self, n: int | None = None, /) -> bytes:
        """Up to `n` bytes, at least one unless the stream is at its end; all that is left when `n` is None or -1."""

    async def close(self) -> None:
        """Release the stream; may be called twice."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class WriteStream(Protocol):
    """Bytes, written in order, and kept as a whole or not at all."""

    async def write(self, data: bytes, /) -> int:
        """Append `data`; the number of bytes taken, which is all of them."""

    async def close(self) -> None:
        """Make what was written the value; may be called twice."""

    async def abort(self) -> None:
        """Drop what was written; the value that was there before, or none, stays."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Reader:
    """A base for a `ReadStream`: a block that uses it closes it, however it ends."""

    async def close(self) -> None:
        """Release the stream; may be called twice."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class Writer(ABC):
    """A base for a `WriteStream`: a block that uses it keeps the value if it ends well, and drops it otherwise."""

    @abstractmethod
    async def close(self) -> None:
        """Make what was written the value; may be called twice."""

    @abstractmethod
    async def abort(self) -> None:
        """Drop what was written; the value that was there before, or none, stays."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await (self.close() if error is None else self.abort())


class MemoryReader(Reader):
    """A `ReadStream` over bytes that are in memory already."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    async def read(self, n: int | None = None, /) -> bytes:
        end = len(self._data) if n is None or n < 0 else self._at + n
        piece = self._data[self._at : end]
        self._at += len(piece)
        return piece


class MemoryWriter(Writer):
    """A `WriteStream` into memory; what becomes of the bytes at the end is `_store`'s to say."""

    def __init__(self) -> None:
        self._buffer: bytearray | None = bytearray()

    @abstractmethod
    async def _store(self, value: bytes) -> None:
        """Make `value` the value."""

    async def write(self, data: bytes, /) -> int:
        if self._buffer is None:
            raise ValueError("write to a closed stream")
        self._buffer += data
        return len(data)

    async def close(self) -> None:
        buffer, self._buffer = self._buffer, None
        if buffer is not None:
            await self._store(bytes(buffer))

    async def abort(self) -> None:
        self._buffer = None


Base = TypeVar("Base", bound=ReadStream | WriteStream)


class _OverBytes(Generic[Base]):
    """Text over a stream of bytes, which ends as that one does."""

    def __init__(self, base: Base) -> None:
        self._base = base

    async def close(self) -> None:
        await self._base.close()

    async def __aenter__(self) -> Self:
        await self._base.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._base.__aexit__(kind, error, trace)


class TextReader(_OverBytes[ReadStream]):
    """Text over a `ReadStream`.

    :param base: the stream of bytes; closed with this one.
    :param encoding: how the bytes encode characters.
    :param errors: what to do with bytes that do not, as for `codecs`.
    """

    def __init__(self, base: ReadStream, encoding: str = "utf-8", errors: str = "strict") -> None:
        super().__init__(base)
        self._decoder = codecs.getincrementaldecoder(encoding)(errors)
        # Whole pieces and an offset into the first: cutting the front off one long string for every small read would
        # copy the rest of it each time.
        self._pieces: deque[str] = deque()
        self._offset = 0
        self._buffered = 0
        self._ended = False

    async def _fill(self) -> None:
        data = await self._base.read(CHUNK)
        text = self._decoder.decode(data, final=not data)
        self._ended = not data
        if text:
            self._pieces.append(text)
            self._buffered += len(text)

    def _take(self, n: int) -> str:
        taken: list[str] = []
        self._buffered -= n
        while n:
            piece = self._pieces[0]
            part = piece[self._offset : self._offset + n]
            taken.append(part)
            n -= len(part)
            self._offset += len(part)
            if self._offset == len(piece):
                self._pieces.popleft()
                self._offset = 0
        return "".join(taken)

    async def read(self, n: int | None = None, /) -> str:
        """Up to `n` characters: fewer only at the end; all that is left when `n` is None or -1."""
        wanted = None if n is None or n < 0 else n
        while not self._ended and (wanted is None or self._buffered < wanted):
            await self._fill()
        return self._take(self._buffered if wanted is None else min(wanted, self._buffered))

    async def readline(self) -> str:
        """The next line with its newline; the empty string at the end."""
        length = searched = 0
        while True:
            for piece in list(self._pieces)[searched:]:
                start = self._offset if searched == 0 else 0
                found = piece.find("\n", start)
                if found >= 0:
                    return self._take(length + found + 1 - start)
                length += len(piece) - start
                searched += 1
            if self._ended:
                return self._take(length)
            await self._fill()

    def __aiter__(self) -> AsyncIterator[str]:
        return self._lines()

    async def _lines(self) -> AsyncIterator[str]:
        while line := await self.readline():
            yield line


class TextWriter(_OverBytes[WriteStream]):
    """Text onto a `WriteStream`, which is closed, or aborted, with this one."""

    def __init__(self, base: WriteStream, encoding: str = "utf-8", errors: str = "strict") -> None:
        super().__init__(base)
        self._encode = codecs.getincrementalencoder(encoding)(errors).encode

    async def write(self, text: str, /) -> int:
        """Append `text`; the number of characters taken."""
        await self._base.write(self._encode(text))
        return len(text)

    async def abort(self) -> None:
        """Drop what was written."""
        await self._base.abort()


async def copy_stream(source: ReadStream, target: WriteStream, chunk: int = CHUNK) -> int:
    """Copy all of `source` to `target`, holding `chunk` bytes at a time; the number of bytes.

    Little is asked for at first: what is short then takes no thread, where that depends on how much may come.
    """
    total, n = 0, min(chunk, SMALL)
    while data := await source.read(n):
        await target.write(data)
        total += len(data)
        if len(data) == n:
            n = chunk
    return total
