"""The tags of a registry's repository as jobs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.refused import refuses_the_name
from tests.registry.images import fresh_name, image, push, push_index
from tests.servers.proxy import Fault, Proxy, response
from tests.servers.registry import RegistryServer

from pdtcli import (
    AggregateAndRepository,
    BackendError,
    DockerRepository,
    InProcessMetadataRepository,
    InvalidValue,
    JobNotFound,
    PdtError,
    Registry,
    RelatedItemRepository,
    Session,
    Unsupported,
    UsageError,
)


@pytest.fixture
async def registry() -> AsyncIterator[Registry]:
    async with Registry(plain_http=True, timeout=10) as client:
        yield client


@pytest.fixture
def repository(registry: Registry, registry_server: RegistryServer) -> DockerRepository:
    return DockerRepository(lambda: registry, registry_server.domain, fresh_name())


# ---- what a job is


async def test_a_tag_is_a_job(repository: DockerRepository) -> None:
    assert await repository.keys() == set()
    await push(repository, "one")
    await push(repository, "v1.2_x-Y")
    assert await repository.keys() == {"one", "v1.2_x-Y"}
    assert sorted([job async for job in repository]) == ["one", "v1.2_x-Y"]
    assert await repository.contains("one")
    assert not await repository.contains("two")
    assert not await repository.contains("../x")
    assert await repository.among(["one", "two", "../x"]) == {"one"}
    assert await repository.among([*"abcdefghijkl", "one"]) == {"one"}


async def test_info_gives_the_image_s_name_with_and_without_the_domain(
    repository: DockerRepository, registry_server: RegistryServer
) -> None:
    name = repository.repository
    expected = {"withdomain": f"{registry_server.domain}/{name}:bar", "withoutdomain": f"{name}:bar"}
    assert await repository.info("bar") == expected
    assert await repository.info_all() == {}
    await push(repository, "bar")
    assert await repository.info_all() == {"bar": expected}


async def test_tags_that_are_no_job_ids_are_skipped(
    repository: DockerRepository, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = await push(repository, "good")
    await repository.store().put_manifest(manifest, "_private")
    assert await repository.keys() == {"good"}
    assert "skipped 1 name that is not a valid job id: '_private'" in caplog.text


async def test_all_pages_of_a_listing_count(
    repository: DockerRepository, registry: Registry, registry_server: RegistryServer, proxy_to: Callable[[int], Proxy]
) -> None:
    # The real registry of this version has no pages, so the first ones are spoken in its place.
    proxy = proxy_to(registry_server.port)
    paged = DockerRepository(registry, f"127.0.0.1:{proxy.port}", repository.repository)
    await push(repository, "last")
    path = f"/v2/{repository.repository}/tags/list"
    first = response("200 OK", '{"tags": ["a", "b"]}', Link=f'<{path}?n=1000&last=b>; rel="next"')
    second = response("200 OK", '{"tags": null}', Link=f"<{paged.registry.url(paged.domain, path)}?last=c>; rel=next")
    proxy.inject(Fault("answer", data=first))
    proxy.inject(Fault("answer", data=second), matching=rb"^GET [^ ]*last=b")
    assert await paged.keys() == {"a", "b", "last"}


async def test_a_listing_that_goes_in_a_circle_ends(
    repository: DockerRepository, registry: Registry, registry_server: RegistryServer, proxy_to: Callable[[int], Proxy]
) -> None:
    proxy = proxy_to(registry_server.port)
    looping = DockerRepository(registry, f"127.0.0.1:{proxy.port}", repository.repository)
    link = f'<http://127.0.0.1:{proxy.port}/v2/x/tags/list?last=b>; rel="next"'
    proxy.inject(Fault("answer", data=response("200 OK", '{"tags": ["b"]}', Link=link)), times=9)
    with pytest.raises(BackendError, match="in a circle"):
        await looping.keys()


# ---- delete


async def test_a_deleted_tag_leaves_those_that_share_its_manifest(repository: DockerRepository) -> None:
    manifest = await push(repository, "one")
    await repository.store().put_manifest(manifest, "two")
    await repository.delete("one")
    assert await repository.keys() == {"two"}
    assert await repository.read_bytes("two") == manifest.data


async def test_a_delete_may_be_repeated(repository: DockerRepository) -> None:
    await repository.delete("never")
    await push(repository, "one")
    await repository.delete("one")
    await repository.delete("one")
    assert await repository.keys() == set()
    await push(repository, "one")
    assert await repository.keys() == {"one"}


async def test_many_are_deleted_and_the_others_stay(repository: DockerRepository) -> None:
    manifest = await push(repository, "a")
    for job in "bcd":
        await repository.store().put_manifest(manifest, job)
    await repository.delete_many(["a", "b", "zzz"])
    assert await repository.keys() == {"c", "d"}


async def test_a_registry_that_forbids_deletes_says_so_and_keeps_the_image(
    registry: Registry, registry_keep_server: RegistryServer
) -> None:
    repository = DockerRepository(registry, registry_keep_server.domain, fresh_name())
    await repository.delete("never")
    manifest = await push(repository, "one")
    with pytest.raises(Unsupported, match=r"does not remove one: .* is set up without deletes"):
        await repository.delete("one")
    assert await repository.read_bytes("one") == manifest.data


async def test_a_delete_that_fails_half_way_puts_the_image_back(
    repository: DockerRepository, registry: Registry, registry_server: RegistryServer, proxy_to: Callable[[int], Proxy]
) -> None:
    proxy = proxy_to(registry_server.port)
    through = DockerRepository(registry, f"127.0.0.1:{proxy.port}", repository.repository)
    manifest = await push(repository, "one")
    no = Fault("answer", data=response("403 Forbidden", '{"errors": [{"code": "DENIED"}]}'))
    proxy.inject(no, matching=rb"^DELETE [^ ]*sha256:(?!0000)")
    with pytest.raises(BackendError, match="does not let these credentials remove one"):
        await through.delete("one")
    assert await repository.read_bytes("one") == manifest.data


async def test_a_delete_that_is_cancelled_in_the_middle_is_finished(
    repository: DockerRepository, registry: Registry, registry_server: RegistryServer, proxy_to: Callable[[int], Proxy]
) -> None:
    proxy = proxy_to(registry_server.port)
    through = DockerRepository(registry, f"127.0.0.1:{proxy.port}", repository.repository)
    await push(repository, "one")
    proxy.inject(Fault("delay", seconds=0.3), matching=rb"^PUT [^ ]*manifests/one")
    task = asyncio.create_task(through.delete("one"))
    while not proxy.faults:
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await repository.keys() == set()


async def test_a_tag_on_nothing_can_be_deleted(registry_server: RegistryServer, repository: DockerRepository) -> None:
    await push(repository, "kept")
    await push(repository, "dangling", b"another image")
    manifest = await repository.store().get_manifest("dangling")
    assert registry_server.data is not None
    assert manifest is not None
    kept = registry_server.data / "docker/registry/v2/repositories" / repository.repository / "_manifests"
    (kept / "revisions/sha256" / manifest.digest.partition(":")[2] / "link").unlink()
    assert await repository.store().get_manifest("dangling") is None
    assert await repository.keys() == {"dangling", "kept"}

    await repository.delete_many(["dangling"])

    assert await repository.keys() == {"kept"}
    assert await repository.contains("kept")


async def test_what_a_killed_delete_left_is_no_image(repository: DockerRepository) -> None:
    manifest = await image(repository.store())
    content = manifest.content | {"annotations": {"pdt.removed": "x"}}
    await repository.write_bytes("one", json.dumps(content).encode())
    with pytest.raises(JobNotFound):
        await repository.read_bytes("one")
    await repository.delete("one")
    assert await repository.keys() == set()


# ---- values


async def test_the_value_is_the_manifest_byte_for_byte(repository: DockerRepository) -> None:
    manifest = await push(repository, "one", b"x" * 10)
    assert await repository.read_bytes("one") == manifest.data
    async with await repository.open("one", "r") as reader:
        assert json.loads(await reader.read())["layers"][0]["size"] == 10
    index = await push_index(repository, "many", manifest)
    assert await repository.read_bytes("many") == index.data


@pytest.mark.parametrize("mode", ["r", "rb"])
async def test_a_job_that_is_not_here_cannot_be_read(repository: DockerRepository, mode: Any) -> None:
    with pytest.raises(JobNotFound, match="does not hold job"):
        await repository.open("job", mode)


async def test_a_manifest_is_stored_where_its_parts_are(repository: DockerRepository) -> None:
    manifest = await push(repository, "one")
    await repository.write_bytes("two", manifest.data)
    assert await repository.keys() == {"one", "two"}


@pytest.mark.parametrize("value", [b"", b"no json", b"[1]", b'{"schemaVersion": 2}', b"\xff"])
async def test_what_is_no_manifest_is_refused(repository: DockerRepository, value: bytes) -> None:
    await push(repository, "one")
    with pytest.raises(InvalidValue):
        await repository.write_bytes("two", value)
    assert await repository.keys() == {"one"}


async def test_a_manifest_whose_parts_are_elsewhere_is_refused(
    repository: DockerRepository, registry: Registry, registry_server: RegistryServer
) -> None:
    manifest = await push(repository, "one")
    other = DockerRepository(registry, registry_server.domain, fresh_name())
    with pytest.raises(InvalidValue, match=r"does not take the manifest for one.*blob unknown"):
        await other.write_bytes("one", manifest.data)


async def test_a_writer_that_raises_stores_nothing(repository: DockerRepository) -> None:
    manifest = await push(repository, "one")

    async def write() -> None:
        async with await repository.open("two", "wb") as writer:
            await writer.write(manifest.data)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await write()
    assert await repository.keys() == {"one"}


async def test_a_writer_holds_no_more_than_a_manifest(repository: DockerRepository) -> None:
    writer = await repository.open("one", "wb")
    await writer.write(b" " * 4 * 1024 * 1024)
    with pytest.raises(InvalidValue, match="of up to 4194304 bytes"):
        await writer.write(b" ")
    await writer.close()
    assert await repository.keys() == set()


@pytest.mark.parametrize("job", ["", "..", "../x", "a/b", "-rf", "a\n", "x" * 64, "_x"])
async def test_no_image_has_a_name_that_is_no_job_id(repository: DockerRepository, job: str) -> None:
    await push(repository, "good")
    await refuses_the_name(repository, job)
    assert await repository.keys() == {"good"}


# ---- in a pipeline


async def test_combinators_work_over_it(repository: DockerRepository) -> None:
    manifest = await push(repository, "one")
    await push(repository, "two")
    both = AggregateAndRepository(images=repository, wanted=InProcessMetadataRepository({"one": 1}))
    assert await both.keys() == {"one"}
    related = RelatedItemRepository(repository, InProcessMetadataRepository({"child": "one"}))
    assert await related.keys() == {"child"}
    assert await related.read_bytes("child") == manifest.data


async def test_the_client_may_be_a_session_s_resource(registry_server: RegistryServer) -> None:
    session = Session()

    @session.resource
    async def registry() -> AsyncIterator[Registry]:
        async with Registry(plain_http=[registry_server.domain]) as client:
            yield client

    repository = DockerRepository(registry, registry_server.domain, fresh_name())
    assert repr(repository) == f"<DockerRepository {registry_server.domain}/{repository.repository}:*>"
    with pytest.raises(PdtError, match="session is not open"):
        await repository.keys()
    for _ in range(2):
        async with session:
            assert await repository.keys() == set()


def test_a_client_serves_one_event_loop_after_the_other(registry_server: RegistryServer) -> None:
    client = Registry(plain_http=True)
    repository = DockerRepository(client, registry_server.domain, fresh_name())

    async def cycle() -> set[str]:
        async with client:
            return await repository.keys()

    assert [asyncio.run(cycle()) for _ in range(2)] == [set(), set()]


@pytest.mark.parametrize("domain", ["", "http://x", "a/b", "user:pass@host", "host:port", "-x"])
def test_a_domain_is_a_host(domain: str) -> None:
    with pytest.raises(UsageError, match="host name") as caught:
        DockerRepository(Registry(), domain, "x")
    assert "pass" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "/", "a/", "A", "a//b", "a/../b", "a:b", "a b", "_a", "a" * 256])
def test_a_repository_s_name_follows_the_specification(name: str) -> None:
    with pytest.raises(UsageError, match="no name of a repository"):
        DockerRepository(Registry(), "example.org", name)


def test_nothing_shows_a_credential(tmp_path: Path) -> None:
    client = Registry({"example.org": ("me", "hunter2")})
    repository = DockerRepository(client, "example.org", "x")
    assert "hunter2" not in repr(client) + repr(repository) + repr(vars(client)) + str(repository.place)
