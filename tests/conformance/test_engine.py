"""The images of a container engine do what every repository has to do; they have no bytes of their own."""

from __future__ import annotations

import io
import tarfile
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from tests.servers.docker import DockerEngine

from pdtcli import LocalImageRepository
from pdtcli.testing import RepositorySuite


def import_image(client: Any, repository: str, number: int) -> str:
    """Import an image of one small file, unlike those of other numbers; its id."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        entry = tarfile.TarInfo("number")
        entry.size = len(str(number))
        archive.addfile(entry, io.BytesIO(str(number).encode()))
    client.api.import_image_from_data(data.getvalue(), repository=repository, tag=f"number-{number}")
    return str(client.api.inspect_image(f"{repository}:number-{number}")["Id"])


class TestTags(RepositorySuite):
    many = 20

    @pytest.fixture
    def repository(self, docker_engine: DockerEngine) -> Iterator[LocalImageRepository]:
        self.client = docker_engine.client()
        self.kept = f"kept-{uuid.uuid4().hex[:12]}"
        self.ids: dict[int, str] = {}
        repository = LocalImageRepository(self.client, f"tests-{uuid.uuid4().hex[:12]}/images")
        yield repository
        for image in self.client.images.list():
            for name in image.tags:
                if name.startswith((f"{self.kept}:", f"{repository.repository}:")):
                    self.client.api.remove_image(name)
        self.client.close()

    def _id(self, number: int) -> str:
        if number not in self.ids:
            self.ids[number] = import_image(self.client, self.kept, number)
        return self.ids[number]

    def raw_value(self, number: int) -> bytes:
        return self._id(number).encode()

    async def put(self, repository: LocalImageRepository, job: str, number: int) -> None:
        self.client.api.tag(self._id(number), repository.repository, job)

    async def check(self, repository: LocalImageRepository, job: str, number: int) -> None:
        assert await self.raw_get(repository, job) == self.raw_value(number)

    async def raw_get(self, repository: LocalImageRepository, job: str) -> bytes | None:
        import docker

        try:
            return str(self.client.api.inspect_image(f"{repository.repository}:{job}")["Id"]).encode()
        except docker.errors.ImageNotFound:
            return None

    async def raw_put(self, repository: LocalImageRepository, name: str, data: bytes) -> None:
        import docker

        try:
            self.client.api.tag(data.decode(), repository.repository, name)
        except docker.errors.APIError as error:
            raise ValueError(f"{name!r} is no tag") from error
