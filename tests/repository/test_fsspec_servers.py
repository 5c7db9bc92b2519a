"""Bytes that fsspec fetches from real servers: SFTP and HTTP, on good days and bad ones."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.cli.harness import Pdt
from tests.servers.proxy import Fault, Proxy
from tests.servers.ssh import SshServer, hang_up
from tests.servers.web import serving_files

pytest.importorskip("fsspec", reason="fsspec is an extra: pip install pdtcli[fsspec]")

from pdtcli import BackendError, FsspecRepository, JobNotFound, Unsupported
from pdtcli.repository.fsspec import Writing

MIB = 1024 * 1024


# ---- SFTP


@pytest.fixture
def proxy(ssh_server: SshServer, proxy_to: Callable[[int], Proxy]) -> Iterator[Proxy]:
    yield proxy_to(ssh_server.port)
    hang_up()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """What is served."""
    path = tmp_path / "data"
    path.mkdir()
    return path


@pytest.fixture
def inbox(ssh_server: SshServer, proxy: Proxy, data: Path, tmp_path: Path) -> FsspecRepository:
    """`data` by way of the proxy."""
    known = tmp_path / "known_hosts"
    known.write_text("* " + ssh_server.known_hosts.read_text().partition(" ")[2])
    options = {**ssh_server.options, "known_hosts": str(known)}
    return FsspecRepository(f"sftp://127.0.0.1:{proxy.port}{data}", ".bin", **options)


@pytest.fixture
def impatient(inbox: FsspecRepository) -> FsspecRepository:
    """The same, which gives up soon."""
    limits = {"connect_timeout": 5, "keepalive_interval": 1, "keepalive_count_max": 3}
    return FsspecRepository(inbox.url, ".bin", **inbox.storage_options, **limits)


async def test_a_host_that_nobody_vouches_for_is_not_spoken_to(
    ssh_server: SshServer, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    options = {key: value for key, value in ssh_server.options.items() if key != "known_hosts"}
    with pytest.raises(BackendError, match="Host key is not trusted"):
        await FsspecRepository(ssh_server.url(data), **options).keys()
    trusted = tmp_path / ".ssh"
    trusted.mkdir(mode=0o700)
    (trusted / "known_hosts").write_bytes(ssh_server.known_hosts.read_bytes())
    assert await FsspecRepository(ssh_server.url(data), **options).keys() == set()


async def test_a_key_that_opens_nothing_is_told(ssh_server: SshServer, data: Path, tmp_path: Path) -> None:
    import asyncssh

    asyncssh.generate_private_key("ssh-ed25519").write_private_key(tmp_path / "other")
    options = {**ssh_server.options, "client_keys": [str(tmp_path / "other")]}
    with pytest.raises(BackendError, match="cannot be opened: Permission denied for user"):
        await FsspecRepository(ssh_server.url(data), **options).keys()


async def test_files_over_sftp_are_whole_or_not_there(inbox: FsspecRepository, data: Path) -> None:
    assert inbox.writing is Writing.RENAME
    async with await inbox.open("job", "wb") as writer:
        await writer.write(b"half")
        assert [path.suffix for path in data.iterdir()] != [".bin"]
    assert (data / "job.bin").read_bytes() == b"half"
    assert [path.name for path in data.iterdir()] == ["job.bin"]


async def test_an_archive_is_read_over_sftp(ssh_server: SshServer, data: Path) -> None:
    with zipfile.ZipFile(data / "x.zip", "w") as file:
        file.writestr("below/one.txt", "one")
    url = f"zip://below::{ssh_server.url(data / 'x.zip')}"
    archive = FsspecRepository(url, ".txt", sftp=ssh_server.options)
    assert await archive.keys() == {"one"}
    assert await archive.read_bytes("one") == b"one"


async def test_a_connection_that_ended_is_made_anew(inbox: FsspecRepository, proxy: Proxy) -> None:
    await inbox.write_bytes("job", b"value")
    for _ in range(2):
        proxy.cut()
        assert await inbox.keys() == {"job"}
        proxy.cut()
        assert await inbox.read_bytes("job") == b"value"
    proxy.cut()
    await inbox.delete("job")
    assert proxy.connections == 6


async def test_a_write_that_is_cut_off_leaves_the_old_value(inbox: FsspecRepository, proxy: Proxy) -> None:
    await inbox.write_bytes("job", b"old")

    async def write() -> None:
        async with await inbox.open("job", "wb") as writer:
            await writer.write(os.urandom(MIB))
            proxy.cut()
            await writer.write(os.urandom(MIB))

    with pytest.raises(BackendError, match="cannot write job"):
        await write()
    assert await inbox.keys() == {"job"}
    assert await inbox.read_bytes("job") == b"old"


async def test_a_read_that_is_cut_off_is_told(inbox: FsspecRepository, proxy: Proxy) -> None:
    await inbox.write_bytes("job", os.urandom(20 * MIB))

    async def read() -> None:
        async with await inbox.open("job", "rb") as reader:
            await reader.read(10)
            proxy.cut()
            while await reader.read(MIB):
                pass

    with pytest.raises(BackendError, match="cannot read job"):
        await read()


async def test_a_server_that_falls_silent_is_given_up(impatient: FsspecRepository, proxy: Proxy) -> None:
    assert await impatient.keys() == set()
    proxy.inject(Fault("hang"), times=1000, http=False)
    with pytest.raises(BackendError, match="it did not answer in time"):
        await impatient.keys()


PIPELINE = """
    import pdtcli

    inbox = pdtcli.FsspecRepository({url!r}, ".bin", **{options!r})
    task = pdtcli.InProcessSyncTask("use", pdtcli.InProcessMetadataRepository())
    task.link("inbox", inbox, is_input=True)


    @task
    async def _(job, inbox):
        pass


    pipeline = pdtcli.Pipeline([task], pdtcli.Session())
