"""Every combination of repositories does, over every kind of store, what every repository has to do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.backends import BLOBS, HERE, IMAGES, METADATA, Backend, Mirror, opened
from tests.conformance.images import manifest

from pdtcli import (
    AggregateAndRepository,
    AggregateOrRepository,
    BlockingRepository,
    InProcessMetadataRepository,
    MapRepository,
    RelatedItemRepository,
)
from pdtcli.repository.combine import SucceededRepository
from pdtcli.testing import BlobRepositorySuite, MetadataRepositorySuite, RepositorySuite

EVERYWHERE = tuple(kind for kind in (*BLOBS, *METADATA) if kind != "swift")  # the same class as s3, and slower
SWIFT = ("swift",)
SOME = (*HERE, "s3", "mongo")  # what is asked one by one is slow over a network, and no different


def stores(*kinds: str) -> Any:
    """A fixture that gives one of the stores after the other."""

    @pytest.fixture(params=kinds)
    async def backend(self: Any, request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Backend]:
        async with opened(request.param, request, tmp_path) as backend:
            self.backend = backend
            self.base = backend.new()
            await self.base.validate()
            yield backend

    return backend


class Over:
    """Has a store, and one repository in it."""

    many = 20
    backend = stores(*EVERYWHERE)
    base: Any

    # What is in the store beside the repositories is their own suite's affair.
    test_other_names_in_the_store_are_skipped: Any = None
    test_what_somebody_else_stored_is_there: Any = None
    test_the_store_holds_what_was_stored: Any = None
    test_the_store_forgets_what_was_deleted: Any = None

    async def put(self, repository: Any, job: str, number: int) -> None:
        await self.backend.put(self.base, job, number)

    async def check(self, repository: Any, job: str, number: int) -> None:
        assert await self.backend.holds(self.base, job, number)


class TestAnd(Over, RepositorySuite):
    @pytest.fixture
    async def repository(self, backend: Backend) -> AggregateAndRepository:
        self.other = InProcessMetadataRepository({"only-here": 1})
        await backend.put(self.base, "only-there", 0)
        return AggregateAndRepository(base=self.base, other=self.other)

    async def put(self, repository: Any, job: str, number: int) -> None:
        await super().put(repository, job, number)
        await self.other.dump(job, number)


class TestOr(Over, RepositorySuite):
    @pytest.fixture
    async def repository(self, backend: Backend) -> AggregateOrRepository:
        self.other = backend.new()
        return AggregateOrRepository(base=self.base, other=self.other)

    def _holder(self, number: int) -> Any:
        return self.base if number % 2 else self.other

    async def put(self, repository: Any, job: str, number: int) -> None:
        await self.backend.put(self._holder(number), job, number)

    async def check(self, repository: Any, job: str, number: int) -> None:
        assert await self.backend.holds(self._holder(number), job, number)


class TestBlocking(Over, RepositorySuite):
    enumerate_unless = True

    @pytest.fixture
    async def repository(self, backend: Backend) -> BlockingRepository:
        unless = backend.new()
        for job in ("blocked", "elsewhere"):
            await backend.put(unless, job, 0)
        await backend.put(self.base, "blocked", 0)
        return BlockingRepository(self.base, unless, self.enumerate_unless)


class TestBlockingOneByOne(TestBlocking):
    enumerate_unless = False
    backend = stores(*SOME)


class TestMap(Over, RepositorySuite):
    @pytest.fixture
    async def repository(self, backend: Backend) -> MapRepository:
        async def wrap(info: Any) -> Any:
            return {"info": info}

        async def wanted(job: str) -> bool:
            return job != "unwanted"

        await backend.put(self.base, "unwanted", 0)
        return self.base.map(wrap, wanted, allow_deletes=True)  # type: ignore[no-any-return]


class TestMapWithoutDeletes(TestMap):
    deletes = False
    backend = stores(*SOME)

    @pytest.fixture
    async def repository(self, backend: Backend) -> MapRepository:
        async def same(info: Any) -> Any:
            return info

        return self.base.map(same)  # type: ignore[no-any-return]


class TestRelated(Over, RepositorySuite):
    prefetch = True

    @pytest.fixture
    async def repository(self, backend: Backend) -> RelatedItemRepository:
        return RelatedItemRepository(self.base, Mirror(self.base), allow_deletes=True, prefetch_lookup=self.prefetch)

    async def put(self, repository: Any, job: str, number: int) -> None:
        await super().put(repository, job[::-1], number)

    async def check(self, repository: Any, job: str, number: int) -> None:
        await super().check(repository, job[::-1], number)


class TestRelatedOneByOne(TestRelated):
    prefetch = False
    backend = stores(*SOME)


class TestSucceeded(Over, RepositorySuite):
    deletes = False
    backend = stores(*METADATA)

    @pytest.fixture
    async def repository(self, backend: Backend) -> SucceededRepository:
        await self.base.dump("failed", {"success": False})
        return SucceededRepository(self.base)


# ---- over Swift, whose server is slow: one of each kind, with fewer jobs


class OverSwift:
    many = 5
    backend = stores(*SWIFT)

    # Hundreds of requests each, which say nothing about what stands on the store.
    test_it_behaves_as_a_dictionary: Any = None
    test_unusual_jobs_are_jobs: Any = None


class TestAndOverSwift(OverSwift, TestAnd): ...


class TestOrOverSwift(OverSwift, TestOr): ...


class TestBlockingOverSwift(OverSwift, TestBlocking): ...


class TestMapOverSwift(OverSwift, TestMap): ...


class TestRelatedOverSwift(OverSwift, TestRelated): ...


# ---- what a related repository can do beside: all that its base can


class TestRelatedBlobs(Over, BlobRepositorySuite):
    large = 9 * 1024 * 1024

    backend = stores("memory", "files", "fsspec-local", "fsspec-memory", "s3")

    @pytest.fixture
    async def repository(self, backend: Backend) -> RelatedItemRepository:
        return RelatedItemRepository(self.base, Mirror(self.base), allow_deletes=True)

    put = BlobRepositorySuite.put
    check = BlobRepositorySuite.check


class TestRelatedImages(TestRelatedBlobs):
    any_bytes = False
    backend = stores(*IMAGES)

    def value(self, number: int) -> bytes:
        return manifest(number)


class RelatedMetadata(Over, MetadataRepositorySuite):
    @pytest.fixture
    async def repository(self, backend: Backend) -> RelatedItemRepository:
        return RelatedItemRepository(self.base, Mirror(self.base), allow_deletes=True)

    put = MetadataRepositorySuite.put
    check = MetadataRepositorySuite.check


class TestRelatedValues(RelatedMetadata):
    any_value = True
    backend = stores("values")


class TestRelatedMetadata(RelatedMetadata):
    resolution = timedelta(milliseconds=1)
    backend = stores("yaml", "mongo")
