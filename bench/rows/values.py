"""A long value of a file repository, out into a pipe and in from one, against `cat`."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from .. import work
from ..contest import PIPE, Contest, Contestant, Failed, Run
from ..result import Bound, Result, memory
from ..stage import Stage

MIB = 1 << 20
SHARE = 0.9
MEMORY = 60.0
SEED_MIB = 32
"""pydatatask needs a minute for a GiB; it has so much less."""


def measure(stage: Stage) -> list[Result]:
    """Out, and in."""
    tree, size = stage.room("values"), stage.sizes.value
    work.tree(tree, 0, done=False)
    work.random_file(tree / "input" / "long.txt", size)
    results = [_out(stage, tree, size), _in(stage, tree, size)]
    work.reclaim(tree)
    return results


def _bounds(contest: Contest, name: str, other: str) -> list[Bound]:
    if name not in contest or other not in contest:
        return []
    rate = contest.ratio(other, name)  # of the times, so that it is that of the rates the other way round
    return [Bound(f"rate against `{other}`", rate, "≥", SHARE), *memory(contest, name, MEMORY)]


def _out(stage: Stage, tree: Path, size: int) -> Result:
    def whole(mib: int, run: Run) -> None:
        if run.bytes != mib * MIB:
            raise Failed(f"{run.bytes} bytes came")

    def seed() -> Contestant:
        few = min(size, SEED_MIB)
        work.random_file(tree / "input" / "short.txt", few)
        argv = [stage.tools["pydatatask"], "pipeline.py", "cat", "task.input", "short"]
        return Contestant("pydatatask cat", argv, few, cwd=tree, stdout=PIPE, after=partial(whole, few), rounds=1)

    contest = stage.contest(
        f"{size:,} MiB out",
        [
            Contestant(
                "pdt repo cat",
                stage.pdt("repo", "cat", "task.input", "long"),
                size,
                idle=stage.pdt("task", "ls"),
                cwd=tree,
                stdout=PIPE,
                after=partial(whole, size),
            ),
            Contestant("cat", ["cat", "input/long.txt"], size, cwd=tree, stdout=PIPE, after=partial(whole, size)),
            stage.peer("pydatatask", seed),
        ],
        stage.sizes.long_rounds,
        warm=True,
    )
    title = f"A value of {size:,} MiB out, into a pipe"
    return Result("values", title, contest, _bounds(contest, "pdt repo cat", "cat"), "MiB", size)


def _in(stage: Stage, tree: Path, size: int) -> Result:
    target = tree / "input" / "copy.txt"

    def whole(_: Run) -> None:
        if target.stat().st_size != size * MIB:
            raise Failed(f"{target.stat().st_size} bytes arrived")

    def contestant(name: str, argv: list[str], stdout: str = "/dev/null") -> Contestant:
        return Contestant(
            name,
            argv,
            size,
            cwd=tree,
            stdin=str(tree / "input" / "long.txt"),
            stdout=stdout,
            before=partial(target.unlink, missing_ok=True),
            after=whole,
            idle=stage.pdt("task", "ls") if name.startswith("pdt") else None,
        )

    contest = stage.contest(
        f"{size:,} MiB in",
        [
            contestant("pdt repo put", stage.pdt("repo", "put", "task.input", "copy", "-")),
            contestant("cat >", ["cat"], str(target)),
        ],
        stage.sizes.long_rounds,
    )
    title = f"A value of {size:,} MiB in, from a file on standard input"
    return Result("values", title, contest, _bounds(contest, "pdt repo put", "cat >"), "MiB", size)
