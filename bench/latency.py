"""From the end of one job to the start of the next, under a quota of one job at a time, in milliseconds.

    .venv/bin/python bench/latency.py [JOBS [WAITING]]

JOBS jobs (200 by default) write down when they begin and end, by the kernel's clock, while as many as WAITING others
(2,000) stand in the same repositories and wait. Each job ends with its last line; what is measured is all that pdt does
in between: it hears of the end, collects output and outcome, launches the next, whose shell begins.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from pdtcli import (
    FileRepository,
    LocalLinuxManager,
    Pipeline,
    ProcessTask,
    ResourceManager,
    Resources,
    Session,
    YamlMetadataFileRepository,
    open_pipeline,
)

SCRIPT = """#!/bin/bash
echo $EPOCHREALTIME >>{times}
echo output
echo $EPOCHREALTIME >>{times}
"""


def pipeline(here: Path) -> Pipeline:
    """One task that takes the jobs of which there is an input, when they are in `chosen`."""
    session = Session()

    @session.resource
    async def localhost() -> AsyncIterator[LocalLinuxManager]:
        yield LocalLinuxManager("latency", local_path=here / "state")

    task = ProcessTask(
        "task",
        localhost,
        ResourceManager(Resources.parse("1", "1Gi")),
        Resources.parse("1", "1Mi"),
        YamlMetadataFileRepository(here / "pids"),
        SCRIPT.format(times=here / "times"),
        stdout=FileRepository(here / "out"),
        done=YamlMetadataFileRepository(here / "done"),
    )
    task.link("input", FileRepository(here / "input"), is_input=True)
    task.link("chosen", FileRepository(here / "chosen"), is_input=True)
    return Pipeline([task], session)


def main(jobs: int = 200, waiting: int = 2000) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as directory:
        here = Path(directory)
        for name, count in (("input", jobs + waiting), ("chosen", jobs)):
            (here / name).mkdir()
            for number in range(count):
                (here / name / f"job{number:06}").touch()
        report = open_pipeline(pipeline(here)).run()
        assert report.done == jobs, report
        times = [float(line) * 1000 for line in (here / "times").read_text().split()]
    gaps = sorted(begin - end for end, begin in zip(times[1:-1:2], times[2::2], strict=True))
    print(f"{jobs} jobs, {waiting} waiting: {report.seconds:.2f} s")
    for label, share in (("median", 0.5), ("95 %", 0.95), ("worst", 1.0)):
        print(f"{label:>7} {gaps[min(len(gaps) - 1, int(share * len(gaps)))]:6.1f} ms")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
