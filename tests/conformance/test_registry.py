"""Tags in a registry do what every repository has to do, with manifests for values."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncIterator
from urllib.parse import quote

import pytest
from tests.conformance.images import MANIFEST, ask, fresh_name, manifest, registry_client
from tests.servers.registry import RegistryServer

from pdtcli.repository.registry import DockerRepository
from pdtcli.testing import BlobRepositorySuite


class Tags(BlobRepositorySuite):
    any_bytes = False
    many = 20
    secrets = ("p@ss/word:%", b64encode(b"pdt:p@ss/word:%").decode())

    def value(self, number: int) -> bytes:
        return manifest(number)

    @pytest.fixture
    async def repository(self, server: RegistryServer) -> AsyncIterator[DockerRepository]:
        self.asked = server
        self.name = fresh_name(server)
        async with registry_client(server) as registry:
            repository = DockerRepository(registry, server.domain, self.name)
            await repository.validate()
            yield repository

    async def raw_get(self, repository: DockerRepository, job: str) -> bytes | None:
        status, data = ask(self.asked, "GET", f"/v2/{self.name}/manifests/{job}", Accept=MANIFEST)
        return data if status == 200 else None

    async def raw_put(self, repository: DockerRepository, name: str, data: bytes) -> None:
        if ask(self.asked, "PUT", f"/v2/{self.name}/manifests/{quote(name)}", data, Content_Type=MANIFEST)[0] != 201:
            raise ValueError(f"{name!r} is no tag")


class TestTags(Tags):
    @pytest.fixture
    def server(self, registry_server: RegistryServer) -> RegistryServer:
        return registry_server


class TestTagsBehindAPassword(Tags):
    @pytest.fixture
    def server(self, registry_auth_server: RegistryServer) -> RegistryServer:
        return registry_auth_server


class TestTagsBehindTls(Tags):
    @pytest.fixture
    def server(self, registry_tls_server: RegistryServer) -> RegistryServer:
        return registry_tls_server
