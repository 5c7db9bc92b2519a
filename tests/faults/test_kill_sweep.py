"""`kill -9` between any two changes that a run or a tick makes: the next one goes on as if nothing had been."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.faults.scenario import JOBS
from tests.lab import Lab
from tests.processes import environment

WORKERS = 4
LIMIT = 1000


class Driver:
    """Drives the scenario in processes that can be killed at a step."""

    def __init__(self, server: subprocess.Popen[str]) -> None:
        self._server = server

    def drive(self, directory: Path, mode: str, kill_at: int = 0) -> str:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        print(directory, mode, kill_at, file=self._server.stdin, flush=True)
        return self._server.stdout.readline().strip()


@contextmanager
def driver() -> Iterator[Driver]:
    """A driver, whose imports are made once."""
    command = [sys.executable, "-m", "tests.faults.scenario"]
    server = subprocess.Popen(
        command,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    try:
        yield Driver(server)
    finally:
        server.communicate()


def journal(directory: Path, *of: str) -> list[str]:
    """What a task's job wrote down."""
    path = directory / "journal"
    lines = path.read_text().splitlines() if path.exists() else []
    return [line.removeprefix(" ".join(of)).strip() for line in lines if line.startswith(" ".join(of))]


def check_outcome(lab: Lab, recorded: set[str], seen: list[str]) -> None:
    """That of an undisturbed run, whatever happened on the way."""
    assert lab.keys("shell.done") == {"good"}
    assert lab.keys("shell.failed") == {"bad"}
    assert lab.record("shell.failed", "bad")["return_code"] == 3
    assert "reason" not in lab.record("shell.failed", "bad")
    assert lab.keys("total.done") == {"good"}
    assert lab.keys("total.failed") == set()
    assert lab.record("sizes", "good") == {"size": len("output of good\n")}
    assert {job: lab.text("output", job) for job in JOBS} == {job: f"output of {job}\n" for job in JOBS}
    # Nothing is left of what was done.
    assert lab.keys("shell.pids") == set()
    assert lab.litter() == []
    # A script runs once, whatever is killed: it is not the one that was killed.
    for job in JOBS:
        assert journal(lab.directory, "shell", job) == ["start", "end"]
    # A function dies with the process that runs it, and runs again; but never once it was recorded.
    runs = journal(lab.directory, "total", "good")
    assert runs[-2:] == ["start", "end"]
    assert runs.count("start") <= 2
    if "good" in recorded:
        assert runs == seen
    assert journal(lab.directory, "total", "bad") == []


def sweep(directory: Path, mode: str, first: int) -> int:
    """Kill at every `WORKERS`-th step from `first` on; how many steps there are."""
    with driver() as drives:
        for step in range(first, LIMIT, WORKERS):
            lab = Lab(directory / f"step-{step}")
            lab.directory.mkdir()
            lab.give(*JOBS)

            how = drives.drive(lab.directory, mode, step)
            assert how in ("killed", "done"), f"step {step}: {how}"
            recorded, seen = lab.keys("total.done"), journal(lab.directory, "total", "good")
            again = drives.drive(lab.directory, mode)

            assert again == "done", f"step {step}: the next {mode} {again}"
            try:
                check_outcome(lab, recorded, seen)
            except AssertionError as error:
                error.add_note(f"killed before step {step} of {mode}, in {lab.directory}")
                raise
            if how == "done":
                return step
    raise AssertionError(f"no end after {LIMIT} steps")


@pytest.mark.parametrize("mode", ["run", "ticks"])
def test_a_kill_at_any_step_loses_nothing_and_repeats_nothing(tmp_path: Path, mode: str) -> None:
    with ThreadPoolExecutor(WORKERS) as pool:
        ends = list(pool.map(sweep, itertools.repeat(tmp_path), itertools.repeat(mode), range(1, WORKERS + 1)))

    assert min(ends) > 50  # or the steps were not counted
