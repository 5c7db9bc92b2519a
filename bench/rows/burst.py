"""One tick that finds many jobs ready and a quota that lets 100 of them start.

Its yardstick is made of three other ticks, each with room for 100: one with as many jobs, all of them done; one with
100 that are ready and no others; and one without any. The second less the third is what 100 launches cost.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from .. import work
from ..contest import Contest, Contestant, Failed, Run, Spread
from ..result import Bound, Result
from ..stage import Stage

ROOM = 100
MANY, DONE, FEW, NONE = "many ready", "as many done", f"{ROOM} ready", "none"


def measure(stage: Stage) -> list[Result]:
    """The tick, and what it is made of."""
    size = stage.sizes.burst
    kinds = {MANY: (size, False, ROOM), DONE: (size, True, 0), FEW: (ROOM, False, ROOM), NONE: (0, False, 0)}
    room = stage.room("burst")
    contestants = []
    for number, (name, (jobs, done, launched)) in enumerate(kinds.items()):
        tree = work.tree(room / str(number), jobs, done)
        before = partial(work.disturb if done else work.not_done, tree)
        after = partial(_launched, tree, launched)
        contestants.append(
            Contestant(name, stage.pdt("tick"), cwd=tree, env={"BENCH_QUOTA": str(ROOM)}, before=before, after=after)
        )
    contest = stage.contest(f"a tick with {size:,} ready jobs", contestants, stage.sizes.rounds, warm=True)
    work.remove(room)
    title = f"A tick with {size:,} ready jobs and a quota of {ROOM}"
    notes = ["Each tick ends when the jobs are launched; they end by themselves, and nobody collects them."]
    return [Result("burst", title, contest, _bounds(contest, list(kinds)), notes=notes, yardstick=DONE)]


def _launched(tree: Path, count: int, _: Run) -> None:
    live = work.count(tree / "pids")
    if live != count:
        raise Failed(f"{live} jobs were launched, not {count}")


def _bounds(contest: Contest, names: list[str]) -> list[Bound]:
    if not all(name in contest for name in names):
        return []
    rounds = zip(*(contest[name].each for name in names), strict=True)
    shares = [many / (done + few - none) for many, done, few, none in rounds]
    text = f"against the tick with nothing to do and {ROOM} launches"
    return [Bound(text, Spread.of(shares), "≤", 1.5)]
