"""The runner's text, as any POSIX sh must run it: its claim on the directory, and what it refuses."""

from __future__ import annotations

import os
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path

import pytest

from pdtcli.host import process_start

RUNNER = files("pdtcli.manager").joinpath("runner.sh").read_text()
SHELLS = [shell for shell in ("dash", "bash", "busybox") if shutil.which(shell)]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A job directory as a manager prepares it."""
    path = tmp_path / "a job's $directory"
    (path / "cwd").mkdir(parents=True)
    (path / "token").write_text("attempt-1\n")
    (path / "exe").write_text("#!/bin/sh\ncat\npwd\necho err >&2\nexit 7\n")
    (path / "exe").chmod(0o700)
    return path


def command(directory: Path, token: str = "attempt-1", shell: str = "sh", errors: str = "-") -> list[str]:
    interpreter = [shell, "sh"] if shell == "busybox" else [shell]
    return [
        *interpreter,
        "-c",
        RUNNER,
        "pdt-job",
        str(directory),
        token,
        "/dev/null",
        f"{directory}/stdout",
        errors,
        "0022",
    ]


def run(directory: Path, token: str = "attempt-1") -> int:
    null = subprocess.DEVNULL
    return subprocess.run(command(directory, token), stdin=null, stderr=null, check=False).returncode


@pytest.mark.parametrize("told", [True, False], ids=["told", "not-told"])
@pytest.mark.parametrize("shell", SHELLS)
def test_it_tells_its_process_and_the_exit_status_in_any_shell(directory: Path, shell: str, told: bool) -> None:
    process = subprocess.Popen(command(directory, shell=shell), stdin=subprocess.PIPE)
    start = process_start(process.pid)
    process.communicate(f"{start}\n".encode() if told else b"")

    assert (directory / "run").read_text() == f"{process.pid} {start}\n7\n"
    assert (directory / "stdout").read_text() == f"{directory}/cwd\nerr\n"


def test_it_refuses_the_directory_of_another_attempt(directory: Path) -> None:
    assert run(directory, "attempt-2") == 125

    assert sorted(os.listdir(directory)) == ["cwd", "exe", "token"]


def test_it_refuses_a_directory_that_was_claimed(directory: Path) -> None:
    (directory / "run").touch()

    assert run(directory) != 0

    assert (directory / "run").read_text() == ""
    assert not (directory / "stdout").exists()


def test_it_stops_when_the_attempt_is_given_up_while_it_claims(directory: Path) -> None:
    (directory / "token").unlink()
    os.mkfifo(directory / "token")
    runner = subprocess.Popen(command(directory), stdin=subprocess.DEVNULL)
    with open(directory / "token", "w") as token:
        (directory / "token").unlink()  # the runner has it open, and will look for it once more after its claim
        token.write("attempt-1\n")

    assert runner.wait() == 125
    assert (directory / "run").read_text() == ""
    assert not (directory / "stdout").exists()
