"""Bytes in file systems of fsspec's: this machine's, memory, an archive, and some that say less of themselves."""

from __future__ import annotations

import functools
import pickle
import subprocess
import sys
import uuid
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

fsspec = pytest.importorskip("fsspec", reason="fsspec is an extra: pip install pdtcli[fsspec]")

from fsspec.implementations.memory import MemoryFileSystem  # noqa: E402

from pdtcli import BackendError, FsspecRepository, InvalidJobId, JobNotFound, PdtError, Unsupported, UsageError  # noqa: E402
from pdtcli.repository.fsspec import Writing  # noqa: E402
from pdtcli.repository.fsspec_secrets import public  # noqa: E402
from pdtcli.testing.writers import write_and_be_cancelled, write_and_raise  # noqa: E402

MIB = 1024 * 1024
NOT_JOBS = ["", "..", "../x", "a/b", "-rf", "a\0", "a*", "x" * 64, "\u0430"]


class Uploads(MemoryFileSystem):  # type: ignore[misc]
    """A file system that nobody knows: it can be written to, and that is all."""

    protocol = "uploads"


class Renames(MemoryFileSystem):  # type: ignore[misc]
    """One that can rename."""

    protocol = "renames"

    def mv(self, path1: str, path2: str, *args: Any, **kwargs: Any) -> None:
        first, second = self._strip_protocol(path1), self._strip_protocol(path2)
        self.store[second] = self.store.pop(first)


class Committed(MemoryFileSystem):  # type: ignore[misc]
    """One whose uploads appear when they are committed, as those of object stores."""

    protocol = ("committed", "oss")

    def _open(self, path: str, mode: str = "rb", autocommit: bool = True, **kwargs: Any) -> Any:
        from fsspec.implementations.memory import MemoryFile

        if mode == "wb" and not autocommit:
            return MemoryFile(self, self._strip_protocol(path))
        return super()._open(path, mode, **kwargs)


for _name, _kind in {"uploads": Uploads, "renames": Renames, "committed": Committed}.items():
    fsspec.register_implementation(_name, _kind, clobber=True)

MAKE: dict[str, Callable[[Path], str]] = {
    "local": lambda path: str(path),
    "file": lambda path: f"file://{path}",
    "memory": lambda path: f"memory://{uuid.uuid4().hex}",
    "uploads": lambda path: f"uploads://{uuid.uuid4().hex}",
    "renames": lambda path: f"renames://{uuid.uuid4().hex}",
    "committed": lambda path: f"committed://{uuid.uuid4().hex}/prefix",
}


@pytest.fixture(params=list(MAKE.values()), ids=list(MAKE))
def repository(tmp_path: Path, request: pytest.FixtureRequest) -> FsspecRepository:
    return FsspecRepository(request.param(tmp_path), ".bin")


