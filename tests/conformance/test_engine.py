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

DIFFERENT = 5
"""Images; each takes the engine a moment, and values that follow each other are told apart all the same."""


@pytest.fixture(scope="module")
def client(docker_engine: DockerEngine) -> Iterator[Any]:
    client = docker_engine.client()
    yield client
    client.close()


@pytest.fixture(scope="module")
def images(client: Any) -> Iterator[list[str]]:
    """The ids of images of one small file each."""
    name, ids = f"kept-{uuid.uuid4().hex[:12]}", []
    for number in range(DIFFERENT):
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w") as archive:
            entry = tarfile.TarInfo("number")
            entry.size = 1
            archive.addfile(entry, io.BytesIO(str(number).encode()))
        client.api.import_image_from_data(data.getvalue(), repository=name, tag=str(number))
        ids.append(str(client.api.inspect_image(f"{name}:{number}")["Id"]))
    yield ids
    for number in range(DIFFERENT):
        client.api.remove_image(f"{name}:{number}")


class TestTags(RepositorySuite):
    many = 20

    @pytest.fixture
    def repository(self, client: Any, images: list[str]) -> Iterator[LocalImageRepository]:
        self.client, self.images = client, images
        repository = LocalImageRepository(client, f"tests-{uuid.uuid4().hex[:12]}/images")
        yield repository
        for image in client.api.images(repository.repository):
            for name in image["RepoTags"]:
                if name.startswith(f"{repository.repository}:"):
                    client.api.remove_image(name)

    def _id(self, number: int) -> str:
        return self.images[number % DIFFERENT]

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
