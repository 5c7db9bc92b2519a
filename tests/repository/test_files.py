"""Files and directories as values."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from pdtcli import BackendError, DirectoryRepository, FileRepository, FileRepositoryBase, JobNotFound, PdtError
from pdtcli.stream import MemoryReader, ReadStream


def names(directory: Path) -> list[str]:
    return sorted(os.listdir(directory))


def python(program: str, *arguments: str) -> str:
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


# ---- where values are


async def test_a_job_is_the_file_of_its_name(tmp_path: Path) -> None:
    repository = FileRepository(tmp_path, ".txt")
    await repository.write_bytes("emma", b"text")
    assert (tmp_path / "emma.txt").read_bytes() == b"text"


async def test_its_info_is_the_path_as_a_string(tmp_path: Path) -> None:
    assert await FileRepository(tmp_path, ".txt").info("emma") == f"{tmp_path}/emma.txt"


async def test_the_directory_is_made_when_the_pipeline_opens(tmp_path: Path) -> None:
    await FileRepository(tmp_path / "a" / "b").validate()
    await FileRepository(tmp_path / "a" / "b").validate()
    assert (tmp_path / "a" / "b").is_dir()


async def test_a_file_in_place_of_the_directory_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="/file'"):
        await FileRepository(tmp_path / "file").validate()


@pytest.mark.parametrize("extension", ["/x", "a/", "\0"])
def test_an_extension_is_part_of_a_name(extension: str) -> None:
    with pytest.raises(PdtError, match="cannot be the extension of a file name"):
        FileRepository("data", extension)


def test_it_shows_where_it_is(tmp_path: Path) -> None:
    assert repr(FileRepository(tmp_path, ".txt")) == f"<FileRepository {tmp_path}/*.txt>"


def test_two_that_show_the_same_files_have_the_same_place(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    assert FileRepository(tmp_path / "link", ".txt").place == FileRepository(tmp_path, ".txt").place
    assert FileRepository(tmp_path).place != FileRepository(tmp_path, ".txt").place


async def test_it_travels_to_other_processes(tmp_path: Path) -> None:
    (tmp_path / "emma.txt").touch()
    assert await pickle.loads(pickle.dumps(FileRepository(tmp_path, ".txt"))).keys() == {"emma"}


# ---- listings


async def test_only_files_with_the_extension_are_jobs(tmp_path: Path) -> None:
    for name in ("emma.txt", "emma.yaml", "emma", "a.b.txt", "emma.txt~", "txt"):
        (tmp_path / name).touch()
    assert await FileRepository(tmp_path, ".txt").keys() == {"emma", "a.b"}


async def test_without_an_extension_the_whole_name_is_the_job(tmp_path: Path) -> None:
    for name in ("emma.txt", "emma"):
        (tmp_path / name).touch()
    assert await FileRepository(tmp_path).keys() == {"emma.txt", "emma"}


async def test_subdirectories_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "emma").touch()
    repository = FileRepository(tmp_path)
    assert (await repository.keys(), await repository.contains("sub")) == ({"emma"}, False)
    await repository.delete("sub")
    assert names(tmp_path) == ["emma", "sub"]
    with pytest.raises(JobNotFound):
        await repository.open("sub", "rb")


async def test_links_to_files_are_files_and_links_to_nothing_are_not(tmp_path: Path) -> None:
    (tmp_path / "emma").touch()
    (tmp_path / "link").symlink_to("emma")
    (tmp_path / "broken").symlink_to("missing")
    repository = FileRepository(tmp_path)
    assert await repository.keys() == await repository.among(["emma", "link", "broken"]) == {"emma", "link"}


async def test_hidden_files_are_skipped_in_silence(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in (".hidden", ".emma.swp", ".pdt-odd", "emma"):
        (tmp_path / name).touch()
    assert await FileRepository(tmp_path).keys() == {"emma"}
    assert caplog.records == []


async def test_files_of_others_are_skipped_in_silence(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("read me.md", "emma.txt"):
        (tmp_path / name).touch()
    assert await FileRepository(tmp_path, ".txt").keys() == {"emma"}
    assert caplog.records == []


async def test_names_that_are_no_job_ids_are_skipped_with_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a b.txt", "-rf.txt", "caf\u00e9.txt", f"{'x' * 64}.txt", "new\nline.txt", "emma.txt"):
        (tmp_path / name).touch()
    assert await FileRepository(tmp_path, ".txt").keys() == {"emma"}
    [record] = caplog.records
    assert "skipped 5 names that are not valid job ids: '-rf.txt', 'a b.txt'" in record.getMessage()


async def test_a_name_that_is_not_utf8_is_skipped_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with open(os.fsencode(tmp_path) + b"/caf\xe9", "wb"):
        pass
    assert await FileRepository(tmp_path).keys() == set()
    assert "skipped 1 name that is not a valid job id: 'caf\\udce9'" in caplog.text


async def test_a_missing_directory_is_told_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=f"{tmp_path}/missing"):
        await FileRepository(tmp_path / "missing").keys()


async def test_in_a_missing_directory_there_is_nothing(tmp_path: Path) -> None:
    for case_insensitive in (False, True):
        repository = FileRepository(tmp_path / "missing", ".txt", case_insensitive=case_insensitive)
        assert not await repository.contains("emma")
        await repository.delete("emma")


async def test_a_large_directory_is_listed_whole(tmp_path: Path) -> None:
    for number in range(3000):
        (tmp_path / f"job-with-a-rather-long-name-{number:05}.txt").touch()
    repository = FileRepository(tmp_path, ".txt")
    assert len(await repository.keys()) == 3000
    assert (
        len(await repository.among([f"job-with-a-rather-long-name-{number:05}" for number in range(2900, 3100)])) == 100
    )


# ---- upper and lower case


async def test_the_extension_may_be_in_any_case(tmp_path: Path) -> None:
    for name in ("emma.TXT", "persuasion.Txt", "sanditon.txt"):
        (tmp_path / name).write_text(name)
    repository = FileRepository(tmp_path, ".txt", case_insensitive=True)
    assert await repository.keys() == {"emma", "persuasion", "sanditon"}
    assert await repository.among(["emma", "sanditon", "x"]) == {"emma", "sanditon"}
    assert await repository.contains("emma")
    assert await repository.read_bytes("emma") == b"emma.TXT"
    assert await repository.info("persuasion") == f"{tmp_path}/persuasion.Txt"


async def test_the_job_itself_is_not_in_any_case(tmp_path: Path) -> None:
    (tmp_path / "Emma.txt").touch()
    repository = FileRepository(tmp_path, ".txt", case_insensitive=True)
    assert (await repository.contains("emma"), await repository.keys()) == (False, {"Emma"})


async def test_only_ascii_letters_have_two_cases(tmp_path: Path) -> None:
    (tmp_path / "emma.\u212a").touch()
    assert await FileRepository(tmp_path, ".k", case_insensitive=True).keys() == set()


async def test_a_job_with_several_spellings_is_one_and_is_deleted_whole(tmp_path: Path) -> None:
    for name in ("emma.TXT", "emma.txt", "emma.Txt", "other.TXT"):
        (tmp_path / name).touch()
    repository = FileRepository(tmp_path, ".txt", case_insensitive=True)
    await repository.delete("emma")
    assert names(tmp_path) == ["other.TXT"]


async def test_a_new_value_has_the_extension_as_it_was_given(tmp_path: Path) -> None:
    repository = FileRepository(tmp_path, ".txt", case_insensitive=True)
    (tmp_path / "emma.TXT").write_text("old")
    await repository.write_bytes("emma", b"new")
    assert (await repository.read_bytes("emma"), (tmp_path / "emma.txt").read_text()) == (b"new", "new")


# ---- writers that fail


async def test_a_missing_directory_cannot_be_written_to(tmp_path: Path) -> None:
    with pytest.raises(BackendError) as caught:
        await FileRepository(tmp_path / "missing").open("emma", "wb")
    assert str(caught.value) == f"{tmp_path}/missing/emma cannot be written: its directory is not there"


async def test_a_directory_in_the_way_is_told(tmp_path: Path) -> None:
    (tmp_path / "emma").mkdir()
    with pytest.raises(BackendError, match="/emma cannot be written: Is a directory"):
        await FileRepository(tmp_path).write_bytes("emma", b"x")
    assert names(tmp_path) == ["emma"]


async def test_a_name_that_is_too_long_for_the_file_system_is_told(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="cannot be written: File name too long"):
        await FileRepository(tmp_path, "." + "x" * 200).write_bytes("a" * 63, b"x")
    assert names(tmp_path) == []


FULL_DISK = """
import asyncio, resource, signal, sys
from pdtcli import FileRepository

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))  # as a full disk, but EFBIG for ENOSPC

