"""A tick that is held at a step, as by SIGSTOP or a busy machine, while others tick or a user meddles."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest
from tests.faults.sweep import (
    FULL,
    STAGES,
    Sweeper,
    collect_elsewhere,
    launch_elsewhere,
    launch_too,
    let_end,
    let_go,
    others_tick,
)
from tests.faults.world import OTHER_MACHINE, WORLDS, World, Zygote, needs_namespaces

pytestmark = pytest.mark.timeout(3600 if FULL else 300)


@pytest.mark.parametrize("stage", ["launch", "reap", "function"] if FULL else ["launch", "reap"])
def test_others_tick_meanwhile(sweeper_of: Callable[[str], Sweeper], stage: str) -> None:
    sweeper = sweeper_of("files")
    with sweeper.ready(others=()):
        points = sweeper.points(STAGES[stage], "wrpn", None if FULL else 6, cpu=1)
        result = sweeper.sweep(points, sweeper.hold(STAGES[stage], others_tick))

    print(f"held while others tick: {stage}: {result.steps} steps, {result.points} holds")
    assert result.broken == {}


def test_others_launch_meanwhile(sweeper_of: Callable[[str], Sweeper]) -> None:
    sweeper = sweeper_of("files")
    with sweeper.ready(others=()):
        points = sweeper.points(STAGES["launch"], "wpn", None if FULL else 6, cpu=1)
        result = sweeper.sweep(points, sweeper.hold(STAGES["launch"], launch_too, let_go, kinds="wpn"))

    print(f"held while others launch: {result.steps} steps, {result.points} holds")
    assert result.broken == {}


def test_jobs_end_meanwhile(sweeper_of: Callable[[str], Sweeper]) -> None:
    sweeper = sweeper_of("files")
    with sweeper.ready(others=()):
        points = sweeper.points(STAGES["reap"], "wrpn", None if FULL else 8, held=True)
        result = sweeper.sweep(points, sweeper.hold(STAGES["reap"], let_end, let_go, cpu=10, held=True))

    print(f"held while jobs end: {result.steps} steps, {result.points} holds")
    assert result.broken == {}


@pytest.mark.parametrize("cpu", [1, 10])
@pytest.mark.parametrize("kind", WORLDS if FULL else ["files"])
def test_another_machine_launches_meanwhile(sweeper_of: Callable[[str], Sweeper], kind: str, cpu: int) -> None:
    needs_namespaces()
    sweeper = sweeper_of(kind)
    with sweeper.ready(others=OTHER_MACHINE):
        points = sweeper.points(STAGES["launch"], "wpn", None if FULL else 8, cpu=cpu)
        attempt = sweeper.hold(STAGES["launch"], launch_elsewhere, collect_elsewhere, cpu=cpu, kinds="wpn")
        result = sweeper.sweep(points, attempt)

    print(f"held while another machine launches: {kind}, {cpu} at a time: {result.steps} steps, {result.points} holds")
    assert result.broken == {}


def remove_live_record(world: World, _: Zygote) -> None:
    world.store.remove("shell.pids", "good")


def remove_outcome(world: World, _: Zygote) -> None:
    world.store.remove("shell.done", "good")
    world.store.remove("sizes.done", "good")
    world.recorded.clear()


def remove_job_directory(world: World, _: Zygote) -> None:
    shutil.rmtree(world.machine.job_directory("shell", "good"), ignore_errors=True)


def spoil_live_record(world: World, _: Zygote) -> None:
    path = world.directory / "data" / "shell.pids" / "good.yaml"
    if path.exists():
        path.write_bytes(b"{ this is: [ no YAML")


def remove_state(world: World, _: Zygote) -> None:
    shutil.rmtree(world.directory / "xdg", ignore_errors=True)


# What a user does, and what follows from that and is no fault: a job whose record or directory is removed may run again
# or be lost, one whose lock files are removed may not have been counted.
HANDS = {
    "removes the live record": (remove_live_record, {"twice"}),
    "removes the outcome": (remove_outcome, {"twice"}),
    "removes the job's directory": (remove_job_directory, {"twice", "invented", "wrong", "early"}),
    "spoils the live record": (spoil_live_record, {"twice", "partial"}),
    "removes the locks": (remove_state, set[str]()),
}


@pytest.mark.parametrize("stage", ["launch", "reap"] if FULL else ["reap"])
@pytest.mark.parametrize("what", HANDS)
def test_a_user_meddles_meanwhile(sweeper_of: Callable[[str], Sweeper], what: str, stage: str) -> None:
    hands, forgiven = HANDS[what]
    sweeper = sweeper_of("files")
    with sweeper.ready(others=()):
        points = sweeper.points(STAGES[stage], "wrpn", None if FULL else 2, cpu=1)
        result = sweeper.sweep(points, sweeper.hold(STAGES[stage], hands, forgiven=frozenset(forgiven)))

    print(f"a user {what}: {stage}: {result.steps} steps, {result.points} times")
    assert result.broken == {}
