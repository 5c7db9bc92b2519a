"""Where the jobs of a pipeline under fault run, from both sides.

`pdt` uses a machine through the manager that `manager` gives; the checker looks for what is left of jobs by other
means. Another kind of manager is one more class here, and a line in `MACHINES`.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from pathlib import Path

from pdtcli import LocalLinuxManager
from pdtcli.manager.base import ProcessManager

APP = "lab"

MARK = "PDT_FAULTS_WORLD"
"""A variable in the environment of every process that belongs to a world: its directory."""


class Machine(ABC):
    """A kind of machine.

    :param directory: that of the world.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    # ---- in a process of pdt

    @abstractmethod
    def manager(self, jobs: str) -> ProcessManager:
        """A manager that keeps the directories of jobs under that name."""

    # ---- in the test

    @abstractmethod
    def job_directory(self, task: str, job: str) -> Path:
        """Where what belongs to a job is kept."""

    @abstractmethod
    def litter(self) -> list[str]:
        """What is left of jobs."""

    @abstractmethod
    def processes(self) -> list[int]:
        """What runs and belongs to the world: scripts, runners, pdt itself."""


class LocalMachine(Machine):
    """This one."""

    def manager(self, jobs: str) -> ProcessManager:
        return LocalLinuxManager(APP, local_path=self.directory / jobs)

    def job_directory(self, task: str, job: str) -> Path:
        return self.directory / "jobs" / APP / task / job

    def litter(self) -> list[str]:
        return [str(path) for path in self.directory.glob(f"jobs*/{APP}/*/*") if path.name != ".lock"]

    def processes(self) -> list[int]:
        mark = f"{MARK}={self.directory}".encode()
        found = []
        for entry in filter(str.isdigit, os.listdir("/proc")):
            try:
                if mark in Path("/proc", entry, "environ").read_bytes().split(b"\0"):
                    found.append(int(entry))
            except OSError:
                pass  # it is gone
        return found


MACHINES: dict[str, type[Machine]] = {"local": LocalMachine}
