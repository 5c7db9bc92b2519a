"""The names in a repository, into a pipe, while their number grows."""

from __future__ import annotations

from .. import work
from ..contest import PIPE, Contest, Contestant, Failed, Run, Spread
from ..result import Bound, Curve, Result, within
from ..stage import Stage

PDT = "pdt repo ls"
LS = "ls -f"
START = "pdt repo ls, fewest files"


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
    tree = work.tree(stage.room("listing"), 0, done=False)
    fewest = stage.sizes.listing[0]
    small = work.tree(stage.room("fewest"), fewest, done=False)
    start = Contestant(START, stage.pdt("repo", "ls", "task.input"), cwd=small, stdout=PIPE)
    results: list[Result] = []
    for size in stage.sizes.listing:
        work.tree(tree, size, done=False)
        title = f"The names of {size:,} files"
        rounds = stage.sizes.rounds if size <= 100_000 else stage.sizes.long_rounds
        contestants = [*_contestants(stage, size), start if size > fewest else None]
        contest = stage.contest(title, contestants, rounds, warm=size == fewest)
        results.append(Result("listing", title, contest, [], "keys", size, curves=[Curve("listing", size)]))
    work.remove(tree, small)
    last = results[-1]
    last.bounds.extend(within(last.contest, PDT, LS, 4.0))
    last.bounds.extend(_first_line(last.contest, fewest))
    return results


def _first_line(contest: Contest, fewest: int) -> list[Bound]:
    if PDT not in contest or START not in contest:
        return []
    rounds = zip(contest[PDT].runs, contest[START].runs, strict=True)
    delays = [(run.first - start.first) * 1000 for run, start in rounds if run.first is not None and start.first]
    return [Bound(f"first line, after that of a listing of {fewest:,}", Spread.of(delays), "≤", 200.0, "ms")]
