"""Every kind of store, for what stands on any of them."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.images import fresh_name, layout, manifest, registry_client
from tests.servers.mongo import fresh_database

from pdtcli import (
    FileRepository,
    InProcessBlobRepository,
    InProcessMetadataRepository,
    MetadataRepository,
    MongoMetadataRepository,
    Repository,
    S3BucketRepository,
    YamlMetadataFileRepository,
    YamlMetadataS3Repository,
)
from pdtcli.repository.fsspec import FsspecRepository
from pdtcli.repository.mongo_blob import MongoBlobRepository
from pdtcli.repository.registry import DockerRepository


class Backend:
    """A store that repositories can be made in."""

    def __init__(self, make: Callable[[str], Any], value: Callable[[int], Any]) -> None:
        self._make = make
        self._serial = itertools.count()
        self.value = value

    def new(self) -> Any:
        """An empty repository that shares nothing with the others."""
        return self._make(f"part{next(self._serial)}")

    async def put(self, repository: Any, job: str, number: int) -> None:
        if isinstance(repository, MetadataRepository):
            await repository.dump(job, self.value(number))
        else:
            await repository.write_bytes(job, self.value(number))

    async def holds(self, repository: Any, job: str, number: int) -> bool:
        if isinstance(repository, MetadataRepository):
            return bool(await repository.info(job) == self.value(number))
        return bool(await repository.read_bytes(job) == self.value(number))


def text(number: int) -> bytes:
    return f"value {number}".encode()


def record(number: int) -> dict[str, int]:
    return {"number": number}


BLOBS = ("memory", "files", "s3", "swift", "gridfs", "registry", "layout", "fsspec-local", "fsspec-memory")
IMAGES = ("registry", "layout")
"""Those of the above that take no bytes but manifests."""

METADATA = ("values", "yaml", "yaml-s3", "mongo")
HERE = ("memory", "files", "layout", "fsspec-local", "fsspec-memory", "values", "yaml")
"""Those that need no server."""


@asynccontextmanager
async def opened(kind: str, request: pytest.FixtureRequest, path: Path) -> AsyncIterator[Backend]:
    """A store of one of the kinds above; its server is started, or the test skipped, when it is the first to ask."""

    def directory(name: str) -> Path:
        (path / name).mkdir()
        return path / name

    def s3(which: str) -> tuple[Any, str]:
        return request.getfixturevalue(f"{which}_client"), request.getfixturevalue(f"{which}_bucket")

    made: dict[str, Callable[[], Backend]] = {
        "memory": lambda: Backend(lambda name: InProcessBlobRepository(), text),
        "files": lambda: Backend(lambda name: FileRepository(directory(name), ".txt"), text),
        "s3": lambda: Backend(lambda name: S3BucketRepository(*s3("s3"), f"{name}/", ".txt"), text),
        "swift": lambda: Backend(lambda name: S3BucketRepository(*s3("swift"), f"{name}/", ".txt"), text),
        "layout": lambda: Backend(lambda name: layout(directory(name)), manifest),
        "fsspec-local": lambda: Backend(lambda name: FsspecRepository(directory(name).as_uri()), text),
        "fsspec-memory": lambda: Backend(lambda name: FsspecRepository(f"memory://{uuid.uuid4().hex}"), text),
        "values": lambda: Backend(lambda name: InProcessMetadataRepository(), record),
        "yaml": lambda: Backend(lambda name: YamlMetadataFileRepository(directory(name)), record),
        "yaml-s3": lambda: Backend(lambda name: YamlMetadataS3Repository(*s3("s3"), f"{name}/"), record),
    }
    if kind in made:
        yield made[kind]()
    elif kind == "registry":
        server = request.getfixturevalue("registry_server")
        async with registry_client(server) as client:
            yield Backend(lambda name: DockerRepository(client, server.domain, fresh_name(server)), manifest)
    else:
        async with fresh_database(request.getfixturevalue("mongo_server")) as database:
            if kind == "mongo":
                yield Backend(lambda name: MongoMetadataRepository(database, name), record)
            else:
                yield Backend(lambda name: MongoBlobRepository(database, name), text)


class Mirror(Repository):
    """A translator that is there for every job: its info is the job read backwards.

    :param base: holds the jobs, backwards.
    """

    def __init__(self, base: Repository) -> None:
        self.base = base

    async def unfiltered_iter(self) -> AsyncIterator[str]:
        for job in await self.base.keys():
            yield job[::-1]

    async def contains(self, job: str, /) -> bool:
        return await self.base.contains(job[::-1])

    async def info(self, job: str, /) -> str:
        return job[::-1]

    async def delete(self, job: str, /) -> None:
        raise AssertionError("nobody deletes a translation")
