"""From one file descriptor to another inside the kernel, so that no byte comes through this process.

sendfile(2) reads what can be mapped, a file that is; splice(2) moves between a pipe and anything. Where neither fits,
such as into a file that is opened for appending, the first call says so, and the caller copies by reading and writing.
"""

from __future__ import annotations

import errno
import fcntl
import io
import os
from typing import IO

__all__ = ("copy", "descriptor")

PIECE = 1 << 20
"""So many bytes at a time, between which an interruption is heard."""

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
            # More than the usual 64 KiB, so that two processes take fewer turns.
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIECE)
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
    return os.sendfile(target, source, None, PIECE)  # type: ignore[arg-type, unused-ignore]


def _splice(source: int, target: int) -> int:
    return os.splice(source, target, PIECE)
