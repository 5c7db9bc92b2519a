"""What the manager of this machine sees of a job that changes while it looks."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.processes import until

from pdtcli import LocalLinuxManager, host
from pdtcli.manager.base import JobDirectory, Launch, Phase, StderrMode


@pytest.mark.parametrize("known", [True, False], ids=["pid known", "pid unknown"])
async def test_a_job_that_ends_between_two_looks_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    began, gate = tmp_path / "began", tmp_path / "gate"
    gate.touch()
    manager = LocalLinuxManager("lab", local_path=tmp_path)
    directory = JobDirectory("task", "job", "attempt")
    script = f"#!/bin/sh\ntouch '{began}'\nwhile [ -e '{gate}' ]; do sleep 0.01; done\nexit 3\n".encode()
    with manager.locked("task", "job"):
        launch = Launch(script, {}, None, True, StderrMode.STDOUT)
        await manager.prepare(directory, launch)
        process = await manager.spawn(directory, launch)
        until(began.exists, "the job")
    asked = host.is_alive

    def is_alive(pid: int, start: int) -> bool:
        """The truth, of the moment after the job has ended."""
        gate.unlink(missing_ok=True)
        until(lambda: not asked(pid, start), "the end of the job")
        return False

    monkeypatch.setattr(host, "is_alive", is_alive)
    found = await manager.inspect(directory, process if known else None)

    assert (found.phase, found.return_code) == (Phase.ENDED, 3)
