"""Writers that do not come to their end, and names that no value may have: what every repository of blobs refuses."""

from __future__ import annotations

import asyncio

import pytest

from pdtcli import BlobRepository, InvalidJobId


async def write_and_raise(repository: BlobRepository, value: bytes) -> None:
    """Write a value of `job` in a block that raises."""

    async def write() -> None:
        async with await repository.open("job", "wb") as writer:
            await writer.write(value)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await write()


async def write_and_be_cancelled(repository: BlobRepository, value: bytes) -> None:
    """Write a value of `job` in a task that is cancelled before the end."""
    written = asyncio.Event()

    async def write() -> None:
        async with await repository.open("job", "wb") as writer:
            await writer.write(value)
            written.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(write())
    await written.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def refuses_the_name(repository: BlobRepository, job: str) -> None:
    """Assert that a repository takes no value of a name that is no job id; it holds `good`."""
    for mode in ("r", "rb", "w", "wb"):
        with pytest.raises(InvalidJobId):
            await repository.open(job, mode)
    with pytest.raises(InvalidJobId):
        await repository.delete(job)
    with pytest.raises(InvalidJobId):
        await repository.delete_many(["good", job])
    assert not await repository.contains(job)
    assert await repository.among([job, "good"]) == {"good"}
