"""From one file descriptor to another inside the kernel, so that no byte comes through this process.

sendfile(2) reads what can be mapped, a file that is; splice(2) moves between a pipe and anything. Where neither fits,
such as into a file that is opened for appending, the first call says so, and the caller copies by reading and writing.

Long values go in pieces whose length is no power of two. Pieces that begin and end anywhere make the kernel keep the
file in short runs of pages, of which there are many lying free. Otherwise it takes runs as long as a write, and breaks
up its free blocks of 2 MiB for them. In a virtual machine these may be lent to the host (free page reporting), and the
first use of a page takes longer than to copy it: 4 GiB took 2 to 5 times as long in pieces of a power of two.
"""

from __future__ import annotations

import errno
import fcntl
import io
import os
from typing import IO

__all__ = ("PIECE", "copy", "descriptor")

PAGE = 4096

PIECE = 15 * PAGE
"""So many bytes are written at a time."""

MOVE = 255 * PAGE
"""So many are moved at a time, between which an interruption is heard; the kernel writes them by 64 KiB."""

PIPE = 256 * PAGE
"""So many should fit into a pipe: more than the usual 64 KiB, so that two processes take fewer turns."""

_UNFIT = (errno.EINVAL, errno.ENOSYS, errno.EBADF, errno.ESPIPE, errno.EOVERFLOW, errno.EOPNOTSUPP, errno.EXDEV)


def descriptor(file: IO[bytes]) -> int | None:
    """What stands behind a file object that has nothing in between; None where it may hold or change bytes itself."""
    if isinstance(file, io.BufferedWriter) and isinstance(file.raw, io.FileIO):
        file.flush()
        return file.fileno()
    return file.fileno() if isinstance(file, io.FileIO) else None


def copy(source: int, target: int) -> int | None:
    """Copy all that is left in `source`. The number of bytes; None when the kernel cannot, and nothing was copied.

    :raises OSError: as reading and writing do.
    """
    for pipe in (source, target):
        try:
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE)
        except OSError:
            pass  # no pipe, or the user has too many large ones
    for move in (_send, _splice):
        total = 0
        try:
            while moved := move(source, target):
                total += moved
            return total
        except OSError as error:
            if total or error.errno not in _UNFIT:
                raise
    return None


def _send(source: int, target: int) -> int:
    return os.sendfile(target, source, None, MOVE)  # type: ignore[arg-type, unused-ignore]


def _splice(source: int, target: int) -> int:
    return os.splice(source, target, MOVE)
