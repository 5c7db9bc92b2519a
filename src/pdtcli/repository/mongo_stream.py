"""Streams from and into the chunks of GridFS; `mongo_blob` says what they mean.

Chunks go in batches, each of which is asked for, or stored, again when it fails, so that a broken connection in the
middle of a long value costs a batch and not the value.
"""

from __future__ import annotations

import time
from collections import deque
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from ..errors import BackendError, PdtError
from ..stream import Reader, Writer
from .mongo_client import Document

if TYPE_CHECKING:
    from pymongo.asynchronous.collection import AsyncCollection

    from .mongo_blob import MongoBlobRepository

__all__ = ("AT_ONCE", "CHUNK_SIZE", "LATEST", "GridReader", "GridWriter")

CHUNK_SIZE = 1024 * 1024
"""Bytes in a document; the server's limit is 16 MiB."""

AT_ONCE = 8 * CHUNK_SIZE
"""Bytes that go to or from the server in one message."""

TOUCH = 60.0
"""Seconds after which a writer says again that it lives."""

ABORT_LIMIT = 5.0
"""Seconds for removing at once what a sweep would remove later."""

DUPLICATE = 11000

LATEST = [("uploadDate", -1), ("_id", -1)]
"""The order of the documents of one name: the first of them counts."""


class GridReader(Reader):
    """A `ReadStream` over the chunks of one document of files."""

    def __init__(self, repository: MongoBlobRepository, job: str, document: Document) -> None:
        self._repository = repository
        self._job = job
        self._id = document["_id"]
        self._left = int(document["length"])  # that is still to come from the server
        self._chunk_size = int(document["chunkSize"])
        self._next = 0
        self._pieces: deque[Any] = deque()
        self._open = True

    async def _fetch(self) -> None:
        first, count = self._next, max(1, AT_ONCE // self._chunk_size)
        query = {"files_id": self._id, "n": {"$gte": first, "$lt": first + count}}

        async def fetch(chunks: AsyncCollection[Document]) -> list[Document]:
            return await chunks.find(query, {"_id": 0, "n": 1, "data": 1}).sort("n", 1).to_list()

        for document in await self._repository.chunks.run(self._repository, fetch):
            expected = min(self._chunk_size, self._left)
            if document["n"] != self._next or len(document["data"]) != expected:
                break
            self._pieces.append(memoryview(document["data"]))
            self._left -= expected
            self._next += 1
        if self._next < first + count and self._left:
            raise BackendError(
                f"{self._repository}: chunk {self._next} of {self._job} is missing or damaged: it was deleted too long "
                "ago to be read on, or another program has changed it"
            )

    async def read(self, n: int | None = None, /) -> bytes:
        if not self._open:
            raise ValueError("read from a closed stream")
        if n is None or n < 0:
            whole = bytearray()
            while part := await self.read(AT_ONCE):
                whole += part
            return bytes(whole)
        if n and not self._pieces and self._left:
            await self._fetch()
        taken: list[Any] = []
        while n and self._pieces:
            piece = self._pieces.popleft()
            if len(piece) > n:
                self._pieces.appendleft(piece[n:])
                piece = piece[:n]
            taken.append(piece)
            n -= len(piece)
        return b"".join(taken)

    async def close(self) -> None:
        self._open = False
        self._pieces.clear()


class GridWriter(Writer):
    """A `WriteStream` into fresh chunks, which a document of files makes the value when it is closed."""

    def __init__(self, repository: MongoBlobRepository, job: str) -> None:
        self._repository = repository
        self._job = job
        self._buffer: bytearray | None = bytearray()
        self._id: Any = None
        self._count = 0
        self._length = 0
        self._touched = 0.0
        self._decided = False

    async def write(self, data: bytes, /) -> int:
        if self._buffer is None:
            raise ValueError("write to a closed stream")
        view = memoryview(data)
        try:
            while view:
                room = AT_ONCE - len(self._buffer)
                self._buffer += view[:room]
                view = view[room:]
                if len(self._buffer) == AT_ONCE:
                    await self._flush(self._buffer)
                    self._buffer.clear()
        except BaseException:
            await self.abort()  # whoever goes on in spite of it must not store half a value
            raise
        return len(data)

    async def _flush(self, buffer: bytearray) -> None:
        """Store whole chunks, and at the end the rest."""
        from bson import ObjectId
        from pymongo.errors import BulkWriteError

        if self._id is None:
            self._id = ObjectId()
            await self._repository.ensure_indexes()
        await self._touch()
        documents = [
            {
                "_id": ObjectId(),
                "files_id": self._id,
                "n": self._count + number,
                "data": bytes(buffer[at : at + CHUNK_SIZE]),
            }
            for number, at in enumerate(range(0, len(buffer), CHUNK_SIZE))
        ]

        async def insert(chunks: AsyncCollection[Document]) -> None:
            try:
                await chunks.insert_many(documents, ordered=False)
            except BulkWriteError as error:
                # Those whose answer was lost are there already.
                if any(write["code"] != DUPLICATE for write in error.details["writeErrors"]):
                    raise

        if documents:
            await self._repository.chunks.run(self._repository, insert)
        self._count += len(documents)
        self._length += len(buffer)

    async def _touch(self, anyway: bool = False) -> None:
        """Say that this writer lives; from the first time on its chunks are known."""
        if not anyway and self._touched and time.monotonic() - self._touched < TOUCH:
            return
        from pymongo.errors import DuplicateKeyError

        began = time.monotonic()
        query = {"_id": self._id, "sweeping": {"$exists": False}}
        first = not self._touched

        async def touch(leases: AsyncCollection[Document]) -> bool:
            try:
                result = await leases.update_one(query, {"$currentDate": {"at": True}}, upsert=first)
            except DuplicateKeyError:
                return False
            return bool(result.matched_count or result.upserted_id is not None)

        if not await self._repository.leases.run(self._repository, touch):
            raise BackendError(
                f"{self._repository}: what was written of {self._job} has been swept, since nothing came for an hour: "
                "write it again"
            )
        self._touched = began

    async def close(self) -> None:
        buffer, self._buffer = self._buffer, None
        if buffer is None:
            return
        try:
            await self._flush(buffer)
            if time.monotonic() - self._touched > TOUCH:
                await self._touch(anyway=True)
            await self._publish()
        except BaseException:
            await self._discard()
            raise

    async def _publish(self) -> None:
        from pymongo.errors import DuplicateKeyError

        repository = self._repository

        async def insert(files: AsyncCollection[Document]) -> list[Any]:
            before = await files.find_one({"filename": self._job}, {"uploadDate": 1}, sort=LATEST)
            date = datetime.now(tz=UTC).replace(tzinfo=None)  # as stored ones are read
            if before is not None and isinstance(before.get("uploadDate"), datetime):
                # Another machine's clock may be ahead.
                date = max(date, before["uploadDate"] + timedelta(milliseconds=1))
            document = {
                "_id": self._id,
                "length": self._length,
                "chunkSize": CHUNK_SIZE,
                "uploadDate": date,
                "filename": self._job,
            }
            try:
                await files.insert_one(document)
            except DuplicateKeyError:
                pass  # it is there since the last try
            found = await files.find({"filename": self._job}, {"_id": 1}).sort(LATEST).to_list()
            return [document["_id"] for document in found]

        # From here on it may be there, and others may have removed theirs for it.
        self._decided = True
        # Of several writers at once the latest one's value stays; whoever sees the others removes them.
        _, *older = await repository.files.run(repository, insert) or [None]
        try:
            await repository.retire(older)
            if self._id not in older:
                await repository.remove(repository.leases, {"_id": self._id, "gone": {"$exists": False}})
        except PdtError:
            pass  # the value is stored; the next overwrite, delete or sweep does the rest

    async def abort(self) -> None:
        if self._buffer is not None:
            self._buffer = None
            await self._discard()

    async def _discard(self) -> None:
        if self._id is None or self._decided:
            return
        repository = self._repository
        try:
            await repository.remove(repository.chunks, {"files_id": self._id}, ABORT_LIMIT)
            await repository.remove(repository.leases, {"_id": self._id}, ABORT_LIMIT)
        except PdtError:
            pass  # a sweep finds them by their lease
