"""Who may judge a live job: not a container by another one's process ids, nor one state directory by another's."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import yaml
from tests.faults.tickers import Ticker, can_unshare
from tests.lab import Lab, tick_until_idle
from tests.processes import environment, is_running, pid_in, until

from pdtcli import (
    LocalLinuxManager,
    PipelineHandle,
    ResourceManager,
    Resources,
    YamlMetadataFileRepository,
)
from pdtcli.host import hostname

WAITS = "echo $$ >{pid}; until [ -e {go} ]; do sleep 0.01; done"

TICK = """
import sys
from pathlib import Path
from tests.lab import Lab
from tests.faults.test_tickers_hosts import waiting

pipeline = waiting(Lab(Path(sys.argv[1])))
for line in sys.stdin:
    pipeline.tick()
    print("ticked", flush=True)
"""

WRITE = """
import asyncio, sys
from pathlib import Path
from tests.lab import Lab

async def write():
    async with await Lab(Path(sys.argv[1])).files("output").open("a", "wb") as stream:
        await stream.write(b"whole")
        print("begun", flush=True)
        sys.stdin.readline()

asyncio.run(write())
"""


def waiting(lab: Lab, manager: LocalLinuxManager | None = None, **options: Any) -> PipelineHandle:
    """A pipeline whose jobs run until somebody lets them go."""
    task = lab.process("shell", WAITS.format(pid=lab.path("pid"), go=lab.path("go")), **options)
    if manager is not None:
        task._manager = lambda: manager
    return lab.pipeline(task)


@contextmanager
def container(lab: Lab, code: str) -> Iterator[subprocess.Popen[str]]:
    """A Python process in a container that has the name of this host, until the end of the block."""
    if not can_unshare():
        pytest.skip("namespaces cannot be made here")
    process = subprocess.Popen(
        [*Ticker(namespace=True).prefix, sys.executable, "-c", code, str(lab.directory)],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def ask(process: subprocess.Popen[str]) -> str:
    """Send a line and wait for the answer."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


class TestAContainerWithTheNameOfThisHost:
    def test_keeps_its_live_jobs_and_collects_them_itself(self, lab: Lab) -> None:
        lab.give("a")
        here = waiting(lab)
        with container(lab, TICK) as there:
            ask(there)
            until(lab.path("pid").exists)

            here.tick()

            assert here.status()[0].live == 1
            assert lab.record("shell.pids", "a")["host"].startswith(f"{hostname().partition('+')[0]}+")
            lab.path("go").touch()
            until(lambda: ask(there) and not lab.keys("shell.pids"))
        assert lab.record("shell.done", "a")["return_code"] == 0

    def test_that_will_not_come_back_is_given_up_by_hand(self, lab: Lab) -> None:
        lab.give("a")
        here = waiting(lab)
        with container(lab, TICK) as there:
            ask(there)
            until(lab.path("pid").exists)
        host = lab.record("shell.pids", "a")["host"]
        assert here.tick().idle

        assert here.task("shell").cancel(None, host=host) == ["a"]

        record = lab.record("shell.failed", "a")
        assert (record["reason"], record["host"]) == ("lost", host)
        assert lab.keys("shell.pids") == set()

    def test_keeps_what_it_is_writing(self, lab: Lab) -> None:
        lab.path("output").mkdir()
        with container(lab, WRITE) as there:
            assert there.stdout is not None
            there.stdout.readline()

            assert lab.pipeline(lab.process("shell", "", stdout=lab.files("output"))).repo("shell.stdout").ls() == set()

            ask(there)
        assert lab.text("output", "a") == "whole"

    def test_that_sees_the_processes_of_another_one_starts_nothing(self, lab: Lab) -> None:
        if not can_unshare():
            pytest.skip("namespaces cannot be made here")
        lab.give("a")
        done = subprocess.run(
            ["unshare", "--pid", "--fork", sys.executable, "-c", TICK, str(lab.directory)],
            env=environment(),
            input="\n",
            capture_output=True,
            text=True,
            check=False,
        )

        assert "mount it anew" in done.stderr
        assert not lab.path("pid").exists()


