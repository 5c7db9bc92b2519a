"""Runs that are killed again and again, two at a time, while their jobs go on."""

from __future__ import annotations

import itertools

from tests.lab import Lab
from tests.processes import running

JOBS = [f"job{number:02}" for number in range(24)]

RUN = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from pdtcli import ExecutorTask, ResourceManager, Resources
from pdtcli.report import Finished, Launched
from tests.lab import Lab

lab = Lab(Path(sys.argv[1]))
journal = lab.path("journal")
shell = lab.process(
    "shell",
    f'echo "shell $PDT_JOB start" >>{journal}; sleep 0.02; echo "shell $PDT_JOB end" >>{journal}; echo out',
    quota=ResourceManager(Resources.parse("4", "1Gi")),
    stdout=lab.files("out"),
)
work = ExecutorTask("work", ThreadPoolExecutor(2), lab.metadata("work.done"), failed=lab.metadata("work.failed"))
work.plug(shell)

@work
def _(job, stdout):
    with open(journal, "a") as file:
        file.write(f"work {job} start\\n")
    assert Path(lab.path("out") / job).read_text() == "out\\n"
    with open(journal, "a") as file:
        file.write(f"work {job} end\\n")

def observe(event):
    if isinstance(event, Launched | Finished):
        print(type(event).__name__, flush=True)

lab.pipeline(shell, work).run(observer=observe)
"""


def entries(lab: Lab, task: str, job: str) -> list[str]:
    lines = lab.path("journal").read_text().splitlines()
    return [line.split()[2] for line in lines if line.split()[:2] == [task, job]]


def test_every_job_is_done_and_none_runs_twice_at_the_same_time(lab: Lab) -> None:
    lab.give(*JOBS)

    for events in (1, 2, 3, 5, 8, 13):
        with running(RUN, lab.directory) as first, running(RUN, lab.directory) as second:
            for process in (first, second):
                assert process.stdout is not None
                for _line in itertools.islice(process.stdout, events):
                    pass
                process.kill()
    with running(RUN, lab.directory) as last:
        _, errors = last.communicate(timeout=60)

    assert errors == ""
    assert lab.keys("shell.done") == lab.keys("work.done") == set(JOBS)
    assert lab.keys("shell.failed") == lab.keys("work.failed") == set()
    for job in JOBS:
        assert entries(lab, "shell", job) == ["start", "end"]
        # A function that was killed with its process began once more, and came to its end.
        assert entries(lab, "work", job)[-2:] == ["start", "end"]
    assert lab.keys("shell.pids") == set()
    lab.pipeline(lab.process("shell", "", stdout=lab.files("out"))).status()  # a listing sweeps what was left
    assert lab.litter() == []
