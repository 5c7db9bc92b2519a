"""One look at everything: each repository listed once, and what follows from that for every task.

What follows is set algebra, kept apart from the listing so that it can be read, and tested, without a store.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import TYPE_CHECKING

from .lazy import lazy
from .report import Counts
from .repository.base import DerivedRepository, Repository
from .repository.combine import SucceededRepository, union
from .task.base import Task

if TYPE_CHECKING:
    import asyncio
else:
    asyncio = lazy("asyncio")

__all__ = ("Standing", "Survey", "decisive")


def decisive(task: Task) -> list[Repository]:
    """The repositories that decide where the jobs of a task stand: those that `Survey.standing` lists."""
    found = [task.live, task.done, task.failed, *task.required_for_start.values()]
    found += [task.ready] if task.has_own_ready else [*task.inhibits_start.values()]
    if task.done is None:
        found += task.output.values()
    return list(dict.fromkeys(repository for repository in found if repository is not None))


class Survey:
    """Listings of one cycle; what several tasks link is listed for the first that asks."""

    def __init__(self) -> None:
        self._by_repository: dict[Repository, asyncio.Task[set[str]]] = {}
        self._by_listing: dict[Hashable, asyncio.Task[set[str]]] = {}

    async def keys(self, repository: Repository) -> set[str]:
        """The jobs in a repository; not to be changed, since all who ask share it."""
        found = self._by_repository.get(repository)
        if found is None:
            listing = repository.listing
            found = self._by_listing.get(listing)
            if found is None:
                work = repository.derive(self.keys) if isinstance(repository, DerivedRepository) else repository.keys()
                found = self._by_listing[listing] = asyncio.ensure_future(work)
            self._by_repository[repository] = found
        return await found

    @property
    def listed(self) -> set[Repository]:
        """The repositories that somebody asked for."""
        return set(self._by_repository)

    async def ready(self, task: Task) -> set[str]:
        """The jobs that the task may start, apart from quotas and whether it is disabled."""
        ready = await self.keys(task.ready)
        if task.has_own_ready and task.live is not None:
            ready = ready - await self.keys(task.live)
        return ready

    async def standing(self, task: Task, *, look_into_records: bool = False) -> Standing:
        """Where every job of the task stands.

        :param look_into_records: whether to read the records of a task that has no `failed` repository, to tell its
            failures from its successes; otherwise all count as done.
        """
        live = await self.keys(task.live) if task.live is not None else set()
        done = await self._finished(task)
        failed: set[str] = set()
        if task.failed is not None:
            failed = await self.keys(task.failed)
        elif look_into_records and task.done is not None:
            failed = done - await SucceededRepository(task.done).among(done)
        known: set[str] = set()
        if not _none_waits(task):
            required = [r.source if isinstance(r, SucceededRepository) else r for r in task.required_for_start.values()]
            known = union([await self.keys(repository) for repository in required])
        return Standing(known, await self.ready(task), live, done, failed)

    async def _finished(self, task: Task) -> set[str]:
        if task.done is not None:
            return await self.keys(task.done)
        outputs = [await self.keys(repository) for repository in task.output.values()]
        return set.intersection(*outputs) if outputs else set()

    async def counts(self, tasks: Iterable[Task], *, look_into_records: bool = False) -> list[Counts]:
        """The counts of each task, and of every repository it links."""
        rows = []
        for task in tasks:
            standing = await self.standing(task, look_into_records=look_into_records)
            links = {}
            for name, link in task.links.items():
                if link.is_input or link.is_output or link.is_status:
                    links[name] = len(await self.keys(link.repo))
            rows.append(standing.counts(task, links))
        return rows


def _none_waits(task: Task) -> bool:
    """Whether every job that the task has heard of is ready, live, done or failed, as the links tell: one repository
    says what there is, and nothing but the task's own status inhibits it.

    Then the names need not be compared once more, which takes a thirtieth of the time of a tick.
    """
    required = [*task.required_for_start.values()]
    return (
        not task.has_own_ready
        and len(required) == 1
        and not isinstance(required[0], SucceededRepository)
        and all(repository in (task.live, task.done, task.failed) for repository in task.inhibits_start.values())
    )


class Standing:
    """Where the jobs of one task stand: five sets of which no two share a job.

    What runs is live, whatever an earlier attempt left; a failure weighs more than a success; what may start is ready;
    the rest of what the task has heard of waits.
    """

    def __init__(self, known: set[str], ready: set[str], live: set[str], done: set[str], failed: set[str]) -> None:
        self.live = live
        self.failed = _without(failed, live)
        self.done = _without(done, failed, live)
        self.ready = _without(ready, done, failed, live)
        self.waiting = _without(known, done, ready, failed, live)

    def counts(self, task: Task, links: dict[str, int]) -> Counts:
        """The sizes of the sets."""
        return Counts(
            task=task.name,
            disabled=task.disabled,
            waiting=len(self.waiting),
            ready=len(self.ready),
            live=len(self.live),
            done=len(self.done),
            failed=len(self.failed),
            links=links,
        )


def _without(jobs: set[str], *others: set[str]) -> set[str]:
    """`jobs` that are in none of the others; the very set where that changes nothing, as mostly it does."""
    for other in others:
        if jobs and other:
            jobs = jobs - other
    return jobs
