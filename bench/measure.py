"""Runs one command and tells what it took, as JSON. It is a program of its own, for the sake of what it measures.

The kernel counts the memory of whoever starts a process towards the peak of that process, so this one imports little:
what it tells of memory is right from about 10 MiB on. It adopts orphans (prctl(2), PR_SET_CHILD_SUBREAPER): the time
ends with the command, but nothing that it left behind runs on into the turn of the next, and all of it is counted.

The request is the only argument, also JSON, with the fields of `contest.Request`.
"""

import ctypes
import json
import os
import resource
import select
import signal
import sys
import time
from typing import Any

PR_SET_CHILD_SUBREAPER = 36
PIECE = 1 << 20
PIPE = "pipe"
"""As the place for standard output: a pipe that is read as fast as it fills, lines and bytes counted."""


class Drain:
    """Reads a pipe and counts what comes."""

    def __init__(self) -> None:
        self.end, self.other_end = os.pipe()
        os.set_blocking(self.end, False)
        self.first: float | None = None
        self.lines = self.bytes = 0

    def read(self) -> bool:
        """Take what is there; False when nobody can write any more."""
        while True:
            try:
                data = os.read(self.end, PIECE)
            except BlockingIOError:
                return True
            if not data:
                return False
            if self.first is None:
                self.first = time.perf_counter()
            self.lines += data.count(b"\n")
            self.bytes += len(data)


def open_files(request: dict[str, Any], drain: Drain | None) -> list[tuple[Any, ...]]:
    """What the command has for standard input, output and error."""
    output: tuple[Any, ...] = (os.POSIX_SPAWN_OPEN, 1, request["stdout"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    if drain is not None:
        output = (os.POSIX_SPAWN_DUP2, drain.other_end, 1)
    return [
        (os.POSIX_SPAWN_OPEN, 0, request["stdin"], os.O_RDONLY, 0),
        output,
        (os.POSIX_SPAWN_OPEN, 2, request["stderr"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644),
    ]


def wait(pid: int, drain: Drain | None, timeout: float) -> float | None:
    """The moment at which the command ended, or None when it did not in time."""
    watched = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(watched, select.POLLIN)
    if drain is not None:
        os.close(drain.other_end)
        poll.register(drain.end, select.POLLIN)
    deadline = time.perf_counter() + timeout
    while (left := deadline - time.perf_counter()) > 0:
        for descriptor, _ in poll.poll(left * 1000):
            if descriptor == watched:
                ended = time.perf_counter()
                if drain is not None:
                    drain.read()
                return ended
            if drain is not None and not drain.read():
                poll.unregister(drain.end)
    return None


def reap_all() -> None:
    """Wait until nothing that the command started is left."""
    while True:
        try:
            os.wait()
        except ChildProcessError:
            return


def main() -> None:
    """Run, wait, tell."""
    request = json.loads(sys.argv[1])
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    os.chdir(request["cwd"])
    drain = Drain() if request["stdout"] == PIPE else None
    files = open_files(request, drain)
    began = time.perf_counter()
    pid = os.posix_spawnp(request["argv"][0], request["argv"], request["env"], file_actions=files, setpgroup=0)
    ended = wait(pid, drain, request["timeout"])
    if ended is None:
        os.killpg(pid, signal.SIGKILL)
    _, status, usage = os.wait4(pid, 0)
    reap_all()
    everything = resource.getrusage(resource.RUSAGE_CHILDREN)
    first = drain.first if drain is not None else None
    answer = {
        "seconds": (ended or began + request["timeout"]) - began,
        "complete": ended is not None,
        "status": os.waitstatus_to_exitcode(status),
        "cpu": everything.ru_utime + everything.ru_stime,
        "peak": usage.ru_maxrss * 1024,
        "first": first - began if first is not None else None,
        "lines": drain.lines if drain is not None else 0,
        "bytes": drain.bytes if drain is not None else 0,
    }
    json.dump(answer, sys.stdout)


main()
