"""The runner, step by step: given up while it is held before a step, and killed before and after each."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest
from tests.processes import until

from pdtcli import LocalLinuxManager
from pdtcli.host import process_start
from pdtcli.manager.base import JobDirectory, Launch, Phase, Process, StderrMode
from pdtcli.manager.local import _FILES, _runner

WAITING = 'read -r _; exec "$@"'
"""So that the tracer is there before the runner is; a shell reads no further than the end of a line."""

MOST = 100


class Attempted:
    """An attempt at a job whose runner goes under the tracer.

    :ivar fate: what the tracer says of it: `done` when the runner has fewer steps.
    """

    def __init__(self, manager: LocalLinuxManager, tracer: Path, number: int) -> None:
        self.manager = manager
        self.tracer = tracer
        self.directory = JobDirectory("task", "job", f"attempt-{number}")
        self.path = manager.basedir / "task" / "job"
        self.mark = manager.basedir.parent / f"ran.{number}"
        self.fate = ""

    @property
    def twice(self) -> bool:
        return (self.mark / "twice").exists()

    async def make(self, what: str, step: int, paused: Callable[[], Awaitable[None]] | None = None) -> Process:
        """Prepare the directory and run the runner in it, to its end."""
        with self.manager.locked("task", "job"):
            script = f"#!/bin/sh\nmkdir '{self.mark}' || touch '{self.mark}/twice'\necho output\n"
            await self.manager.prepare(self.directory, Launch(script.encode(), {}, None, True, StderrMode.STDOUT))
        arguments = [str(self.path), self.directory.token, "/dev/null", f"{self.path}/stdout", "-", "0022"]
        runner = subprocess.Popen(
            ["sh", "-c", WAITING, "sh", "sh", "-c", _runner(), "pdt-job", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        process = Process(runner.pid, process_start(runner.pid) or 0)
        command = [str(self.tracer), str(runner.pid), f"{self.mark}.steps", f"{self.path}/", "wrp", what, str(step)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as tracer:
            assert tracer.stdin is not None
            assert tracer.stdout is not None
            if tracer.stdout.readline() != "ready\n":
                runner.kill()
                runner.communicate()
                pytest.skip("processes cannot be traced here (ptrace is refused)")
            assert runner.stdin is not None
            runner.stdin.write(f"go\n{process.start}\n".encode())
            runner.stdin.close()
            line = tracer.stdout.readline()
            if line == "paused\n":
                assert paused is not None
                await paused()
                print("go on", file=tracer.stdin, flush=True)
                line = tracer.stdout.readline()
        runner.wait()
        self.fate = line.split()[1]
        until(lambda: not self.manager._members(process), "the script")  # which outlives a runner that is killed
        return process


@pytest.fixture
def manager(tmp_path: Path) -> LocalLinuxManager:
    return LocalLinuxManager("lab", local_path=tmp_path)


async def test_it_does_not_run_what_is_given_up_and_what_it_runs_is_not_given_up(
    manager: LocalLinuxManager, tracer: Path
) -> None:
    kept = given_up = 0
    for step in range(1, MOST):
        attempt = Attempted(manager, tracer, step)
        taken = False

        async def give_up(directory: JobDirectory = attempt.directory) -> None:
            nonlocal taken
            taken = await manager.forestall(directory)
            if taken:
                await manager.discard(directory)

        await attempt.make("pause", step, give_up)
        if attempt.fate == "done":
            break
        kept += not taken
        given_up += taken
        assert attempt.mark.exists() is not taken, f"step {step}"
        assert not attempt.twice, f"step {step}"
    print(f"runner held: {step - 1} steps, given up at {given_up}")
    assert attempt.fate == "done"
    assert kept > 0
    assert given_up > 0


class Killed(BaseException):
    """In place of the end of the process."""


@pytest.mark.parametrize("removed", range(len(_FILES)))
async def test_it_does_not_run_what_was_given_up_by_somebody_who_was_killed_while_he_cleared_away(
    manager: LocalLinuxManager, tracer: Path, monkeypatch: pytest.MonkeyPatch, removed: int
) -> None:
    given_up = 0
    for step in range(1, MOST):
        attempt = Attempted(manager, tracer, step)
        taken = False

        async def give_up(directory: JobDirectory = attempt.directory) -> None:
            nonlocal taken
            taken = await manager.forestall(directory)
            if not taken:
                return
            left = removed
            unlink = os.unlink

            def remove(path: str) -> None:
                nonlocal left
                if not left:
                    raise Killed
                left -= 1
                unlink(path)

            with monkeypatch.context() as patched, suppress(Killed):
                patched.setattr(os, "unlink", remove)
                await manager.discard(directory)

        await attempt.make("pause", step, give_up)
        if not taken:
            break  # from here on the runner has the claim
        given_up += 1
        assert not attempt.mark.exists(), f"step {step}"
        await manager.discard(attempt.directory)
    assert given_up > 0


@pytest.mark.parametrize("how", ["before", "after"])
async def test_what_it_left_when_it_was_killed_tells_how_far_it_came(
    manager: LocalLinuxManager, tracer: Path, how: str
) -> None:
    phases = set()
    for step in range(1, MOST):
        attempt = Attempted(manager, tracer, step)
        process = await attempt.make(how, step)
        found = await manager.inspect(attempt.directory, process)
        if attempt.fate == "done":
            break
        phases.add(found.phase)
        if found.phase is Phase.PREPARED:
            assert await manager.forestall(attempt.directory)
            assert not attempt.mark.exists(), f"step {step}"
        elif found.phase is Phase.ENDED:
            assert attempt.mark.exists(), f"step {step}"
            assert found.return_code == 0
        assert not attempt.twice, f"step {step}"
        await manager.discard(attempt.directory)
    print(f"runner killed {how}: {step - 1} steps")
    assert attempt.fate == "done"
    assert phases >= {Phase.PREPARED, Phase.LOST}
