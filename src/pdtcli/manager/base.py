"""Where process jobs run: the interface that `ProcessTask` drives, the same for every kind of machine.

A job's attempt lives in a directory of its own, ``BASEDIR/TASK/JOB``, that only its runner and the holder of the job's
lock touch:

    token     names the attempt; the runner refuses to work in a directory of another one
    exe       the rendered script
    env       variables to set, as `export` lines for sh; absent when there are none
    stdin     what the script reads; absent when it is another file, or nothing
    cwd/      where the script runs
    run       made by the runner, exclusively: its claim. First line: pid and start time. Second line, written by one
              write(2) when the script has ended: its exit status as sh counts it
    stdout, stderr

A `run` without a complete second line is that of a job that runs, or was killed together with its runner.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from pathlib import Path

from ..record import Record
from ..stream import ReadStream, WriteStream

__all__ = ("Attempt", "JobDirectory", "Launch", "Phase", "Process", "ProcessManager", "StderrMode")


class StderrMode(Enum):
    """Where a script's standard error goes."""

    DISCARD = auto()
    FILE = auto()
    STDOUT = auto()


@dataclass(frozen=True, slots=True)
class JobDirectory:
    """Names the directory of one attempt at one job."""

    task: str
    job: str
    token: str


class Process(Record):
    """A process for good: its pid and its start time, on the manager's host and in its present boot."""

    pid: int
    start: int


class Launch(Record):
    """What to run.

    :ivar stdin: True when the directory's own `stdin` was written, a path for another file, None for nothing.
    """

    script: bytes
    environ: Mapping[str, str]
    stdin: str | bool | None
    stdout: bool
    stderr: StderrMode


class Phase(Enum):
    """How far an attempt got, as its directory and the process table tell."""

    ABSENT = auto()
    """There is no directory for the job."""
    OTHER = auto()
    """The directory is that of another attempt."""
    PREPARED = auto()
    """No runner has claimed the directory."""
    RUNNING = auto()
    ENDED = auto()
    """There is an exit status."""
    LOST = auto()
    """The runner is gone and left no exit status."""


class Attempt(Record):
    """What is known of an attempt.

    :ivar token: whose the directory is, also where it is another attempt's.
    :ivar return_code: as sh gives it, when the phase is ENDED.
    :ivar ended: when, by the clock of the manager's host.
    """

    phase: Phase
    token: str | None = None
    process: Process | None = None
    return_code: int | None = None
    ended: datetime | None = None


class ProcessManager(ABC):
    """A machine on which process jobs run.

    Every method that changes a job's directory is called with the job's lock held (`locked`), so that there is one at a
    time on the machine that pdt runs on.
    """

    host: str
    """The name of the machine: only a manager with the same name collects a job."""

    boot_id: str
    """Names the machine's present life; processes of an earlier one are gone."""

    basedir: Path
    """Where on the machine the job directories are."""

    is_local = False
    """Whether jobs see the files of this machine under the same paths."""

    async def validate(self, task: str) -> None:
        """Get ready to run jobs of `task`, and sweep what a killed pdt left behind."""

    @abstractmethod
    def locked(self, task: str, job: str) -> AbstractContextManager[bool]:
        """A block in which nobody else on this machine launches or collects the job; False when somebody else does."""

    @abstractmethod
    async def prepare(self, directory: JobDirectory, launch: Launch) -> None:
        """Make the job's directory anew, in place of any that is there. No process of it may be running."""

    @abstractmethod
    async def open_input(self, directory: JobDirectory) -> WriteStream:
        """Where to write the directory's own `stdin`."""

    @abstractmethod
    async def spawn(self, directory: JobDirectory, launch: Launch) -> Process:
        """Start the runner, in a session of its own, in a directory that was prepared; do not wait for it."""

    @abstractmethod
    async def inspect(self, directory: JobDirectory, hint: Process | None = None) -> Attempt:
        """How far an attempt got.

        :param hint: the process that was spawned, when it is known.
        """

    @abstractmethod
    async def inspect_many(self, attempts: Mapping[JobDirectory, Process | None]) -> dict[JobDirectory, Attempt]:
        """How far several attempts got, in as few trips as the machine allows."""

    @abstractmethod
    async def forestall(self, directory: JobDirectory) -> bool:
        """Take the directory's claim, so that no runner can start any more; False when one has."""

    @abstractmethod
    async def open_output(self, directory: JobDirectory, name: str) -> ReadStream:
        """What the job wrote: `name` is `stdout` or `stderr`.

        :raises JobNotFound: when there is no such file.
        """

    def local_output(self, directory: JobDirectory, name: str) -> str | None:
        """The path of an output on this machine, or None when it is on another one."""
        return None

    @abstractmethod
    async def discard(self, directory: JobDirectory) -> None:
        """Remove the job's directory, whichever attempt's it is; do nothing when there is none."""

    @abstractmethod
    async def is_alive(self, process: Process) -> bool:
        """Whether a process of this machine's present life still runs."""

    @abstractmethod
    async def kill_session(self, process: Process, *, grace: float) -> None:
        """End all processes of the session that `process` leads or led: SIGTERM, then SIGKILL after `grace` seconds.

        The leader, which is the runner, is spared while others live, so that it can write the exit status.
        """

    @abstractmethod
    def watch(self, process: Process, ended: Callable[[], None]) -> Callable[[], None]:
        """Call `ended` in the event loop once the process has ended.

        :return: a function that stops watching.
        """
