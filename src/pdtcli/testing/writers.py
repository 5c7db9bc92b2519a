"""Writers that do not come to their end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest

from ..repository.base import BlobRepository

__all__ = ("write_and_be_cancelled", "write_and_raise")


async def write_and_raise(repository: BlobRepository, value: Iterable[bytes]) -> None:
    """Write the pieces of a value of `job` in a block that then raises."""

    async def write() -> None:
        async with await repository.open("job", "wb") as writer:
            for piece in value:
                await writer.write(piece)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await write()


async def write_and_be_cancelled(repository: BlobRepository, value: Iterable[bytes]) -> None:
    """Write the pieces of a value of `job` in a task that is cancelled before the writer is closed."""
    written = asyncio.Event()

    async def write() -> None:
        async with await repository.open("job", "wb") as writer:
            for piece in value:
                await writer.write(piece)
            written.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(write())
    await written.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
