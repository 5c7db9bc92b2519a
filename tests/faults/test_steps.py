"""The sweeps see what they are to sweep over: the list of steps, and that what makes pdt safe is among them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.faults.sweep import FULL, STAGES, Sweeper, sort_of
from tests.faults.world import WORLDS
from tests.processes import needs_unnamed_files

CLAIMED = "data/shell.pids/JOB.yaml"
LAUNCHED = [
    "w fcntl-lock jobs/lab/shell/.lock",
    "w mkdir jobs/lab/shell/JOB",
    "w write jobs/lab/shell/JOB/exe",
    "p clone",
    f"w rename data/shell.pids/TEMPORARY {CLAIMED}",
]
RECORDS = [f"data/{name}/JOB.yaml" for name in ("shell.done", "shell.failed", "sizes.done", "result")]
REAPED = [
    "w rename jobs/lab/shell/JOB/stdout data/shell.out/JOB",
    "w unlink jobs/lab/shell/JOB/run",
    "w rmdir jobs/lab/shell/JOB",
    f"w unlink {CLAIMED}",
    "w fcntl-lock xdg/pdt/locks/task-LOCK",
]
NEEDED = {
    ("files", "launch"): [*LAUNCHED, f"w linkat UNNAMED {CLAIMED}"],
    ("files", "reap"): [*REAPED, *(f"w linkat UNNAMED {record}" for record in RECORDS)],
    ("named", "launch"): [*LAUNCHED, f"w linkat data/shell.pids/TEMPORARY {CLAIMED}"],
    ("named", "reap"): [
        *REAPED,
        *(f"w rename {record.removesuffix('JOB.yaml')}TEMPORARY {record}" for record in RECORDS),
    ],
    ("s3", "launch"): ["n connect tcp", "n sendto tcp", "p clone"],
    ("mongo", "launch"): ["n connect tcp", "n sendto tcp", "p clone"],
}


@pytest.mark.parametrize(
    ("kind", "stage"), [(kind, stage) for kind in WORLDS for stage in STAGES] if FULL else list(NEEDED)[:4]
)
def test_the_steps_are_seen(sweeper_of: Callable[[str], Sweeper], tmp_path: Path, kind: str, stage: str) -> None:
    if kind == "files":
        needs_unnamed_files(tmp_path)
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