async def write(size, keep_on):
    async with await FileRepository(sys.argv[1]).open("emma", "wb") as writer:
        for _ in range(10):
            try:
                await writer.write(b"x" * size)
            except Exception:
                if not keep_on:
                    raise
                break

for size in (30_000, 100_000):
    try:
        asyncio.run(write(size, False))
    except Exception as error:
        print(error)
    asyncio.run(write(size, True))
"""


def test_a_full_disk_leaves_the_old_value_even_when_the_writer_does_not_mind(tmp_path: Path) -> None:
    (tmp_path / "emma").write_text("old")
    said = python(FULL_DISK, str(tmp_path)).splitlines()
    assert said == [f"{tmp_path}/emma cannot be written: File too large"] * 2
    assert (names(tmp_path), (tmp_path / "emma").read_text()) == (["emma"], "old")


KILLED = """
import asyncio, sys
from pdtcli import DirectoryRepository, FileRepository

async def main(kind, path):
    if kind == "file":
        async with await FileRepository(path).open("emma", "wb") as writer:
            await writer.write(b"x" * 100_000)
            print("half", flush=True)
            sys.stdin.readline()
    else:
        async with await DirectoryRepository(path).create("emma") as directory:
            (directory / "part").write_text("x")
            print("half", flush=True)
            sys.stdin.readline()

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize("kind", ["file", "directory"])
async def test_a_writer_that_is_killed_leaves_the_old_value_and_its_litter_is_swept(tmp_path: Path, kind: str) -> None:
    repository: FileRepositoryBase
    if kind == "file":
        repository = FileRepository(tmp_path)
        (tmp_path / "emma").write_text("old")
    else:
        repository = DirectoryRepository(tmp_path)
        (tmp_path / "emma").mkdir()
    command = [sys.executable, "-c", KILLED, kind, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        await repository.keys()
        while_it_lives = names(tmp_path)
        process.send_signal(signal.SIGKILL)
    after_its_death = names(tmp_path)
    keys = await repository.keys()

    assert (len(while_it_lives), len(after_its_death)) == (2, 2)
    assert keys == {"emma"}
    assert names(tmp_path) == ["emma"]


async def test_a_writer_that_was_opened_and_forgotten_leaves_nothing(tmp_path: Path) -> None:
    writer = await FileRepository(tmp_path).open("emma", "wb")
    del writer
    assert names(tmp_path) == []


async def test_a_writer_whose_litter_cannot_be_removed_tells_of_what_went_wrong_only(tmp_path: Path) -> None:
    repository = FileRepository(tmp_path)
    for give_up in ("abort", "forget"):
        writer = await repository.open("job", "wb")
        (litter,) = tmp_path.iterdir()
        litter.unlink()
        litter.mkdir()  # which is not removed as a file is
        if give_up == "abort":
            await writer.abort()
        del writer  # an error in here would be a warning
        litter.rmdir()

    assert await repository.keys() == set()


async def test_of_two_writers_the_last_to_close_wins(tmp_path: Path) -> None:
    repository = FileRepository(tmp_path)
    async with await repository.open("emma", "wb") as one:
        async with await repository.open("emma", "wb") as two:
            await two.write(b"two")
        await one.write(b"one")
    assert await repository.read_bytes("emma") == b"one"


# ---- what a job left behind


async def nobody() -> ReadStream:
    raise AssertionError("the file is moved, not read")


def stream(data: bytes) -> Callable[[], Awaitable[ReadStream]]:
    async def opened() -> ReadStream:
        return MemoryReader(data)

    return opened


async def test_a_file_that_a_job_left_is_moved(tmp_path: Path) -> None:
    (tmp_path / "stdout").write_bytes(b"output")
    (tmp_path / "data").mkdir()
    repository = FileRepository(tmp_path / "data")
    inode = (tmp_path / "stdout").stat().st_ino
    await repository.collect("emma", nobody, str(tmp_path / "stdout"))
    assert (names(tmp_path), (tmp_path / "data" / "emma").stat().st_ino) == (["data"], inode)


async def test_what_is_no_file_here_is_copied(tmp_path: Path) -> None:
    repository = FileRepository(tmp_path)
    await repository.collect("emma", stream(b"output"))
    assert await repository.read_bytes("emma") == b"output"


async def test_a_file_on_another_file_system_is_copied(tmp_path: Path) -> None:
    elsewhere = Path("/dev/shm")
    if not elsewhere.is_dir() or elsewhere.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is one file system only")
    left = elsewhere / f"pdt-test-{os.getpid()}"
    left.write_bytes(b"output")
    try:
        await FileRepository(tmp_path).collect("emma", stream(b"output"), str(left))
    finally:
        left.unlink()
    assert (tmp_path / "emma").read_bytes() == b"output"


async def test_a_file_that_is_gone_was_collected_already(tmp_path: Path) -> None:
    with pytest.raises(JobNotFound, match="is not there"):
        await FileRepository(tmp_path).collect("emma", nobody, str(tmp_path / "stdout"))


async def test_nothing_is_touched_for_a_name_that_is_no_job_id(tmp_path: Path) -> None:
    left = tmp_path / "stdout"
    left.touch(0o600)
    with pytest.raises(KeyError):
        await FileRepository(tmp_path).collect("../x", nobody, str(left))
    assert left.stat().st_mode & 0o777 == 0o600


COLLECT = """
import asyncio, os, sys
from pdtcli import FileRepository
os.umask(int(sys.argv[1], 8))
repository = FileRepository(sys.argv[2])

async def main():
    await repository.collect("moved", None, sys.argv[3])
    await repository.write_bytes("written", b"")

asyncio.run(main())
"""


@pytest.mark.parametrize(("umask", "mode"), [("022", 0o644), ("002", 0o664), ("077", 0o600), ("000", 0o666)])
def test_a_collected_file_has_the_mode_that_a_written_one_has(tmp_path: Path, umask: str, mode: int) -> None:
    (tmp_path / "left").touch(0o700)
    (tmp_path / "data").mkdir()
    python(COLLECT, umask, str(tmp_path / "data"), str(tmp_path / "left"))
    assert [path.stat().st_mode & 0o7777 for path in (tmp_path / "data").iterdir()] == [mode, mode]


async def test_the_file_of_a_value_is_known_where_there_is_one(tmp_path: Path) -> None:
    (tmp_path / "emma").touch()
    repository = FileRepository(tmp_path)
    assert await repository.local_file("emma") == f"{tmp_path}/emma"
    assert await repository.local_file("other") is None


# ---- directories


async def test_directories_are_jobs_and_files_are_not(tmp_path: Path) -> None:
    (tmp_path / "emma").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("emma")
    (tmp_path / ".hidden").mkdir()
    repository = DirectoryRepository(tmp_path)
    assert await repository.keys() == await repository.among(["emma", "file", "link"]) == {"emma", "link"}


async def test_directories_may_have_an_extension(tmp_path: Path) -> None:
    (tmp_path / "emma.d").mkdir()
    (tmp_path / "emma.e").mkdir()
    repository = DirectoryRepository(tmp_path, ".d")
    assert (await repository.keys(), await repository.info("emma")) == ({"emma"}, f"{tmp_path}/emma.d")


async def test_a_directory_is_made_and_found(tmp_path: Path) -> None:
    repository = DirectoryRepository(tmp_path)
    await repository.mkdir("emma")
    await repository.mkdir("emma")
    assert await repository.contains("emma")


async def test_a_directory_is_deleted_with_all_in_it_and_once_is_enough(tmp_path: Path) -> None:
    (tmp_path / "emma" / "sub").mkdir(parents=True)
    (tmp_path / "emma" / "sub" / "file").touch()
    repository = DirectoryRepository(tmp_path)
    await repository.delete("emma")
    await repository.delete("emma")
    assert names(tmp_path) == []


async def test_a_file_among_directories_is_not_deleted(tmp_path: Path) -> None:
    (tmp_path / "emma").touch()
    await DirectoryRepository(tmp_path).delete("emma")
    assert names(tmp_path) == ["emma"]


async def test_empty_directories_may_be_discarded(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "full" / "sub").mkdir(parents=True)
    repository = DirectoryRepository(tmp_path, discard_empty=True)
    assert await repository.keys() == await repository.among(["empty", "full", "none"]) == {"full"}
    assert (await repository.contains("empty"), await repository.contains("full")) == (False, True)


async def test_empty_directories_count_otherwise(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert await DirectoryRepository(tmp_path).keys() == {"empty"}


async def test_an_empty_directory_that_is_discarded_can_be_deleted(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    await DirectoryRepository(tmp_path, discard_empty=True).delete("empty")
    assert names(tmp_path) == []


async def test_a_whole_directory_appears_at_once(tmp_path: Path) -> None:
    repository = DirectoryRepository(tmp_path)
    async with await repository.create("emma") as path:
        (path / "part").write_text("x")
        seen = (await repository.keys(), await repository.contains("emma"))
    assert seen == (set(), False)
    assert (names(tmp_path), names(tmp_path / "emma")) == (["emma"], ["part"])


async def test_a_whole_directory_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "emma" / "old").mkdir(parents=True)
    async with await DirectoryRepository(tmp_path).create("emma") as path:
        (path / "new").touch()
        before = names(tmp_path / "emma")
    assert (before, names(tmp_path / "emma"), names(tmp_path)) == (["old"], ["new"], ["emma"])


async def test_a_directory_that_was_not_completed_vanishes(tmp_path: Path) -> None:
    (tmp_path / "emma" / "old").mkdir(parents=True)

    async def fill() -> None:
        async with await DirectoryRepository(tmp_path).create("emma") as path:
            (path / "new").touch()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fill()
    assert (names(tmp_path), names(tmp_path / "emma")) == (["emma"], ["old"])


async def test_of_directories_that_are_created_at_once_the_last_stays(tmp_path: Path) -> None:
    repository = DirectoryRepository(tmp_path)

    async def fill(number: int) -> None:
        async with await repository.create("emma") as path:
            (path / str(number)).touch()

    await asyncio.gather(*(fill(number) for number in range(8)))
    assert (names(tmp_path), len(names(tmp_path / "emma"))) == (["emma"], 1)


async def test_a_name_that_is_no_job_id_creates_nothing(tmp_path: Path) -> None:
    repository = DirectoryRepository(tmp_path / "data")
    await repository.validate()
    with pytest.raises(KeyError):
        await repository.create("../x")
    with pytest.raises(KeyError):
        await repository.mkdir("../x")
    assert (names(tmp_path), names(tmp_path / "data")) == (["data"], [])


async def test_in_a_missing_directory_none_can_be_created(tmp_path: Path) -> None:
    repository = DirectoryRepository(tmp_path / "missing")
    with pytest.raises(BackendError, match="/missing/emma cannot be written: its directory is not there"):
        await repository.mkdir("emma")
    with pytest.raises(BackendError, match="/missing/emma cannot be written: its directory is not there"):
        async with await repository.create("emma"):
            pass
