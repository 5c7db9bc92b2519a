"""Reads a collection of documents in one of three ways, and prints how many seconds that took, start-up apart.

    python -m bench.documents fill|keys|values pdt|pymongo|pymongo-async URI [DOCUMENTS]

`fill` makes the collection. A bare loop is what a user of pymongo writes: a cursor, and a set or a dictionary
of what it gives.
"""

from __future__ import annotations

import asyncio
import datetime
import sys
import time
from collections.abc import Awaitable, Callable, Sized
from typing import Any

from pymongo import AsyncMongoClient, MongoClient

from pdtcli import MongoMetadataRepository, Session, mongo_database

from . import work

DATABASE, COLLECTION = "bench", "records"
WHEN = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
VALUE = {
    "success": True,
    "return_code": 0,
    "start_time": WHEN,
    "end_time": WHEN,
    "duration": 1.5,
    "host": "somewhere",
    "attempt": "0123456789abcdef",
}
BATCH = 10_000


async def timed(read: Callable[[], Awaitable[Sized]]) -> None:
    """Read, and print the time and how many there were."""
    began = time.perf_counter()
    found = await read()
    print(time.perf_counter() - began, len(found))


async def with_pdt(what: str, uri: str) -> None:
    """By the repository."""
    session = Session()
    repository = MongoMetadataRepository(session.resource(mongo_database(uri, DATABASE, timeout=300)), COLLECTION)
    async with session:
        await repository.contains("nothing")  # connects
        await timed(repository.keys if what == "keys" else repository.info_all)


async def with_pymongo_async(what: str, uri: str) -> None:
    """By a loop over the cursor of an AsyncMongoClient."""
    async with AsyncMongoClient[dict[str, Any]](uri) as client:
        collection = client[DATABASE][COLLECTION]
        await collection.find_one({"_id": "nothing"})

        async def keys() -> Sized:
            return {document["_id"] async for document in collection.find({}, {"_id": 1})}

        async def values() -> Sized:
            return {document["_id"]: document async for document in collection.find({})}

        await timed(keys if what == "keys" else values)


async def with_pymongo(what: str, uri: str) -> None:
    """By a loop over the cursor of a MongoClient, which is the quicker of the two."""
    with MongoClient[dict[str, Any]](uri) as client:
        collection = client[DATABASE][COLLECTION]
        collection.find_one({"_id": "nothing"})

        async def keys() -> Sized:
            return {document["_id"] for document in collection.find({}, {"_id": 1})}

        async def values() -> Sized:
            return {document["_id"]: document for document in collection.find({})}

        await timed(keys if what == "keys" else values)


def fill(uri: str, documents: int) -> None:
    """Add documents until there are so many."""
    with MongoClient[dict[str, Any]](uri) as client:
        collection = client[DATABASE][COLLECTION]
        names = work.jobs(documents)[collection.estimated_document_count() :]
        for start in range(0, len(names), BATCH):
            collection.insert_many([{"_id": name, **VALUE} for name in names[start : start + BATCH]], ordered=False)


def main(what: str, who: str, uri: str, documents: str = "0") -> None:
    """Do as the command line says."""
    if what == "fill":
        fill(uri, int(documents))
    else:
        ways = {"pdt": with_pdt, "pymongo": with_pymongo, "pymongo-async": with_pymongo_async}
        asyncio.run(ways[who](what, uri))


if __name__ == "__main__":
    main(*sys.argv[1:])
