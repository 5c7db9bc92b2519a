"""Repositories in this process do what every repository has to do."""

from __future__ import annotations

import pytest

from pdtcli import InProcessBlobRepository, InProcessMetadataRepository
from pdtcli.testing import BlobRepositorySuite, MetadataRepositorySuite


class TestBlobs(BlobRepositorySuite):
    large = 200 * 1024 * 1024

    @pytest.fixture
    def repository(self) -> InProcessBlobRepository:
        return InProcessBlobRepository()

    async def raw_get(self, repository: InProcessBlobRepository, job: str) -> bytes | None:
        return repository.data.get(job)

    async def raw_put(self, repository: InProcessBlobRepository, name: str, data: bytes) -> None:
        repository.data[name] = data


class TestMetadata(MetadataRepositorySuite):
    any_value = True

    @pytest.fixture
    def repository(self) -> InProcessMetadataRepository:
        return InProcessMetadataRepository()
