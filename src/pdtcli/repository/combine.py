"""Repositories made of repositories: intersections, unions, differences, translations and views.

Keys are set algebra on the parts' bulk listings (`derive`), so that a cycle lists each part once however many
combinations it stands in.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import TYPE_CHECKING, Any

from .. import job as job_ids
from ..errors import InvalidValue, JobNotFound
from ..lazy import lazy
from ..outcome import succeeded
from .base import DerivedRepository, Lister, Repository, job_getter

if TYPE_CHECKING:
    import asyncio
else:
    asyncio = lazy("asyncio")

__all__ = (
    "AggregateAndRepository",
    "AggregateOrRepository",
    "BlockingRepository",
    "MapRepository",
    "RelatedItemRepository",
    "SucceededRepository",
    "union",
)

log = logging.getLogger(__name__)


def union(sets: Iterable[set[str]]) -> set[str]:
    """What is in any of the sets; the very set where only one has something, since a copy of millions takes long."""
    filled = [jobs for jobs in sets if jobs]
    return filled[0] if len(filled) == 1 else set().union(*filled)


class _Aggregate(DerivedRepository):
    """Several repositories, each under a name."""

    bases_decide = True

    def __init__(self, **children: Repository) -> None:
        self.children = children

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {' '.join(self.children)}>"

    @property
    def bases(self) -> tuple[Repository, ...]:
        return tuple(self.children.values())

    @job_getter
    async def info(self, job: str, /) -> dict[str, Any]:
        """The info of every part, by its name."""
        return {name: await child.info(job) for name, child in self.children.items()}

    async def delete(self, job: str, /) -> None:
        """Delete the job from every part."""
        job_ids.check(job)
        for child in self.children.values():
            await child.delete(job)


class AggregateAndRepository(_Aggregate):
    """The jobs that all of its parts hold; none when there are no parts."""

    async def derive(self, keys: Lister) -> set[str]:
        if not self.children:
            return set()
        # A part that must look into values is asked last, and only for the jobs that the others agree on.
        picky = [child for child in self.children.values() if isinstance(child, SucceededRepository)]
        plain = [c.source if isinstance(c, SucceededRepository) else c for c in self.children.values()]
        sets = sorted(await asyncio.gather(*(keys(child) for child in plain)), key=len)
        jobs = sets[0].intersection(*sets[1:]) if len(sets) > 1 else sets[0]
        for child in picky:
            jobs = await child.among(jobs) if jobs else jobs
        return jobs

    async def contains(self, job: str, /) -> bool:
        for child in self.children.values():
            if not await child.contains(job):
                return False
        return bool(self.children)


class AggregateOrRepository(_Aggregate):
    """The jobs that any of its parts holds."""

    async def derive(self, keys: Lister) -> set[str]:
        return union(await asyncio.gather(*(keys(child) for child in self.children.values())))

    async def contains(self, job: str, /) -> bool:
        for child in self.children.values():
            if await child.contains(job):
                return True
        return False


class BlockingRepository(DerivedRepository):
    """The jobs that `source` holds and `unless` does not.

    :param enumerate_unless: whether to list `unless`, or to ask it for every job of `source`, which is better when it
        is far larger.
    """

    bases_decide = True

    def __init__(self, source: Repository, unless: Repository, enumerate_unless: bool = True) -> None:
        self.source = source
        self.unless = unless
        self.enumerate_unless = enumerate_unless

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.source} unless {self.unless}>"

    @property
    def bases(self) -> tuple[Repository, ...]:
        return (self.source, self.unless)

    async def derive(self, keys: Lister) -> set[str]:
        if self.enumerate_unless:
            source, unless = await asyncio.gather(keys(self.source), keys(self.unless))
            return source - unless if source and unless else source
        return {job for job in await keys(self.source) if not await self.unless.contains(job)}

    async def contains(self, job: str, /) -> bool:
        return await self.source.contains(job) and not await self.unless.contains(job)

    @job_getter
    async def info(self, job: str, /) -> Any:
        """The info of `source`."""
        return await self.source.info(job)

    async def delete(self, job: str, /) -> None:
        """Delete the job from `source`."""
        await self.source.delete(job)


class MapRepository(DerivedRepository):
    """A repository seen through functions; see `Repository.map`."""

    def __init__(
        self,
        base: Repository,
        func: Callable[[Any], Awaitable[Any]],
        filt: Callable[[str], Awaitable[bool]] | None = None,
        allow_deletes: bool = False,
    ) -> None:
        self.base = base
        self.func = func
        self.filter = filt
        self.allow_deletes = allow_deletes

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.base}>"

    @property
    def bases(self) -> tuple[Repository, ...]:
        return (self.base,)

    async def derive(self, keys: Lister) -> set[str]:
        jobs = await keys(self.base)
        return jobs if self.filter is None else {job for job in jobs if await self.filter(job)}

    async def contains(self, job: str, /) -> bool:
        return (self.filter is None or await self.filter(job)) and await self.base.contains(job)

    @job_getter
    async def info(self, job: str, /) -> Any:
        """The base's info, mapped."""
        return await self.func(await self.base.info(job))

    async def info_many(self, jobs: Collection[str]) -> dict[str, Any]:
        wanted = jobs if self.filter is None else {job for job in jobs if await self.filter(job)}
        return {job: await self.func(info) for job, info in (await self.base.info_many(wanted)).items()}

    async def delete(self, job: str, /) -> None:
        """Delete the job from the base, if that is allowed."""
        job_ids.check(job)
        if self.allow_deletes:
            await self.base.delete(job)


