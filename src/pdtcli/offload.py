"""When blocking work leaves the event loop's thread, decided in one place.

A hop to a thread costs some 50 µs, a look at a file in the kernel's cache 2 µs. So work on a few small files runs where
it is, and work on many files, or on large pieces, runs in one thread for the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from .lazy import lazy

if TYPE_CHECKING:
    import asyncio
else:
    asyncio = lazy("asyncio")

__all__ = ("FEW", "SMALL", "offload")

FEW = 64
"""So many files are looked at without a hop."""

SMALL = 64 * 1024
"""So many bytes are read or written without a hop."""

P = ParamSpec("P")
R = TypeVar("R")


async def offload(heavy: bool, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """Call a blocking function, in a thread when it is `heavy`."""
    if heavy:
        return await asyncio.to_thread(function, *args, **kwargs)
    return function(*args, **kwargs)
