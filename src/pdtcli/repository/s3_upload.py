"""Values on their way into an S3 bucket, in bounded memory.

A writer holds back up to 8 MiB, which then are one put; what is longer becomes a multipart upload, invisible until it
is completed. Memory: one part that fills and up to `IN_FLIGHT` bytes of parts on their way, or one part where it is
larger: 40 MiB for values of up to 8 GB.
"""

from __future__ import annotations

import asyncio
import uuid
from functools import partial
from typing import Any

from ..errors import BackendError
from ..stream import Writer
from .s3_calls import Bucket
from .s3_errors import UploadGone
from .s3_streams import IN_FLIGHT, PART

__all__ = ("ObjectWriter", "part_size")

STEP = 1000
"""After so many parts their size doubles: S3 takes 10,000 parts, and values of terabytes are to fit into them."""


def part_size(number: int) -> int:
    """Bytes of the part `number`, counted from 1."""
    return PART << ((number - 1) // STEP)


class ObjectWriter(Writer):
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
        # All are looked at: an error that nobody asked for would be told when the program ends.
        errors = [error for future in done if (error := future.exception()) is not None]
        if errors:
            raise errors[0]

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