class TestAnotherStateDirectoryOfThisHost:
    def there(self, lab: Lab) -> LocalLinuxManager:
        return LocalLinuxManager("lab", local_path=lab.directory / "state-there")

    def test_keeps_its_live_jobs_and_collects_them_itself(self, lab: Lab) -> None:
        lab.give("a")
        here, there = waiting(lab), waiting(lab, self.there(lab))
        there.tick()
        script = until(pid_in(lab.path("pid")))

        here.tick()
        assert here.status()[0].live == 1
        lab.path("go").touch()
        until(lambda: not is_running(script))
        here.tick()
        assert here.status()[0].live == 1
        tick_until_idle(there)

        assert lab.record("shell.done", "a")["success"] is True

    def test_keeps_a_claim_under_which_nothing_runs_yet(self, lab: Lab) -> None:
        lab.give("a")
        record = {"host": hostname(), "basedir": str(self.there(lab).basedir), "attempt": "x"}
        lab.path("shell.pids").mkdir()
        lab.path("shell.pids/a.yaml").write_text(yaml.safe_dump(record))

        report = waiting(lab).tick()

        assert report.launched == 0
        assert lab.keys("shell.pids") == {"a"}

    def test_is_followed_when_it_was_moved(self, lab: Lab) -> None:
        lab.give("a")
        waiting(lab, self.there(lab)).tick()
        until(pid_in(lab.path("pid")))
        lab.path("go").touch()
        until(lambda: (lab.path("state-there") / "lab/shell/a/run").read_text().count("\n") == 2)
        lab.path("state-there").rename(lab.path("state"))

        tick_until_idle(waiting(lab))

        assert lab.record("shell.done", "a")["success"] is True

    def test_can_be_given_up_and_what_ran_in_it_is_ended(self, lab: Lab) -> None:
        lab.give("a")
        waiting(lab, self.there(lab)).tick()
        script = until(pid_in(lab.path("pid")))

        assert waiting(lab).task("shell").cancel(None, host=hostname()) == ["a"]

        assert not is_running(script)
        assert lab.record("shell.failed", "a")["reason"] == "lost"


class CrowdedRepository(YamlMetadataFileRepository):
    """Live records of which another host writes one at the very moment that one is claimed here."""

    async def claim(self, job: str, data: Any, /) -> bool:
        self.fullpath(f"rival-of-{job}").write_text(yaml.safe_dump({"host": "far-away", "attempt": "x"}))
        return await super().claim(job, data)


class TestAQuotaThatHostsShare:
    def start(self, lab: Lab, cpu: str, *jobs: str) -> PipelineHandle:
        lab.give(*jobs)
        task = lab.process("shell", "true", quota=ResourceManager(Resources.parse(cpu)))
        crowded = CrowdedRepository(lab.path("crowded"))
        # Before anything has asked for them: the quota counts what the task calls its live records.
        task.pids = task.live = crowded
        return lab.pipeline(task)

    def test_is_not_exceeded_when_both_claim_at_the_same_moment(self, lab: Lab) -> None:
        pipeline = self.start(lab, "1", "a")
        os.makedirs(lab.path("crowded"))

        report = pipeline.tick()

        assert (report.launched, report.problems) == (0, 0)
        assert lab.keys("crowded") == {"rival-of-a"}
        assert lab.litter() == []

    def test_is_used_in_full(self, lab: Lab) -> None:
        pipeline = self.start(lab, "2", "a")
        os.makedirs(lab.path("crowded"))

        assert pipeline.tick().launched == 1

        until(lambda: pipeline.tick() and lab.keys("shell.done") == {"a"})


def test_a_state_directory_is_known_by_any_path(lab: Lab) -> None:
    """As one that is reached through a link, by cron for instance."""
    lab.give("a")
    lab.path("other").mkdir()
    link = lab.path("link")
    link.symlink_to(lab.path("other"))
    waiting(lab, LocalLinuxManager("lab", local_path=lab.path("other"))).tick()
    lab.path("go").touch()

    tick_until_idle(waiting(lab, LocalLinuxManager("lab", local_path=link)))

    assert lab.record("shell.done", "a")["success"] is True
