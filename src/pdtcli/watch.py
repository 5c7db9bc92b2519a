"""Word from the kernel that a directory changed (inotify(7)), so that a run need not look every second.

It says that something may have changed, never what: the truth is in the next listing. Where the kernel cannot watch (no
inotify, a network file system) there is no word, and whoever waits also looks from time to time.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
from collections.abc import Callable, Iterable

__all__ = ("DirectoryWatch",)

# What adds a name, removes one or completes a file: IN_CLOSE_WRITE, MOVED_FROM, MOVED_TO, CREATE, DELETE, MOVE_SELF.
_MASK = 0x008 | 0x040 | 0x080 | 0x100 | 0x200 | 0x800
_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC  # the values of IN_NONBLOCK and IN_CLOEXEC


class DirectoryWatch:
    """Calls a function when any of some directories changes.

    :param paths: the directories; those that cannot be watched are left out.
    :param changed: called in the event loop, once for any number of changes that come together.
    """

    def __init__(self, paths: Iterable[str], changed: Callable[[], None]) -> None:
        self._changed = changed
        self._fd = -1
        self.complete = False
        """Whether every one of the directories is watched."""
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            self._fd = libc.inotify_init1(_FLAGS)
        except (OSError, AttributeError):
            return
        if self._fd < 0:
            return
        watched = [libc.inotify_add_watch(self._fd, os.fsencode(path), _MASK) >= 0 for path in set(paths)]
        self.complete = bool(watched) and all(watched)
        asyncio.get_running_loop().add_reader(self._fd, self._readable)

    def _readable(self) -> None:
        try:
            while len(os.read(self._fd, 65536)) > 32768:
                pass
        except BlockingIOError:
            pass
        self._changed()

    def close(self) -> None:
        """Stop watching."""
        if self._fd >= 0:
            asyncio.get_running_loop().remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1
