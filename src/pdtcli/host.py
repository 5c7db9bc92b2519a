"""Which machine this is, and which process: host, boot id, pid and start time, never a bare pid.

A pid is reused, a host name is shared by the machine's next life; the four together name one process for good. Start
times are in clock ticks since boot, as field 22 of /proc/PID/stat gives them (proc(5)).

A container counts as a host of its own, also where it shares its name with its machine or with another container: a pid
means something else there, so that none of them may judge the others' processes.
"""

from __future__ import annotations

import os
from functools import lru_cache

__all__ = ("boot_id", "has_no_handler", "hostname", "is_alive", "process_start", "sees_itself", "session_members")

INITIAL_NAMESPACE = 0xEFFFFFFC
"""The inode number of a machine's own PID namespace: PROC_PID_INIT_INO in Linux's include/linux/proc_ns.h."""


@lru_cache(maxsize=1)
def hostname() -> str:
    """The name of this machine; inside another PID namespace, as a container's is, ``NAME+NUMBER`` with its number.

    A process keeps the name that the machine had when it first asked.
    """
    name = os.uname().nodename
    try:
        namespace = os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return name
    return name if namespace == INITIAL_NAMESPACE else f"{name}+{namespace}"


def sees_itself() -> bool:
    """Whether /proc is that of this process's own PID namespace, so that what it tells of pids is about ours."""
    try:
        return os.readlink("/proc/self") == str(os.getpid())
    except OSError:
        return False


@lru_cache(maxsize=1)
def boot_id() -> str:
    """A name for the time since this machine was last started."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def _stat(pid: int) -> tuple[str, int, int] | None:
    """State letter, session and start time of a process, or None when there is none."""
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        line = os.read(fd, 4096)
    except ProcessLookupError:
        return None
    finally:
        os.close(fd)
    # The command's name, in parentheses, may hold anything; what follows the last one is numbers.
    fields = line[line.rindex(b")") + 2 :].split()
    return fields[0].decode(), int(fields[3]), int(fields[19])


def process_start(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None when there is no such process, or it is a zombie."""
    found = _stat(pid)
    return None if found is None or found[0] in "ZX" else found[2]


def is_alive(pid: int, start: int) -> bool:
    """Whether the process that had this pid and this start time still runs; a zombie does not."""
    return process_start(pid) == start


def session_members(leader: int) -> list[int]:
    """The pids of all processes in the session of `leader`, which may itself be gone."""
    members = []
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (found := _stat(int(entry))) is not None and found[1] == leader and found[0] not in "ZX":
            members.append(int(entry))
    return members


def has_no_handler(pid: int, number: int) -> bool:
    """Whether a process neither catches nor blocks nor ignores a signal; false when there is no such process."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
            masks = [int(line.split()[1], 16) for line in file if line.startswith(("SigBlk:", "SigIgn:", "SigCgt:"))]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return not any(mask >> (number - 1) & 1 for mask in masks)


@lru_cache(maxsize=1)
def current_umask() -> int:
    """The umask of this process, when it was first asked for."""
    # Not os.umask(), which can only be read by changing it, for all threads.
    try:
        with open("/proc/self/status", encoding="utf-8") as file:
            return next(int(line.split()[1], 8) for line in file if line.startswith("Umask:"))
    except (OSError, StopIteration):
        return 0o022
