"""A day of cron in one process: a tick a minute, with jobs that arrive, run, and are counted by a function.

Run as a program in a directory, it plays so many ticks with so many jobs and prints what it looked at on the way, as
JSON. Nothing waits for a minute to pass: what a tick leaves behind does not depend on when the next one comes.
"""

from __future__ import annotations

import json
import logging
import os
import random
import resource
import sys
import time
from pathlib import Path
from typing import Any

from tests.lab import Lab

from pdtcli import MetadataRepository, PipelineHandle, ResourceManager, Resources

SAMPLES = 48

KEPT = 60
"""After so many ticks somebody removes what has gone all the way."""

OF_A_JOB = ["input/{}", "text/{}", "errors/{}", "size/{}.yaml", "shell.done/{}.yaml", "count.done/{}.yaml"]


def pipeline(lab: Lab, quota: int) -> PipelineHandle:
    """A script makes a file of each job, and a function counts what is in it; one in a hundred fails."""
    shell = lab.process(
        "shell",
        'cat; [ "${PDT_JOB%99}" = "$PDT_JOB" ]',
        quota=ResourceManager(Resources.parse(quota)),
        stdin=lab.input,
        stdout=lab.files("text"),
        stderr=lab.files("errors"),
    )
    count = lab.function("count")
    count.plug(shell)
    count.link("size", lab.metadata("size"), is_output=True)

    @count
    async def _(job: str, stdout: Any, size: MetadataRepository) -> None:
        await size.dump(job, {"bytes": len(await stdout.read_bytes(job))})

    return lab.pipeline(shell, count)


def zombies() -> int:
    """How many children of this process have ended and were not waited for."""
    found = 0
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            fields = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        found += fields[0] == "Z" and int(fields[1]) == os.getpid()
    return found


def look(lab: Lab, tick: int, seconds: float) -> dict[str, float]:
    """What must not grow."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    state = Path(os.environ["XDG_STATE_HOME"])
    return {
        "tick": tick,
        "seconds": seconds,
        "descriptors": len(os.listdir("/proc/self/fd")),
        "memory": pages * resource.getpagesize(),
        "zombies": zombies(),
        "live": len(lab.keys("shell.pids")),
        "done": len(lab.keys("count.done")),
        "failed": len(lab.keys("shell.failed")),
        "log": (lab.path("log")).stat().st_size,
        "temporary": sum(path.name.startswith(".pdt-") for path in lab.directory.rglob(".pdt-*")),
        # What the last tick found is kept in one file, which is there from the first tick on that found nothing to do.
        "state": sum(1 for path in state.rglob("*") if "memory" not in path.parts),
        "directories": sum(1 for path in lab.state.glob("shell/*") if path.is_dir()),
    }


def forget(lab: Lab) -> None:
    """Remove all that is left of jobs that are done, as a user does with rm."""
    for job in lab.keys("count.done"):
        for name in OF_A_JOB:
            lab.path(name.format(job)).unlink(missing_ok=True)


def main(directory: str, ticks: int, jobs: int) -> list[dict[str, float]]:
    """Play, and look `SAMPLES` times on the way."""
    lab = Lab(Path(directory))
    logging.basicConfig(filename=lab.path("log"), level=logging.INFO)
    dice = random.Random(0)
    arrivals = sorted(dice.randrange(ticks * 9 // 10) for _ in range(jobs))
    quota = max(2, jobs * 3 // ticks)
    handle = pipeline(lab, quota)
    lab.path("input").mkdir(exist_ok=True)
    samples = []
    every = max(1, ticks // SAMPLES)
    began = time.monotonic()
    for tick in range(ticks):
        while arrivals and arrivals[0] <= tick:
            lab.give(f"job{len(arrivals):05}")
            del arrivals[0]
        handle.tick()
        if tick % KEPT == 0:
            forget(lab)
        if (tick + 1) % every == 0:
            samples.append({**look(lab, tick + 1, (time.monotonic() - began) / every), "quota": quota})
            began = time.monotonic()
    while handle.status()[0].live or handle.status()[0].ready:
        handle.tick()
    handle.tick()
    while zombies():  # of runners that took a moment to end
        handle.tick()
    samples.append({**look(lab, ticks, 0.0), "quota": quota})
    return samples


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
