"""Values of an S3 bucket as streams, in bounded memory.

A reader that loses its connection goes on where it was, with a ranged request under If-Match, so that it never joins
halves of two values. A writer holds back up to 8 MiB, which then are one put; what is longer becomes a multipart
upload, invisible until it is completed.

Memory: a reader holds what was asked for, at most `READ_AHEAD` bytes otherwise; a writer one part that fills and up
to `IN_FLIGHT` bytes of parts on their way, or one part where it is larger: 40 MiB for values of up to 8 GB.
"""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from functools import partial
from types import TracebackType
from typing import Any, Self

from ..errors import BackendError
from .s3_calls import Bucket, attempts
from .s3_errors import Absent, Changed, UploadGone

__all__ = ("IN_FLIGHT", "PART", "READ_AHEAD", "Reader", "Writer", "part_size", "pause")

PART = 8 * 1024 * 1024
"""Bytes of a part, and of the longest value that is one put. S3 takes parts of 5 MiB and more, but for the last."""

STEP = 1000
"""After so many parts their size doubles: S3 takes 10,000 parts, and values of terabytes are to fit into them."""

IN_FLIGHT = 4 * PART
"""Bytes of parts that are on their way at once."""

READ_AHEAD = 256 * 1024
"""A value that is not longer is read whole when it is opened, in one hop to a thread."""

PIECE = 1024 * 1024
"""Bytes that are read from the connection at a time where all of a value is asked for."""


