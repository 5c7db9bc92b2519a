"""`pdt status` of ten tasks in a row, each of which has done all of its jobs."""

from __future__ import annotations

from .. import work
from ..contest import PIPE, Contestant
from ..result import Result, within
from ..stage import Stage

TASKS = 10


def measure(stage: Stage) -> list[Result]:
    """Against `ls -f` of the directories that it has to list."""
    here, size = stage.room("status"), stage.sizes.status
    names = work.jobs(size)
    work.tree(here, 0, done=False, pipeline="chain")
    directories = [here / "input", *(here / f"done{number}" for number in range(TASKS))]
    for number, directory in enumerate(directories):
        work.fill(directory, names, ".yaml" if number else work.INPUT)
    for number in range(TASKS):
        for name in ("pids", "failed"):
            directories.append(here / f"{name}{number}")
            work.empty(directories[-1])
    contest = stage.contest(
        f"status of {TASKS} times {size:,} jobs",
        [
            Contestant("pdt status", stage.pdt("status"), cwd=here, stdout=PIPE, idle=stage.pdt("task", "ls")),
            Contestant("ls -f", [stage.tools["ls"], "-f", *map(str, directories)], stdout=PIPE),
        ],
        stage.sizes.long_rounds,
    )
    work.remove(here)
    bounds = within(contest, "pdt status", "ls -f", 3.0)
    notes = [f"{len(directories)} directories, {TASKS + 1} of them with {size:,} files each."]
    title = f"The status of {TASKS} tasks with {size:,} jobs each"
    return [Result("status", title, contest, bounds, "jobs", TASKS * size, notes)]
