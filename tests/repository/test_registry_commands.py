"""Images on the command line."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.cli.harness import Pdt
from tests.registry.images import fresh_name, push
from tests.servers.registry import RegistryServer

from pdtcli import DockerRepository, Registry
from pdtcli.registry.images import Manifest

PIPELINE = """
import pdtcli

session = pdtcli.Session()


@session.resource
async def registry():
    async with pdtcli.Registry(plain_http=True, timeout=5) as client:
        yield client


done = pdtcli.YamlMetadataFileRepository("done")
task = pdtcli.InProcessSyncTask("use", done)
task.link("image", pdtcli.DockerRepository(registry, "{domain}", "{name}"), is_input=True)


@task
async def _(job, image):
    print(image)


pipeline = pdtcli.Pipeline([task], session)
"""


@pytest.fixture
def name() -> str:
    return fresh_name()


@pytest.fixture
def pdt(tmp_path: Path, registry_server: RegistryServer, name: str) -> Pdt:
    (tmp_path / "done").mkdir()
    pdt = Pdt(tmp_path)
    pdt.write("pipeline.py", PIPELINE.format(domain=registry_server.domain, name=name))
    return pdt


@pytest.fixture
def manifest(registry_server: RegistryServer, name: str) -> Manifest:
    """Of an image that is there under the tag `one`."""

    async def work() -> Manifest:
        async with Registry(plain_http=True) as client:
            return await push(DockerRepository(client, registry_server.domain, name), "one")

    return asyncio.run(work())


def test_cat_gives_the_manifest(pdt: Pdt, manifest: Manifest) -> None:
    assert pdt("repo", "ls", "use.image").out == "one\n"
    assert pdt("repo", "cat", "use.image", "one").out == manifest.data.decode()
    pdt("repo", "cat", "use.image", "two", expect=3)


def test_put_gives_an_image_another_tag(pdt: Pdt, manifest: Manifest) -> None:
    pdt("repo", "put", "use.image", "two", input=manifest.data.decode())
    assert pdt("repo", "ls", "use.image").out == "one\ntwo\n"
    pdt("repo", "put", "use.image", "three", input="no manifest", expect=2)


def test_rm_removes_one_tag(pdt: Pdt, manifest: Manifest) -> None:
    pdt("repo", "put", "use.image", "two", input=manifest.data.decode())
    pdt("repo", "rm", "use.image", "one")
    assert pdt("repo", "ls", "use.image").out == "two\n"


def test_a_registry_that_cannot_be_reached_is_one_sentence(pdt: Pdt, name: str) -> None:
    pdt.write("pipeline.py", PIPELINE.format(domain="127.0.0.1:1", name=name))
    error = pdt("repo", "ls", "use.image", expect=5).err
    assert error == "pdt: 127.0.0.1:1 cannot be reached: Connection refused\n"