def part_size(number: int) -> int:
    """Bytes of the part `number`, counted from 1."""
    return PART << ((number - 1) // STEP)


def pause(attempt: int) -> float:
    """Seconds to wait before trying again for the `attempt`-th time: about 0.1, 0.2, 0.4, … at most 10."""
    return random.uniform(0.5, 1.5) * min(10.0, 0.1 * 2.0**attempt)  # noqa: S311 - it spreads load, no secret


class Reader:
    """A `ReadStream` over an object. Made by `Reader.opened`."""

    def __init__(self, bucket: Bucket, key: str) -> None:
        self._bucket = bucket
        self._key = key
        self._at = 0
        self._size = 0
        self._etag: str | None = None
        self._body: Any = None
        self._ready: bytes | None = None
        self._failures = 0
        self._reading: asyncio.Future[Any] | None = None
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
        return reader

    def start(self) -> None:
        """Send the request, and read what is short; in a thread."""
        response = self._bucket.do("get_object", Key=self._key)
        self._size = response["ContentLength"]
        self._etag = response.get("ETag")
        self._body = response["Body"]
        if self._size <= READ_AHEAD:
            self._ready = self._whole()

    def _whole(self) -> bytes:
        data = b""
        while len(data) < self._size:
            if self._failures:
                time.sleep(pause(self._failures))
            data += self._read(self._size - len(data))
        self._at = 0
        self._drop()
        return data

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
        self._at, data = start, b""
        while self._at < self._size:
            data += self._read(self._size - self._at)
        self._drop()
        return data

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
        self._body = response["Body"]
        if not str(response.get("ContentRange", "")).startswith(f"bytes {self._at}-"):  # all of it
            left = self._at
            while left and (data := self._body.read(min(left, PIECE))):
                left -= len(data)

    def _read(self, n: int) -> bytes:
        """Up to `n` bytes, in a thread; none when the connection broke and it is worth trying again."""
        if self._body is None:
            self._resume()
        try:
            data: bytes = self._body.read(n)
            if not data or (self._at + len(data) == self._size and self._body.read(1)):
                # The read behind the end is also what makes the client compare checksums.
                raise ConnectionError("the value has another length than the server said")
        except Exception as error:
            self._lost(error)
            return b""
        self._failures = 0
        self._at += len(data)
        return data

    async def _fill(self, function: Any) -> bytes:
        self._reading = self._bucket.threads.submit(function)
        return await asyncio.shield(self._reading)

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
        while n and self._at < self._size:
            if self._failures:
                await asyncio.sleep(pause(self._failures))
            if data := await self._fill(partial(self._read, min(n, self._size - self._at))):
                return data
        return b""

    async def close(self) -> None:
        self._closed = True
        self._ready = None
        if self._reading is not None and not self._reading.done():
            # A read that was cancelled still uses the connection.
            self._reading.add_done_callback(lambda _: self._drop())
        else:
            self._drop()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def _is_passing(error: Exception) -> bool:
    """Whether it is the connection that failed."""
    from botocore.exceptions import HTTPClientError, IncompleteReadError
    from urllib3.exceptions import HTTPError

    return isinstance(error, (HTTPClientError, IncompleteReadError, HTTPError, OSError))


class Writer:
    """A `WriteStream` into an object.

    :param bucket: where to.
    :param key: of the object.
    :param mimetype: of what is written.
    """

    def __init__(self, bucket: Bucket, key: str, mimetype: str) -> None:
        self._bucket = bucket
        self._key = key
        self._mimetype = mimetype
        self._part = bytearray()
        self._upload: _Upload | None = None
        self._open = True

    async def write(self, data: bytes, /) -> int:
        if not self._open:
            raise ValueError("write to a closed stream")
        rest = memoryview(data)
        try:
            while rest:
                size = part_size(1 if self._upload is None else self._upload.next_number)
                if len(self._part) == size:  # and there is more: 8 MiB are still one put
                    await self._send()
                    continue
                piece = rest[: size - len(self._part)]
                self._part += piece
                rest = rest[len(piece) :]
        except BaseException:
            await self.abort()  # whoever goes on in spite of it must not store half a value
            raise
        return len(data)

    async def _send(self) -> None:
        if self._upload is None:
            self._upload = _Upload(self._bucket, self._key)
            await self._upload.start(self._mimetype)
        part, self._part = self._part, bytearray()
        await self._upload.send(part)

    async def close(self) -> None:
        if not self._open:
            return
        self._open = False
        try:
            if self._upload is None:
                await self._bucket.threads.settle(partial(self._bucket.put, self._key, self._part, self._mimetype))
            else:
                await self._send()
                await self._upload.complete()
        except BaseException:
            await self.abort()
            raise
        self._upload = None
        self._part = bytearray()

    async def abort(self) -> None:
        self._open = False
        self._part = bytearray()
        upload, self._upload = self._upload, None
        if upload is not None:
            await upload.abort()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await (self.close() if error is None else self.abort())


class _Upload:
    """A multipart upload: "Uploading and copying objects using multipart upload" in the Amazon S3 user guide."""

    def __init__(self, bucket: Bucket, key: str) -> None:
        self._bucket = bucket
        self._key = key
        self._id: str | None = None
        # Tells this upload from others, should the answer to its completion be lost.
        self._token = uuid.uuid4().hex
        self._etags: dict[int, str] = {}
        self._sending: dict[asyncio.Future[Any], int] = {}
        self._stopped = False
        self.next_number = 1

    async def start(self, mimetype: str) -> None:
        """Begin the upload."""

        def begin() -> None:
            self._id = self._bucket.do(
                "create_multipart_upload", Key=self._key, ContentType=mimetype, Metadata={"pdt-upload": self._token}
            )["UploadId"]

        await self._bucket.threads.settle(begin)

    async def send(self, data: bytearray) -> None:
        """Have a part uploaded, when there is room for it.

        :raises BackendError: when this or an earlier part failed.
        """
        while self._sending and sum(self._sending.values()) + len(data) > IN_FLIGHT:
            await self._some()
        number, self.next_number = self.next_number, self.next_number + 1
        self._sending[self._bucket.threads.submit(partial(self._put, number, data))] = len(data)

    def _put(self, number: int, data: bytearray) -> None:
        if self._stopped:
            return
        answer = self._bucket.do("upload_part", Key=self._key, UploadId=self._id, PartNumber=number, Body=data)
        self._etags[number] = answer["ETag"]

    async def _some(self) -> None:
        """Wait until a part has arrived."""
        done, _ = await asyncio.wait(self._sending, return_when=asyncio.FIRST_COMPLETED)
        for future in done:
            del self._sending[future]
        for future in done:
            future.result()

    async def complete(self) -> None:
        """Make the parts the value."""
        while self._sending:
            await self._some()
        parts = [{"PartNumber": number, "ETag": etag} for number, etag in sorted(self._etags.items())]
        try:
            await self._bucket.settle(
                "complete_multipart_upload", Key=self._key, UploadId=self._id, MultipartUpload={"Parts": parts}
            )
        except UploadGone:
            # The answer to an attempt that succeeded was lost, and the client asked again.
            head = await self._bucket.call("head_object", Key=self._key)
            if head.get("Metadata", {}).get("pdt-upload") != self._token:
                raise

    async def abort(self) -> None:
        """Drop the parts; what could not be dropped is swept by a later `validate`."""
        self._stopped = True
        if self._sending:
            # A part that arrives after the upload was aborted would stay.
            done, _ = await asyncio.wait(self._sending)
            for future in done:
                future.exception()  # is known, or does not matter any more
        self._sending.clear()
        await self._bucket.threads.settle(self._end)

    def _end(self) -> None:
        if self._id is None:
            return
        try:
            self._bucket.do("abort_multipart_upload", Key=self._key, UploadId=self._id)
        except BackendError:
            pass  # it is the smaller of two evils, and the other one is being told
