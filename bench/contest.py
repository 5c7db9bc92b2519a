"""Contestants that take turns at the same work, and the statistics of what they took.

In every round each contestant has one turn, so that whatever else the machine does slows down all of them alike, and a
ratio is formed of two turns of one round. A round begins with another contestant than the one before. The medians of
times and ratios are told, with their quartiles.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median, quantiles

MEASURE = Path(__file__).with_name("measure.py")
PIPE = "pipe"
LEAST = 0.0005
"""Seconds: what is left when start-up is taken away cannot be told below."""
NOWHERE = "/dev/null"


class Failed(Exception):
    """A contestant did not do its work."""


@dataclass(frozen=True)
class Run:
    """What one turn took."""

    seconds: float
    complete: bool
    """False: it was stopped, and would have taken longer than `seconds`."""
    status: int
    cpu: float
    """Seconds, user and system, of the command and all that it started."""
    peak: int
    """Bytes of resident memory, of the largest process."""
    first: float | None
    """Seconds until the first output, where that went into a pipe."""
    lines: int
    bytes: int
    figure: float = 0.0
    """Seconds that count: `seconds`, or what the command or its jobs told themselves."""


def nothing() -> None:
    """Nothing is to be prepared."""


def right(_: Run) -> None:
    """An exit status of 0 is proof enough."""


def wall(run: Run) -> float:
    """The time from start to end."""
    return run.seconds


@dataclass(frozen=True)
class Contestant:
    """A command that does some work.

    :ivar name: as the results call it.
    :ivar units: how much of the work it does, when not all of it: then rates are compared.
    :ivar before: brings the files to where they were, before each turn, at nobody's cost.
    :ivar after: raises `Failed` when the work is not done.
    :ivar figure: the seconds that count, asked after each turn; for commands that tell the time themselves.
    :ivar idle: the same command with nothing to do, where its start-up may have to be told apart.
    :ivar rounds: it has at most so many turns, where it is no rival but gives an orientation.
    :ivar limit: seconds after which it is stopped; its time is then known to be longer.
    """

    name: str
    argv: Sequence[str]
    units: float = 1.0
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path = Path("/")
    stdin: str = NOWHERE
    stdout: str = NOWHERE
    before: Callable[[], None] = nothing
    after: Callable[[Run], None] = right
    figure: Callable[[Run], float] = wall
    idle: Sequence[str] | None = None
    rounds: int | None = None
    limit: float = 600.0


@dataclass(frozen=True)
class Spread:
    """A median and the quartiles around it."""

    middle: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of at least one value."""
        if len(values) == 1:
            return cls(values[0], values[0], values[0], 1)
        low, _, high = quantiles(values, n=4, method="inclusive")
        return cls(median(values), low, high, len(values))


@dataclass(frozen=True)
class Entry:
    """A contestant with all its turns.

    :ivar start: seconds of start-up, where that is to be told apart.
    """

    contestant: Contestant
    runs: list[Run]
    start: float = 0.0

    @property
    def name(self) -> str:
        return self.contestant.name

    @property
    def complete(self) -> bool:
        """False: it was stopped before it was done."""
        return all(run.complete for run in self.runs)

    @property
    def each(self) -> list[float]:
        """Seconds for each unit of work, turn by turn, start-up apart where that is known."""
        return [max(run.figure - self.start, LEAST) / self.contestant.units for run in self.runs]

    @property
    def seconds(self) -> Spread:
        return Spread.of([run.figure for run in self.runs])

    @property
    def cpu(self) -> float:
        return median(run.cpu for run in self.runs)

    @property
    def peak(self) -> float:
        return median(run.peak for run in self.runs)


class Contest:
    """The outcome: entries by name, and how they compare."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.entries = {entry.name: entry for entry in entries}

    def __contains__(self, name: object) -> bool:
        return name in self.entries

    def __getitem__(self, name: str) -> Entry:
        return self.entries[name]

    def ratio(self, name: str, other: str, more: float = 0.0) -> Spread:
        """How many times as long `name` took as `other` and `more` seconds, for a unit of work, round by round."""
        mine, theirs = self[name].each, self[other].each
        if len(mine) != len(theirs):
            theirs = [median(theirs)] * len(mine)
        return Spread.of([one / (two + more) for one, two in zip(mine, theirs, strict=True)])


def run(contestant: Contestant, scratch: Path, env: Mapping[str, str]) -> Run:
    """One turn.

    :param scratch: an existing directory for what the command says on standard error.
    :param env: the environment, to which the contestant's own is added.
    :raises Failed: with what the command had to say.
    """
    errors = scratch / "stderr"
    request = {
        "argv": list(map(str, contestant.argv)),
        "env": {**env, **contestant.env},
        "cwd": str(contestant.cwd),
        "stdin": str(contestant.stdin),
        "stdout": str(contestant.stdout),
        "stderr": str(errors),
        "timeout": contestant.limit,
    }
    contestant.before()
    answer = subprocess.run(
        [sys.executable, "-I", "-S", str(MEASURE), json.dumps(request)],
        capture_output=True,
        check=False,
    )
    if answer.returncode:
        words = answer.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise Failed(f"could not be started: {words}")
    taken = Run(**json.loads(answer.stdout))
    if taken.complete:
        if taken.status:
            words = errors.read_text(errors="replace").strip().rpartition("\n")[2]
            raise Failed(f"ended with {taken.status}: {words}")
        contestant.after(taken)
        return replace(taken, figure=contestant.figure(taken))
    return replace(taken, figure=taken.seconds)


def hold(
    contestants: Sequence[Contestant],
    rounds: int,
    turn: Callable[[Contestant], Run],
    failed: Callable[[Contestant, Failed], None],
    warm: bool = False,
    apart: bool = False,
) -> Contest:
    """Let the contestants take turns.

    :param turn: takes one turn.
    :param failed: told of a contestant that failed; it is out of the contest.
    :param warm: whether each has a turn that does not count, first.
    :param apart: whether start-up does not count.
    """
    starts: dict[str, list[float]] = {one.name: [] for one in contestants if apart and one.idle is not None}
    runs: dict[str, list[Run]] = {contestant.name: [] for contestant in contestants}
    left = list(contestants)
    for number in range(-1 if warm else 0, rounds):
        start = max(number, 0) % len(contestants)
        for contestant in [*contestants[start:], *contestants[:start]]:
            taken = runs[contestant.name]
            over = contestant.rounds is not None and len(taken) >= contestant.rounds
            if contestant not in left or over or any(not run.complete for run in taken):
                continue
            try:
                taken.append(turn(contestant))
                if contestant.name in starts:
                    starts[contestant.name].append(turn(_idle(contestant)).seconds)
            except Failed as error:
                left.remove(contestant)
                runs[contestant.name] = []
                failed(contestant, error)
        if number < 0:
            for taken in runs.values():
                taken.clear()
    return Contest(
        [
            Entry(contestant, taken, median(starts.get(contestant.name, [0.0])))
            for contestant in contestants
            if (taken := runs[contestant.name])
        ]
    )


def _idle(contestant: Contestant) -> Contestant:
    """The same command with nothing to do."""
    assert contestant.idle is not None
    idle = replace(contestant, argv=contestant.idle, stdin=NOWHERE, stdout=NOWHERE)
    return replace(idle, before=nothing, after=right, figure=wall)
