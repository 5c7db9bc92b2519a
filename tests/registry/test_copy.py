"""Images on their way between registries, layouts and engines."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import resource
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from tests.registry.images import fresh_name, image, push, push_index
from tests.servers.proxy import Fault, Proxy, response
from tests.servers.registry import RegistryServer

from pdtcli import (
    BackendError,
    DockerRepository,
    ImageLayoutRepository,
    InProcessBlobRepository,
    InvalidJobId,
    InvalidValue,
    JobNotFound,
    Registry,
    Repository,
    Unsupported,
    copy_image,
)
from pdtcli.registry.copy import can_copy
from pdtcli.registry.images import Descriptor


@pytest.fixture
async def client() -> AsyncIterator[Registry]:
    async with Registry(plain_http=True, timeout=10) as client:
        yield client


@pytest.fixture
def source(client: Registry, registry_server: RegistryServer) -> DockerRepository:
    return DockerRepository(client, registry_server.domain, fresh_name())


@pytest.fixture
def other(client: Registry, registry_other_server: RegistryServer) -> DockerRepository:
    """In another registry."""
    return DockerRepository(client, registry_other_server.domain, fresh_name())


@pytest.fixture
def neighbour(client: Registry, registry_server: RegistryServer) -> DockerRepository:
    """In the same registry."""
    return DockerRepository(client, registry_server.domain, fresh_name())


@pytest.fixture
def layout(tmp_path: Path) -> ImageLayoutRepository:
    return ImageLayoutRepository(tmp_path / "layout")


async def blobs_of(repository: DockerRepository | ImageLayoutRepository, job: str) -> list[bytes]:
    """The blobs of an image, in order."""
    found = []
    for part in (await repository.manifest(job)).blobs:
        async with await repository.store().open_blob(part) as reader:
            found.append(await reader.read())
    return found


# ---- between registries


async def test_an_image_arrives_with_all_its_parts(source: DockerRepository, other: DockerRepository) -> None:
    manifest = await push(source, "one", b"first", b"second", b"")
    copied = await copy_image(source, "one", other)
    assert await other.keys() == {"one"}
    assert await other.read_bytes("one") == manifest.data
    assert await blobs_of(other, "one") == await blobs_of(source, "one")
    assert (copied.manifests, copied.sent + copied.spared) == (1, 4)


async def test_it_may_be_called_otherwise_there(source: DockerRepository, other: DockerRepository) -> None:
    await push(source, "one")
    await copy_image(source, "one", other, "two")
    await copy_image(source, "one", source, "alias")
    assert (await other.keys(), await source.keys()) == ({"two"}, {"one", "alias"})


async def test_what_is_there_is_not_sent_again(source: DockerRepository, other: DockerRepository) -> None:
    data = os.urandom(1000)
    await push(source, "one", data)
    first = await copy_image(source, "one", other)
    again = await copy_image(source, "one", other)
    assert first.size >= 1000
    assert (again.sent, again.spared, again.size) == (0, 2, 0)


async def test_within_a_registry_blobs_are_mounted(source: DockerRepository, neighbour: DockerRepository) -> None:
    await push(source, "one", os.urandom(1000), os.urandom(1000))
    copied = await copy_image(source, "one", neighbour)
    assert (copied.sent, copied.spared) == (0, 3)
    assert await blobs_of(neighbour, "one") == await blobs_of(source, "one")


async def test_an_index_arrives_with_the_images_of_all_platforms(
    source: DockerRepository, other: DockerRepository
) -> None:
    one = await image(source.store(), b"amd64", b"shared")
    two = await image(source.store(), b"arm64", b"shared")
    index = await push_index(source, "all", one, two)
    copied = await copy_image(source, "all", other)
    assert await other.read_bytes("all") == index.data
    assert await other.keys() == {"all"}
    for manifest in (one, two):
        assert await other.store().get_manifest(manifest.digest) == manifest
    assert copied.manifests == 3


async def test_a_job_that_is_not_there_is_not_copied(source: DockerRepository, other: DockerRepository) -> None:
    with pytest.raises(JobNotFound, match="does not hold one"):
        await copy_image(source, "one", other)
    with pytest.raises(InvalidJobId):
        await copy_image(source, "one", other, "../two")
    assert await other.keys() == set()


async def test_other_repositories_are_none_of_its_business(source: DockerRepository) -> None:
    assert not can_copy(source, InProcessBlobRepository())
    assert can_copy(source, source)
    with pytest.raises(Unsupported, match="InProcessBlobRepository> does not hold images"):
        await copy_image(InProcessBlobRepository(), "one", source)


# ---- on a bad day


@pytest.fixture
def proxied(
    client: Registry, source: DockerRepository, registry_server: RegistryServer, proxy_to: Callable[[int], Proxy]
) -> tuple[DockerRepository, Proxy]:
    proxy = proxy_to(registry_server.port)
    return DockerRepository(client, f"127.0.0.1:{proxy.port}", source.repository), proxy


BIG = 3 * 1024 * 1024


@pytest.mark.parametrize(
    "fault",
    [
        Fault("reset", after=BIG // 2),
        Fault("close", after=BIG // 2),
        Fault("answer", data=response("503 Service Unavailable")),
        Fault("answer", data=response("429 Too Many Requests", Retry_After="0")),
    ],
    ids=lambda fault: f"{fault.kind} {fault.data[9:12].decode()}",
)
async def test_a_blob_is_read_on_after_a_passing_failure(
    source: DockerRepository, layout: ImageLayoutRepository, proxied: tuple[DockerRepository, Proxy], fault: Fault
) -> None:
    through, proxy = proxied
    data = os.urandom(BIG)
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    await push(source, "one", data)
    proxy.inject(fault, times=2, matching=rb"^GET [^ ]*blobs/" + digest.encode())
    await copy_image(through, "one", layout)
    assert proxy.faults == 2
    assert data in await blobs_of(layout, "one")


@pytest.mark.parametrize(
    "fault",
    [
        Fault("reset", after=BIG // 2, of="request"),
        Fault("answer", after=BIG // 2, of="request", data=response("500 Internal Server Error")),
    ],
    ids=lambda fault: str(fault.kind),
)
async def test_a_blob_is_sent_again_after_a_passing_failure(
    other: DockerRepository,
    client: Registry,
    registry_other_server: RegistryServer,
    source: DockerRepository,
    proxy_to: Callable[[int], Proxy],
    fault: Fault,
) -> None:
    proxy = proxy_to(registry_other_server.port)
    target = DockerRepository(client, f"127.0.0.1:{proxy.port}", other.repository)
    manifest = await push(source, "one", os.urandom(BIG))
    proxy.inject(fault, matching=rb"^PUT [^ ]*blobs/uploads")
    await copy_image(source, "one", target)
    assert proxy.faults == 1
    assert await other.read_bytes("one") == manifest.data
    assert await blobs_of(other, "one") == await blobs_of(source, "one")


async def test_a_registry_that_stays_broken_is_given_up_and_no_tag_appears(
    other: DockerRepository, source: DockerRepository, proxied: tuple[DockerRepository, Proxy]
) -> None:
    through, proxy = proxied
    await push(source, "one", os.urandom(BIG))
    proxy.inject(Fault("close", after=1000), times=1000, matching=rb"^GET [^ ]*blobs/")
    with pytest.raises(BackendError, match="cannot be reached"):
        await copy_image(through, "one", other)
    assert await other.keys() == set()


async def test_a_registry_that_falls_silent_is_given_up_in_time(
    source: DockerRepository,
    layout: ImageLayoutRepository,
    registry_server: RegistryServer,
    proxy_to: Callable[[int], Proxy],
) -> None:
    proxy = proxy_to(registry_server.port)
    layer = (await push(source, "one", os.urandom(BIG))).blobs[1].digest.encode()
    proxy.inject(Fault("hang", after=BIG // 2), matching=rb"^GET [^ ]*blobs/" + layer)
    async with Registry(plain_http=True, timeout=1) as client:
        through = DockerRepository(client, f"127.0.0.1:{proxy.port}", source.repository)
        with pytest.raises(BackendError, match=r"did not answer within 1 s"):
            await copy_image(through, "one", layout)
    assert await layout.keys() == set()


async def test_a_damaged_blob_is_never_stored(source: DockerRepository, layout: ImageLayoutRepository) -> None:
    await push(source, "one", b"right")
    await copy_image(source, "one", layout)
    (path,) = (path for path in layout.dir.glob("blobs/sha256/*") if path.read_bytes() == b"right")
    path.write_bytes(b"wrong")
    target = DockerRepository(source.registry, source.domain, fresh_name())
    with pytest.raises(BackendError, match=r"blob sha256:\w+ is damaged"):
        await copy_image(layout, "one", target)
    assert await target.keys() == set()


async def test_a_copy_that_is_cancelled_leaves_no_tag(
    source: DockerRepository, layout: ImageLayoutRepository, proxied: tuple[DockerRepository, Proxy]
) -> None:
    through, proxy = proxied
    await push(source, "one", os.urandom(BIG))
    proxy.inject(Fault("hang", after=1000), matching=rb"^GET [^ ]*blobs/")
    task = asyncio.create_task(copy_image(through, "one", layout))
    while not proxy.faults:
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await layout.keys() == set()
    assert not [path for path in layout.dir.rglob("*") if path.name.startswith(".pdt")]


async def test_an_image_of_the_first_schema_is_refused(layout: ImageLayoutRepository, source: DockerRepository) -> None:
    await layout.write_bytes("old", b'{"schemaVersion": 1, "fsLayers": []}')
    with pytest.raises(InvalidValue, match="old schema 1"):
        await copy_image(layout, "old", source)


# ---- layouts


async def test_an_image_comes_back_from_a_layout(
    source: DockerRepository, layout: ImageLayoutRepository, other: DockerRepository
) -> None:
    index = await push_index(source, "all", await image(source.store(), b"x" * 100_000), await image(source.store()))
    await copy_image(source, "all", layout)
    await copy_image(source, "all", layout, "again")
    assert await layout.keys() == {"all", "again"}
    await copy_image(layout, "all", other)
    assert await other.read_bytes("all") == index.data


async def test_a_layout_is_as_its_specification_says(source: DockerRepository, layout: ImageLayoutRepository) -> None:
    manifest = await push(source, "one", b"layer")
    await copy_image(source, "one", layout)
    assert json.loads((layout.dir / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    index = json.loads((layout.dir / "index.json").read_text())
    assert index["manifests"] == [
        {
            "mediaType": manifest.media_type,
            "digest": manifest.digest,
            "size": len(manifest.data),
            "annotations": {"org.opencontainers.image.ref.name": "one"},
        }
    ]
    for path in layout.dir.glob("blobs/sha256/*"):
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name


async def test_a_tag_of_a_layout_is_a_job(source: DockerRepository, layout: ImageLayoutRepository) -> None:
    assert await layout.keys() == set()
    await layout.delete("one")
    assert not layout.dir.exists()
    manifest = await push(source, "one")
    for job in ("one", "two", "three"):
        await copy_image(source, "one", layout, job)
    assert await layout.contains("two")
    assert not await layout.contains("four")
    assert await layout.info("two") == f"oci:{layout.dir}:two"
    assert await layout.read_bytes("two") == manifest.data
    await layout.delete_many(["one", "two", "four"])
    assert await layout.keys() == {"three"}
    assert await layout.read_bytes("three") == manifest.data
    with pytest.raises(JobNotFound):
        await layout.read_bytes("two")


async def test_many_writers_of_a_layout_lose_nothing(source: DockerRepository, layout: ImageLayoutRepository) -> None:
    await push(source, "one")
    await asyncio.gather(*(copy_image(source, "one", layout, f"job-{number}") for number in range(20)))
    assert len(await layout.keys()) == 20


@pytest.mark.parametrize("text", ["", "[]", '{"manifests": [1]}', "{"])
async def test_a_damaged_layout_is_told(layout: ImageLayoutRepository, text: str) -> None:
    layout.dir.mkdir()
    (layout.dir / "index.json").write_text(text)
    with pytest.raises(BackendError, match=r"index\.json is damaged"):
        await layout.keys()


async def test_no_path_is_built_from_what_is_no_digest(layout: ImageLayoutRepository, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("{}")
    with pytest.raises(InvalidValue, match="no sha256 or sha512 digest"):
        await layout.store().open_blob(Descriptor("sha256:../../../secret", 2))


# ---- memory


async def test_a_large_blob_passes_in_bounded_memory(
    source: DockerRepository, other: DockerRepository, layout: ImageLayoutRepository
) -> None:
    size = 192 * 1024 * 1024
    await push(source, "small")
    piece = os.urandom(1024 * 1024)
    layer = tmp = layout.dir.parent / "large"
    digest = hashlib.sha256()
    with open(tmp, "wb") as file:
        for _ in range(size // len(piece)):
            file.write(piece)
            digest.update(piece)
    part = Descriptor("sha256:" + digest.hexdigest(), size)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    async def open_layer() -> object:
        from pdtcli.repository.files import FileReader

        return FileReader(open(layer, "rb", buffering=0))

    await source.store().put_blob(part, open_layer, layout.store())  # type: ignore[arg-type]
    await other.store().put_blob(part, lambda: source.store().open_blob(part), source.store())
    assert await other.store().has_blob(part)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 48 * 1024


def test_repositories_of_images_are_repositories(layout: ImageLayoutRepository) -> None:
    assert isinstance(layout, Repository)
    assert repr(layout) == f"<ImageLayoutRepository {layout.dir}>"
