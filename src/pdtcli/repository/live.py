"""Repositories of what runs now, kept by the tasks that run it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from .. import job as job_ids
from .base import Repository, job_getter

if TYPE_CHECKING:
    from ..task.executor import ExecutorTask

__all__ = ("ExecutorLiveRepo",)


class ExecutorLiveRepo(Repository):
    """The jobs that an `ExecutorTask` has submitted in this process and not collected yet."""

    def __init__(self, task: ExecutorTask) -> None:
        self.task = task

    def __repr__(self) -> str:
        return f"<{type(self).__name__} task={self.task.name}>"

    async def unfiltered_iter(self) -> AsyncIterator[str]:
        for job in self.task.submitted():
            yield job

    async def keys(self) -> set[str]:
        return set(self.task.submitted())

    async def contains(self, job: str, /) -> bool:
        return job_ids.is_valid(job) and job in self.task.submitted()

    @job_getter
    async def info(self, job: str, /) -> None:
        """Nothing: a running function has nothing for templates."""
        return None

    async def delete(self, job: str, /) -> None:
        """Cancel the job if it has not begun yet."""
        await self.task.cancel(job_ids.check(job))