@pytest.mark.parametrize("size", [0, 1, 8 * MIB - 1, 8 * MIB, 8 * MIB + 1])
async def test_bytes_come_back_as_they_went(repository: FsspecRepository, size: int) -> None:
    value = (bytes(range(251)) * (size // 251 + 1))[:size]
    await repository.validate()
    async with await repository.open("job", "wb") as writer:
        for start in range(0, size, 3_000_000):
            await writer.write(value[start : start + 3_000_000])
    async with await repository.open("job", "rb") as reader:
        assert await reader.read(10) == value[:10]
        assert await reader.read() == value[10:]
        assert await reader.read(10) == b""
    assert await repository.keys() == {"job"}


async def test_text_comes_back_as_it_went(repository: FsspecRepository) -> None:
    async with await repository.open("job", "w") as writer:
        await writer.write("caf\u00e9 \U0001f600\r\n")
    async with await repository.open("job") as reader:
        assert await reader.read() == "caf\u00e9 \U0001f600\r\n"


async def test_a_value_is_not_there_before_it_is_complete(repository: FsspecRepository) -> None:
    async with await repository.open("job", "wb") as writer:
        await writer.write(b"half")
        assert await repository.keys() == set()
        assert not await repository.contains("job")
    assert await repository.contains("job")


async def test_a_writer_that_raises_leaves_the_old_value(repository: FsspecRepository) -> None:
    await repository.write_bytes("job", b"old")
    await write_and_raise(repository, [b"new"])
    assert await repository.read_bytes("job") == b"old"
    assert await repository.do("list", lambda fs: len(fs.ls(repository.path("job").rpartition("/")[0]))) == 1


async def test_a_writer_that_is_cancelled_leaves_nothing(repository: FsspecRepository) -> None:
    await write_and_be_cancelled(repository, [b"half"])
    assert await repository.keys() == set()


async def test_values_are_overwritten_and_deleted(repository: FsspecRepository) -> None:
    await repository.write_bytes("job", b"a long old value")
    await repository.write_bytes("job", b"new")
    await repository.write_bytes("other", b"")
    assert await repository.read_bytes("job") == b"new"
    assert await repository.keys() == {"job", "other"}
    await repository.delete_many(["job", "absent"])
    await repository.delete("job")
    assert await repository.keys() == {"other"}


@pytest.mark.parametrize("kind", ["local", "memory"])
async def test_two_read_beside_each_other(tmp_path: Path, kind: str) -> None:
    repository = FsspecRepository(MAKE[kind](tmp_path))
    await repository.write_bytes("job", b"0123456789")
    async with await repository.open("job", "rb") as one, await repository.open("job", "rb") as two:
        assert [await one.read(4), await two.read(4), await one.read(4)] == [b"0123", b"0123", b"4567"]


async def test_a_closed_writer_takes_no_more_and_closes_again(repository: FsspecRepository) -> None:
    writer = await repository.open("job", "wb")
    await writer.close()
    await writer.close()
    await writer.abort()
    with pytest.raises(ValueError, match="closed"):
        await writer.write(b"x")
    assert await repository.keys() == {"job"}


def _touch(path: str, fs: Any) -> None:
    fs.pipe_file(path, b"")


@pytest.mark.parametrize("mode", ["r", "rb"])
async def test_a_job_that_is_not_here_cannot_be_read(repository: FsspecRepository, mode: Any) -> None:
    with pytest.raises(JobNotFound, match="does not hold job"):
        await repository.open("job", mode)


@pytest.mark.parametrize("job", NOT_JOBS)
async def test_no_blob_has_a_name_that_is_no_job_id(repository: FsspecRepository, job: str) -> None:
    await repository.write_bytes("good", b"x")
    for mode in ("r", "rb", "w", "wb"):
        with pytest.raises(InvalidJobId):
            await repository.open(job, mode)
    with pytest.raises(InvalidJobId):
        await repository.info(job)
    with pytest.raises(InvalidJobId):
        await repository.delete_many(["good", job])
    assert not await repository.contains(job)
    assert await repository.keys() == {"good"}


async def test_other_names_are_skipped(repository: FsspecRepository, caplog: pytest.LogCaptureFixture) -> None:
    await repository.write_bytes("good", b"x")
    for name in ("a b.bin", "other.txt", ".hidden.bin"):
        path = repository.path("good").replace("good.bin", name)
        await repository.do("write", functools.partial(_touch, path))
    assert await repository.keys() == {"good"}
    assert ["skipped 1 name" in record.getMessage() for record in caplog.records] == [True]


# ---- what is promised


@pytest.mark.parametrize(
    ("kind", "writing", "is_atomic"),
    [
        ("local", Writing.LOCAL, True),
        ("memory", Writing.MEMORY, True),
        ("committed", Writing.COMMIT, True),
        ("renames", Writing.MOVE, False),
        ("uploads", Writing.SPOOL, False),
    ],
)
def test_it_says_how_values_are_written(tmp_path: Path, kind: str, writing: Writing, is_atomic: bool) -> None:
    repository = FsspecRepository(MAKE[kind](tmp_path))
    assert (repository.writing, repository.atomic) == (writing, is_atomic)


async def test_what_a_killed_writer_left_is_swept(tmp_path: Path) -> None:
    program = (
        "import asyncio, os, sys, pdtcli\n"
        "async def main():\n"
        "    writer = await pdtcli.FsspecRepository(sys.argv[1]).open('job', 'wb')\n"
        "    await writer.write(b'half')\n"
        "    os._exit(0)\n"
        "asyncio.run(main())\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True)
    assert len(list(tmp_path.iterdir())) == 1
    assert await FsspecRepository(str(tmp_path)).keys() == set()
    assert list(tmp_path.iterdir()) == []


async def test_info_is_the_path_or_the_url(tmp_path: Path) -> None:
    assert await FsspecRepository(str(tmp_path), ".txt").info("job") == f"{tmp_path}/job.txt"
    assert await FsspecRepository("memory://a/b/", ".txt").info("job") == "memory://a/b/job.txt"
    archive = tmp_path / "x.zip"
    zipfile.ZipFile(archive, "w").close()
    repository = FsspecRepository(f"zip://d::file://{archive}")
    assert await repository.info("job") == f"zip://d/job::file://{archive}"


async def test_an_archive_is_read_and_not_written(tmp_path: Path) -> None:
    archive = tmp_path / "x.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("top.txt", "top")
        file.writestr("below/one.txt", "one")
    repository = FsspecRepository(f"zip://below::file://{archive}", ".txt")
    await repository.validate()
    assert await repository.keys() == {"one"}
    assert await repository.read_bytes("one") == b"one"
    with pytest.raises(Unsupported):
        await repository.write_bytes("two", b"two")
    with pytest.raises(Unsupported):
        await repository.delete("one")
    assert await repository.keys() == {"one"}


# ---- what goes wrong


@pytest.mark.parametrize(
    "url",
    [
        "nosuch://me:sekret@host/x",
        "ftp://me:sek/sekret@127.0.0.1:1/x",
        "ftp://me:sekret@127.0.0.1:1/x",
        "zip://::ftp://me:sekret@127.0.0.1:1/x.zip",
    ],
)
async def test_no_credential_is_shown(url: str) -> None:
    repository = FsspecRepository(url, token="sekret-too", nested={"deep": ["sekret-also"]})
    with pytest.raises(PdtError) as caught:
        await repository.keys()
    assert "sek" not in f"{caught.value} {caught.value.__cause__} {repository!r} {repository.place}"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("s3://bucket/a@b", "s3://bucket/a@b"),
        ("sftp://me@host:22/x", "sftp://host:22/x"),
        ("sftp://me:p@ss@host/x", "sftp://host/x"),
        ("https://host/x?sig=abc", "https://host/x"),
        ("zip://a::s3://k:s@bucket/x.zip", "zip://a::s3://bucket/x.zip"),
        ("file:///a@b/c?d", "file:///a@b/c?d"),
        ("/a@b", "/a@b"),
    ],
)
def test_what_is_shown_of_a_url(url: str, shown: str) -> None:
    assert public(url) == shown


async def test_errors_are_told_without_what_the_options_hold() -> None:
    repository = FsspecRepository(f"memory://{uuid.uuid4().hex}", token="sekret")

    def fail(fs: Any) -> None:
        raise RuntimeError("the token sekret is not right")

    with pytest.raises(BackendError, match=r"cannot be read: the token \*\*\* is not right") as caught:
        await repository.do("cannot be read", fail)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("url", ["nosuch://x"])
async def test_an_unknown_protocol_is_a_usage_error(url: str) -> None:
    with pytest.raises(UsageError, match="Protocol not known"):
        await FsspecRepository(url).validate()


async def test_an_archive_that_is_not_there_is_no_absent_job(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="No such file"):
        await FsspecRepository(f"zip://::file://{tmp_path}/x.zip").open("job", "rb")


def test_it_can_be_pickled(tmp_path: Path) -> None:
    repository = FsspecRepository(str(tmp_path), ".txt")
    assert repository.atomic
    assert repr(pickle.loads(pickle.dumps(repository))) == f"<FsspecRepository {tmp_path}/*.txt>"
