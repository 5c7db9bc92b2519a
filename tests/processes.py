"""Waiting for the world, and processes of their own: what tests of a toolkit that starts processes need."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

T = TypeVar("T")

ROOT = Path(__file__).parents[1]
PATIENCE = 30.0
"""Seconds after which what did not happen will not happen any more, on a busy machine too."""


def until(condition: Callable[[], T], what: str = "the condition", patience: float = PATIENCE) -> T:
    """Wait until `condition` gives something true, and return that."""
    deadline = time.monotonic() + patience
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {patience:g} seconds in vain for {what}")
        time.sleep(0.005)
    return value


def is_running(pid: int) -> bool:
    """Whether there is such a process, other than as a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return text.rpartition(")")[2].split()[0] not in "ZX"


def pid_in(path: Path) -> Callable[[], int]:
    """A condition for `until`: the process id that a job wrote to a file."""

    def read() -> int:
        text = path.read_text() if path.exists() else ""
        return int(text) if text.endswith("\n") else 0

    return read


def needs_unnamed_files(place: Path) -> None:
    """Skip the test where every file has a name from the beginning on, as on NFS."""
    try:
        os.close(os.open(place, os.O_WRONLY | os.O_TMPFILE))
    except OSError as error:
        pytest.skip(f"the file system of {place} has no files without a name: {error.strerror}")


def environment(**variables: str) -> dict[str, str]:
    """What a child process sees."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PDT_", "PYTHON"))}
    return {**inherited, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", **variables}


@contextmanager
def running(code: str, *arguments: object, env: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    """A Python process that runs `code`, killed at the end of the block if it is still there."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        env=environment(**(env or {})),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            assert stream is not None
            stream.close()


def python(code: str, *arguments: object, env: Mapping[str, str] | None = None) -> str:
    """What `code` prints in a Python process that must end well."""
    with running(code, *arguments, env=env) as process:
        out, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        return out


def race(code: str, *runners: Iterable[object]) -> list[str]:
    """What Python processes print that are let go at the same moment.

    :param code: prints ``ready``, waits for a line, and then does what is contended for.
    :param runners: the arguments of each.
    """
    with ExitStack() as stack:
        processes = [stack.enter_context(running(code, *arguments)) for arguments in runners]
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        said = [process.communicate(timeout=60) for process in processes]
    assert [errors for _, errors in said] == [""] * len(said)
    return [out for out, _ in said]
