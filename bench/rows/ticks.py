"""A tick that finds nothing to do, while the number of jobs that are done grows.

pdt has two contestants: one finds that its directories have changed since the last tick (although nothing is to be done
all the same), so that it has to look; for the other nothing has changed.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from .. import work
from ..contest import PIPE, Contestant, Failed, Run, Spread, nothing
from ..result import TIMES, Bound, Curve, Result, faster, within
from ..stage import Stage

CHANGED = "pdt tick"
UNCHANGED = "pdt tick, unchanged"
START = "pdt tick, fewest jobs"
LS = "ls -f"
RIVALS = ["ninja", "make", "doit"]
SETTLE = 3
"""Ticks that are not measured, after which one may know that nothing changes."""

LARGE = 50_000
"""Jobs from which on the bounds count; below, start-up is what one sees."""

LINEAR = 1.25
"""What a job more may cost with ten times as many, and the growth still be called linear."""

STEEPEST = {"snakemake": 10_000, "luigi": 100_000}
"""Peers that take minutes beyond so many jobs."""


def _idle(run: Run) -> None:
    if run.bytes:
        raise Failed(f"pdt had something to tell: {run.lines} lines")


def _nothing_made(tree: Path, size: int) -> None:
    if work.count(tree / "done") != size or work.count(tree / "pids"):
        raise Failed("something was done")


def _tick(stage: Stage, name: str, tree: Path, changed: bool) -> Contestant:
    before = (lambda: work.disturb(tree)) if changed else nothing
    return Contestant(name, stage.pdt("tick"), cwd=tree, before=before, after=_idle, stdout=PIPE)


def _peers(stage: Stage, tree: Path, size: int) -> list[Contestant | None]:
    tools, limit = stage.tools, stage.sizes.peer_limit
    python = {"PYTHONPATH": str(tree)}
    snakemake = ["--quiet", "all", "--rerun-triggers", "mtime", "-j2"]

    def peer(tool: str, *argv: str, env: dict[str, str] | None = None) -> Contestant | None:
        if tool not in tools or size > STEEPEST.get(tool, size):
            return None
        rounds = None if tool in RIVALS else 1
        return Contestant(tool, [tools[tool], *argv], cwd=tree, limit=limit, rounds=rounds, env=env or {})

    return [
        Contestant(LS, [tools["ls"], "-f", *map(str, work.places(tree))]),
        peer("ninja"),
        peer("make"),
        peer("doit"),
        peer("pydatatask", "pipeline.py", "update"),
        peer("luigi", "--module", "luigi_jobs", "All", "--local-scheduler", env=python),
        peer("snakemake", *snakemake),
    ]


def _prepare(stage: Stage, tree: Path, size: int) -> None:
    work.tree(tree, size, done=True)
    if "ninja" in stage.tools:
        work.ninja(tree, size, done=True)
    if "doit" in stage.tools:
        work.doit(tree, str(Path(stage.tools["doit"]).with_name("python")))


def measure(stage: Stage) -> list[Result]:
    """For each size a contest of all, and one of pdt alone where nothing changed.

    A tree with the fewest jobs takes part in each of them, since what is compared has to be measured at the same time.
    """
    fewest = stage.sizes.ticks[0]
    small = work.tree(stage.room("fewest"), fewest, done=True)
    tree = stage.room("ticks")
    results: list[Result] = []
    still: list[Result] = []
    for size in stage.sizes.ticks:
        _prepare(stage, tree, size)
        results.append(_changed(stage, tree, size, small))
        _nothing_made(tree, size)
        if size > fewest:
            still.append(_unchanged(stage, tree, size, small))
            if UNCHANGED in still[-1].contest:
                results[-1].contest.entries[UNCHANGED] = still[-1].contest[UNCHANGED]
    work.remove(tree, small)
    for before, result in pairwise(results):
        if result.units >= LARGE or result is results[-1]:
            result.bounds.extend(_bounds(result, before, fewest))
    return [*results, *still]


def _changed(stage: Stage, tree: Path, size: int, small: Path) -> Result:
    fewest = stage.sizes.ticks[0]
    rounds = stage.sizes.rounds if size <= 100_000 else stage.sizes.long_rounds
    title = f"A tick with nothing to do, {size:,} jobs"
    start = [_tick(stage, START, small, changed=True)] if size > fewest else []
    contestants = [_tick(stage, CHANGED, tree, changed=True), *start, *_peers(stage, tree, size)]
    contest = stage.contest(title, contestants, rounds, warm=size == fewest)
    notes = [f"The fewest jobs are {fewest:,}: that tick is start-up, where start-up is spoken of."] if start else []
    return Result("ticks", title, contest, [], "jobs", size, notes, curves=[Curve("ticks", size)])


def _unchanged(stage: Stage, tree: Path, size: int, small: Path) -> Result:
    contestants = [_tick(stage, UNCHANGED, tree, changed=False), _tick(stage, START, small, changed=False)]
    stage.contest("settling", contestants, SETTLE)
    title = f"A tick where nothing changed since the last one, {size:,} jobs"
    contest = stage.contest(title, contestants, stage.sizes.rounds)
    bounds = within(contest, UNCHANGED, START, 1.2, f"against the same with {stage.sizes.ticks[0]:,} jobs")
    return Result("ticks", title, contest, bounds, notes=[f"{SETTLE} ticks went before."])


def _bounds(result: Result, before: Result, fewest: int) -> list[Bound]:
    contest = result.contest
    bounds = faster(contest, CHANGED, RIVALS)
    if not all(name in contest for name in (CHANGED, START, LS)):
        return bounds
    ticks, starts = contest[CHANGED], contest[START]
    rounds = zip(ticks.each, contest[LS].each, starts.each, strict=True)
    shares = [tick / (2.5 * ls + start) for tick, ls, start in rounds]
    bounds.append(Bound(f"against 2.5 {TIMES} `ls -f` and start-up", Spread.of(shares), "≤", 1.0))
    more = result.units - fewest
    peaks = zip(ticks.runs, starts.runs, strict=True)
    each = Spread.of([(run.peak - start.peak) / more for run, start in peaks])
    bounds.append(Bound("memory for each job", each, "≤", 300.0, "bytes"))
    if before.units >= LARGE and START in before.contest and CHANGED in before.contest:
        each_before = (before.contest[CHANGED].cpu - before.contest[START].cpu) / before.units
        growth = Spread.of([(run.cpu - starts.cpu) / result.units / each_before for run in ticks.runs])
        text = f"CPU time for each job, start-up apart, against that at {before.units:,} jobs"
        bounds.append(Bound(text, growth, "≤", LINEAR))
    return bounds
