"""The names in a repository, into a pipe, while their number grows."""

from __future__ import annotations

import os

from .. import work
from ..contest import PIPE, Contest, Contestant, Failed, Run, Spread
from ..result import Bound, Curve, Result, within
from ..stage import Stage

PDT = "pdt repo ls"
LS = "ls -f"


def _contestants(stage: Stage, size: int) -> list[Contestant | None]:
    tools, tree = stage.tools, stage.directory / "listing"

    def complete(run: Run) -> None:
        if not size <= run.lines <= size + 2:  # ls -f names . and .. as well
            raise Failed(f"{run.lines} lines for {size} names")

    def lister(name: str, *argv: str) -> Contestant:
        few = name not in (PDT, LS)
        return Contestant(
            name,
            argv,
            cwd=tree,
            stdout=PIPE,
            after=complete,
            rounds=1 if few else None,
            limit=stage.sizes.peer_limit,
            idle=stage.pdt("task", "ls") if name == PDT else None,
        )

    return [
        lister(PDT, *stage.pdt("repo", "ls", "task.input")),
        lister(LS, tools["ls"], "-f", "input"),
        stage.peer("rclone", lambda: lister("rclone lsf", tools["rclone"], "lsf", str(tree / "input"))),
        stage.peer(
            "pydatatask", lambda: lister("pydatatask ls", tools["pydatatask"], "pipeline.py", "ls", "task.input")
        ),
    ]


def measure(stage: Stage) -> list[Result]:
    """For each size a contest."""
    tree = stage.room("listing")
    work.tree(tree, 0, done=False)
    results: list[Result] = []
    for size in stage.sizes.listing:
        names = work.jobs(size)[len(os.listdir(tree / "input")) :]
        work.fill(tree / "input", names, work.INPUT)
        title = f"The names of {size:,} files"
        rounds = stage.sizes.rounds if size <= 100_000 else stage.sizes.long_rounds
        contest = stage.contest(title, _contestants(stage, size), rounds, warm=size == stage.sizes.listing[0])
        results.append(Result("listing", title, contest, [], "keys", size, curves=[Curve("listing", size)]))
    work.remove(tree)
    last = results[-1]
    last.bounds.extend(within(last.contest, PDT, LS, 4.0))
    last.bounds.extend(_first_line(results[0].contest, last.contest))
    return results


def _first_line(small: Contest, large: Contest) -> list[Bound]:
    if PDT not in small or PDT not in large:
        return []
    startup = small[PDT].seconds.middle
    delays = [(run.first - startup) * 1000 for run in large[PDT].runs if run.first is not None]
    return [
        Bound(
            "first line, after the time that a listing of the fewest files takes", Spread.of(delays), "≤", 200.0, "ms"
        )
    ]
