"""The keys of a collection, taken from the bytes of the server's replies.

A listing goes along the index on `_id`, in pages, so that one that broke in the middle goes on where it was. Most of
what a page costs here would be a `dict` for each of its documents, made to be thrown away; so one regular expression
reads, and checks, all jobs of a page at once. It knows what a reply looks like that has nothing in it but valid jobs;
every other one is decoded as usual.

Formats: https://bsonspec.org/spec.html, https://www.mongodb.com/docs/manual/reference/command/find/.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from itertools import compress
from typing import TYPE_CHECKING, Any

from .. import job as job_ids
from .mongo_client import Document, MongoPlace, codec_options

if TYPE_CHECKING:
    from pymongo.asynchronous.collection import AsyncCollection

__all__ = ("KeyPage", "all_documents", "key_pages", "shown")

_BATCH = b"\x04firstBatch\0"
_DONE = b"\x12id\0" + bytes(8)
"""The identifier of a cursor that has no more, which follows the batch."""

_ENTRY = rf"\x03[0-9]+\0[\x10-\x4e]\0\0\0\x02_id\0[\x02-\x40]\0\0\0({job_ids.ENTIRE})\0\0"
"""One of the batch: a document (3) under its number, its length, and in it a string (2), its length and its end."""

_FRAME = 1 + 1 + 4 + 5 + 4 + 2
"""Bytes of an entry without its number and its job."""

TURNS = 3
"""So many turns of the event loop pymongo takes to send a request. Fewer would do no harm: the answer came later."""

_entries: Callable[[str], list[str]] = re.compile(_ENTRY).findall


@dataclass(frozen=True)
class KeyPage:
    """A part of a listing.

    :ivar jobs: the valid ones.
    :ivar others: all other identifiers.
    :ivar bound: where to go on, as the one item of a list; empty at the end.
    """

    jobs: list[str]
    others: list[Any]
    bound: list[Any]


async def key_pages(place: MongoPlace, who: object, size: int) -> AsyncIterator[KeyPage]:
    """All identifiers in their order, so many at a time.

    :param who: what to call the repository in a sentence.
    """
    bound: list[Any] = []
    while True:

        async def find(collection: AsyncCollection[Document], bound: list[Any] = bound) -> KeyPage:
            return await _find(collection, size, bound)

        page = await place.run(who, find)
        # The bound is inclusive; but what was there may have been deleted meanwhile.
        jobs = page.jobs[1:] if bound and page.jobs[:1] == bound else page.jobs
        others = page.others[1:] if bound and page.others[:1] == bound else page.others
        yield KeyPage(jobs, others, page.bound)
        bound = page.bound
        if not bound:
            return


async def _find(collection: AsyncCollection[Document], size: int, bound: list[Any]) -> KeyPage:
    """At most `size` identifiers and one more, from that of `bound` on."""
    from bson import decode
    from bson.codec_options import CodecOptions
    from bson.raw_bson import RawBSONDocument

    database = collection.database
    command: Document = {"find": collection.name, "projection": {"_id": 1}, "sort": {"_id": 1}}
    command |= {"limit": size + 1, "batchSize": size + 2}
    if bound:
        # Not {"$gt": …}, which sees only what is of the same type.
        command |= {"min": {"_id": bound[0]}, "hint": {"_id": 1}}
    if collection.read_concern.level is not None:
        command["readConcern"] = collection.read_concern.document
    raw: CodecOptions[RawBSONDocument] = CodecOptions(RawBSONDocument)
    reply = bytes((await database.command(command, codec_options=raw)).raw)
    jobs = _all_valid(reply)
    if jobs is not None:
        return KeyPage(jobs, [], jobs[-1:] if len(jobs) > size else [])
    cursor = decode(reply, codec_options())["cursor"]
    if not cursor["id"]:
        return _parted(cursor["firstBatch"], size)
    # Less than was asked for, since the identifiers are huge: pymongo's own cursor goes through such a page.
    await database.command("killCursors", collection.name, cursors=[cursor["id"]])
    return _parted(await _sorted(collection, {"_id": 1}, size, bound), size)


async def _sorted(
    collection: AsyncCollection[Document], projection: Document | None, size: int, bound: list[Any]
) -> list[Document]:
    """At most `size` documents and one more, in the order of their `_id`, from that of `bound` on."""
    cursor = collection.find({}, projection).sort("_id", 1).limit(size + 1).batch_size(size + 2)
    if bound:
        cursor = cursor.min([("_id", bound[0])]).hint([("_id", 1)])
    return await cursor.to_list()


def _all_valid(reply: bytes) -> list[str] | None:
    """The jobs in a reply that has nothing else in it; None for any other reply.

    What a string with a NUL could feign here, its writer could have stored as well.
    """
    start = reply.find(_BATCH) + len(_BATCH)
    end = start + int.from_bytes(reply[start : start + 4], "little")
    if start < len(_BATCH) or not reply.startswith(_DONE, end):
        return None
    jobs = _entries(reply[start + 4 : end - 1].decode("latin-1"))
    numbers = sum(max(0, len(jobs) - 10**digits) for digits in range(1, 8)) + len(jobs)
    matched = _FRAME * len(jobs) + numbers + sum(map(len, jobs))
    return jobs if matched == end - 1 - (start + 4) else None


def _parted(documents: list[Document], size: int) -> KeyPage:
    names = [document["_id"] for document in documents]
    valid = [job_ids.is_valid(name) for name in names]
    return KeyPage(
        list(compress(names, valid)),
        [name for name, good in zip(names, valid, strict=True) if not good],
        names[-1:] if len(names) > size else [],
    )


def shown(identifier: Any) -> str:
    """An `_id` of any type as a string."""
    return identifier if isinstance(identifier, str) else repr(identifier)


# ---- values


async def all_documents(place: MongoPlace, who: object, size: int) -> AsyncIterator[list[Document]]:
    """All documents, so many at a time; some come twice when the connection breaks. The server looks for the next ones
    while some are used.

    At first as they lie, which costs the server a third of what it does along the index. But that alone lets a listing
    that broke go on where it was.

    :param who: what to call the repository in a sentence.
    """
    cursor = place.collection().find({}).batch_size(size)
    broke = False

    async def more(_: AsyncCollection[Document]) -> list[Document]:
        nonlocal broke
        if broke:
            return []
        broke = True
        documents = await cursor.to_list(size)
        broke = False
        return documents

    ahead: asyncio.Future[list[Document]] | None = None
    try:
        documents = await place.run(who, more)
        while documents:
            ahead = asyncio.ensure_future(place.run(who, more))
            for _ in range(TURNS):
                await asyncio.sleep(0)  # so that it asks
            yield documents
            documents = await ahead
    finally:
        if ahead is not None:
            ahead.cancel()
            await asyncio.gather(ahead, return_exceptions=True)
    bound: list[Any] = []
    while broke:

        async def page(collection: AsyncCollection[Document], bound: list[Any] = bound) -> list[Document]:
            return await _sorted(collection, None, size, bound)

        documents = await place.run(who, page)
        # Before they are handed out: who takes them uses them up.
        bound = [documents[-1]["_id"]] if len(documents) > size else []
        broke = bool(bound)
        yield documents
