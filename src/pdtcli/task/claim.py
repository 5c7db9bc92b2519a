"""The claim on a process job, within its quota: the one step on which all hosts have to agree."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..lazy import lazy
from .base import Start
from .live import LiveRecord

if TYPE_CHECKING:
    import asyncio

    from .process import ProcessTask
else:
    asyncio = lazy("asyncio")

__all__ = ("claim",)

CLAIM_TRIES = 3
"""So often a claim is made that another host's makes one too many."""

CLAIM_PAUSE = 0.1
"""Seconds at most between two of these, by chance, so that hosts that clash do not clash again."""


async def claim(task: ProcessTask, job: str, record: LiveRecord) -> Start:
    """Create the live record of a job, if it is absent and the quota has room; the caller holds the job's lock."""
    quota = task.resource_manager
    for _ in range(CLAIM_TRIES):
        async with quota.admission():
            window = task.window.total_seconds()
            if await quota.reserve(task.job_resources, window=window) is not None:
                return Start.LIMITED
            kept = claimed = False
            try:
                claimed = await task.pids.claim(job, record.value())
                kept = claimed and not await quota.overdrawn()
                if claimed and not kept:
                    await task.pids.delete(job)
            finally:
                if not kept:
                    await quota.relinquish(task.job_resources, launched=False)
        if kept or not claimed:
            return Start.STARTED if kept else Start.TAKEN
        # Another host claimed at the same moment, and may have given its claim back as well.
        await asyncio.sleep(os.urandom(1)[0] / 255 * CLAIM_PAUSE)
    return Start.LIMITED
