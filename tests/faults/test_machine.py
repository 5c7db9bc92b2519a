"""What befalls a machine: clocks that jump, a restart, a process number that is used again, the OOM killer, SIGSTOP."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.faults.checker import Violation
from tests.faults.scene import notes_of
from tests.faults.sweep import FULL, STAGES, Stage, Sweeper, complaints
from tests.faults.world import JOBS, OTHER, WORLDS, Ended, World, needs_namespaces, pdt_environment
from tests.processes import is_running, until

pytestmark = pytest.mark.timeout(3600 if FULL else 300)

LOST = frozenset(JOBS)


@pytest.fixture
def world(tmp_path: Path, request: Any) -> Iterator[World]:
    """A world on files, driven by cold processes."""
    directory = tmp_path / "world"
    world = World.make(directory, WORLDS["files"](directory, request))
    yield world
    world.discard()


def holding(world: World, job: str) -> int:
    """Tick so that a job is live and stays so, maybe for ever; the process id of its runner."""
    world.killed = frozenset({job})
    world.hold(job)
    assert world.pdt("tick").code == 0
    until(lambda: any(event.job == job for event in world.history()), "the script's start")
    return int(world.record("shell.pids", job)["pid"])


# ---- clocks


def shared_memory() -> set[Path]:
    return set(Path("/dev/shm").glob("*faketime_*"))


@pytest.fixture
def faketime() -> Iterator[str]:
    """The library that shows a process another time."""
    libraries = (*Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), *Path("/usr/lib").glob("faketime/*.so.1"))
    if not libraries:
        pytest.skip("libfaketime is not installed: 'make setup' installs it, or says why it cannot")
    before = shared_memory()
    yield str(libraries[0])
    for left in shared_memory() - before:  # by each process that loads it
        left.unlink(missing_ok=True)


JUMPS = [("+0", "-1d", "+1d"), ("+30d", "-30d", "+0"), ("+0", "+400d", "-400d")]


@pytest.mark.parametrize("offsets", JUMPS if FULL else JUMPS[:1])
def test_clocks_jump_between_ticks(world: World, faketime: str, offsets: tuple[str, ...]) -> None:
    jumps = iter(offsets * 4)

    def pdt(*arguments: str) -> Ended:
        return world.pdt(*arguments, LD_PRELOAD=faketime, FAKETIME=next(jumps), FAKETIME_DONT_FAKE_MONOTONIC="1")

    last = world.finish(pdt, ticks=True)

    assert (last.code, last.output) == (0, "")
    assert world.violations() == []
    assert world.record("shell.done", "good")["duration"] >= 0


def test_a_clock_that_jumps_does_not_hold_launches_for_ever(tmp_path: Path, faketime: str, request: Any) -> None:
    directory = tmp_path / "world"
    world = World.make(directory, WORLDS["files"](directory, request), launches="1", window=3600)
    try:
        for offset in ("+1d", "+0"):  # a launch was counted tomorrow; then the clock was set right
            world.pdt("tick", LD_PRELOAD=faketime, FAKETIME=offset)
            world.settle()

        assert len({event.job for event in world.history()}) == 2
    finally:
        world.discard()


# ---- a restart: another boot id, and every process gone

BIND = 'mount --bind "$0" /proc/sys/kernel/random/boot_id && exec "$@"'


class Rebooting(Sweeper):
    """Worlds on a machine whose boot id is in a file."""

    def __init__(self, place: Path, request: Any, tracer: Path) -> None:
        super().__init__(place, "files", request, tracer, workers=1)
        self.boot = place / "boot_id"
        self.boot.write_text(f"{uuid.uuid4()}\n")
        self.before = ("unshare", "--mount", "sh", "-c", BIND, str(self.boot))

    def reboot(self, world: World) -> None:
        """End everything, and begin another life."""
        world.end_processes()
        self.boot.write_text(f"{uuid.uuid4()}\n")

    def attempt(self, stage: Stage) -> Callable[[int], tuple[Ended, list[Violation] | str]]:
        """An attempt that restarts the machine before a step."""

        def attempt(point: int) -> tuple[Ended, list[Violation] | str]:
            with self.world(stage) as (world, runner):
                ended = runner.run(world, *stage.command, trace=["wpn", "before", point])
                world.killed = LOST
                self.reboot(world)
                world.look()
                last = world.finish(partial(runner.run, world), ticks=True)
                return ended, complaints(world, ended, last, "killed")

        return attempt


@pytest.mark.parametrize("stage", ["launch", "reap", "run"] if FULL else ["launch"])
def test_the_machine_is_restarted_at_any_step(tmp_path: Path, request: Any, tracer: Path, stage: str) -> None:
    needs_namespaces()
    sweeper = Rebooting(tmp_path, request, tracer)
    with sweeper.ready():
        points = sweeper.points(STAGES[stage], "wpn", None if FULL else 6)
        result = sweeper.sweep(points, sweeper.attempt(STAGES[stage]))

    print(f"restart: {stage}: {result.steps} steps, {result.points} restarts")
    assert result.broken == {}
    assert result.points > 4


def test_a_job_that_ran_when_the_machine_was_restarted_is_lost(world: World, tmp_path: Path) -> None:
    needs_namespaces()
    holding(world, "good")
    world.killed = frozenset(world.jobs)  # on a slow machine, the other one still runs too
    world.end_processes()
    boot = tmp_path / "boot_id"
    boot.write_text(f"{uuid.uuid4()}\n")

    last = world.finish(partial(world.pdt, before=("unshare", "--mount", "sh", "-c", BIND, str(boot))), ticks=True)

    assert last.code == 0
    assert world.record("shell.failed", "good")["reason"] == "lost"
    assert world.violations() == []


# ---- a process number that is used again

REUSE = """
set -eu
python=$1 world=$2
: >$world.notes/hold.good
echo "while [ -e $world.notes/hold.good ]; do sleep 0.01; done" >$world.notes/do.good
"$python" -m pdtcli tick
until grep -q 'start shell good' $world.notes/history; do sleep 0.01; done
pid=$(sed -n 's/^pid: //p' data/shell.pids/good.yaml)
kill -9 -$pid
while kill -0 $pid 2>/dev/null; do sleep 0.01; done
until [ "${other:-}" = $pid ]; do
    echo $((pid - 1)) >/proc/sys/kernel/ns_last_pid
    sleep 1000 &
    other=$!