"""


def test_the_command_reads_and_writes_over_sftp(
    inbox: FsspecRepository, impatient: FsspecRepository, proxy: Proxy, tmp_path: Path
) -> None:
    pdt = Pdt(tmp_path)
    pdt.write("pipeline.py", PIPELINE.format(url=inbox.url, options=inbox.storage_options))
    pdt("repo", "put", "use.inbox", "job", input="value")
    assert pdt("repo", "cat", "use.inbox", "job").out == "value"
    proxy.inject(Fault("hang"), times=1000, http=False)
    pdt.write("pipeline.py", PIPELINE.format(url=inbox.url, options=impatient.storage_options))
    silent = pdt("repo", "ls", "use.inbox", expect=5)
    proxy.down()
    down = pdt("repo", "ls", "use.inbox", expect=5)
    assert down.err.endswith("cannot be opened: Connection refused\n")
    assert [len(result.err.splitlines()) for result in (silent, down)] == [1, 1]


# ---- HTTP


async def test_files_of_a_web_server_are_read_and_not_written(data: Path) -> None:
    value = os.urandom(3 * MIB)
    (data / "one.bin").write_bytes(value)
    (data / "two.txt").write_bytes(b"")
    with serving_files(data) as url:
        repository = FsspecRepository(url, ".bin")
        await repository.validate()
        assert await repository.keys() == {"one"}
        assert await repository.contains("one")
        assert not await repository.contains("two")
        assert await repository.info("one") == f"{url}/one.bin"
        async with await repository.open("one", "rb") as reader:
            assert await reader.read(10) == value[:10]
            assert await reader.read() == value[10:]
        with pytest.raises(JobNotFound):
            await repository.read_bytes("two")
        with pytest.raises(Unsupported):
            await repository.write_bytes("two", b"x")
        with pytest.raises(Unsupported):
            await repository.delete("one")


async def test_a_value_that_is_replaced_while_it_is_read_is_told_or_read_anew(data: Path) -> None:
    old, new = b"o" * (20 * MIB), b"n" * (21 * MIB)
    (data / "one").write_bytes(old)
    with serving_files(data) as url:
        repository = FsspecRepository(url)

        async def read() -> None:
            async with await repository.open("one", "rb") as reader:
                assert await reader.read(MIB) == old[:MIB]
                (data / "one").write_bytes(new)
                while await reader.read(MIB):
                    pass

        with pytest.raises(BackendError, match="replaced while it was read"):
            await read()
        async with await repository.open("one", "rb") as reader:
            (data / "one").write_bytes(old)
            assert await reader.read() == old


async def test_a_web_server_s_archive_is_read(data: Path) -> None:
    with zipfile.ZipFile(data / "x.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("2023/one.csv", "1,2\n" * 100_000)
    with serving_files(data) as url:
        repository = FsspecRepository(f"zip://2023::{url}/x.zip", ".csv")
        assert await repository.keys() == {"one"}
        assert await repository.read_bytes("one") == b"1,2\n" * 100_000


async def test_a_web_server_that_fails_or_is_gone_is_told(data: Path) -> None:
    with serving_files(data) as url:
        broken = FsspecRepository(f"{url}/broken")
        for call in (broken.keys(), broken.read_bytes("one")):
            with pytest.raises(BackendError, match="500"):
                await call
        assert not await FsspecRepository(url).contains("absent")
    with pytest.raises(BackendError, match="Connect"):
        await FsspecRepository(url).keys()
