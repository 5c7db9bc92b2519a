"""Files and directories that appear complete or not at all."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from pathlib import Path

import pytest
from tests.processes import needs_unnamed_files, python, race, running

from pdtcli import BackendError, atomic

TEMPORARY = "from pdtcli import atomic; print(atomic.temporary_name())"


def names(directory: Path) -> list[str]:
    return sorted(os.listdir(directory))


# ---- replace and create


def test_a_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    atomic.replace(tmp_path / "file", b"new")
    assert (names(tmp_path), (tmp_path / "file").read_bytes()) == (["file"], b"new")


def test_who_reads_the_old_file_goes_on_reading_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    with open(tmp_path / "file", "rb") as reader:
        atomic.replace(tmp_path / "file", b"new")
        assert reader.read() == b"old"


def test_a_file_is_created_once(tmp_path: Path) -> None:
    assert atomic.create(tmp_path / "file", b"first")
    assert not atomic.create(tmp_path / "file", b"second")
    assert (names(tmp_path), (tmp_path / "file").read_bytes()) == (["file"], b"first")


@pytest.mark.parametrize("write", [atomic.replace, atomic.create])
def test_a_missing_directory_is_told_by_the_file_s_own_name(tmp_path: Path, write: object) -> None:
    assert callable(write)
    with pytest.raises(BackendError) as caught:
        write(tmp_path / "missing" / "file", b"x")
    assert str(caught.value) == f"{tmp_path}/missing/file cannot be written: its directory is not there"


def test_a_full_disk_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    # A limit on the size of files is met by the same failing write(2), with EFBIG for ENOSPC.
    (tmp_path / "file").write_bytes(b"old")
    program = (
        "import resource, signal, sys; from pdtcli import atomic; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        "try: atomic.replace(sys.argv[1], b'x' * 1000)\n"
        "except Exception as error: print(error)"
    )
    assert python(program, tmp_path / "file") == f"{tmp_path}/file cannot be written: File too large\n"
    assert (names(tmp_path), (tmp_path / "file").read_bytes()) == (["file"], b"old")


KILLED = """
import resource, signal, sys
from pdtcli import atomic
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))  # of which the kernel tells by a signal that kills
getattr(atomic, sys.argv[1])(sys.argv[2], b"x" * 1000)
"""


@pytest.mark.parametrize("how", ["replace", "create"])
@pytest.mark.parametrize("named", ["", "1"])
def test_a_kill_in_the_middle_leaves_nothing_or_what_is_swept(tmp_path: Path, how: str, named: str) -> None:
    if not named:
        needs_unnamed_files(tmp_path)
    with running(KILLED, how, tmp_path / "file", env={"PDT_NO_TMPFILE": named}) as process:
        assert process.wait() == -signal.SIGXFSZ
    assert len(names(tmp_path)) == len(named)
    atomic.sweep(tmp_path, names(tmp_path))
    assert names(tmp_path) == []


def test_where_every_file_has_a_name_the_same_holds(tmp_path: Path) -> None:
    program = """
        import os, sys
        from pdtcli import atomic
        os.chdir(sys.argv[1])
        atomic.replace("file", b"first")
        atomic.replace("file", b"second")
        print(atomic.create("file", b"third"), atomic.create("other", b"fourth"))
    """
    assert python(program, tmp_path, env={"PDT_NO_TMPFILE": "1"}) == "False True\n"
    assert {name: (tmp_path / name).read_bytes() for name in names(tmp_path)} == {"file": b"second", "other": b"fourth"}


CREATE = """
import sys
from pdtcli import atomic
print("ready", flush=True)
sys.stdin.readline()
print(sum(atomic.create(f"{sys.argv[1]}/{number}", sys.argv[2].encode()) for number in range(100)))
"""


def test_of_many_processes_that_create_the_same_files_one_wins_each(tmp_path: Path) -> None:
    wins = [int(won) for won in race(CREATE, *((tmp_path, number) for number in range(4)))]

    contents = [(tmp_path / str(number)).read_text() for number in range(100)]
    assert sum(wins) == 100
    assert [contents.count(str(racer)) for racer in range(4)] == wins
    assert len(names(tmp_path)) == 100


# ---- litter


def test_a_temporary_name_is_hidden_and_fresh() -> None:
    some = {atomic.temporary_name() for _ in range(100)}
    assert len(some) == 100
    assert all(name.startswith(".pdt-") for name in some)


def test_a_forked_child_has_names_of_its_own(tmp_path: Path) -> None:
    atomic.temporary_name()
    child = os.fork()
    if child == 0:
        (tmp_path / "names").write_text("\n".join(atomic.temporary_name() for _ in range(3)))
        os._exit(0)
    os.waitpid(child, 0)
    theirs = (tmp_path / "names").read_text().split()
    assert set(theirs).isdisjoint(atomic.temporary_name() for _ in range(100))
    assert all(f"-{child}-" in name for name in theirs)


def test_what_a_process_that_is_gone_left_is_swept(tmp_path: Path) -> None:
    litter = python(TEMPORARY).strip()
    (tmp_path / litter).touch()
    atomic.sweep(tmp_path, names(tmp_path))
    assert names(tmp_path) == []


def test_a_directory_that_it_left_is_swept_with_all_in_it(tmp_path: Path) -> None:
    litter = python(TEMPORARY).strip()
    (tmp_path / litter / "sub").mkdir(parents=True)
    (tmp_path / litter / "sub" / "file").touch()
    atomic.sweep(tmp_path, names(tmp_path))
    assert names(tmp_path) == []


def test_what_a_process_that_lives_is_making_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / atomic.temporary_name()).touch()
    before = names(tmp_path)
    atomic.sweep(tmp_path, before)
    assert names(tmp_path) == before


def test_what_the_machine_s_former_life_left_is_swept(tmp_path: Path) -> None:
    host, boot, rest = atomic.temporary_name().removeprefix(".pdt-").rsplit("-", 4)[0], "00000000", f"{os.getpid()}-1-0"
    (tmp_path / f".pdt-{host}-{boot}-{rest}").touch()
    atomic.sweep(tmp_path, names(tmp_path))
    assert names(tmp_path) == []


def test_what_another_host_is_making_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / ".pdt-far-away.example-0badcafe-1-1-0").touch()
    atomic.sweep(tmp_path, names(tmp_path))
    assert len(names(tmp_path)) == 1


def test_what_another_host_left_long_ago_is_swept(tmp_path: Path) -> None:
    (tmp_path / ".pdt-far-away.example-0badcafe-1-1-0").touch()
    os.utime(tmp_path / ".pdt-far-away.example-0badcafe-1-1-0", (0, time.time() - 25 * 3600))
    atomic.sweep(tmp_path, names(tmp_path))
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", [".pdt-", ".pdt-mine", ".pdt-a-b-c-d-e", "job", ".hidden"])
def test_other_names_are_not_litter(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    atomic.sweep(tmp_path, [name])
    assert names(tmp_path) == [name]


def test_litter_that_is_gone_already_is_no_problem(tmp_path: Path) -> None:
    atomic.sweep(tmp_path, [python(TEMPORARY).strip(), ".pdt-far-away.example-0badcafe-1-1-0"])
    assert names(tmp_path) == []


def test_litter_that_may_not_be_removed_does_not_fail_a_listing() -> None:
    program = (
        "import asyncio, os, sys; from pdtcli import FileRepository, atomic\n"
        "repository = FileRepository(sys.argv[1])\n"
        "atomic.temporary_name()  # imports what the other user cannot\n"
        "async def keys(): print(*await repository.keys())\n"
        "with asyncio.Runner() as runner:\n"
        "    if os.geteuid() == 0: os.setgroups([]); os.setgid(54321); os.setuid(54321)\n"
        "    runner.run(keys())"
    )
    with tempfile.TemporaryDirectory() as directory:  # outside of tmp_path, which others cannot enter
        Path(directory, "job").touch()
        Path(directory, python(TEMPORARY).strip()).touch()
        os.chmod(directory, 0o555)
        try:
            assert python(program, directory) == "job\n"
        finally:
            os.chmod(directory, 0o755)


# ---- trees


def test_a_tree_is_removed(tmp_path: Path) -> None:
    (tmp_path / "tree" / "sub").mkdir(parents=True)
    atomic.remove_tree(tmp_path / "tree")
    assert names(tmp_path) == []


def test_removing_what_is_not_there_does_nothing(tmp_path: Path) -> None:
    atomic.remove_tree(tmp_path / "tree")
    assert names(tmp_path) == []


def test_a_link_to_a_tree_is_removed_and_the_tree_stays(tmp_path: Path) -> None:
    (tmp_path / "tree" / "sub").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "tree")
    atomic.remove_tree(tmp_path / "link")
    assert names(tmp_path) == ["tree"]
    assert (tmp_path / "tree" / "sub").is_dir()


@pytest.mark.parametrize("old", ["nothing", "an empty directory", "a full directory", "a link to a directory"])
def test_a_tree_takes_the_place_of_what_was_there(tmp_path: Path, old: str) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "file").touch()
    (tmp_path / "elsewhere").mkdir()
    target = tmp_path / "target"
    match old:
        case "an empty directory":
            target.mkdir()
        case "a full directory":
            (target / "sub").mkdir(parents=True)
        case "a link to a directory":
            target.symlink_to(tmp_path / "elsewhere")

    atomic.replace_tree(target, tmp_path / "new")

    assert names(tmp_path) == ["elsewhere", "target"]
    assert names(target) == ["file"]


def test_a_tree_does_not_take_the_place_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "target").write_text("precious")
    with pytest.raises(NotADirectoryError):
        atomic.replace_tree(tmp_path / "target", tmp_path / "new")
    assert (tmp_path / "target").read_text() == "precious"
