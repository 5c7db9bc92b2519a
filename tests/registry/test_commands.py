"""`pdt repo cp` between registries and layouts: on good days, and when a registry fails in the middle."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.cli.harness import Pdt, Result
from tests.conformance.images import MANIFEST, ask
from tests.registry.images import fresh_name, push
from tests.servers.proxy import Fault, Proxy, response
from tests.servers.registry import RegistryServer, serving

from pdtcli import DockerRepository, Registry
from pdtcli.registry.images import Manifest

MIB = 1024 * 1024
LIMIT = 3
"""Seconds that a registry may take where it is to be given up; elsewhere it has time, however busy the machine is."""

PIPELINE = """
    import os

    import pdtcli

    session = pdtcli.Session()


    @session.resource
    async def registry():
        async with pdtcli.Registry(plain_http=True, timeout=int(os.environ["LIMIT"]), retries=2) as client:
            yield client


    task = pdtcli.InProcessSyncTask("use", pdtcli.InProcessMetadataRepository())
    task.link("source", pdtcli.DockerRepository(registry, "{source}", "{name}"), is_input=True)
    task.link("neighbour", pdtcli.DockerRepository(registry, "{source}", "{name}/neighbour"))
    task.link("target", pdtcli.DockerRepository(registry, "{target}", "{name}"))
    task.link("layout", pdtcli.ImageLayoutRepository("layout"))


    @task
    async def _(job, source, neighbour, target, layout):
        pass


    pipeline = pdtcli.Pipeline([task], session)
