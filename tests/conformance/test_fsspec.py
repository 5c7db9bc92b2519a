"""Repositories in what fsspec opens do what every repository has to do."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.servers.ssh import SshServer

from pdtcli.repository.fsspec import FsspecRepository
from pdtcli.testing import BlobRepositorySuite

fsspec = pytest.importorskip("fsspec")


MIB = 1024 * 1024


class InADirectory(BlobRepositorySuite):
    """Looks at the files themselves."""

    @pytest.fixture(autouse=True)
    def directory(self, tmp_path: Path) -> Iterator[None]:
        self.path = tmp_path
        yield
        assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []

    async def raw_get(self, repository: FsspecRepository, job: str) -> bytes | None:
        path = self.path / f"{job}.bin"
        return path.read_bytes() if path.exists() else None

    async def raw_put(self, repository: FsspecRepository, name: str, data: bytes) -> None:
        (self.path / f"{name}.bin").write_bytes(data)


class TestLocal(InADirectory):
    large = 200 * MIB

    @pytest.fixture
    async def repository(self, tmp_path: Path) -> FsspecRepository:
        repository = FsspecRepository(tmp_path.as_uri(), ".bin")
        await repository.validate()
        return repository


class TestSftp(InADirectory):
    large = 9 * MIB
    many = 20

    @pytest.fixture
    async def repository(self, tmp_path: Path, ssh_server: SshServer) -> FsspecRepository:
        repository = FsspecRepository(ssh_server.url(tmp_path), ".bin", **ssh_server.options)
        await repository.validate()
        return repository


class TestMemory(BlobRepositorySuite):
    large = 200 * MIB

    @pytest.fixture
    async def repository(self) -> Any:
        self.directory = f"/{uuid.uuid4().hex}"
        repository = FsspecRepository(f"memory:/{self.directory}")
        await repository.validate()
        return repository

    @pytest.fixture(autouse=True)
    def forgotten(self) -> Iterator[None]:
        yield
        fs = fsspec.filesystem("memory")
        if fs.exists(self.directory):
            fs.rm(self.directory, recursive=True)

    async def raw_get(self, repository: FsspecRepository, job: str) -> bytes | None:
        fs = fsspec.filesystem("memory")
        path = f"{self.directory}/{job}"
        return bytes(fs.cat_file(path)) if fs.exists(path) else None

    async def raw_put(self, repository: FsspecRepository, name: str, data: bytes) -> None:
        fsspec.filesystem("memory").pipe_file(f"{self.directory}/{name}", data)
