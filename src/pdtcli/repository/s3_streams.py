"""Values of an S3 bucket as streams, in bounded memory.

A reader that loses its connection goes on where it was, with a ranged request under If-Match, so that it never joins
halves of two values. What is longer than `LONG` is fetched in ranges, some at the same time, once its reader has read
the first of them: a single connection is slow where the way is long, and a reader that only looks at the beginning
costs nothing more. Of a value that was stored in parts the first request asks for the first part only.

Memory: a reader holds what was asked for, at most `READ_AHEAD` bytes otherwise; of a long value one range that is being
read and up to `IN_FLIGHT` bytes of those behind it, 40 MiB.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Self, TypeVar

from ..errors import BackendError
from ..stream import Reader
from .s3_calls import Bucket, attempts
from .s3_errors import Absent, Changed
from .s3_place import FIRST

__all__ = ("IN_FLIGHT", "LONG", "PART", "READ_AHEAD", "ObjectReader", "pause")

T = TypeVar("T")

PART = 8 * 1024 * 1024
"""Bytes of a part, of a range, and of the longest value that is one put. S3 takes parts of 5 MiB and more, but for the
last."""

IN_FLIGHT = 4 * PART
"""Bytes of parts or ranges that are on their way at once."""

LONG = 4 * PART
"""A value that is longer is fetched in several ranges at the same time."""

READ_AHEAD = 256 * 1024
"""A value that is not longer is read whole when it is opened, in one hop to a thread."""

PIECE = 1024 * 1024
"""Bytes that are read from the connection at a time where all of a value is asked for."""


def pause(attempt: int) -> float:
    """Seconds to wait before trying again for the `attempt`-th time: about 0.1, 0.2, 0.4, … at most 10."""
    return random.uniform(0.5, 1.5) * min(10.0, 0.1 * 2.0**attempt)  # noqa: S311 - it spreads load, no secret


class ObjectReader(Reader):
    """A `ReadStream` over an object. Made by `ObjectReader.opened`."""

    def __init__(self, bucket: Bucket, key: str) -> None:
        self._bucket = bucket
        self._key = key
        self._at = 0
        self._size = 0
        self._until = 0
        """Where the body ends: with the value, or with its first part."""
        self._etag: str | None = None
        self._body: Any = None
        self._ready: bytes | None = None
        self._failures = 0
        self._reading: asyncio.Future[Any] | None = None
        self._surplus = b""
        self._in_ranges = False
        self._ranges: _Ranges | None = None
        self._closed = False

    @classmethod
    async def opened(cls, bucket: Bucket, key: str) -> Self:
        """A reader at the start of the object.

        :raises Absent: when there is no such object.
        """
        reader = cls(bucket, key)
        reader._reading = bucket.threads.submit(reader.start)
        try:
            await asyncio.shield(reader._reading)
        except BaseException:
            await reader.close()
            raise
        reader._reading = None
        return reader

    def start(self) -> None:
        """Send the request, and read what is short; in a thread."""
        response = self._bucket.do(FIRST, Key=self._key)
        beginning = response.get("ContentRange")
        self._until = response["ContentLength"]
        self._size = self._until if beginning is None else int(beginning.rpartition("/")[2])
        self._etag = response.get("ETag")
        self._body = response["Body"]
        if self._size <= READ_AHEAD:
            self._ready = self._whole()
        has_ranges = beginning is not None or response.get("AcceptRanges") == "bytes"
        self._in_ranges = self._size > LONG and self._etag is not None and has_ranges

    def _whole(self) -> bytes:
        data = self._rest()
        self._at = 0
        return data

    def _rest(self) -> bytes:
        """All up to the end, in a thread."""
        pieces = []
        try:
            while self._at < self._size:
                if self._failures:
                    time.sleep(pause(self._failures))
                pieces.append(self._read(self._size - self._at))
        finally:
            self._drop()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def range(self, start: int, view: memoryview) -> None:
        """Fill a piece of memory with a part of the same value, in a thread.

        :raises BackendError: when the value is another one by now.
        """
        reader = ObjectReader(self._bucket, self._key)
        reader._at, reader._size, reader._etag = start, start + len(view), self._etag
        try:
            while reader._at < reader._size:
                if reader._failures:
                    time.sleep(pause(reader._failures))
                rest = view[reader._at - start :]
                reader._take(lambda body, rest=rest: body.readinto(rest), int)  # type: ignore[misc]
        finally:
            reader._drop()

    def whole(self) -> bytes:
        """All of a value that is known to be small; in a thread."""
        self.start()
        return self._ready if self._ready is not None else self._whole()

    def part(self, start: int, length: int) -> bytes:
        """Up to `length` bytes from `start` on, in a thread."""
        response = self._bucket.do("get_object", Key=self._key, Range=f"bytes={start}-{start + length - 1}")
        self._etag = response.get("ETag")
        self._body = response["Body"]
        if "ContentRange" not in response:  # a server that ignores ranges
            self._size, self._body = min(response["ContentLength"], start + length), None
            response["Body"].close()
        else:
            self._size = start + response["ContentLength"]
        self._at, self._until = start, self._size
        return self._rest()

    def _lost(self, error: Exception) -> None:
        """The body broke off: drop it, or give up."""
        self._drop()
        self._failures += 1
        if self._failures >= attempts(self._bucket.client) or not _is_passing(error):
            raise self._bucket.explain(error, self._key) from error

    def _drop(self) -> None:
        body, self._body = self._body, None
        if body is not None:
            body.close()

    def _resume(self) -> None:
        """Open the rest of the body."""
        condition = {} if self._etag is None else {"IfMatch": self._etag}
        try:
            response = self._bucket.do(
                "get_object", Key=self._key, Range=f"bytes={self._at}-{self._size - 1}", **condition
            )
        except (Absent, Changed) as error:
            raise BackendError(
                f"{self._bucket.uri(self._key)} was replaced or deleted while it was read: read it again"
            ) from error
        if response.get("ETag") != self._etag:
            response["Body"].close()
            raise BackendError(f"{self._bucket.uri(self._key)} was replaced while it was read: read it again")
        self._body, self._until = response["Body"], self._size
        if not str(response.get("ContentRange", "")).startswith(f"bytes {self._at}-"):  # all of it
            left = self._at
            while left and (data := self._body.read(min(left, PIECE))):
                left -= len(data)

    def _read(self, n: int) -> bytes:
        """Up to `n` bytes, in a thread; none when the connection broke and it is worth trying again."""
        return self._take(lambda body: body.read(n), len) or b""

    def _take(self, take: Callable[[Any], T], size: Callable[[T], int]) -> T | None:
        """Take some of the body, in a thread; None when the connection broke and it is worth trying again."""
        if self._body is None:
            self._resume()
        try:
            taken = take(self._body)
            n = size(taken)
            if not n or (self._at + n == self._until and self._body.read(1)):
                # The read behind the end is also what makes the client compare checksums.
                raise ConnectionError("the value has another length than the server said")
        except Exception as error:
            self._lost(error)
            return None
        self._failures = 0
        self._at += n
        if self._at == self._until < self._size:
            self._drop()
        return taken

    async def _fill(self, n: int) -> bytes:
        if self._reading is None:
            self._reading = self._bucket.threads.submit(partial(self._read, n))
        try:
            data: bytes = await asyncio.shield(self._reading)
        except asyncio.CancelledError:
            raise  # what was read comes with the next read
        except BaseException:
            self._reading = None
            raise
        self._reading = None
        data, self._surplus = data[:n], data[n:]
        return data

    async def read(self, n: int | None = None, /) -> bytes:
        if self._closed:
            raise ValueError("read from a closed stream")
        if self._ready is not None:
            end = self._size if n is None or n < 0 else self._at + n
            data = self._ready[self._at : end]
            self._at += len(data)
            return data
        if n is None or n < 0:
            pieces = []
            while data := await self.read(PIECE):
                pieces.append(data)
            return b"".join(pieces)
        if self._surplus:
            data, self._surplus = self._surplus[:n], self._surplus[n:]
            return data
        if self._reading is None and self._in_ranges and (self._at >= PART or self._body is None):
            if self._ranges is None:
                self._drop()
                self._ranges = _Ranges(self._bucket, self.range, self._at, self._size)
            return await self._ranges.read(n)
        while n and (self._reading is not None or self._at < self._size):
            if self._failures:
                await asyncio.sleep(pause(self._failures))
            end = PART if self._in_ranges else self._size
            if data := await self._fill(min(n, end - self._at) if self._reading is None else n):
                return data
        return b""

    async def close(self) -> None:
        self._closed = True
        self._ready = None
        if self._ranges is not None:
            self._ranges.close()
        if self._reading is not None and not self._reading.done():
            # A read that was cancelled still uses the connection.
            self._reading.add_done_callback(lambda _: self._drop())
        else:
            self._drop()


class _Ranges:
    """The rest of a long value, of which several ranges are fetched at the same time and read in order.

    Their memory is used again and again: having it mapped anew for each takes longer than receiving it.

    :param fetch: fills a piece of memory with what is at a place, in a thread.
    """

    def __init__(self, bucket: Bucket, fetch: Callable[[int, memoryview], None], start: int, end: int) -> None:
        self._threads = bucket.threads
        self._fetch = fetch
        self._next = start
        self._end = end
        self._coming: deque[tuple[asyncio.Future[None], memoryview]] = deque()
        self._piece = memoryview(b"")
        self._at = 0
        self._free: list[bytearray] = []

    async def read(self, n: int) -> bytes:
        """Up to `n` bytes; none at the end."""
        if self._at == len(self._piece):
            self._order()
            if not self._coming:
                return b""
            future, piece = self._coming[0]
            await asyncio.shield(future)
            # Only now it leaves its place: a read that is cancelled loses nothing.
            self._coming.popleft()
            if self._piece:
                self._free.append(self._piece.obj)  # type: ignore[arg-type]
            self._piece, self._at = piece, 0
            self._order()
        data = bytes(self._piece[self._at : self._at + n])
        self._at += len(data)
        return data

    def _order(self) -> None:
        while self._next < self._end and len(self._coming) < IN_FLIGHT // PART:
            memory = self._free.pop() if self._free else bytearray(PART)
            view = memoryview(memory)[: self._end - self._next]
            self._coming.append((self._threads.submit(partial(self._fetch, self._next, view)), view))
            self._next += len(view)

    def close(self) -> None:
        """Do without what has not come yet."""
        self._next = self._end
        self._piece = memoryview(b"")
        self._at = 0
        for future, _ in self._coming:
            future.add_done_callback(_forget)
            future.cancel()
        self._coming.clear()


def _forget(future: asyncio.Future[None]) -> None:
    """Take notice of an error that nobody asks for any more."""
    if not future.cancelled():
        future.exception()


def _is_passing(error: Exception) -> bool:
    """Whether it is the connection that failed."""
    from botocore.exceptions import HTTPClientError, IncompleteReadError
    from urllib3.exceptions import HTTPError

    return isinstance(error, (HTTPClientError, IncompleteReadError, HTTPError, OSError))
