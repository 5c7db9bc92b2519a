"""Process jobs of `true`, two at a time, whose exit status and times are kept; and how soon the next one begins.

Each peer keeps what lets it go on after an interruption: GNU parallel its job log, make and the like a file for each
job, xargs nothing. Those that need a tenth of a second and more for a job have fewer of them; their rates are
comparable all the same.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

from .. import work
from ..contest import Contest, Contestant, Failed, Run, Spread
from ..result import Bound, Result, faster
from ..stage import Stage

PDT = "pdt run"
PARALLEL = "parallel --joblog"
FEWER = {"luigi": 10, "snakemake": 50, "pydatatask": 500, "doit": 2}
"""These have one in so many of the jobs."""

OWN_SHARE = 1.1
"""What a job may cost with ten times as many."""


def measure(stage: Stage) -> list[Result]:
    """The rate, its growth, and the gaps between jobs."""
    return [_rates(stage), _growth(stage), _gaps(stage)]


def _all_done(tree: Path, size: int, run: Run) -> None:
    done = work.count(tree / "done")
    if done != size:
        raise Failed(f"{done} of {size} jobs are done")


def _pdt(stage: Stage, tree: Path, size: int, name: str = PDT) -> Contestant:
    return Contestant(
        name,
        stage.pdt("run", "-q"),
        units=max(size, 1),
        idle=stage.pdt("task", "ls"),
        cwd=tree,
        before=partial(work.not_done, tree),
        after=partial(_all_done, tree, size),
    )


def _parallel(stage: Stage, tree: Path, size: int) -> Contestant | None:
    def logged(_: Run) -> None:
        lines = (tree / "joblog").read_text().count("\n")
        if lines != size + 1:
            raise Failed(f"{lines - 1} of {size} jobs are in the log")

    names = tree / "names"
    return stage.peer(
        "parallel",
        lambda: Contestant(
            PARALLEL,
            [stage.tools["parallel"], "-j2", "--joblog", "joblog", "true"],
            units=size,
            idle=[stage.tools["parallel"], "true"],
            cwd=tree,
            stdin=str(names),
            before=partial((tree / "joblog").unlink, missing_ok=True),
            after=logged,
        ),
    )


def _tree(stage: Stage, size: int) -> Path:
    tree = work.tree(stage.directory / f"runs{size}", size, done=False)
    (tree / "names").write_text("".join(f"{name}\n" for name in work.jobs(size)))
    return tree


def _peers(stage: Stage, size: int) -> list[Contestant | None]:
    """Those that are there for orientation: one turn each, on a tree of as many jobs as they can do in a while."""
    tools = stage.tools

    def peer(tool: str, *argv: str, prepare: Callable[[Path], None] | None = None, name: str = "") -> Contestant | None:
        if tool not in tools:
            return None
        own = max(size // FEWER.get(tool, 1), 4)
        tree = _tree(stage, own)

        def before() -> None:
            work.not_done(tree)
            if prepare is not None:
                prepare(tree)

        return Contestant(
            name or tool,
            [tools[tool], *argv],
            units=own,
            cwd=tree,
            env={"PYTHONPATH": str(tree)} if tool == "luigi" else {},
            stdin=str(tree / "names"),
            before=before,
            after=partial(_all_done, tree, own) if tool != "xargs" else lambda run: None,
            rounds=1,
        )

    return [
        peer("xargs", "-P2", "-n1", "true", name="xargs -P2"),
        peer("make", "-s", "-j2"),
        peer("ninja", "--quiet", "-j2", prepare=lambda tree: work.ninja(tree, work.count(tree / "input"), done=False)),
        peer("doit", "-n2"),
        peer("luigi", "--module", "luigi_jobs", "All", "--local-scheduler", "--workers", "2"),
        peer("snakemake", "--quiet", "all", "-j2"),
        peer("pydatatask", "pipeline.py", "run"),
    ]


def _rates(stage: Stage) -> Result:
    size = stage.sizes.runs
    tree = _tree(stage, size)
    contestants = [_pdt(stage, tree, size), _parallel(stage, tree, size), *_peers(stage, size)]
    title = f"{size:,} process jobs of `true`, two at a time"
    contest = stage.contest(title, contestants, stage.sizes.long_rounds)
    for used in stage.directory.glob("runs*"):
        work.remove(used)
    notes = [
        "Fewer jobs, for the rate alone: "
        + ", ".join(
            f"{entry.name} {entry.contestant.units:,.0f}"
            for entry in contest.entries.values()
            if entry.contestant.units < size
        )
        + "."
    ]
    return Result("runs", title, contest, faster(contest, PDT, [PARALLEL]), "jobs", size, notes)


def _growth(stage: Stage) -> Result:
    sizes = stage.sizes.growth
    trees = {size: _tree(stage, size) for size in (0, *sizes)}
    names = {size: f"{PDT}, {size:,} jobs" for size in trees}
    contestants = [_pdt(stage, tree, size, names[size]) for size, tree in trees.items()]
    contest = stage.contest("the growth of process jobs", contestants, stage.sizes.long_rounds, apart=False)
    for tree in trees.values():
        work.remove(tree)
    bounds = _marginal(contest, names[0], names[sizes[0]], names[sizes[1]])
    notes = ["A job's work is the time of the run less that of a run without jobs, divided by the number of jobs."]
    return Result("runs", "Process jobs: what a job costs in a short and in a long run", contest, bounds, notes=notes)


def _marginal(contest: Contest, none: str, few: str, many: str) -> list[Bound]:
    if not all(name in contest for name in (none, few, many)):
        return []

    def each(name: str, cost: Callable[[Run], float]) -> list[float]:
        start = median(cost(run) for run in contest[none].runs)
        return [(cost(run) - start) / contest[name].contestant.units for run in contest[name].runs]

    def bound(text: str, cost: Callable[[Run], float]) -> Bound:
        pairs = zip(each(many, cost), each(few, cost), strict=True)
        return Bound(text, Spread.of([long / short for long, short in pairs]), "≤", OWN_SHARE)

    return [
        bound("time for each job, long run against short", lambda run: run.seconds),
        bound("CPU time for each job, long run against short", lambda run: run.cpu),
    ]


# ---- gaps

SCRIPT = "echo $EPOCHREALTIME >>times; echo output; echo $EPOCHREALTIME >>times"


def _gap(tree: Path) -> float:
    """Seconds from the end of a job to the start of the next, the median of a run."""
    times = [float(line) for line in (tree / "times").read_text().split()]
    return median(begin - end for end, begin in zip(times[1:-1:2], times[2::2], strict=True))


def _gaps(stage: Stage) -> Result:
    """Jobs note when they begin and end; between two of them is all that it takes to collect one and start another."""
    size = stage.sizes.gaps
    tree = _tree(stage, size)
    (tree / "names").write_text("".join(f"{SCRIPT} # {name}\n" for name in work.jobs(size)))
    (tree / "Makefile").write_text(
        f"all: {' '.join(work.jobs(size))}\nSHELL = /bin/bash\njob%:\n\t@{SCRIPT.replace('$', '$$')}\n"
    )

    def before() -> None:
        work.not_done(tree)
        (tree / "times").unlink(missing_ok=True)

    def contestant(name: str, argv: list[str], env: dict[str, str] | None = None) -> Contestant:
        return Contestant(
            name,
            argv,
            size,
            env or {},
            tree,
            stdin=str(tree / "names"),
            before=before,
            figure=lambda run: _gap(tree) * size,
        )

    tools = stage.tools
    contest = stage.contest(
        "gaps between process jobs",
        [
            contestant(PDT, stage.pdt("run", "-q"), {"BENCH_QUOTA": "1", "BENCH_SCRIPT": _bash(tree)}),
            stage.peer(
                "parallel",
                lambda: contestant(
                    "parallel -j1", [tools["parallel"], "-j1", "--joblog", "joblog"], {"SHELL": "/bin/bash"}
                ),
            ),
            stage.peer("xargs", lambda: contestant("xargs", [tools["xargs"], "-d", "\\n", "-n1", "bash", "-c"])),
            stage.peer("make", lambda: contestant("make", [tools["make"], "-s"])),
        ],
        stage.sizes.long_rounds,
    )
    work.remove(tree)
    notes = ["The median of the pauses between the end of one job and the first line of the next, one job at a time."]
    return Result(
        "runs", "Process jobs: from the end of one to the start of the next", contest, [], "pauses", size, notes
    )


def _bash(tree: Path) -> str:
    return f"#!/bin/bash\ncd '{tree}'\n{SCRIPT}\n"
