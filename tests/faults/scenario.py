"""A small pipeline whose jobs write down when they start and end, and a process that drives it until it is killed.

Run as a program, it reads lines ``DIRECTORY MODE N`` and, for each, forks a process that drives the pipeline in that
directory and kills itself just before its N-th change to the world: a file opened for writing, a write, a rename, a
link, a lock, a process spawned, and so on. It answers `killed`, or `done` when the drive ended before that. N = 0 never
kills.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
import traceback
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any

from tests.lab import Lab

from pdtcli import InProcessSyncTask, MetadataRepository, Pipeline

JOBS = ("good", "bad")

SCRIPT = """
echo "shell $PDT_JOB start" >>{journal}
echo "output of $PDT_JOB"
sleep 0.01
echo "shell $PDT_JOB end" >>{journal}
[ "$PDT_JOB" != bad ] || exit 3
"""

CHANGES = {
    "fcntl.fcntl",
    "os.chmod",
    "os.link",
    "os.mkdir",
    "os.posix_spawn",
    "os.remove",
    "os.rename",
    "os.rmdir",
}


def pipeline(directory: Path) -> Pipeline:
    """Two jobs go through a script, and the one that does not fail through a function."""
    lab = Lab(directory)
    journal = directory / "journal"
    shell = lab.process("shell", SCRIPT.format(journal=journal), stdout=lab.files("output"))
    total: InProcessSyncTask = lab.function("total")
    total.plug(shell)
    total.link("sizes", lab.metadata("sizes"), is_output=True)

    @total
    async def _(job: str, stdout: Any, sizes: MetadataRepository) -> None:
        with open(journal, "a") as file:
            file.write(f"total {job} start\n")
        text = await stdout.read_bytes(job)
        with open(journal, "a") as file:
            file.write(f"total {job} end\n")
        await sizes.dump(job, {"size": len(text)})

    return Pipeline([shell, total], lab.session)


async def run(directory: Path) -> None:
    """As `pdt run` does."""
    async with pipeline(directory) as opened:
        await opened.run()


async def ticks(directory: Path) -> None:
    """As `pdt tick` does from cron: what one tick launches another one collects."""
    for _ in range(3):
        async with pipeline(directory) as opened:
            await opened.tick()
        while not all(has_ended(job) for job in (directory / "state" / "lab" / "shell").iterdir() if job.is_dir()):
            time.sleep(0.002)


def has_ended(job: Path) -> bool:
    """Whether the script of a job directory has left its exit status."""
    status = job / "run"
    return status.exists() and status.read_text().count("\n") == 2


MODES = {"run": run, "ticks": ticks}


class Countdown:
    """Kills this process just before its n-th change."""

    def __init__(self, n: int) -> None:
        self.left = n

    def step(self) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        writes = os.O_WRONLY | os.O_RDWR | os.O_CREAT
        if event in CHANGES or (event == "open" and arguments[2] & writes):
            self.step()

    def profile(self, frame: FrameType, event: str, function: Any) -> None:
        # The one change that is not audited.
        if event == "c_call" and function.__name__ == "write" and function.__module__ == "posix":
            self.step()

    def start(self) -> None:
        sys.addaudithook(self.audit)
        sys.setprofile(self.profile)


def serve() -> None:
    """Answer requests until standard input ends."""
    with TemporaryDirectory() as directory:  # so that everything is imported once, not in every child
        os.environ["XDG_STATE_HOME"] = f"{directory}/xdg"
        Lab(Path(directory)).give(*JOBS)
        asyncio.run(run(Path(directory)))
    for line in sys.stdin:
        directory, mode, n = line.split()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                os.environ["XDG_STATE_HOME"] = f"{directory}/xdg"
                if int(n):
                    Countdown(int(n)).start()
                asyncio.run(MODES[mode](Path(directory)))
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        print({0: "done", -signal.SIGKILL: "killed"}.get(code, f"failed with {code}"), flush=True)


if __name__ == "__main__":
    serve()
