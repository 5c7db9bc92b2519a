"""Copies of values from one repository to another, whatever keeps them.

Bytes are streamed, metadata are values: between the two stands YAML.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Any

from .errors import JobNotFound, Unsupported
from .repository.base import BlobRepository, MetadataRepository, Repository, can_do
from .stream import CHUNK, copy_stream

__all__ = ("AT_ONCE", "copy_jobs", "copy_value")

AT_ONCE = 8
"""So many values are under way at a time; each holds a few MiB."""


async def copy_value(source: Repository, target: Repository, job: str) -> int:
    """Copy one value, in place of what the target has; the number of bytes, or of those of its YAML.

    :raises JobNotFound: when the source does not hold the job.
    :raises InvalidValue: when bytes that are no YAML are to become metadata.
    :raises Unsupported: when one of the two holds neither bytes nor metadata.
    """
    if source.holds_images and target.holds_images:
        from .registry.copy import copy_image

        return (await copy_image(source, job, target)).size
    # Typed loosely: a related repository can do what its base can, which its type does not tell.
    there: Any = source
    here: Any = target
    if can_do(source, MetadataRepository) and can_do(target, MetadataRepository):
        value = await _value(source, job)
        await here.dump(job, value)
        return len(_dump(value))
    if can_do(source, BlobRepository) and can_do(target, MetadataRepository):
        data: bytes = await there.read_bytes(job)
        await here.dump(job, _load(data, f"{source}: {job}"))
        return len(data)
    if can_do(source, BlobRepository) and can_do(target, BlobRepository):
        async with await there.open(job, "rb") as reader, await here.open(job, "wb") as writer:
            return await copy_stream(reader, writer, CHUNK)
    if can_do(source, MetadataRepository) and can_do(target, BlobRepository):
        data = _dump(await _value(source, job))
        await here.write_bytes(job, data)
        return len(data)
    lacking = target if can_do(source, BlobRepository) or can_do(source, MetadataRepository) else source
    raise Unsupported(f"{lacking} holds neither bytes nor metadata that could be copied")


async def _value(source: Repository, job: str) -> Any:
    if not await source.contains(job):
        raise JobNotFound(f"{source} does not hold {job}")
    return await source.info(job)


def _dump(value: Any) -> bytes:
    from .repository.yaml import dump

    return dump(value)


def _load(data: bytes, origin: str) -> Any:
    from .repository.yaml import load

    return load(data, origin)


async def copy_jobs(
    source: Repository,
    target: Repository,
    jobs: Collection[str],
    copied: Callable[[str, int], None] | None = None,
) -> None:
    """Copy several values, some at a time. The first error ends it; what is copied by then stays.

    :param copied: called with each job that was copied, and its number of bytes.
    """
    waiting = iter(sorted(jobs))

    async def work() -> None:
        for job in waiting:
            size = await copy_value(source, target, job)
            if copied is not None:
                copied(job, size)

    workers = [asyncio.ensure_future(work()) for _ in range(min(AT_ONCE, len(jobs)))]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
