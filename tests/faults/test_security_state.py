"""The state directories: private whatever the umask, and nothing that somebody planted in their path is used."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from tests.lab import Events, Lab
from tests.processes import environment, until

from pdtcli import LocalLinuxManager, Pipeline, PipelineHandle
from pdtcli.errors import PdtError

DRIVE = """
import asyncio, os, stat, sys
from pathlib import Path
from tests.lab import Lab
from pdtcli import LocalLinuxManager, ResourceManager, Resources
from pdtcli.launches import Launches
from pdtcli.manager.base import JobDirectory, Launch, Phase, StderrMode
from pdtcli.state import lock_file

def look(path):
    for found in [path, *path.rglob("*")]:
        wanted = 0o700 if found.is_dir() or found.name == "exe" else 0o600
        if stat.S_IMODE(found.stat().st_mode) != wanted:
            print(found, oct(found.stat().st_mode))

async def main():
    home = Path(os.environ["XDG_STATE_HOME"])
    manager = LocalLinuxManager("lab")
    directory = JobDirectory("task", "job", "token")
    for _ in range(2):  # what the first leaves must not shut the second out
        with manager.locked("task", "job") as got, lock_file("quota", "x").holding("admission"):
            assert got
            launch = Launch(b"cat; echo error >&2", {"NAME": "value"}, True, True, StderrMode.FILE)
            await manager.prepare(directory, launch)
            async with await manager.open_input(directory) as stream:
                await stream.write(b"input")
            await manager.spawn(directory, launch)
        while (await manager.inspect(directory)).phase is not Phase.ENDED:
            await asyncio.sleep(0.005)
        look(home / "pdt")
        async with await manager.open_output(directory, "stdout") as stream:
            assert await stream.read() == b"input"
        await manager.discard(directory)
        launches = Launches(home / "pdt" / "locks" / "launches")
        launches.load()
        launches.add(60)
        launches.save()
        manager = LocalLinuxManager("lab")
    assert launches.count == 2
    await manager.prepare(directory, launch)
    assert await manager.forestall(directory)
    look(home / "pdt")

asyncio.run(main())
"""


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
def test_directories_are_0700_and_files_0600_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    # Without the right to pass over modes, so that root meets what others meet.
    rights = "-dac_override,-dac_read_search"
    drop = ["setpriv", f"--bounding-set={rights}", f"--inh-caps={rights}"] if os.geteuid() == 0 else []
    done = subprocess.run(
        [*drop, sys.executable, "-B", "-c", DRIVE],
        env=environment(XDG_STATE_HOME=str(tmp_path)),
        umask=umask,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_a_job_wrote_has_the_mode_of_any_other_value(lab: Lab) -> None:
    lab.give("a")
    task = lab.process("shell", "umask; echo out", stdout=lab.files("out"))

    lab.pipeline(task).run()

    mask = int(lab.text("out", "a").splitlines()[0], 8)
    assert stat.S_IMODE(lab.path("out/a").stat().st_mode) == 0o666 & ~mask


# ---- what is planted

Plant = Callable[[Path], None]


def a_link(path: Path) -> None:
    """To a directory of our own, as somebody may make one who can write where `path` is."""
    path.symlink_to(path.parent / "target", target_is_directory=True)


def somebody_else_s(path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give directories away")
    path.mkdir(mode=0o777)
    os.chown(path, 54321, 54321)


def a_file(path: Path) -> None:
    path.touch()


PLANTS = pytest.mark.parametrize("plant", [a_link, somebody_else_s, a_file])


@PLANTS
@pytest.mark.parametrize("place", ["pdt", "pdt/lab", "pdt/lab/shell", "pdt/locks"])
def test_what_is_planted_in_the_state_path_is_refused(lab: Lab, state_home: Path, place: str, plant: Plant) -> None:
    path = state_home / place
    path.parent.mkdir(parents=True, exist_ok=True)
    target = path.parent / "target"
    target.mkdir()
    plant(path)
    lab.give("a")
    task = lab.process("shell", f"echo >>{lab.path('ran')}")
    task._manager = lambda: LocalLinuxManager("lab")

    with suppress(PdtError), PipelineHandle(Pipeline([task]), None) as pipeline:  # refused as a whole, or job by job
        assert pipeline.tick(observer=(events := Events())).launched == 0
        assert str(path) in "".join(events.problems)
    assert not lab.path("ran").exists()
    assert list(target.iterdir()) == []
    assert lab.keys("shell.pids") == set()


@PLANTS
def test_a_job_directory_that_is_planted_is_replaced_and_not_followed(lab: Lab, plant: Plant) -> None:
    lab.give("a")
    task = lab.state / "shell"
    task.mkdir(parents=True, mode=0o700)
    target = task / "target"
    target.mkdir()
    for name in ("exe", "token", "run", "stdout"):
        (target / name).write_text("precious")
    plant(task / "a")

    pipeline = lab.pipeline(lab.process("shell", "true"))
    pipeline.tick()
    until(lambda: pipeline.tick() and not lab.keys("shell.pids"))

    assert {path.name: path.read_text() for path in target.iterdir()} == dict.fromkeys(
        ("exe", "token", "run", "stdout"), "precious"
    )
    assert lab.keys("shell.done") == {"a"}


@pytest.mark.parametrize("mode", [0o777, 0o757])
def test_a_place_where_others_could_exchange_the_directories_is_refused(lab: Lab, mode: int) -> None:
    lab.give("a")
    shared = lab.path("state")
    shared.mkdir()
    shared.chmod(mode)

    report = lab.pipeline(lab.process("shell", "true")).tick()

    assert (report.launched, report.problems) == (0, 1)
    assert list(shared.iterdir()) == []


def test_a_shared_place_in_which_nobody_can_do_that_will_do(lab: Lab) -> None:
    """As /tmp."""
    lab.give("a")
    lab.path("state").mkdir()
    lab.path("state").chmod(0o1777)

    lab.pipeline(lab.process("shell", "true")).run()

    assert lab.keys("shell.done") == {"a"}
