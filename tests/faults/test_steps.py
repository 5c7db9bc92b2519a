"""The sweeps see what they are to sweep over: the list of steps, and that what makes pdt safe is among them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from tests.faults.sweep import FULL, STAGES, Sweeper, sort_of
from tests.faults.world import WORLDS

NEEDED = {
    ("files", "launch"): [
        "w fcntl-lock jobs/lab/shell/.lock",
        "w linkat data/shell.pids/TEMPORARY data/shell.pids/JOB.yaml",
        "w mkdir jobs/lab/shell/JOB",
        "w write jobs/lab/shell/JOB/exe",
        "p clone",
        "w rename data/shell.pids/TEMPORARY data/shell.pids/JOB.yaml",
    ],
    ("files", "reap"): [
        "w rename jobs/lab/shell/JOB/stdout data/shell.out/JOB",
        "w rename data/shell.done/TEMPORARY data/shell.done/JOB.yaml",
        "w rename data/shell.failed/TEMPORARY data/shell.failed/JOB.yaml",
        "w unlink jobs/lab/shell/JOB/run",
        "w rmdir jobs/lab/shell/JOB",
        "w unlink data/shell.pids/JOB.yaml",
        "w fcntl-lock xdg/pdt/locks/task-LOCK",
        "w rename data/result/TEMPORARY data/result/JOB.yaml",
    ],
    ("s3", "launch"): ["n connect tcp", "n sendto tcp", "p clone"],
    ("mongo", "launch"): ["n connect tcp", "n sendto tcp", "p clone"],
}


@pytest.mark.parametrize(
    ("kind", "stage"), [(kind, stage) for kind in WORLDS for stage in STAGES] if FULL else list(NEEDED)[:2]
)
def test_the_steps_are_seen(sweeper_of: Callable[[str], Sweeper], kind: str, stage: str) -> None:
    sweeper = sweeper_of(kind)
    with sweeper.ready():
        steps = sweeper.steps_of(STAGES[stage], "wpn")
        reads = len(sweeper.steps_of(STAGES[stage], "wrpn")) - len(steps)
        descriptors = len(sweeper.steps_of(STAGES[stage], "d"))

    sorts = Counter(map(sort_of, steps))
    print(f"{kind} {stage}: {len(steps)} steps of {len(sorts)} sorts; {reads} reads; {descriptors} descriptors")
    for sort, count in sorted(sorts.items()):
        print(f"  {count:4} {sort}")
    assert [sort for sort in NEEDED.get((kind, stage), ()) if sort not in sorts] == []
