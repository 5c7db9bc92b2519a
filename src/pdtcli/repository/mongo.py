"""Metadata in MongoDB: one document a job, whose `_id` is the job and whose fields are the value.

A claim is an insert, which the unique index on `_id` lets one of many win. Listings go along that index in pages, so
that one that broke in the middle goes on where it was.
"""

from __future__ import annotations

import datetime
import reprlib
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from .. import job as job_ids
from ..errors import BackendError, InvalidValue
from .base import MetadataRepository, job_getter
from .mongo_client import Document, MongoPlace, Source, codec_options

if TYPE_CHECKING:
    from pymongo.asynchronous.collection import AsyncCollection

__all__ = ("MongoMetadataRepository",)

KEYS = 50_000
"""Keys in one page of a listing: some megabytes, below the 16 MiB of a reply."""

VALUES = 5_000
"""Values in one page, or keys in one question; the server cuts a reply at 16 MiB."""

WRITES = 1_000
"""Values written at once."""

DEEP = 90
"""So many levels a value may be nested; the server's own limit is 100 for a document."""

WRAPPED = "_value"
"""The one field of a document whose value is no mapping, or one that cannot be a document as it is."""

_SCALARS = frozenset({type(None), bool, float, str, bytes, datetime.datetime})


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

    async def _pages(self, size: int, projection: Document | None) -> AsyncIterator[list[Document]]:
        """All documents in the order of their `_id`."""
        after: list[Any] = []
        while True:
            found = await self._page(size, projection, after)
            # The bound is inclusive; but what was there may have been deleted meanwhile.
            fresh = found[1:] if after and found and found[0]["_id"] == after[0] else found
            after = [found[-1]["_id"]] if len(found) > size else []
            if fresh:
                yield fresh
            if not after:
                return

    async def _page(self, size: int, projection: Document | None, after: list[Any]) -> list[Document]:
        """At most `size` documents and one more, in the order of their `_id`, from that of `after` on."""

        async def page(collection: AsyncCollection[Document]) -> list[Document]:
            cursor = collection.find({}, projection).sort("_id", 1).limit(size + 1).batch_size(size + 2)
            if after:
                # Not {"$gt": …}, which sees only what is of the same type.
                cursor = cursor.min([("_id", after[0])]).hint([("_id", 1)])
            return await cursor.to_list()

        return await self._at.run(self, page)

    async def unfiltered_iter(self) -> AsyncIterator[str]:
        async for page in self._pages(KEYS, {"_id": 1}):
            for document in page:
                yield document["_id"] if isinstance(document["_id"], str) else repr(document["_id"])

    async def keys(self) -> set[str]:
        good: set[str] = set()
        bad: list[str] = []
        async for page in self._pages(KEYS, {"_id": 1}):
            names = [document["_id"] for document in page]
            strings = [name for name in names if isinstance(name, str)]
            bad += [repr(name) for name in names if not isinstance(name, str)]
            valid, invalid = job_ids.split_valid(strings)
            good |= valid
            bad += invalid
        self.warn_skipped(bad)
        return good

    async def contains(self, job: str, /) -> bool:
        return bool(await self.among([job]))

    async def _find(self, jobs: Collection[str], projection: Document | None) -> AsyncIterator[Document]:
        for some in batches([job for job in jobs if job_ids.is_valid(job)], VALUES):
            query = {"_id": {"$in": some}}

            async def find(collection: AsyncCollection[Document], query: Document = query) -> list[Document]:
                return await collection.find(query, projection).batch_size(VALUES + 1).to_list()

            for document in await self._at.run(self, find):
                yield document

    async def among(self, jobs: Collection[str]) -> set[str]:
        return {document["_id"] async for document in self._find(jobs, {"_id": 1})}

    # ---- values

    @job_getter
    async def info(self, job: str, /) -> Any:
        """The value of `job`, or ``{}``."""
        return (await self.info_many([job])).get(job, {})

    async def info_many(self, jobs: Collection[str]) -> dict[str, Any]:
        return {document["_id"]: decode(document) async for document in self._find(jobs, None)}

    async def info_all(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        bad: list[str] = []
        async for page in self._pages(VALUES, None):
            for document in page:
                job = document["_id"]
                if job_ids.is_valid(job):
                    found[job] = decode(document)
                else:
                    bad.append(job if isinstance(job, str) else repr(job))
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
        for some in batches([job_ids.check(job) for job in jobs], VALUES):
            query = {"_id": {"$in": some}}

            async def remove(collection: AsyncCollection[Document], query: Document = query) -> None:
                await collection.delete_many(query)

            await self._at.run(self, remove)


def batches(items: list[Any], size: int) -> Iterator[list[Any]]:
    """The items, so many at a time."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


# ---- values and documents


def encode(job: str, value: Any, who: object = "MongoDB") -> Document:
    """The document of a value.

    :raises InvalidValue: for what YAML, or BSON, cannot hold.
    """
    try:
        _check(value, 0)
    except InvalidValue as error:
        raise InvalidValue(f"{who}: the value of {job} cannot be stored: {error}") from None
    plain = type(value) is dict and "_id" not in value and value.keys() != {WRAPPED}
    if plain and not any(key.startswith("$") or "." in key or not key for key in value):
        return {"_id": job, **value}
    return {"_id": job, WRAPPED: value}


def decode(document: Document) -> Any:
    """The value of a document, which is used up."""
    del document["_id"]
    _simplify(document.items(), document)
    return document[WRAPPED] if len(document) == 1 and WRAPPED in document else document


def _simplify(items: Iterable[tuple[Any, Any]], container: Any) -> None:
    """Make plain integers of bson's own, which know what size they were stored in and which YAML does not take."""
    for key, value in items:
        kind = type(value)
        if kind in _SCALARS or kind is int:
            continue
        if kind is dict:
            _simplify(value.items(), value)
        elif kind is list:
            _simplify(enumerate(value), value)
        elif isinstance(value, int):
            container[key] = int(value)


def _check(value: Any, depth: int) -> None:
    kind = type(value)
    if kind is str:
        try:
            value.encode()
        except UnicodeEncodeError:
            raise InvalidValue(f"{reprlib.repr(value)} is not valid Unicode") from None
    elif kind in _SCALARS:
        return
    elif kind is int:
        if not -(2**63) <= value < 2**63:
            raise InvalidValue(f"{reprlib.repr(value)} has more than 64 bits: store it as text")
    elif depth >= DEEP:
        raise InvalidValue(f"it contains itself, or is nested more than {DEEP} levels deep")
    elif kind is dict:
        for key, item in value.items():
            if type(key) is not str or "\0" in key:
                raise InvalidValue(f"the key {reprlib.repr(key)} is not a string that MongoDB takes: use another one")
            if key == "$ref" and "$id" in value:
                raise InvalidValue("a mapping of $ref and $id would come back as a reference: use other keys")
            _check(key, depth + 1)
            _check(item, depth + 1)
    elif kind is list or kind is tuple:
        for item in value:
            _check(item, depth + 1)
    elif kind is datetime.date:
        raise InvalidValue(f"{value} is a date without a time, which MongoDB does not know: store a time or text")
    else:
        raise InvalidValue(
            f"{reprlib.repr(value)} is of the type {kind.__name__}, which neither YAML nor MongoDB holds"
        )
