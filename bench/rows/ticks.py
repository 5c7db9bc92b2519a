"""A tick that finds nothing to do, while the number of jobs that are done grows.

pdt has two contestants: one finds that its directories have changed since the last tick (although nothing is to be done
all the same), so that it has to look; for the other nothing has changed.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from .. import work
from ..contest import PIPE, Contest, Contestant, Entry, Failed, Run, Spread
from ..result import TIMES, Bound, Curve, Result, faster
from ..stage import Stage

CHANGED = "pdt tick"
UNCHANGED = "pdt tick, unchanged"
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


def _contestants(stage: Stage, tree: Path, size: int) -> list[Contestant | None]:
    tools, limit = stage.tools, stage.sizes.peer_limit
    python = {"PYTHONPATH": str(tree)}
    snakemake = ["--quiet", "all", "--rerun-triggers", "mtime", "-j2"]

    def peer(tool: str, *argv: str, name: str = "", env: dict[str, str] | None = None) -> Contestant | None:
        if tool not in tools or size > STEEPEST.get(tool, size):
            return None
        rounds = None if tool in RIVALS else 1
        return Contestant(name or tool, [tools[tool], *argv], cwd=tree, limit=limit, rounds=rounds, env=env or {})

    return [
        Contestant(CHANGED, stage.pdt("tick"), cwd=tree, before=lambda: work.disturb(tree), after=_idle, stdout=PIPE),
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


def _slope(small: Entry, large: Entry, more: int) -> Spread:
    """Bytes of memory that each further job took."""
    least = min(run.peak for run in small.runs)
    return Spread.of([(run.peak - least) / more for run in large.runs])


def measure(stage: Stage) -> list[Result]:
    """For each size a contest of all, and one of pdt against itself where nothing changed."""
    tree = stage.room("ticks")
    sizes = stage.sizes.ticks
    results: list[Result] = []
    still: list[Contest] = []
    for size in sizes:
        _prepare(stage, tree, size)
        rounds = stage.sizes.rounds if size <= 100_000 else stage.sizes.long_rounds
        title = f"A tick with nothing to do, {size:,} jobs"
        contest = stage.contest(title, _contestants(stage, tree, size), rounds, warm=size == sizes[0])
        _nothing_made(tree, size)
        results.append(Result("ticks", title, contest, [], "jobs", size, curves=[Curve("ticks", size)]))
        unchanged = Contestant(UNCHANGED, stage.pdt("tick"), cwd=tree, after=_idle, stdout=PIPE)
        stage.contest("the same, unchanged: settling", [unchanged], SETTLE)
        still.append(stage.contest("the same, unchanged", [unchanged], stage.sizes.rounds))
    work.remove(tree)
    for before, result in pairwise(results):
        if result.units >= LARGE or result is results[-1]:
            _judge(result, before, results[0])
    return [*results, *_unchanged(results, still)]


def _judge(result: Result, before: Result, first: Result) -> None:
    contest = result.contest
    if not all(CHANGED in one.contest for one in (result, before, first)):
        return
    startup = first.contest[CHANGED].seconds.middle
    result.notes.append(f"Start-up, for what follows, is the tick with {first.units:,} jobs: {startup * 1000:.0f} ms.")
    result.bounds.extend(faster(contest, CHANGED, RIVALS))
    result.bounds.extend(_against_ls(contest, startup))
    bytes_each = _slope(first.contest[CHANGED], contest[CHANGED], int(result.units - first.units))
    result.bounds.append(Bound("memory for each job", bytes_each, "≤", 300.0, "bytes"))
    if before.units >= LARGE:
        each = (before.contest[CHANGED].seconds.middle - startup) / before.units
        growth = Spread.of(
            [(seconds - startup) / result.units / each for seconds in [run.seconds for run in contest[CHANGED].runs]]
        )
        text = f"time for each job, start-up apart, against that at {before.units:,} jobs"
        result.bounds.append(Bound(text, growth, "≤", LINEAR))


def _against_ls(contest: Contest, startup: float) -> list[Bound]:
    if LS not in contest:
        return []
    allowed = [2.5 * seconds + startup for seconds in contest[LS].each]
    pairs = zip(contest[CHANGED].each, allowed, strict=True)
    return [
        Bound(f"against 2.5 {TIMES} `ls -f` and start-up", Spread.of([mine / most for mine, most in pairs]), "≤", 1.0)
    ]


def _unchanged(results: list[Result], still: list[Contest]) -> list[Result]:
    """One row for all sizes: the same command, named by how many jobs it had."""
    entries, bounds = [], []
    for result, contest in zip(results, still, strict=True):
        if UNCHANGED in contest:
            result.contest.entries[UNCHANGED] = contest[UNCHANGED]
            entries.append((int(result.units), contest[UNCHANGED]))
    if not entries:
        return []
    (_, first), *rest = entries
    for size, entry in rest:
        ratio = Spread.of([mine / first.seconds.middle for mine in entry.each])
        bounds.append(Bound(f"{size:,} jobs against the tick with {entries[0][0]:,}", ratio, "≤", 1.2))
    named = [Entry(replace(entry.contestant, name=f"{size:,} jobs"), entry.runs) for size, entry in entries]
    notes = [f"Nothing changed in the directories since the last tick, and {SETTLE} ticks went before."]
    return [
        Result(
            "ticks",
            "A tick with nothing to do, where nothing changed",
            Contest(named),
            bounds,
            notes=notes,
            yardstick=named[0].name,
        )
    ]
