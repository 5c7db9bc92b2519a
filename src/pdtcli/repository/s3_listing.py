"""The names in a bucket that stand between a prefix and a suffix.

ListObjectsV2 gives at most 1,000 names an answer, one answer after the other. What turns out to be longer than a few
answers is therefore cut into ranges of names (StartAfter), which are listed at the same time. Where the cuts are
cannot make the listing wrong, only slow: each name is in exactly one range. They are found by asking, with one-name
listings, which of the names that could follow are there.

Nothing of an answer but the names is needed, and reading the rest of its XML is most of what a client has to do. So
it is read by `s3_xml`, also where the client sends the request (`_take_listing`), for the requests of this module only.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import AsyncIterator, Iterable
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

from .s3_calls import Bucket
from .s3_place import NAMES
from .s3_xml import Listing, read_listing

__all__ = ("PAGE", "keys", "page", "pages")

PAGE = 1000
"""The most names that an answer holds."""

SERIAL = 3
"""After so many answers a listing counts as long."""

TRIAL = 8
"""The first of so many short requests is made alone, and the others at once."""

WORTH = 0.5
"""Requests at once are worth it when they take less than this part of the time that they would take in turn."""

LAST = "~"
"""Comes after every character that a job may have."""


_mine = threading.local()


def _take_listing(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any) -> None:
    """Handler of botocore's event before-parse: read an answer instead of the client, for this module's requests."""
    if not getattr(_mine, "listing", False) or response_dict["status_code"] != 200:
        return
    try:
        customized_response_dict["Listing"] = read_listing(response_dict["body"])
    except ValueError:
        return
    response_dict["body"] = b"<ListBucketResult/>"


_prepared: weakref.WeakSet[Any] = weakref.WeakSet()
_preparing = threading.Lock()


def _prepare(client: Any) -> None:
    with _preparing:
        if client not in _prepared:
            client.meta.events.register("before-parse.s3.ListObjectsV2", _take_listing, unique_id="pdt-listing")
            _prepared.add(client)


def page(
    bucket: Bucket, prefix: str, *, after: str | None = None, more: str | None = None, limit: int | None = None
) -> Listing:
    """One answer, in a thread.

    Names with a slash behind the prefix are no jobs, and are left out by the server: it gives each "directory" once.

    :param after: begin behind this key.
    :param more: go on where an earlier answer ended.
    """
    _prepare(bucket.client)
    place = {} if after is None else {"StartAfter": after}
    if more is not None:
        place = {"ContinuationToken": more}
    _mine.listing = True
    try:
        answer = bucket.do(NAMES, Prefix=prefix, Delimiter="/", MaxKeys=limit or PAGE, **place)
    finally:
        _mine.listing = False
    listing: Listing | None = answer.get("Listing")
    if listing is not None:
        return listing
    keys = [entry["Key"] for entry in answer.get("Contents", ())]
    ends = keys[-1:] + [entry["Prefix"] for entry in answer.get("CommonPrefixes", ())[-1:]]
    token = answer.get("NextContinuationToken") if answer.get("IsTruncated") else None
    return Listing(keys, max(ends, default=None), token)


async def pages(bucket: Bucket, prefix: str) -> AsyncIterator[list[str]]:
    """The keys that begin with `prefix`, one answer after the other."""
    more = None
    while True:
        answer = await bucket.threads.submit(partial(page, bucket, prefix, more=more))
        yield answer.keys
        more = answer.more
        if more is None:
            return


async def keys(bucket: Bucket, prefix: str) -> list[str]:
    """All keys that begin with `prefix`, in no particular order; long listings in parallel."""
    found: list[str] = []
    more: str | None = None
    for _ in range(SERIAL):
        answer = await bucket.threads.submit(partial(page, bucket, prefix, more=more))
        found += answer.keys
        more = answer.more
        if more is None:
            return found
    cuts: list[str] = []
    if answer.last is not None and found == sorted(found):  # the listing of a directory bucket has no order
        cuts = await _cuts(bucket, prefix, found, answer.last)
    tasks: list[Range] = [Range(None, more, cuts[0] if cuts else None)]
    tasks += [Range(cut, None, end) for cut, end in pairwise([*cuts, None]) if cut is not None]
    for part in await bucket.threads.each(partial(_range, bucket, prefix), tasks, at_once=1):
        found += part
    return found


class Range(NamedTuple):
    """The keys behind `after`, or from where `more` leads on, up to `end`."""

    after: str | None
    more: str | None
    end: str | None


def _range(bucket: Bucket, prefix: str, task: Range) -> list[str]:
    """The keys of a range, in a thread."""
    after, more, end = task
    found: list[str] = []
    while True:
        answer = page(bucket, prefix, after=after, more=more)
        if end is not None and answer.last is not None and answer.last >= end:
            return found + [key for key in answer.keys if key <= end]
        found += answer.keys
        if answer.more is None:
            return found
        after, more = None, answer.more


async def _cuts(bucket: Bucket, prefix: str, seen: list[str], last: str) -> list[str]:
    """Where to cut what comes behind the key `last`: ascending, each with something behind it.

    A name that differs from `last` in its n-th character is in a block of its own, and blocks of the smallest two n
    that there are become ranges. Nothing is cut up where several requests at once are no faster than one by one.
    """
    name = last[len(prefix) :]
    heads = [prefix + name[:length] for length in range(1, len(name))]
    times = [time.perf_counter()]
    firsts: dict[str, str | None] = {}
    for some in (heads[:1], heads[1:TRIAL]):
        firsts |= await _first_behind(bucket, prefix, [head + LAST for head in some])
        times.append(time.perf_counter())
    one, several = times[1] - times[0], times[2] - times[1]
    if several > WORTH * one * (len(firsts) - 1):
        return []
    firsts |= await _first_behind(bucket, prefix, [head + LAST for head in heads[TRIAL:]])
    cuts: set[str] = set()
    levels = 0
    for head in heads:
        nearest = firsts[head + LAST]
        stem = head[:-1]
        if nearest is None or not nearest.startswith(stem):
            continue
        # Which characters may stand here is guessed from those that stand here and further on in what was seen.
        letters = sorted({letter for key in seen for letter in key[len(stem) :]} | {nearest[len(stem)]})
        guesses = [stem + letter for letter in letters if letter > head[-1]]
        there = await _first_behind(bucket, prefix, guesses)
        cuts.update(cut for cut, first in there.items() if first is not None and first.startswith(cut))
        levels += 1
        if levels == 2:
            break
    return sorted(cut for cut in cuts if cut > last)


async def _first_behind(bucket: Bucket, prefix: str, places: Iterable[str]) -> dict[str, str | None]:
    """The first key behind each of some places."""

    def look(place: str) -> tuple[str, str | None]:
        return place, page(bucket, prefix, after=place, limit=1).last

    return dict(await bucket.threads.each(look, places, at_once=1))
