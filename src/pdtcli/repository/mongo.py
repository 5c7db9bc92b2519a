"""Metadata in MongoDB: one document a job, whose `_id` is the job and whose fields are the value.

A claim is an insert, which the unique index on `_id` lets one of many win.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from .. import job as job_ids
from ..errors import BackendError
from .base import MetadataRepository, job_getter
from .mongo_client import Document, MongoPlace, Source, codec_options
from .mongo_listing import all_documents, key_pages, shown
from .mongo_values import decode_into, encode

if TYPE_CHECKING:
    from pymongo.asynchronous.collection import AsyncCollection

__all__ = ("MongoMetadataRepository",)

KEYS = 50_000
"""Keys in one page of a listing: some megabytes, below the 16 MiB of a reply."""

VALUES = 10_000
"""Values in one page of a listing: few, since only the first is waited for; the server cuts a reply at 16 MiB."""

ASKED = 5_000
"""Keys in one question."""

WRITES = 1_000
"""Values written at once."""


class MongoMetadataRepository(MetadataRepository):
    """A metadata repository in a MongoDB collection.

    A value is what YAML can hold, except that the keys of mappings are strings, integers have 64 bits, a date has a
    time, and times have milliseconds; they come back aware and in UTC. A value that is no mapping is kept in a field
    ``_value``.

    :param collection: pymongo's `AsyncDatabase` or `AsyncCollection`, or a function that gives one, such as a session's
        resource.
    :param subcollection: the collection's name in the database, or below the collection; None for that itself.
    :param timeout: seconds that one operation may take, repetitions included; those of the client when None.
    """

    def __init__(self, collection: Source, subcollection: str | None = None, *, timeout: float | None = None) -> None:
        self._at = MongoPlace(collection, subcollection, timeout)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._at.label}>"

    @property
    def place(self) -> str:
        return f"mongodb:{self._at.label}"

    @property
    def collection(self) -> AsyncCollection[Document]:
        """The collection of the values.

        :raises PdtError: while its session is closed.
        """
        return self._at.collection()

    async def validate(self) -> None:
        """Find out whether the server can be reached and lets us read."""
        await self._at.run(self, lambda collection: collection.find_one({}, {"_id": 1}))

    # ---- keys

    async def unfiltered_iter(self) -> AsyncIterator[str]:
        async for page in key_pages(self._at, self, KEYS):
            for job in page.jobs:
                yield job
            for other in page.others:
                yield shown(other)

    async def keys(self) -> set[str]:
        good: set[str] = set()
        bad: list[str] = []
        async for page in key_pages(self._at, self, KEYS):
            good.update(page.jobs)
            bad += map(shown, page.others)
        self.warn_skipped(bad)
        return good

    async def contains(self, job: str, /) -> bool:
        return bool(await self.among([job]))

    async def _find(self, jobs: Collection[str], projection: Document | None) -> AsyncIterator[list[Document]]:
        for some in batches([job for job in jobs if job_ids.is_valid(job)], ASKED):
            query = {"_id": {"$in": some}}

            async def find(collection: AsyncCollection[Document], query: Document = query) -> list[Document]:
                return await collection.find(query, projection).batch_size(ASKED + 1).to_list()

            yield await self._at.run(self, find)

    async def among(self, jobs: Collection[str]) -> set[str]:
        return {document["_id"] async for found in self._find(jobs, {"_id": 1}) for document in found}

    # ---- values

    @job_getter
    async def info(self, job: str, /) -> Any:
        """The value of `job`, or ``{}``."""
        if not job_ids.is_valid(job):
            return {}
        found: dict[str, Any] = {}
        document = await self._at.run(self, lambda collection: collection.find_one({"_id": job}))
        decode_into(found, [] if document is None else [document])
        return found.get(job, {})

    async def info_many(self, jobs: Collection[str]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        async for documents in self._find(jobs, None):
            decode_into(found, documents)
        return found

    async def info_all(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        bad: list[str] = []
        async for documents in all_documents(self._at, self, VALUES):
            if not job_ids.all_valid([document["_id"] for document in documents]):
                bad += [shown(document["_id"]) for document in documents if not job_ids.is_valid(document["_id"])]
                documents = [document for document in documents if job_ids.is_valid(document["_id"])]
            decode_into(found, documents)
        self.warn_skipped(bad)
        return found

    @job_getter
    async def dump(self, job: str, data: Any, /) -> None:
        document = encode(job_ids.check(job), data, self)
        await self._at.run(self, lambda collection: collection.replace_one({"_id": job}, document, upsert=True))

    async def dump_many(self, values: Mapping[str, Any]) -> None:
        """Store several values, a thousand with each trip.

        :raises InvalidJobId: before anything is touched.
        :raises InvalidValue: when one of them cannot be held; before anything is touched.
        """
        from pymongo import ReplaceOne

        documents = [encode(job_ids.check(job), data, self) for job, data in values.items()]
        for some in batches(documents, WRITES):
            requests = [ReplaceOne({"_id": document["_id"]}, document, upsert=True) for document in some]

            async def write(
                collection: AsyncCollection[Document], requests: list[ReplaceOne[Document]] = requests
            ) -> None:
                await collection.bulk_write(requests, ordered=False)

            await self._at.run(self, write)

    @job_getter
    async def claim(self, job: str, data: Any, /) -> bool:
        """Store `data` under `job` unless something is there; whether it was stored.

        An insert whose answer was lost is made again. Whether it is then our own that is in the way is told by the
        ``attempt`` that a live record carries; without one, nobody can say.

        :raises BackendError: when it cannot be said; the job then counts as claimed.
        """
        from pymongo.errors import DuplicateKeyError, PyMongoError

        document = encode(job_ids.check(job), data, self)
        doubtful = False

        async def insert(collection: AsyncCollection[Document]) -> bool:
            nonlocal doubtful
            try:
                await collection.insert_one(document)
            except DuplicateKeyError:
                return doubtful and await self._is_ours(collection, document)
            except PyMongoError:
                doubtful = True
                raise
            return True

        return await self._at.run(self, insert)

    async def _is_ours(self, collection: AsyncCollection[Document], document: Document) -> bool:
        import bson

        stored = await collection.find_one({"_id": document["_id"]})
        options = codec_options()
        if stored != bson.decode(bson.encode(document, codec_options=options), options):
            return False
        if document.get("attempt"):
            return True
        raise BackendError(
            f"{self}: the connection broke while {document['_id']} was claimed, and its record does not tell by whom: "
            "remove it if nothing runs"
        )

    async def delete(self, job: str, /) -> None:
        await self.delete_many([job])

    async def delete_many(self, jobs: Iterable[str]) -> None:
        for some in batches([job_ids.check(job) for job in jobs], ASKED):
            query = {"_id": {"$in": some}}

            async def remove(collection: AsyncCollection[Document], query: Document = query) -> None:
                await collection.delete_many(query)

            await self._at.run(self, remove)


def batches(items: list[Any], size: int) -> Iterator[list[Any]]:
    """The items, so many at a time."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
