"""Something happens to a command of pdt at one of its steps, at each of them in turn; then ticks bring all to its end.

A sweep goes over the steps of one stage of the pipeline's life (`STAGES`), each time in a new world. Its full form takes
every step there is; the slice that is part of `make test` takes one of each sort, as `sort_of` has it.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from tests.faults.checker import Violation
from tests.faults.world import WORLDS, Ended, World, Zygote, zygote

FULL = os.environ.get("PDT_FAULTS") == "full"
"""Whether every step is taken; `make faults` sets it."""

WORKERS = 4 if FULL else 2
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
    step = re.sub(r"/(good|bad|job\d+)\b", "/JOB", step)
    step = re.sub(r"\b(tick|task|quota|s3-claim)-[0-9a-f]+", r"\1-LOCK", step)
    return re.sub(r"/\S*/(?=(data|jobs|xdg|turns)/)", "", step)


class Sweeper:
    """Makes worlds and drives them, some at a time.

    :param place: where worlds may be made.
    :param kind: of the worlds, a key of `WORLDS`.
    :param request: pytest's, for servers.
    """

    def __init__(
        self, place: Path, kind: str, request: Any, tracer: Path, workers: int = WORKERS, sources: Path | None = None
    ) -> None:
        self.place = place
        self.kind = kind
        self.request = request
        self.tracer = tracer
        self.workers = workers
        self.sources = sources
        self._serial = iter(range(1_000_000))
        self._mutex = threading.Lock()
        self._zygotes: SimpleQueue[Zygote] = SimpleQueue()

    @contextmanager
    def ready(self) -> Iterator[None]:
        """A block in which commands can be run."""
        from contextlib import ExitStack

        with ExitStack() as stack:
            for _ in range(self.workers):
                self._zygotes.put(stack.enter_context(zygote(self.tracer, self.sources)))
            yield

    @contextmanager
    def world(self, stage: Stage, **options: Any) -> Iterator[tuple[World, Zygote]]:
        """A world that has come to a stage, and who runs its commands."""
        runner = self._zygotes.get()
        world: World | None = None
        try:
            with self._mutex:
                directory = self.place / f"w{next(self._serial)}"
                store = WORLDS[self.kind](directory, self.request)
            world = World.make(directory, store, sources=self.sources, **options)
            for _ in range(stage.ticks_before):
                runner.run(world, "tick")
                world.settle()
            yield world, runner
        finally:
            self._zygotes.put(runner)
            if world is not None:
                world.discard()

    def steps_of(self, stage: Stage, kinds: str) -> list[str]:
        """The steps of a stage when nothing happens."""
        with self.world(stage) as (world, runner):
            runner.run(world, *stage.command, trace=[kinds, "log"])
            return [line.partition(" ")[2] for line in world.steps.read_text().splitlines()]

    def points(self, stage: Stage, kinds: str, every: bool | None = None) -> Iterable[int]:
        """The steps at which to let something happen."""
        if FULL if every is None else every:
            return range(1, LIMIT)
        found: dict[str, int] = {}
        for number, step in enumerate(self.steps_of(stage, kinds), 1):
            found[sort_of(step)] = number  # the last of its sort: by then there is more to lose
        return sorted(found.values())

    def sweep(self, points: Iterable[int], attempt: Callable[[int], tuple[Ended, list[Violation] | str]]) -> Sweep:
        """Go over the points, until one is beyond the last step."""
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
                if broken:
                    result.broken[f"step {point} ({ended.fate}, exit {ended.code})"] = broken

        with ThreadPoolExecutor(self.workers) as pool:
            for future in [pool.submit(one, point) for point in points]:
                future.result()
        return result

    def kill(self, stage: Stage, how: str, kinds: str = "wpn") -> Callable[[int], tuple[Ended, list[Violation] | str]]:
        """An attempt that kills the command `before` or `after` a step."""

        def attempt(point: int) -> tuple[Ended, list[Violation] | str]:
            with self.world(stage) as (world, runner):
                ended = runner.run(world, *stage.command, trace=[kinds, how, point])
                world.look()
                last = world.finish(lambda: runner.run(world, "tick"))[-1]
                return ended, complaints(world, ended, last, "killed")

        return attempt

    def fail(self, stage: Stage, how: str, number: int, kinds: str) -> Callable[[int], tuple[Ended, list[Violation] | str]]:
        """An attempt in which a step fails with an error number, and maybe all later ones of its kind."""

        def attempt(point: int) -> tuple[Ended, list[Violation] | str]:
            with self.world(stage) as (world, runner):
                ended = runner.run(world, *stage.command, trace=[kinds, how, point, number])
                world.look()
                last = world.finish(lambda: runner.run(world, "tick"))[-1]
                return ended, complaints(world, ended, last, "failed")

        return attempt


def complaints(world: World, ended: Ended, last: Ended, how: str, **changes: Any) -> list[Violation] | str:
    """What is wrong with a world, and with what was said in it."""
    if "Traceback" in ended.output or "Traceback" in last.output:
        return f"a traceback: {ended.output}{last.output}"
    if how == "failed" and ended.fate == "reached" and ended.code not in (0, 1, 2, 5, 75):
        return f"exit code {ended.code}: {ended.output}"
    if last.code != 0:
        return f"the last tick left with {last.code}: {last.output}"
    return world.violations(**changes)
