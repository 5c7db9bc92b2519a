"""Repositories in buckets do what every repository has to do, on servers of different making."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import pytest

from pdtcli import S3BucketRepository, YamlMetadataS3Repository
from pdtcli.repository import yaml
from pdtcli.testing import BlobRepositorySuite, MetadataRepositorySuite


class InBuckets:
    """Looks at the objects with a client of its own."""

    secrets: ClassVar[Sequence[str]] = ("testing",)

    @pytest.fixture(autouse=True)
    def bare(self, client: Any) -> None:
        self.client = client

    async def raw_get(self, repository: Any, job: str) -> bytes | None:
        try:
            found = self.client.get_object(Bucket=repository.bucket, Key=repository.prefix + job + repository.suffix)
        except self.client.exceptions.NoSuchKey:
            return None
        value = found["Body"].read()
        assert isinstance(value, bytes)
        return value

    async def raw_put(self, repository: Any, name: str, data: bytes) -> None:
        key = repository.prefix + name + repository.suffix
        self.client.put_object(Bucket=repository.bucket, Key=key, Body=data)


class OnMinistack(InBuckets):
    @pytest.fixture
    def client(self, s3_client: Any) -> Any:
        return s3_client

    @pytest.fixture
    def bucket(self, s3_bucket: str) -> str:
        return s3_bucket


class OnSwift(InBuckets):
    @pytest.fixture
    def client(self, swift_client: Any) -> Any:
        return swift_client

    @pytest.fixture
    def bucket(self, swift_bucket: str) -> str:
        return swift_bucket


class Blobs(BlobRepositorySuite):
    @pytest.fixture
    async def repository(self, client: Any, bucket: str) -> S3BucketRepository:
        # Neighbours that are not part of it.
        for key in ("other/job.bin", "jobs/job", "jobs/job.binx", "jobs/deeper/job.bin", "job.bin", "jobsjob.bin"):
            client.put_object(Bucket=bucket, Key=key, Body=b"not this")
        repository = S3BucketRepository(client, bucket, "jobs/", ".bin")
        await repository.validate()
        return repository


class Metadata(MetadataRepositorySuite):
    def raw_value(self, number: int) -> bytes:
        return yaml.dump(self.value(number))

    @pytest.fixture
    async def repository(self, client: Any, bucket: str) -> YamlMetadataS3Repository:
        repository = YamlMetadataS3Repository(client, bucket, "jobs/")
        await repository.validate()
        return repository


class TestBlobsOnMinistack(OnMinistack, Blobs): ...


class TestBlobsOnSwift(OnSwift, Blobs): ...


class TestMetadataOnMinistack(OnMinistack, Metadata): ...


class TestMetadataOnSwift(OnSwift, Metadata):
    claims = False  # of several who create an object at the same moment, it tells more than one that they did


class TestMetadataOnSwiftFromOneHost(OnSwift, Metadata):
    """A lock on this machine decides who claims a job."""

    @pytest.fixture
    async def repository(self, client: Any, bucket: str) -> YamlMetadataS3Repository:
        repository = YamlMetadataS3Repository(client, bucket, "jobs/", single_host=True)
        await repository.validate()
        return repository