"""


@pytest.fixture
def name() -> str:
    return fresh_name()


@pytest.fixture
def manifest(registry_server: RegistryServer, name: str) -> Manifest:
    """Of an image of a megabyte and more that is in the source under the tag `one`."""

    async def work() -> Manifest:
        async with Registry(plain_http=True) as client:
            repository = DockerRepository(client, registry_server.domain, name)
            return await push(repository, "one", os.urandom(3 * MIB), b"small")

    return asyncio.run(work())


@pytest.fixture
def proxy(registry_server: RegistryServer, proxy_to: Callable[[int], Proxy]) -> Proxy:
    """On the way to the source."""
    return proxy_to(registry_server.port)


@pytest.fixture
def pdt(
    tmp_path: Path, proxy: Proxy, registry_other_server: RegistryServer, name: str, manifest: Manifest
) -> Iterator[Pdt]:
    pdt = Pdt(tmp_path)
    pdt.env["LIMIT"] = "30"
    source, target = f"127.0.0.1:{proxy.port}", registry_other_server.domain
    pdt.write("pipeline.py", PIPELINE.format(source=source, target=target, name=name))
    yield pdt
    assert not [path for path in tmp_path.rglob("layout/**/.pdt*")]


def is_whole(server: RegistryServer, name: str, manifest: Manifest) -> bool:
    """Whether the image is in a repository with all of its parts, seen without the client under test."""
    status, data = ask(server, "GET", f"/v2/{name}/manifests/one", Accept=MANIFEST)
    parts = [ask(server, "HEAD", f"/v2/{name}/blobs/{part.digest}")[0] for part in manifest.blobs]
    return status == 200 and data == manifest.data and set(parts) == {200}


def test_an_image_goes_from_one_registry_to_another(
    pdt: Pdt, registry_other_server: RegistryServer, name: str, manifest: Manifest
) -> None:
    size = sum(part.size for part in manifest.blobs)
    assert pdt("repo", "cp", "use.source", "use.target", "--all").out.split() == ["one", str(size)]
    assert is_whole(registry_other_server, name, manifest)
    assert pdt("repo", "cp", "use.source", "use.target", "one").out.split() == ["one", "0"]


def test_within_a_registry_nothing_is_sent(
    pdt: Pdt, proxy: Proxy, registry_server: RegistryServer, name: str, manifest: Manifest
) -> None:
    proxy.inject(Fault("answer", data=response("418 No Upload")), times=1000, matching=rb"^(PUT|PATCH) [^ ]*/blobs/")
    proxy.inject(Fault("delay"), times=1000, matching=rb"^POST [^ ]*/blobs/uploads/\?mount=sha256")
    pdt("repo", "cp", "use.source", "use.neighbour", "one")
    assert proxy.faults == len(manifest.blobs)
    assert is_whole(registry_server, f"{name}/neighbour", manifest)


def test_an_image_goes_to_a_layout_and_on_to_another_registry(
    pdt: Pdt, registry_other_server: RegistryServer, name: str, manifest: Manifest, proxy: Proxy
) -> None:
    pdt("repo", "cp", "use.source", "use.layout", "one")
    proxy.down()
    assert pdt("repo", "ls", "use.layout").out == "one\n"
    pdt("repo", "cp", "use.layout", "use.target", "--all")
    assert is_whole(registry_other_server, name, manifest)


PASSING = {
    "500": Fault("answer", data=response("500 Internal Server Error")),
    "503": Fault("answer", data=response("503 Service Unavailable", Retry_After="0")),
    "half a body": Fault("close", after=MIB),
}


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
def test_a_failure_that_passes_is_not_seen_and_one_that_stays_is_one_sentence(
    pdt: Pdt, proxy: Proxy, registry_other_server: RegistryServer, name: str, manifest: Manifest, fault: Fault
) -> None:
    blob = rb"^GET [^ ]*/blobs/" + manifest.blobs[1].digest.encode()
    proxy.inject(fault, times=1000, matching=blob)
    failed = pdt("repo", "cp", "use.source", "use.target", "one", expect=5)
    assert failed.err.startswith("pdt: 127.0.0.1:")
    assert failed.err.count("\n") == 1
    assert ask(registry_other_server, "GET", f"/v2/{name}/manifests/one", Accept=MANIFEST)[0] == 404
    proxy.calm()
    proxy.inject(fault, times=2, matching=blob)
    assert pdt("repo", "cp", "use.source", "use.target", "one").err == ""
    assert is_whole(registry_other_server, name, manifest)


class InTheMiddle:
    """A copy that has come to the middle of the large layer, and waits for the rest of it."""

    @pytest.fixture
    def server(self) -> Iterator[RegistryServer]:
        """A registry of this test's own, for it to end badly."""
        with serving() as server:
            yield server

    @pytest.fixture
    def registry_server(self, server: RegistryServer) -> RegistryServer:
        return server

    @pytest.fixture
    def copy(self, pdt: Pdt, proxy: Proxy, manifest: Manifest) -> Iterator[Callable[[], Result]]:
        proxy.inject(Fault("hang", after=MIB), matching=rb"^GET [^ ]*/blobs/" + manifest.blobs[1].digest.encode())
        command = [*pdt.command, "repo", "cp", "use.source", "use.layout", "one"]
        environ = {**pdt.env, "LIMIT": str(LIMIT)}
        process = subprocess.Popen(
            command, cwd=pdt.directory, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

        def end() -> Result:
            out, err = process.communicate(timeout=60)
            return Result(process.returncode, out, err)

        with process:
            try:
                while not proxy.faults:
                    assert process.poll() is None
                    time.sleep(0.01)
                yield end
            finally:
                process.kill()


class TestInTheMiddle(InTheMiddle):
    def test_a_registry_that_comes_back_goes_unnoticed(
        self, copy: Callable[[], Result], pdt: Pdt, proxy: Proxy, manifest: Manifest
    ) -> None:
        proxy.down()
        proxy.up()
        assert copy().code == 0
        assert pdt("repo", "cat", "use.layout", "one").out.encode() == manifest.data

    def test_a_registry_that_is_killed_is_given_up(
        self, copy: Callable[[], Result], proxy: Proxy, server: RegistryServer
    ) -> None:
        server.process.kill()
        proxy.cut()
        self.given_up(copy(), "cannot be reached")

    def test_a_registry_that_is_frozen_is_given_up(
        self, copy: Callable[[], Result], proxy: Proxy, server: RegistryServer
    ) -> None:
        server.process.freeze()
        proxy.cut()
        self.given_up(copy(), f"did not answer within {LIMIT} s")

    def test_a_registry_that_says_no_more_is_given_up(self, copy: Callable[[], Result]) -> None:
        self.given_up(copy(), f"did not answer within {LIMIT} s")

    @staticmethod
    def given_up(result: Result, reason: str) -> None:
        assert (result.code, result.out) == (5, "")
        assert reason in result.err
        assert result.err.count("\n") == 1


def test_a_target_that_is_frozen_is_given_up(pdt: Pdt, name: str, proxy: Proxy) -> None:
    with serving() as target:
        pdt.write("pipeline.py", PIPELINE.format(source=f"127.0.0.1:{proxy.port}", target=target.domain, name=name))
        target.process.freeze()
        failed = pdt("repo", "cp", "use.source", "use.target", "one", env={"LIMIT": str(LIMIT)}, expect=5)
        assert failed.err == f"pdt: {target.domain} did not answer within {LIMIT} s\n"
