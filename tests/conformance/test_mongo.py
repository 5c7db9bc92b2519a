"""Repositories in MongoDB do what every repository has to do: on one server, and on a replica set with passwords."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator, Sequence
from typing import Any, ClassVar

import pytest
from tests.servers.mongo import MongoServer, fresh_database

from pdtcli import MongoMetadataRepository
from pdtcli.repository.mongo_blob import MongoBlobRepository
from pdtcli.testing import BlobRepositorySuite, MetadataRepositorySuite


class OnOneServer:
    @pytest.fixture
    def server(self, mongo_server: MongoServer) -> MongoServer:
        return mongo_server


class OnAReplicaSet:
    secrets: ClassVar[Sequence[str]] = ("p@ss/word:%", "p%40ss")

    @pytest.fixture
    def server(self, mongo_replica_server: MongoServer) -> MongoServer:
        return mongo_replica_server


class Metadata(MetadataRepositorySuite):
    resolution = datetime.timedelta(milliseconds=1)

    @pytest.fixture
    async def repository(self, server: MongoServer) -> AsyncIterator[MongoMetadataRepository]:
        async with fresh_database(server) as database:
            await database["other"].insert_one({"_id": "job"})
            repository = MongoMetadataRepository(database, "jobs")
            await repository.validate()
            yield repository

    def raw_value(self, number: int) -> bytes:
        import bson

        return bson.encode(self.value(number))

    async def raw_put(self, repository: MongoMetadataRepository, name: str, data: bytes) -> None:
        import bson

        await repository.collection.insert_one({"_id": name, **bson.decode(data)})

    async def raw_get(self, repository: MongoMetadataRepository, job: str) -> bytes | None:
        import bson

        found: dict[str, Any] | None = await repository.collection.find_one({"_id": job}, {"_id": 0})
        return None if found is None else bson.encode(found)


class Blobs(BlobRepositorySuite):
    @pytest.fixture
    async def repository(self, server: MongoServer) -> AsyncIterator[MongoBlobRepository]:
        async with fresh_database(server) as database:
            self.database = database
            repository = MongoBlobRepository(database, "values")
            await repository.validate()
            yield repository

    @property
    def bucket(self) -> Any:
        from gridfs.asynchronous import AsyncGridFSBucket

        return AsyncGridFSBucket(self.database, "values")

    async def raw_get(self, repository: MongoBlobRepository, job: str) -> bytes | None:
        from gridfs.errors import NoFile

        try:
            reader = await self.bucket.open_download_stream_by_name(job)
        except NoFile:
            return None
        value = await reader.read()
        await reader.close()
        assert isinstance(value, bytes)
        return value

    async def raw_put(self, repository: MongoBlobRepository, name: str, data: bytes) -> None:
        await self.bucket.upload_from_stream(name, data)


class TestMetadata(OnOneServer, Metadata): ...


class TestMetadataOnAReplicaSet(OnAReplicaSet, Metadata): ...


class TestBlobs(OnOneServer, Blobs):
    large = 200 * 1024 * 1024


class TestBlobsOnAReplicaSet(OnAReplicaSet, Blobs):
    large = 9 * 1024 * 1024
