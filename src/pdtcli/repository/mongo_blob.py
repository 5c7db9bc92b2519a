"""Byte strings in MongoDB, kept as GridFS keeps files, so that other tools read and write them too.

A value is a document in ``BUCKET.files`` whose `filename` is the job, and chunks in ``BUCKET.chunks``; the document is
written last. Of several documents of one name the latest counts, so that an overwrite is one insert, after which the
older ones go.

GridFS alone forgets the chunks of a killed writer, and takes them away from under a reader. So a third collection,
``BUCKET.leases``, names the chunks that are not, or no longer, to be seen: a writer's before it is done, and those of a
value that was replaced or deleted. They are removed once nobody has touched the lease for `GRACE` seconds, by the clock
of the server.

Format: https://github.com/mongodb/specifications/blob/master/source/gridfs/gridfs-spec.md.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .. import job as job_ids
from ..errors import BackendError, JobNotFound
from ..stream import ReadStream, WriteStream
from .base import BlobRepository, job_getter
from .mongo import ASKED, KEYS, batches
from .mongo_client import Document, MongoPlace, Source
from .mongo_stream import LATEST, GridReader, GridWriter

if TYPE_CHECKING:
    from pymongo.asynchronous.collection import AsyncCollection

__all__ = ("MongoBlobInfo", "MongoBlobRepository")

GRACE = 3600.0
"""Seconds for which what is replaced or deleted can still be read by who has begun, and a writer may do nothing."""

SWEPT = 500
"""Leases that one sweep looks at."""


@dataclass(frozen=True)
class MongoBlobInfo:
    """Where a value is: what `mongofiles` and the drivers' GridFS need to find it.

    :ivar bucket: the prefix of the collections.
    :ivar filename: the name of the file, which is the job.
    """

    database: str
    bucket: str
    filename: str

    def __str__(self) -> str:
        return f"{self.database}/{self.bucket}/{self.filename}"


class MongoBlobRepository(BlobRepository):
    """A blob repository in a GridFS bucket.

    :param database: pymongo's `AsyncDatabase`, or a function that gives one, such as a session's resource.
    :param bucket: the prefix of its collections.
    :param timeout: seconds that one operation may take, repetitions included, not counting how many it takes for a long
        value; those of the client when None.
    """

    def __init__(self, database: Source, bucket: str = "fs", *, timeout: float | None = None) -> None:
        self.files = MongoPlace(database, f"{bucket}.files", timeout)
        self.chunks = MongoPlace(database, f"{bucket}.chunks", timeout)
        self.leases = MongoPlace(database, f"{bucket}.leases", timeout)
        self.bucket = bucket
        self._label = MongoPlace(database, bucket, timeout)
        self._indexed: object = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._label.label}>"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_indexed": None}

    @property
    def place(self) -> str:
        return f"gridfs:{self._label.label}"

    async def validate(self) -> None:
        """Find out whether the server can be reached and lets us read, and sweep what killed writers left."""
        await self.files.run(self, lambda files: files.find_one({}, {"_id": 1}))
        try:
            await self.sweep()
        except BackendError:
            pass  # who may only read sweeps nothing

    # ---- keys

    async def unfiltered_iter(self) -> AsyncIterator[str]:
        after = {"$gte": ""}
        while True:
            query = {"filename": after}

            async def page(files: AsyncCollection[Document], query: Document = query) -> list[Document]:
                # Answered from the index on filename and uploadDate alone.
                cursor = files.find(query, {"_id": 0, "filename": 1}).sort("filename", 1)
                return await cursor.limit(KEYS).batch_size(KEYS + 1).to_list()

            names = [document["filename"] for document in await self.files.run(self, page)]
            for name in dict.fromkeys(names):
                yield name
            if len(names) < KEYS:
                return
            after = {"$gt": names[-1]}

    async def keys(self) -> set[str]:
        good, bad = job_ids.split_valid([name async for name in self.unfiltered_iter()])
        self.warn_skipped(bad)
        return good

    async def contains(self, job: str, /) -> bool:
        return bool(await self.among([job]))

    async def among(self, jobs: Collection[str]) -> set[str]:
        return {document["filename"] async for document in self._revisions(jobs, {"_id": 0, "filename": 1})}

    async def _revisions(self, jobs: Collection[str], projection: Document) -> AsyncIterator[Document]:
        """All documents of these names, the one that counts first."""
        for some in batches([job for job in jobs if job_ids.is_valid(job)], ASKED):
            query = {"filename": {"$in": some}}

            async def find(files: AsyncCollection[Document], query: Document = query) -> list[Document]:
                return await files.find(query, projection).sort(LATEST).to_list()

            for document in await self.files.run(self, find):
                yield document

    @job_getter
    async def info(self, job: str, /) -> MongoBlobInfo:
        """Where it is, or would be."""
        database, _, bucket = self.files.collection().full_name.removesuffix(".files").partition(".")
        return MongoBlobInfo(database, bucket, job)

    # ---- deletes

    async def delete(self, job: str, /) -> None:
        await self.delete_many([job])

    async def delete_many(self, jobs: Iterable[str]) -> None:
        """Remove several jobs at once; what they take up is free again an hour later, after the next `validate`."""
        for some in batches([job_ids.check(job) for job in jobs], ASKED):
            latest: dict[str, Any] = {}
            older: list[Any] = []
            async for document in self._revisions(some, {"filename": 1}):
                if latest.setdefault(document["filename"], document["_id"]) != document["_id"]:
                    older.append(document["_id"])
            await self.retire(older)  # first, or a kill in between would bring one of them back
            await self.retire(list(latest.values()))

    async def retire(self, ids: list[Any]) -> None:
        """Have some values not be there any more, and their chunks be removed in due time."""
        from pymongo import UpdateOne

        if ids:
            await self.ensure_indexes()
        for some in batches(ids, ASKED):
            # The mark keeps a writer, which may not have come to its end yet, from giving up this lease as its own.
            change = {"$currentDate": {"at": True}, "$set": {"gone": True}}
            requests = [UpdateOne({"_id": id}, change, upsert=True) for id in some]

            async def lease(leases: AsyncCollection[Document], requests: list[UpdateOne] = requests) -> None:
                await leases.bulk_write(requests, ordered=False)

            await self.leases.run(self, lease)
            await self.remove(self.files, {"_id": {"$in": some}})

    async def remove(self, place: MongoPlace, query: Document, limit: float | None = None) -> None:
        """Delete what matches from one of the collections; `limit` as for `MongoPlace.run`."""

        async def remove(collection: AsyncCollection[Document]) -> None:
            await collection.delete_many(query)

        await place.run(self, remove, limit)

    async def sweep(self, older_than: float = GRACE) -> int:
        """Remove the chunks of values that were replaced or deleted, and of writers that are gone; how many values'.

        :param older_than: seconds; less than the default takes them away from who still reads or writes them.
        """
        expired = {"$expr": {"$lte": ["$at", {"$subtract": ["$$NOW", older_than * 1000]}]}}

        async def mark(leases: AsyncCollection[Document]) -> list[Any]:
            found = [document["_id"] for document in await leases.find(expired, {"_id": 1}).limit(SWEPT).to_list()]
            if not found:
                return []
            # A writer that wakes up now finds the mark, and does not finish.
            await leases.update_many({"_id": {"$in": found}, **expired}, {"$set": {"sweeping": True}})
            query = {"_id": {"$in": found}, "sweeping": True}
            return [document["_id"] for document in await leases.find(query, {"_id": 1}).to_list()]

        marked = await self.leases.run(self, mark)
        if not marked:
            return 0

        async def present(files: AsyncCollection[Document]) -> set[Any]:
            query = {"_id": {"$in": marked}}
            return {document["_id"] for document in await files.find(query, {"_id": 1}).to_list()}

        # A writer that was killed after its last step but one has stored its value.
        kept = await self.files.run(self, present)
        gone = [id for id in marked if id not in kept]
        await self.remove(self.chunks, {"files_id": {"$in": gone}})
        await self.remove(self.leases, {"_id": {"$in": gone}})
        # Unless it was replaced or deleted just now, which begins another term.
        await self.remove(self.leases, {"_id": {"$in": list(kept)}, **expired})
        return len(gone)

    async def ensure_indexes(self) -> None:
        """The indexes that GridFS has, and one for sweeping; asked for with the first write of this process."""
        files = self.files.collection()
        if self._indexed is files:
            return

        async def by_name(collection: AsyncCollection[Document]) -> None:
            await collection.create_index([("filename", 1), ("uploadDate", 1)])

        async def by_number(collection: AsyncCollection[Document]) -> None:
            await collection.create_index([("files_id", 1), ("n", 1)], unique=True)

        async def by_age(collection: AsyncCollection[Document]) -> None:
            await collection.create_index([("at", 1)])

        await self.files.run(self, by_name)
        await self.chunks.run(self, by_number)
        await self.leases.run(self, by_age)
        self._indexed = files

    # ---- values

    async def open_reader(self, job: str, /) -> ReadStream:
        document = await self.files.run(self, lambda files: files.find_one({"filename": job}, sort=LATEST))
        if document is None:
            raise JobNotFound(f"{self} does not hold {job}")
        return GridReader(self, job, document)

    async def open_writer(self, job: str, /) -> WriteStream:
        return GridWriter(self, job)
