"""The state directory, and the locks in it."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from pdtcli import PdtError
from pdtcli.state import LockFile, lock_file, secure_directory, state_home

# ---- the directory


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


def test_it_is_where_the_xdg_specification_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "x"))
    assert state_home() == tmp_path / "x" / "pdt"


@pytest.mark.parametrize("value", [None, "", "relative/path"])
def test_it_is_below_the_home_directory_otherwise(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, value: str | None
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    if value is None:
        monkeypatch.delenv("XDG_STATE_HOME")
    else:
        monkeypatch.setenv("XDG_STATE_HOME", value)
    assert state_home() == tmp_path / ".local" / "state" / "pdt"


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes a user without a home directory")
def test_a_user_without_a_home_is_told_what_to_set() -> None:
    program = "import os; from pdtcli.state import state_home; os.environ.clear(); os.setuid(54321); state_home()"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "there is no place for the state directory: set HOME or XDG_STATE_HOME" in found.stderr


def test_what_is_missing_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    made = secure_directory(tmp_path / "a" / "b" / "c")
    assert [mode(path) for path in (made, made.parent, made.parent.parent)] == [0o700] * 3


@pytest.mark.parametrize("umask", ["000", "022", "077", "277", "777"])
def test_the_umask_does_not_matter(tmp_path: Path, umask: str) -> None:
    program = (
        "import os, sys, pathlib; from pdtcli.state import secure_directory; os.umask(int(sys.argv[1], 8));"
        "secure_directory(pathlib.Path(sys.argv[2]))"
    )
    subprocess.run([sys.executable, "-B", "-c", program, umask, str(tmp_path / "a" / "b")], check=True)
    assert (mode(tmp_path / "a"), mode(tmp_path / "a" / "b")) == (0o700, 0o700)


def test_one_that_others_can_read_is_closed_to_them(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    secure_directory(tmp_path)
    assert mode(tmp_path) == 0o700


def test_a_symbolic_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(PdtError, match="is a symbolic link: remove it, or set XDG_STATE_HOME"):
        secure_directory(tmp_path / "link")


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PdtError, match="is not a directory"):
        secure_directory(tmp_path / "file")


def test_somebody_else_s_is_refused(tmp_path: Path) -> None:
    theirs = Path("/usr")
    if os.geteuid() == 0:
        theirs = tmp_path / "theirs"
        theirs.mkdir()
        os.chown(theirs, 54321, -1)
    before = mode(theirs)
    with pytest.raises(PdtError, match="belongs to another user: set XDG_STATE_HOME to a place of your own"):
        secure_directory(theirs)
    assert mode(theirs) == before


# ---- locks

HOLDER = """
import os, pathlib, sys
from pdtcli.state import LockFile
lock = LockFile(pathlib.Path(sys.argv[1]))
print(lock.acquire(sys.argv[2]), flush=True)
if sys.argv[3:] and os.fork() == 0:
    print(os.getpid(), flush=True)
    sys.stdin.readline()
    os._exit(0)
sys.stdin.readline()
"""


@contextmanager
def holder(path: Path, key: str, *options: str) -> Iterator[tuple[subprocess.Popen[str], IO[str]]]:
    """Another process, which has tried to lock a key, and what it says."""
    command = [sys.executable, "-c", HOLDER, str(path), key, *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout
        finally:
            process.kill()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "locks"


def test_a_key_is_held_by_one_at_a_time(path: Path) -> None:
    one, two = LockFile(path), LockFile(path)
    assert (one.acquire("job"), two.acquire("job")) == (True, False)
    one.release("job")
    assert two.acquire("job")


def test_keys_do_not_disturb_each_other(path: Path) -> None:
    one, two = LockFile(path), LockFile(path)
    assert one.acquire("a")
    assert two.acquire("b")


def test_who_holds_a_key_does_not_get_it_twice(path: Path) -> None:
    lock = LockFile(path)
    assert (lock.acquire("job"), lock.acquire("job")) == (True, False)


def test_releasing_what_one_does_not_hold_does_nothing(path: Path) -> None:
    one, two = LockFile(path), LockFile(path)
    one.acquire("job")
    two.release("job")
    assert not two.acquire("job")


def test_a_block_holds_a_key_for_its_length_also_when_it_raises(path: Path) -> None:
    one, two = LockFile(path), LockFile(path)
    seen = []

    def work() -> None:
        with one.holding("job") as got, two.holding("job") as other:
            seen.append((got, other))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    assert seen == [(True, False)]
    assert two.acquire("job")


def test_a_closed_file_holds_nothing_and_can_be_used_again(path: Path) -> None:
    one, two = LockFile(path), LockFile(path)
    one.acquire("job")
    one.close()
    assert two.acquire("job")
    assert not one.acquire("job")


def test_a_waiter_gets_the_key_when_it_is_released(path: Path) -> None:
    one, two = LockFile(path), LockFile(path)
    one.acquire("job")
    waiter = threading.Thread(target=two.acquire_wait, args=("job",))
    waiter.start()
    one.release("job")
    waiter.join()
    assert not one.acquire("job")


def test_another_process_is_shut_out_and_lets_go_when_it_is_killed(path: Path) -> None:
    lock = LockFile(path)
    with holder(path, "job") as (process, says):
        assert says.readline() == "True\n"
        assert not lock.acquire("job")
        process.kill()
        process.wait()
        assert lock.acquire("job")


def test_this_process_shuts_another_one_out(path: Path) -> None:
    lock = LockFile(path)
    lock.acquire("job")
    with holder(path, "job") as (_, says):
        assert says.readline() == "False\n"


def test_a_child_of_the_holder_does_not_keep_the_key_when_the_holder_is_killed(path: Path) -> None:
    lock = LockFile(path)
    with holder(path, "job", "fork") as (process, says):
        assert says.readline() == "True\n"
        child = int(says.readline())
        process.kill()
        process.wait()
        got = lock.acquire("job")
        os.kill(child, 9)
    assert got


def test_a_fork_does_not_take_the_key_from_its_parent(path: Path) -> None:
    lock = LockFile(path)
    lock.acquire("job")
    child = os.fork()
    if child == 0:
        lock.release("job")
        os._exit(0)
    os.waitpid(child, 0)
    assert not LockFile(path).acquire("job")


def test_a_copy_in_another_process_is_the_same_file_and_holds_nothing(path: Path) -> None:
    lock = LockFile(path)
    lock.acquire("job")
    copy = pickle.loads(pickle.dumps(lock))
    assert not copy.acquire("job")
    lock.release("job")
    assert copy.acquire("job")


def test_the_file_is_private_and_stays_empty(path: Path) -> None:
    LockFile(path).acquire("job")
    assert (mode(path), path.stat().st_size) == (0o600, 0)


def test_a_symbolic_link_is_not_followed(path: Path, tmp_path: Path) -> None:
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        LockFile(path).acquire("job")
    assert not (tmp_path / "elsewhere").exists()


def test_locks_are_told_apart_by_purpose_and_identity() -> None:
    files = {lock_file(purpose, identity).path for purpose in ("tick", "quota") for identity in ("/a/b", "/a/c")}
    assert len(files) == 4
    assert {path.parent for path in files} == {state_home() / "locks"}
    assert lock_file("tick", "/a/b").path in files
