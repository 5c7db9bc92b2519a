"""What the last tick found nothing to do in, so that the next one need not list it again: a memory, never an authority.

A tick that started nothing, collected nothing, and left nothing ready or live keeps one digest: of how the pipeline is
made, and of what stat(2) says of every directory that decided it (device, inode, links, size, mtime and ctime). As long
as the digest comes out the same, no name came or went in any of them, and a tick would find the same again.

What makes that sound:

- Only directories of this machine count whose contents follow from names alone. A repository that is anywhere else,
  reads values or calls a function of the user's, a task of a kind that is not known here, and a symbolic link among the
  names each make the pipeline one that is never remembered. So do file systems that are not known to keep their times
  by this kernel's clock, network file systems above all.
- A change in the same tick of the clock as an earlier one leaves the times as they are. As in git's index ("Racy Git"
  in its technical documentation), what changed so shortly before the look that this could happen is not remembered.
- What is kept is bound to the boot, and read and written by the holder of the tick's lock.

Losing the file, or not being able to write it, costs one listing.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Hashable, Iterable, Iterator
from pathlib import Path

from . import __version__, atomic
from .errors import PdtError
from .host import boot_id
from .link import Link
from .report import Report
from .repository.base import Repository
from .state import secure_directory, state_home
from .survey import decisive
from .task.base import Task

__all__ = ("Memory",)

log = logging.getLogger(__name__)

FINE = 20_000_000
"""Nanoseconds: twice the longest tick of the kernel's clock that stamps files (CONFIG_HZ=100)."""

COARSE = 2_000_000_000
"""The same where times are whole seconds, as on ext4 with small inodes."""

_FILE_SYSTEMS = {"ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "tmpfs"}
_TASKS = {"pdtcli.task.process.ProcessTask", "pdtcli.task.function.InProcessSyncTask"}


class Memory:
    """What is remembered of a pipeline.

    :param tasks: its tasks.
    :param identity: names the pipeline, as its tick's lock does.
    """

    def __init__(self, tasks: Iterable[Task], identity: str) -> None:
        tasks = list(tasks)
        self._identity = identity
        self._structure = _structure(tasks)
        self._repositories = list(dict.fromkeys(base for task in tasks for r in decisive(task) for base in _bases(r)))
        self._seen: str | None = None

    def recall(self) -> Report | None:
        """The report of a tick that would find nothing changed and nothing to do; None when that is not known.

        Call it, and what comes after it, with the lock of the tick.
        """
        if self._structure is None or not self._identity:
            return None
        self._seen, quiet = self._look()
        if self._seen is None:
            return None
        try:
            kept = self._path().read_text("ascii").split()
            digest, waiting, failed = kept[0], int(kept[1]), int(kept[2])
        except (OSError, ValueError, IndexError):
            digest = ""
        if not quiet:
            self._seen = None  # cannot be told from what may still come, and is not to be kept
        if digest and digest == self._seen:
            log.debug("nothing has changed since the last tick")
            return Report(waiting=waiting, failed_before=failed)
        return None

    def keep(self, report: Report) -> None:
        """Remember what a tick after `recall` found, if that was nothing to do."""
        if self._seen is None or not report.idle or report.interrupted or report.live or report.ready:
            return
        if not self._is_steady() or not self._is_local():
            return
        try:
            directory = secure_directory(state_home() / "memory")
            atomic.sweep(directory, [name for name in os.listdir(directory) if name.startswith(atomic.PREFIX)])
            atomic.replace(self._path(), f"{self._seen} {report.waiting} {report.failed_before}\n".encode(), 0o600)
        except (OSError, PdtError) as error:
            log.debug("what this tick found cannot be remembered: %s", error)

    def _path(self) -> Path:
        return state_home() / "memory" / f"tick-{_digest(self._identity)}"

    def _directories(self) -> Iterator[str]:
        for repository in self._repositories:
            yield from repository.watched_paths

    def _look(self) -> tuple[str | None, bool]:
        """The digest of everything as it is now, and whether all of it is so old that a change would show."""
        now = time.time_ns()
        quiet = True
        parts = [self._structure or ""]
        for path in self._directories():
            try:
                found = os.stat(path)
            except OSError:
                return None, False
            times = (found.st_mtime_ns, found.st_ctime_ns)
            whole = not any(stamp % 1_000_000_000 for stamp in times)
            quiet = quiet and max(times) < now - (COARSE if whole else FINE)
            parts.append(f"{found.st_dev} {found.st_ino} {found.st_nlink} {found.st_size} {times}")
        return _digest("\n".join(parts)), quiet

    def _is_steady(self) -> bool:
        """Whether each directory was listed, and no listing met what changes without a trace."""
        met: dict[Hashable, set[bool | None]] = {}
        for repository in self._repositories:
            met.setdefault(repository.listing, set()).add(getattr(repository, "unsteady", True))
        return all(True not in found and False in found for found in met.values())

    def _is_local(self) -> bool:
        kinds = _file_systems()
        return all(kinds.get(os.stat(path).st_dev) in _FILE_SYSTEMS for path in self._directories())


def _digest(text: str) -> str:
    import hashlib

    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def _structure(tasks: Iterable[Task]) -> str | None:
    """How the pipeline is made, as far as it decides what is ready; None where names in directories do not decide."""
    lines = [__version__, boot_id()]
    for task in tasks:
        if f"{type(task).__module__}.{type(task).__qualname__}" not in _TASKS:
            return None
        lines.append(f"{task.name!r} {task.disabled}")
        linked = {f"{name!r} {_flags(link)}": link.repo for name, link in task.links.items()}
        if task.has_own_ready:
            linked["ready"] = task.ready
        matter = set(decisive(task))
        for name, repository in linked.items():
            text = _described(repository)
            if text is None and repository in matter:
                return None
            lines.append(f"{name} {text}")
        if any(_described(repository) is None for repository in matter):
            return None
    return "\n".join(lines)


def _flags(link: Link) -> str:
    return " ".join(flag for flag, value in link.flags.items() if value)


def _described(repository: Repository) -> str | None:
    """What names in directories make of the repository; None where there is more to it."""
    # A class of somebody else's may do anything.
    if not type(repository).__module__.startswith(f"{__package__}.repository."):
        return None
    kind = type(repository).__name__
    if repository.names_decide:
        return f"{kind} {repository.place!r} {getattr(repository, 'case_insensitive', None)}"
    parts = [_described(base) for base in repository.bases]
    if not repository.bases_decide or None in parts:
        return None
    return f"{kind}({', '.join(filter(None, parts))})"


def _bases(repository: Repository) -> Iterator[Repository]:
    if repository.bases:
        for base in repository.bases:
            yield from _bases(base)
    else:
        yield repository


def _file_systems() -> dict[int, str]:
    """The kinds of the mounted file systems, by device (proc_pid_mountinfo(5))."""
    kinds = {}
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:
            for line in lines:
                before, _, after = line.partition(" - ")
                major, _, minor = before.split()[2].partition(":")
                kinds[os.makedev(int(major), int(minor))] = after.split()[0]
    except OSError:
        pass
    return kinds
