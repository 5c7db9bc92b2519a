"""Functions in process that do nothing, each with an outcome in a YAML file, one after the other."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from .. import work
from ..contest import Contestant, Failed, Run
from ..result import Result, faster
from ..stage import Stage

PDT, SEED = "pdt run", "pydatatask update"
FEWER = 5
"""pydatatask has one in so many of the jobs; what one job costs is compared."""

FACTOR = 5.0


def measure(stage: Stage) -> list[Result]:
    """The rate of both."""
    size = stage.sizes.functions
    few = max(size // FEWER, 1)
    room = stage.room("functions")

    def contestant(name: str, jobs: int, argv: list[str], idle: list[str]) -> Contestant:
        tree = work.tree(room / str(jobs), jobs, done=False, pipeline="functions")
        before, after = partial(work.not_done, tree), partial(_recorded, tree, jobs)
        return Contestant(name, argv, units=jobs, cwd=tree, before=before, after=after, idle=idle)

    def seed() -> Contestant:
        python = stage.tools["pydatatask"]
        return contestant(SEED, few, [python, "pipeline.py", "update"], [python, "-c", "import pydatatask"])

    contest = stage.contest(
        f"{size:,} functions in process",
        [
            contestant(PDT, size, stage.pdt("run", "-q"), stage.pdt("task", "ls")),
            stage.peer("pydatatask", seed),
        ],
        stage.sizes.long_rounds,
        apart=True,
    )
    work.remove(room)
    title = f"{size:,} functions in process, with a YAML outcome each"
    notes = [
        f"pydatatask has {few:,} jobs. Both make one cycle and no more, so that its sleep of a second is left out."
    ]
    bounds = faster(contest, PDT, [SEED], 1 / FACTOR)
    return [Result("functions", title, contest, bounds, "jobs", size, notes)]


def _recorded(tree: Path, size: int, _: Run) -> None:
    done = work.count(tree / "done")
    if done != size:
        raise Failed(f"{done} of {size} outcomes are there")
    if b"success" not in next((tree / "done").iterdir()).read_bytes():
        raise Failed("an outcome is not a success")
