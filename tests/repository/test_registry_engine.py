"""The images of a container engine as jobs, and their way to a registry and back."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.registry.images import fresh_name, put_blob
from tests.servers.docker import DockerEngine
from tests.servers.process import free_ports
from tests.servers.registry import RegistryServer

from pdtcli import (
    BackendError,
    DockerRepository,
    ImageLayoutRepository,
    InProcessBlobRepository,
    InvalidJobId,
    InvalidValue,
    JobNotFound,
    LocalImageRepository,
    Registry,
    Unsupported,
    UsageError,
    copy_image,
)
from pdtcli.registry.images import OCI_INDEX


@pytest.fixture
def engine(docker_engine: DockerEngine) -> Iterator[Any]:
    client = docker_engine.client()
    yield client
    client.close()


@pytest.fixture
def name() -> str:
    """Images that no other test has."""
    return f"local-{uuid.uuid4().hex[:12]}/images"


@pytest.fixture
def image(docker_engine: DockerEngine, engine: Any, name: str) -> str:
    """The id of an image that is there under the tag `one`."""
    return docker_engine.small_image(engine, name, "one")


@pytest.fixture
def local(engine: Any, name: str) -> LocalImageRepository:
    return LocalImageRepository(lambda: engine, name)


@pytest.fixture
async def remote(registry_server: RegistryServer) -> AsyncIterator[DockerRepository]:
    async with Registry(plain_http=True) as client:
        yield DockerRepository(client, registry_server.domain, fresh_name())


def names(engine: Any) -> set[str]:
    return {tag for image in engine.images.list() for tag in image.tags}


# ---- what a job is


async def test_a_tag_is_a_job(local: LocalImageRepository, image: str, name: str) -> None:
    assert await local.keys() == {"one"}
    assert await local.contains("one")
    assert not await local.contains("two")
    assert not await local.contains("../x")
    assert await local.info("one") == {"withdomain": f"{name}:one", "withoutdomain": f"{name}:one"}


async def test_images_of_other_names_are_no_jobs(
    local: LocalImageRepository, engine: Any, image: str, name: str
) -> None:
    engine.api.tag(image, f"{name}-more", "two")
    engine.api.tag(image, f"example.org:5000/{name}", "three")
    assert await local.keys() == {"one"}
    elsewhere = LocalImageRepository(engine, f"example.org:5000/{name}")
    assert await elsewhere.keys() == {"three"}
    info = {"withdomain": f"example.org:5000/{name}:three", "withoutdomain": f"{name}:three"}
    assert await elsewhere.info("three") == info


async def test_the_engine_s_home_registry_goes_unnamed(engine: Any, docker_engine: DockerEngine) -> None:
    short = f"home-{uuid.uuid4().hex[:12]}"
    docker_engine.small_image(engine, short, "one")
    for spelled in (short, f"docker.io/library/{short}", f"library/{short}"):
        assert await LocalImageRepository(engine, spelled).keys() == {"one"}


async def test_a_deleted_tag_leaves_others_and_a_delete_may_be_repeated(
    local: LocalImageRepository, image: str
) -> None:
    await local.tag_into("one", local, "two")
    await local.delete("one")
    await local.delete("one")
    assert await local.keys() == {"two"}
    await local.delete_many(["two", "three"])
    assert await local.keys() == set()


async def test_an_image_that_a_container_uses_stays(local: LocalImageRepository, engine: Any, image: str) -> None:
    container = engine.containers.create(image, ["/bin/busybox"], network_mode="none")
    try:
        await local.tag_into("one", local, "two")
        await local.delete("two")
        with pytest.raises(BackendError, match="container engine refuses: conflict"):
            await local.delete("one")
        assert await local.keys() == {"one"}
    finally:
        container.remove()


@pytest.mark.parametrize("job", ["", "..", "a/b", "-rf", "a\n", "x" * 64])
async def test_no_image_has_a_name_that_is_no_job_id(local: LocalImageRepository, image: str, job: str) -> None:
    with pytest.raises(InvalidJobId):
        await local.delete(job)
    with pytest.raises(InvalidJobId):
        await local.delete_many(["one", job])
    assert await local.keys() == {"one"}


# ---- to a registry and back


async def test_an_image_goes_to_a_registry_and_comes_back(
    local: LocalImageRepository, remote: DockerRepository, engine: Any, image: str
) -> None:
    await copy_image(local, "one", remote)
    assert await remote.keys() == {"one"}
    await local.delete("one")
    await copy_image(remote, "one", local, "two")
    assert await local.keys() == {"two"}
    assert engine.api.inspect_image((await local.info("two"))["withdomain"])["Id"] == image


async def test_no_other_names_are_left_in_the_engine(
    local: LocalImageRepository, remote: DockerRepository, engine: Any, image: str
) -> None:
    before = names(engine)
    await local.push("one", remote, "there")
    assert names(engine) == before
    await local.pull("two", remote, "there")
    assert names(engine) == before | {(await local.info("two"))["withdomain"]}


async def test_what_had_the_registry_s_name_before_has_it_after(
    local: LocalImageRepository, remote: DockerRepository, engine: Any, image: str, docker_engine: DockerEngine
) -> None:
    taken = f"{remote.domain}/{remote.repository}"
    other = docker_engine.small_image(engine, taken, "one")
    await local.push("one", remote)
    assert engine.api.inspect_image(f"{taken}:one")["Id"] == other


async def test_an_image_may_be_called_as_in_the_registry(
    remote: DockerRepository, engine: Any, docker_engine: DockerEngine
) -> None:
    local = LocalImageRepository(engine, f"{remote.domain}/{remote.repository}")
    docker_engine.small_image(engine, f"{remote.domain}/{remote.repository}", "one")
    await local.push("one", remote)
    assert await local.keys() == {"one"}
    await local.delete("one")
    await local.pull("one", remote)
    assert await local.keys() == {"one"}


async def test_credentials_go_with_the_image(
    local: LocalImageRepository, registry_auth_server: RegistryServer, image: str
) -> None:
    server = registry_auth_server
    async with Registry({server.domain: (server.user or "", server.password or "")}, plain_http=True) as client:
        remote = DockerRepository(client, server.domain, fresh_name())
        await local.push("one", remote)
        await local.pull("two", remote, "one")
    assert await local.keys() == {"one", "two"}
    async with Registry({server.domain: ("pdt", "hunter2")}, plain_http=True) as client:
        with pytest.raises(BackendError, match="cannot push") as caught:
            await local.push("one", DockerRepository(client, server.domain, remote.repository))
    assert "hunter2" not in str(caught.value)


async def test_within_an_engine_a_copy_is_another_tag(
    local: LocalImageRepository, engine: Any, image: str, name: str
) -> None:
    other = LocalImageRepository(engine, f"{name}-other")
    await copy_image(local, "one", other, "two")
    assert await other.keys() == {"two"}


async def test_an_image_that_is_not_there_is_told(local: LocalImageRepository, remote: DockerRepository) -> None:
    for copy in (copy_image(local, "x", remote), copy_image(remote, "x", local), copy_image(local, "x", local, "y")):
        with pytest.raises(JobNotFound, match="does not hold x"):
            await copy


# ---- to a layout and back


@pytest.fixture
def layout(tmp_path: Path) -> ImageLayoutRepository:
    return ImageLayoutRepository(tmp_path / "layout")


async def test_an_image_goes_to_a_layout_and_comes_back(
    local: LocalImageRepository, layout: ImageLayoutRepository, engine: Any, image: str
) -> None:
    copied = await copy_image(local, "one", layout, "two")
    manifest = await layout.manifest("two")
    config, *layers = manifest.blobs
    assert config.digest == image
    assert (copied.sent, copied.size) == (1 + len(layers), sum(part.size for part in manifest.blobs))
    for part in manifest.blobs:
        async with await layout.store().open_blob(part) as reader:
            while await reader.read(65536):
                pass
    await local.delete("one")
    await copy_image(layout, "two", local, "three")
    assert await local.keys() == {"three"}
    assert engine.api.inspect_image((await local.info("three"))["withdomain"])["Id"] == image


async def test_by_way_of_a_registry_and_a_layout_it_stays_the_same(
    local: LocalImageRepository, layout: ImageLayoutRepository, remote: DockerRepository, engine: Any, image: str
) -> None:
    await copy_image(local, "one", remote)
    await copy_image(remote, "one", layout)  # its layer is compressed now
    await copy_image(layout, "one", local, "two")
    assert engine.api.inspect_image((await local.info("two"))["withdomain"])["Id"] == image


async def test_of_an_index_the_engine_takes_its_own_platform(
    local: LocalImageRepository, layout: ImageLayoutRepository, image: str
) -> None:
    await copy_image(local, "one", layout)
    manifest = await layout.manifest("one")
    described = {"mediaType": manifest.media_type, "digest": manifest.digest, "size": len(manifest.data)}
    absent = {**described, "digest": "sha256:" + "0" * 64, "platform": {"os": "plan9", "architecture": "mips"}}
    own = {**described, "platform": await local.platform()}
    for job, entries in (("all", [absent, own]), ("other", [absent])):
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
        await layout.write_bytes(job, json.dumps(index).encode())
    await copy_image(layout, "all", local)
    assert await local.keys() == {"one", "all"}
    with pytest.raises(InvalidValue, match=r"other platforms than linux/"):
        await copy_image(layout, "other", local)


async def test_what_is_no_image_is_not_loaded(local: LocalImageRepository, layout: ImageLayoutRepository) -> None:
    await layout.write_bytes("none", b'{"schemaVersion": 2}')
    with pytest.raises(InvalidValue, match="this is no image"):
        await copy_image(layout, "none", local)
    part = await put_blob(layout.store(), b"{}")
    content = {"schemaVersion": 2, "config": part, "layers": [part]}
    await layout.write_bytes("broken", json.dumps(content).encode())
    with pytest.raises(BackendError, match=r"container engine (cannot load the image|refuses)"):
        await copy_image(layout, "broken", local)
    assert await local.keys() == set()
    with pytest.raises(JobNotFound):
        await copy_image(local, "absent", layout)
    assert await layout.keys() == {"none", "broken"}


async def test_an_engine_trades_nothing_but_images(local: LocalImageRepository) -> None:
    for source, target in ((local, InProcessBlobRepository()), (InProcessBlobRepository(), local)):
        with pytest.raises(Unsupported, match="InProcessBlobRepository> does not hold images"):
            await copy_image(source, "one", target)


# ---- without an engine


async def test_an_engine_that_is_not_there_is_told() -> None:
    import docker

    # Not a socket in a directory: the SDK does not close one that does not connect.
    client = docker.DockerClient(base_url=f"tcp://127.0.0.1:{free_ports(1)[0]}", version="1.41")
    with pytest.raises(BackendError, match=r"container engine at .* cannot be reached") as caught:
        await LocalImageRepository(client, "x").keys()
    assert "\n" not in str(caught.value)
    client.close()


@pytest.mark.parametrize("name", ["", "A", "a:b", "host:port/x", "user:pass@host/x", "../x"])
def test_an_image_s_name_follows_the_specification(name: str) -> None:
    with pytest.raises(UsageError):
        LocalImageRepository(None, name)
