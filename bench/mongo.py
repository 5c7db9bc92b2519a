"""How fast the MongoDB repositories are, against bare pymongo loops on the same server.

    .venv/bin/python bench/mongo.py URI [KEYS] [MIB] [ROUNDS]

The URI names a database, in which collections ``pdt_bench.*`` come and go. Each of both sides takes its turn in every
round, so that whatever else the machine does slows down both; the medians are compared. At last a value of so many MiB
goes up and down through GridFS, and the memory of this process at its highest is told.
"""

from __future__ import annotations

import asyncio
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from statistics import median
from typing import Any

from pymongo import AsyncMongoClient, MongoClient, ReplaceOne

from pdtcli import MongoBlobRepository, MongoMetadataRepository, Session, mongo_database

VALUE = {"success": True, "return_code": 0, "host": "somewhere", "attempt": "0123456789abcdef", "duration": 1.5}
SINGLE = 2000
"""So many values are written, and read, one by one."""


async def seconds(work: Callable[[], Awaitable[Any]]) -> float:
    """How long something takes."""
    began = time.perf_counter()
    await work()
    return time.perf_counter() - began


async def compare(name: str, count: int, rounds: int, ours: Callable[[], Any], bare: Callable[[], Any]) -> None:
    """Print the rates of two ways to do the same, and the ratio of their times: its median, and from where to where."""
    pairs = [(await seconds(ours), await seconds(bare)) for _ in range(rounds)]
    mine, theirs = median(pair[0] for pair in pairs), median(pair[1] for pair in pairs)
    ratios = sorted(pair[0] / pair[1] for pair in pairs)
    print(
        f"{name:12} {count / mine:9.0f}/s  pymongo {count / theirs:9.0f}/s  "
        f"time ratio {median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})",
        flush=True,
    )


async def metadata(repository: MongoMetadataRepository, collection: Any, blocking: Any, keys: int, rounds: int) -> None:
    """Listings, bulk and single operations; listings also against a bare loop without asyncio."""
    jobs = [f"job-{number:07}" for number in range(keys)]
    values = dict.fromkeys(jobs, VALUE)
    some = jobs[:SINGLE]

    async def put() -> None:
        await repository.dump_many(values)

    async def bare_put() -> None:
        for start in range(0, keys, 1000):
            requests = [ReplaceOne({"_id": job}, VALUE, upsert=True) for job in jobs[start : start + 1000]]
            await collection.bulk_write(requests, ordered=False)

    async def blocking_keys() -> Any:
        return {document["_id"] for document in blocking.find({}, {"_id": 1})}

    async def blocking_all() -> Any:
        return {document["_id"]: document for document in blocking.find({})}

    async def bare_keys() -> Any:
        return {document["_id"] async for document in collection.find({}, {"_id": 1})}

    async def bare_all() -> Any:
        return {document["_id"]: document async for document in collection.find({})}

    async def dump() -> None:
        for job in some:
            await repository.dump(job, VALUE)

    async def bare_dump() -> None:
        for job in some:
            await collection.replace_one({"_id": job}, VALUE, upsert=True)

    async def info() -> None:
        for job in some:
            await repository.info(job)

    async def bare_info() -> None:
        for job in some:
            await collection.find_one({"_id": job})

    await put()
    await compare("dump_many", keys, rounds, put, bare_put)
    await compare("keys", keys, rounds, repository.keys, bare_keys)
    await compare("… blocking", keys, rounds, repository.keys, blocking_keys)
    await compare("info_all", keys, rounds, repository.info_all, bare_all)
    await compare("… blocking", keys, rounds, repository.info_all, blocking_all)
    await compare("dump", SINGLE, rounds, dump, bare_dump)
    await compare("info", SINGLE, rounds, info, bare_info)


async def blobs(repository: MongoBlobRepository, mib: int) -> None:
    """A long value, up and down."""
    piece = bytes(range(256)) * 4096

    async def up() -> None:
        async with await repository.open("long", "wb") as writer:
            for _ in range(mib):
                await writer.write(piece)

    async def down() -> None:
        total = 0
        async with await repository.open("long", "rb") as reader:
            while data := await reader.read(len(piece)):
                total += len(data)
        assert total == mib * len(piece)

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    for name, work in (("up", up), ("down", down)):
        took = await seconds(work)
        highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(f"{name:12} {mib / took:9.0f} MiB/s of {mib} MiB, memory at most {highest} MiB, {before} MiB before")
    await repository.delete("long")
    await repository.sweep(0)


async def main(uri: str, keys: int = 100_000, mib: int = 256, rounds: int = 3) -> None:
    """Measure and print."""
    session = Session()
    database = session.resource(mongo_database(uri, timeout=120))
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(uri)
    blocking: MongoClient[dict[str, Any]]
    async with session, client:
        bare = client[database().name]
        try:
            await blobs(MongoBlobRepository(database, "pdt_bench.blobs"), mib)
            repository = MongoMetadataRepository(database, "pdt_bench.records")
            with MongoClient(uri) as blocking:
                records = blocking[bare.name]["pdt_bench.records"]
                await metadata(repository, bare["pdt_bench.records"], records, keys, rounds)
        finally:
            for name in await bare.list_collection_names(filter={"name": {"$regex": r"^pdt_bench\."}}):
                await bare.drop_collection(name)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    asyncio.run(main(sys.argv[1], *(int(argument) for argument in sys.argv[2:])))