class SucceededRepository(DerivedRepository):
    """The jobs whose record in a repository of outcomes is that of a success.

    What a task that is plugged into another one waits for, where failures are recorded beside successes. A record that
    cannot be read is not that of a success, and keeps nobody from reading the others.
    """

    def __init__(self, source: Repository) -> None:
        self.source = source
        self._unreadable: frozenset[str] = frozenset()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.source}>"

    @property
    def bases(self) -> tuple[Repository, ...]:
        return (self.source,)

    async def derive(self, keys: Lister) -> set[str]:
        return await self.among(await keys(self.source))

    async def among(self, jobs: Collection[str]) -> set[str]:
        try:
            records = await self.source.info_many(jobs)
        except InvalidValue:
            records = await self._readable(jobs)
        return {job for job, record in records.items() if succeeded(record)}

    async def _readable(self, jobs: Collection[str]) -> dict[str, Any]:
        records = {}
        for job in await self.source.among(jobs):
            try:
                records[job] = await self.source.info(job)
            except InvalidValue as error:
                if job not in self._unreadable:
                    self._unreadable |= {job}
                    log.warning("%s; what depends on it does not start", error)
        return records

    async def contains(self, job: str, /) -> bool:
        return bool(await self.among([job]))

    @job_getter
    async def info(self, job: str, /) -> Any:
        """The record."""
        return await self.source.info(job)

    async def delete(self, job: str, /) -> None:
        """Do nothing: the record is its own repository's to delete."""
        job_ids.check(job)


class RelatedItemRepository(DerivedRepository):
    """A repository under other names: `job` here is ``await translator_repository.info(job)`` there.

    It can do what the base can: methods that take a job are called with the translated one.

    :param base_repository: holds the values.
    :param translator_repository: its info is the job in the base.
    :param allow_deletes: whether a delete reaches the base, or does nothing.
    :param prefetch_lookup: whether to load all translations at once, with every listing, or to ask for each.
    """

    def __init__(
        self,
        base_repository: Repository,
        translator_repository: Repository,
        allow_deletes: bool = False,
        prefetch_lookup: bool = True,
    ) -> None:
        self.base_repository = base_repository
        self.translator_repository = translator_repository
        self.allow_deletes = allow_deletes
        self.prefetch_lookup = prefetch_lookup
        self._translations: dict[str, str] | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.base_repository} by {self.translator_repository}>"

    @property
    def bases(self) -> tuple[Repository, ...]:
        return (self.base_repository, self.translator_repository)

    @property
    def does(self) -> type[Repository]:
        return self.base_repository.does

    async def translations(self) -> dict[str, str]:
        """All translations, loaded anew."""
        self._translations = {
            job: str(name) for job, name in (await self.translator_repository.info_all()).items() if _is_name(name)
        }
        return self._translations

    async def _lookup(self, job: str) -> str | None:
        if self.prefetch_lookup:
            if self._translations is None:
                await self.translations()
            assert self._translations is not None
            if job in self._translations:
                return self._translations[job]
        name = await self.translator_repository.info(job)
        return str(name) if _is_name(name) else None

    async def _translate(self, job: str) -> str:
        name = await self._lookup(job)
        if name is None:
            raise JobNotFound(f"{self.translator_repository} does not say what {job} is related to")
        return name

    async def derive(self, keys: Lister) -> set[str]:
        present, translations = await asyncio.gather(keys(self.base_repository), self.translations())
        return {job for job, name in translations.items() if name in present}

    async def contains(self, job: str, /) -> bool:
        name = await self._lookup(job)
        return name is not None and await self.base_repository.contains(name)

    @job_getter
    async def info(self, job: str, /) -> Any:
        """The info of the related job.

        :raises JobNotFound: when there is no translation.
        """
        return await self.base_repository.info(await self._translate(job))

    async def delete(self, job: str, /) -> None:
        """Delete the related job from the base, if that is allowed."""
        job_ids.check(job)
        if self.allow_deletes and (name := await self._lookup(job)) is not None:
            await self.base_repository.delete(name)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "base_repository" not in self.__dict__:
            raise AttributeError(name)  # while unpickling there is no base to ask yet
        value = getattr(self.base_repository, name)
        if not getattr(value, "is_job_getter", False):
            return value

        async def translated(job: str, *args: Any, **kwargs: Any) -> Any:
            job_ids.check(job)
            return await value(await self._translate(job), *args, **kwargs)

        return translated


def _is_name(value: Any) -> bool:
    # An absent translation is None, or the {} of a YAML repository.
    return value is not None and value != {}