done
"$python" -m pdtcli run --no-progress || :
kill -0 $other && echo "the other process lives"
kill $other
rm $world.notes/hold.good
"""


def test_a_process_number_is_used_again(world: World) -> None:
    needs_namespaces()
    world.killed = LOST
    command = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c", REUSE, "sh"]
    ended = subprocess.run(
        [*command, sys.executable, str(world.directory)],
        env={**pdt_environment(), **world.environ},
        cwd=world.directory,
        capture_output=True,
        text=True,
        timeout=100,
    )

    assert "the other process lives" in ended.stdout, ended.stderr
    assert world.record("shell.failed", "good")["reason"] == "lost"
    assert world.violations() == []


# ---- the OOM killer


@contextmanager
def memory_group(limit: int, world: World) -> Iterator[Path]:
    """A control group that has so many bytes of memory; a process joins it by writing its number to what is yielded."""
    for base, name in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")):
        group = Path(base, f"pdt-faults-{uuid.uuid4().hex[:8]}")
        try:
            group.mkdir()
            (group / name).write_text(f"{limit}\n")
        except OSError:
            with suppress(OSError):
                group.rmdir()
            continue
        with suppress(OSError):
            (group / "memory.swap.max").write_text("0\n")
        break
    else:
        pytest.skip("there is no control group for memory that could be limited here")
    members = group / "cgroup.procs"
    try:
        yield members
    finally:
        world.end_processes()
        until(lambda: not members.read_text(), "the end of all in the group")
        group.rmdir()


GREEDY = "exec python3 -c 'x = bytearray(10**9)'\n"


def test_the_script_is_killed_for_want_of_memory(world: World) -> None:
    world.killed = LOST
    world.instruct("good", GREEDY)
    with memory_group(150_000_000, world) as group:
        join = ("sh", "-c", f'echo $$ >{group}; exec "$@"', "sh")
        last = world.finish(partial(world.pdt, before=join), ticks=True)

    record = world.record("shell.failed", "good")
    assert (record["return_code"], record["signal"]) == (137, "SIGKILL")
    assert last.code == 0
    assert world.violations() == []


def test_the_runner_is_killed_for_want_of_memory(world: World) -> None:
    # The kernel takes the one with the highest score first, however small it is.
    world.killed = LOST
    eater = "python3 -c 'import time; x = bytearray(7 * 10**7); time.sleep(1000)'"
    world.instruct("good", f"echo 1000 >/proc/$PPID/oom_score_adj\nfor n in 1 2 3; do {eater} & done\nsleep 1000\n")
    with memory_group(150_000_000, world) as group:
        join = ("sh", "-c", f'echo $$ >{group}; exec "$@"', "sh")
        world.pdt("tick", before=join)
        runner = world.record("shell.pids", "good")["pid"]
        until(lambda: not is_running(runner), "the OOM killer")
        last = world.pdt("run", "--no-progress")
        world.look()

    assert world.record("shell.failed", "good")["reason"] == "lost"
    assert last.code == 1
    assert world.violations() == []


# ---- SIGSTOP


def test_a_script_that_is_stopped_is_live_until_it_goes_on(world: World) -> None:
    runner = holding(world, "good")
    os.killpg(runner, signal.SIGSTOP)

    assert world.pdt("tick").code in (0, 1)
    assert world.record("shell.pids", "good")["pid"] == runner

    (notes_of(world.directory) / "hold.good").unlink()
    os.killpg(runner, signal.SIGCONT)
    last = world.finish(world.pdt, ticks=True)
    assert last.code == 0
    assert world.violations() == []


@pytest.mark.parametrize(
    "sign", ["data/shell.pids/good.yaml", "jobs/lab/shell/good/token", "data/shell.done/good.yaml"]
)
def test_a_run_that_is_stopped_does_not_keep_others_from_going_on(world: World, sign: str) -> None:
    with world.popen("run", "--no-progress") as stopped:
        try:
            deadline = time.monotonic() + 30
            while not (world.directory / sign).exists() and stopped.poll() is None and time.monotonic() < deadline:
                pass  # the moment counts
            stopped.send_signal(signal.SIGSTOP)
            for _ in range(3):
                world.pdt("-p", OTHER, "tick")
                world.look()
            stopped.send_signal(signal.SIGCONT)
            stopped.communicate(timeout=60)
        finally:
            stopped.kill()
    last = world.finish(world.pdt, ticks=True)

    assert last.code == 0
    assert world.violations() == []


# ---- the runner is killed


@pytest.mark.parametrize("who", ["runner", "script", "both"])
def test_a_job_is_killed(world: World, who: str) -> None:
    runner = holding(world, "good")
    (script,) = {event.pid for event in world.history() if event.job == "good"}
    if who == "both":
        os.killpg(runner, signal.SIGKILL)
    else:
        os.kill(runner if who == "runner" else script, signal.SIGKILL)
    world.pdt("run", "--no-progress")
    world.look()
    last = world.pdt("tick")

    record = world.record("shell.failed", "good")
    assert record.get("signal", record.get("reason")) == ("SIGKILL" if who == "script" else "lost")
    assert last.code == 0
    assert world.violations() == []


@pytest.mark.parametrize("whole", [True, False], ids=["with its script", "alone"])
def test_the_runner_is_killed_at_any_moment(sweeper_of: Callable[[str], Sweeper], whole: bool) -> None:
    sweeper = sweeper_of("files")

    def attempt(point: int) -> tuple[Ended, list[Violation] | str]:
        with sweeper.world(STAGES["reap"], settle=False) as (world, runner):
            world.killed = LOST
            time.sleep(point / 2000)  # by the half of a millisecond later each time
            for job in JOBS:
                with suppress(ProcessLookupError):
                    (os.killpg if whole else os.kill)(world.record("shell.pids", job)["pid"], signal.SIGKILL)
            world.look()
            last = world.finish(partial(runner.run, world), ticks=not point % 2)
            return Ended(0, "", fate="reached"), complaints(world, last, last, "killed")

    with sweeper.ready():
        result = sweeper.sweep(range(0, 100 if FULL else 24, 1 if FULL else 6), attempt)

    print(f"runner killed: {result.points} times")
    assert result.broken == {}
