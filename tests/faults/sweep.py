"""Something happens to a command of pdt at one of its steps, at each of them in turn; then ticks bring all to its end.

A sweep goes over the steps of one stage of the pipeline's life (`STAGES`), each time in a new world. Its full form
takes every step there is; the slice that is part of `make test` takes some, one of a sort, as `sort_of` has it.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from tests.faults.checker import Violation
from tests.faults.stores import Store
from tests.faults.world import ELSEWHERE, OTHER, SERVERS, WORLDS, Ended, World, Zygote, zygote

FULL = os.environ.get("PDT_FAULTS") == "full"
"""Whether every step is taken; `make faults` sets it."""

WORKERS = int(os.environ.get("PDT_FAULTS_WORKERS", "4" if FULL else "2"))
LIMIT = 3000


@dataclass(frozen=True)
class Stage:
    """A moment in the life of a pipeline: how many ticks came before, and the command that something happens to."""

    name: str
    ticks_before: int
    command: tuple[str, ...] = ("tick",)


STAGES = {
    stage.name: stage
    for stage in (
        Stage("launch", 0),  # claims and starts the processes
        Stage("reap", 1),  # collects them, and runs the first function
        Stage("function", 2),  # runs the second one, in the pool
        Stage("idle", 3),  # finds nothing to do
        Stage("run", 0, ("run", "--no-progress")),  # all of it
    )
}


@dataclass
class Sweep:
    """What a sweep did.

    :ivar steps: how many steps the stage had, at the most.
    :ivar points: at how many of them something happened.
    :ivar broken: by point, what was wrong in the end.
    """

    steps: int = 0
    points: int = 0
    broken: dict[str, list[Violation] | str] = field(default_factory=dict)


def sort_of(step: str) -> str:
    """A step without what differs from job to job and from run to run: `w rename …/stdout …/shell.out/JOB`."""
    step = re.sub(r"\.pdt-[^/ ]*", "TEMPORARY", step)
    step = re.sub(r"#\d+ \(deleted\)|/proc/self/fd/\d+", "UNNAMED", step)
    step = re.sub(r"/(good|bad|job\d+)\b", "/JOB", step)
    step = re.sub(r"\b(tick|task|quota|s3-claim)-[0-9a-f]+", r"\1-LOCK", step)
    return re.sub(r"/\S*/(?=(data|jobs|xdg|turns)/)", "", step)


class Sweeper:
    """Makes worlds and drives them, some at a time.

    :param place: where worlds may be made.
    :param kind: of the worlds, a key of `WORLDS`.
    :param request: pytest's, for servers.
    :param sources: the code of pdt, when it is not this tree's.
    :param zygotes: some that are there already, and stay.
    """

    def __init__(
        self,
        place: Path,
        kind: str,
        request: Any,
        tracer: Path | None,
        workers: int = WORKERS,
        sources: Path | None = None,
        zygotes: Sequence[Zygote] = (),
    ) -> None:
        self.place = place
        self.kind = kind
        self.request = request
        self.tracer = tracer
        self.workers = workers
        self.sources = sources
        self.before: tuple[str, ...] = ()
        self._given = zygotes
        self._serial = iter(range(1_000_000))
        self._mutex = threading.Lock()
        self._zygotes: SimpleQueue[Zygote] = SimpleQueue()
        self._others: SimpleQueue[Zygote] = SimpleQueue()

    @contextmanager
    def ready(self, others: tuple[str, ...] | None = None) -> Iterator[None]:
        """A block in which commands can be run.

        :param others: what runs those who run commands while another one is held; nobody does when None.
        """
        if self.kind in SERVERS:
            self.request.getfixturevalue(SERVERS[self.kind])
        with ExitStack() as stack:
            for number in range(self.workers):
                if number < len(self._given):
                    self._zygotes.put(self._given[number])
                else:
                    self._zygotes.put(stack.enter_context(zygote(self.tracer, self.sources, self.before)))
                if others is not None:
                    self._others.put(stack.enter_context(zygote(self.tracer, self.sources, others)))
            yield

    @contextmanager
    def other(self) -> Iterator[Zygote]:
        """Who runs commands while one is held."""
        runner = self._others.get()
        try:
            yield runner
        finally:
            self._others.put(runner)

    def store(self, directory: Path) -> Store:
        """A fresh store for a world in a directory."""
        return WORLDS[self.kind](directory, self.request)

    @contextmanager
    def world(
        self, stage: Stage, settle: bool = True, held: bool = False, **options: Any
    ) -> Iterator[tuple[World, Zygote]]:
        """A world that has come to a stage, and who runs its commands.

        :param settle: whether its scripts have ended; otherwise they may still run.
        :param held: whether they run until they are let go.
        """
        runner = self._zygotes.get()
        world: World | None = None
        try:
            with self._mutex:
                directory = self.place / f"w{next(self._serial)}"
                store = self.store(directory)
            world = World.make(directory, store, sources=self.sources, **options)
            if held:
                _hold_scripts(world)
            for _ in range(stage.ticks_before):
                runner.run(world, "tick")
                if settle and not held:
                    world.settle()
            yield world, runner
        finally:
            self._zygotes.put(runner)
            if world is not None:
                world.discard()

    def steps_of(self, stage: Stage, kinds: str, **options: Any) -> list[str]:
        """The steps of a stage when nothing happens, in a world with these options."""
        with self.world(stage, **options) as (world, runner):
            runner.run(world, *stage.command, trace=[kinds, "log"])
            let_go(world, runner)
            return [line.partition(" ")[2] for line in world.steps.read_text().splitlines()]

    def points(self, stage: Stage, kinds: str, most: int | None = None, **options: Any) -> Sequence[int]:
        """The steps at which to let something happen: every one, or `most` of as many sorts as possible."""
        if most is None:
            return range(1, LIMIT)
        found: dict[str, int] = {}
        for number, step in enumerate(self.steps_of(stage, kinds, **options), 1):
            found[sort_of(step)] = number  # the last of its sort: by then there is more to lose
        numbers = sorted(found.values())
        return [numbers[len(numbers) * part // most] for part in range(most)] if most < len(numbers) else numbers

    def sweep(self, points: Iterable[int], attempt: Callable[[int], tuple[Ended, list[Violation] | str]]) -> Sweep:
        """Go over the points, until one is beyond the last step; or, for mutants, until something is broken."""
        result = Sweep()
        over = threading.Event()

        def one(point: int) -> None:
            if over.is_set():
                return
            ended, broken = attempt(point)
            with self._mutex:
                result.steps = max(result.steps, ended.steps)
                if ended.fate == "done":
                    over.set()
                else:
                    result.points += 1
                if broken and self.sources is not None:
                    over.set()
                if broken:
                    result.broken[f"step {point} ({ended.fate}, exit {ended.code})"] = broken

        with ThreadPoolExecutor(self.workers) as pool:
            for future in [pool.submit(one, point) for point in points]:
                future.result()
        return result

    def kill(
        self, stage: Stage, how: str, kinds: str = "wpn", *, ticks: bool = False
    ) -> Callable[[int], tuple[Ended, list[Violation] | str]]:
        """An attempt that kills the command `before` or `after` a step, and goes on with ticks or a run."""

        def attempt(point: int) -> tuple[Ended, list[Violation] | str]:
            with self.world(stage) as (world, runner):
                ended = runner.run(world, *stage.command, trace=[kinds, how, point])
                world.look()
                last = world.finish(partial(runner.run, world), ticks=ticks)
                return ended, complaints(world, ended, last, "killed")

        return attempt

    def fail(
        self, stage: Stage, how: str, number: int, kinds: str
    ) -> Callable[[int], tuple[Ended, list[Violation] | str]]:
        """An attempt in which a step fails with an error number, and maybe all later ones of its kind."""

        def attempt(point: int) -> tuple[Ended, list[Violation] | str]:
            with self.world(stage) as (world, runner):
                ended = runner.run(world, *stage.command, trace=[kinds, how, point, number])
                world.look()
                last = world.finish(partial(runner.run, world))
                return ended, complaints(world, ended, last, "failed", excused=frozenset({"sizes", "pool"}))

        return attempt

    def hold(
        self,
        stage: Stage,
        meanwhile: Callable[[World, Zygote], object],
        afterwards: Callable[[World, Zygote], object] | None = None,
        cpu: int = 1,
        kinds: str = "wrpn",
        forgiven: frozenset[str] = frozenset(),
        held: bool = False,
    ) -> Callable[[int], tuple[Ended, list[Violation] | str]]:
        """An attempt in which a command is held at a step, while something else is done.

        :param afterwards: what is done when the command has ended.
        :param cpu: how many jobs the quota allows at a time.
        :param forgiven: the kinds of violations that are what `meanwhile` asks for.
        :param held: whether the scripts run until they are let go.
        """

        def attempt(point: int) -> tuple[Ended, list[Violation] | str]:
            with self.world(stage, held=held, cpu=cpu) as (world, runner), self.other() as other:

                def paused() -> None:
                    world.look()
                    meanwhile(world, other)

                ended = runner.run(world, *stage.command, trace=[kinds, "pause", point], paused=paused)
                if afterwards is not None:
                    afterwards(world, other)
                last = world.finish(partial(runner.run, world))
                broken = complaints(world, ended, last, "held")
                if isinstance(broken, list):
                    broken = [found for found in broken if found.kind not in forgiven]
                return ended, broken

        return attempt


BLOCKED = -14
"""The exit code of a command that waited for a lock of the one that is held until it was killed."""


def others_tick(world: World, other: Zygote) -> None:
    """What others on the same machine do while one is held: they tick until nothing is left, or they have to wait."""
    for _ in range(4):
        if other.run(world, "-p", OTHER, "tick", limit=4).code == BLOCKED:
            break
        world.settle()


def launch_too(world: World, other: Zygote) -> None:
    """What others on the same machine do while one is held: they launch what fits, which runs on."""
    _hold_scripts(world)
    other.run(world, "-p", OTHER, "tick", limit=4)


def let_go(world: World, _: Zygote) -> None:
    """Let the jobs come to their ends."""
    while world.at_end:
        world.at_end.pop()()


def let_end(world: World, other: Zygote) -> None:
    """Let the jobs come to their ends, and wait for that."""
    let_go(world, other)
    world.settle()


def _hold_scripts(world: World) -> None:
    world.at_end = [world.hold(job).unlink for job in world.jobs]


def launch_elsewhere(world: World, other: Zygote) -> None:
    """What another machine does meanwhile: it launches jobs, which run on when the one that is held goes on."""
    _hold_scripts(world)
    tick_elsewhere(world, other)


def tick_elsewhere(world: World, other: Zygote) -> None:
    """One tick on another machine, which has locks of its own."""
    other.run(world, "-p", ELSEWHERE, "tick", XDG_STATE_HOME=str(world.directory / "xdg-elsewhere"))


def collect_elsewhere(world: World, other: Zygote) -> None:
    """Let the jobs come to their ends; the other machine collects those that it launched."""
    let_go(world, other)
    for _ in range(2):
        world.settle()
        tick_elsewhere(world, other)


def complaints(world: World, ended: Ended, last: Ended, how: str, **changes: Any) -> list[Violation] | str:
    """What is wrong with a world, and with what was said in it."""
    said = f"{ended.output}{last.output}"
    # CPython's own trouble with an event loop that it could not make.
    if ("Traceback" in said and "ignored in: <function BaseEventLoop.__del__" not in said) or "Warning: " in said:
        return f"a traceback or a warning: {said}"
    if how == "failed" and ended.fate == "reached" and ended.code not in (0, 1, 2, 5, 75):
        return f"exit code {ended.code}: {ended.output}"
    if last.code != 0:
        return f"the last tick left with {last.code}: {last.output}"
    return world.violations(**changes)
