"""The directory where pdt keeps what is not data: job directories and locks, under ``$XDG_STATE_HOME/pdt``.

Locks are byte-range locks of the kernel (open file description locks, fcntl(2)): one file serves any number of keys, a
holder that is killed releases them, nothing has to be swept, and two holders in one process exclude each other as two
processes do. They reach as far as the kernel that keeps them: one machine, or the clients of one NFSv4 server.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
import struct
import weakref
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType

from .errors import PdtError

__all__ = ("LockFile", "lock_file", "secure_below", "secure_directory", "state_home")

_OFFSET_BITS = 62


def state_home() -> Path:
    """``$XDG_STATE_HOME/pdt``, or ``~/.local/state/pdt`` (XDG Base Directory Specification 0.8).

    :raises PdtError: for a user without a home directory.
    """
    base = os.environ.get("XDG_STATE_HOME", "")
    # The specification says that a relative path is to be ignored.
    if os.path.isabs(base):
        return Path(base) / "pdt"
    try:
        return Path.home() / ".local" / "state" / "pdt"
    except RuntimeError:
        raise PdtError("there is no place for the state directory: set HOME or XDG_STATE_HOME") from None


def secure_directory(path: Path) -> Path:
    """Create `path` with mode 0700 where it is missing; parents that are missing too get the same mode.

    :raises PdtError: when it is a symbolic link, no directory, or somebody else's.
    """
    try:
        os.mkdir(path, 0o700)
    except FileNotFoundError:
        secure_directory(path.parent)
        return secure_directory(path)
    except FileExistsError:
        pass
    status = os.lstat(path)
    if not stat.S_ISDIR(status.st_mode):
        kind = "a symbolic link" if stat.S_ISLNK(status.st_mode) else "not a directory"
        raise PdtError(f"the state directory {path} is {kind}: remove it, or set XDG_STATE_HOME to another place")
    if status.st_uid != os.geteuid():
        raise PdtError(f"the state directory {path} belongs to another user: set XDG_STATE_HOME to a place of your own")
    if status.st_mode & 0o777 != 0o700:  # others may look in, or the umask has shut us out
        os.chmod(path, 0o700)
    return path


def secure_below(root: Path, *names: str) -> Path:
    """Create the directory ``root/NAME/NAME/…`` with mode 0700 where it is missing, each of `names` as our own.

    :param root: what the user gave, which may be a symbolic link or shared; made with mode 0700 where it is missing.
    :raises PdtError: when one of `names` is a symbolic link, no directory, or somebody else's, or when somebody else
        could exchange it at any time.
    """
    try:
        status = os.stat(root)
    except FileNotFoundError:
        secure_directory(root)
    else:
        shared = status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX
        if shared or status.st_uid not in (0, os.geteuid()):
            raise PdtError(
                f"others could meddle with the state directories in {root}: set XDG_STATE_HOME to a place of your own"
            )
    path = root
    for name in names:
        path = secure_directory(path / name)
    return path


def _offset(key: str) -> int:
    digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> (64 - _OFFSET_BITS)


class LockFile:
    """Exclusive locks by key, kept in one file.

    :param path: the file; created with mode 0600, never removed, always empty.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd: int | None = None
        # The kernel grants a lock again to the description that holds it, so that this object must know its own.
        self._held: set[int] = set()
        _lock_files.add(self)

    def _open(self) -> int:
        if self._fd is None:
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            if os.fstat(self._fd).st_mode & 0o777 != 0o600:  # the umask would shut us out the next time
                os.fchmod(self._fd, 0o600)
        return self._fd

    def _fcntl(self, command: int, kind: int, offset: int) -> None:
        # struct flock of 64-bit Linux: type, whence, start, length, pid.
        fcntl.fcntl(self._open(), command, struct.pack("hhqqi4x", kind, os.SEEK_SET, offset, 1, 0))

    def acquire(self, key: str) -> bool:
        """Lock `key` now; false when somebody else holds it."""
        return self._acquire(_offset(key))

    def _acquire(self, offset: int) -> bool:
        if offset in self._held:
            return False
        try:
            self._fcntl(fcntl.F_OFD_SETLK, fcntl.F_WRLCK, offset)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                return False
            raise
        self._held.add(offset)
        return True

    def acquire_wait(self, key: str) -> None:
        """Lock `key`, blocking the calling thread until it is free. Not for a key that this object holds."""
        offset = _offset(key)
        self._fcntl(fcntl.F_OFD_SETLKW, fcntl.F_WRLCK, offset)
        self._held.add(offset)

    def release(self, key: str) -> None:
        """Unlock `key`; do nothing when this object does not hold it."""
        self._release(_offset(key))

    def _release(self, offset: int) -> None:
        if offset in self._held:
            self._held.discard(offset)
            self._fcntl(fcntl.F_OFD_SETLK, fcntl.F_UNLCK, offset)

    def holding(self, key: str) -> AbstractContextManager[bool]:
        """A block that runs with `key` locked, or is told False when somebody else holds it."""
        return _Holding(self, _offset(key))

    def close(self) -> None:
        """Release everything."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
            self._held.clear()

    def __del__(self) -> None:
        self.close()

    def __reduce__(self) -> tuple[type[LockFile], tuple[Path]]:
        # In another process it is the same file, and holds nothing yet.
        return (LockFile, (self.path,))


class _Holding:
    """The context manager of `LockFile.holding`; each launch and each job that is collected takes one."""

    __slots__ = ("_file", "_got", "_offset")

    def __init__(self, file: LockFile, offset: int) -> None:
        self._file = file
        self._offset = offset

    def __enter__(self) -> bool:
        self._got = self._file._acquire(self._offset)
        return self._got

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._got:
            self._file._release(self._offset)


_lock_files: weakref.WeakSet[LockFile] = weakref.WeakSet()


def _let_go() -> None:
    # A forked child shares the description, and would keep what is locked from being freed by its parent's death.
    for file in list(_lock_files):
        file.close()


os.register_at_fork(after_in_child=_let_go)


def lock_file(purpose: str, identity: str) -> LockFile:
    """The lock file of this user for a purpose (`tick`, `quota`, …) and what is to be locked, by any stable string."""
    digest = hashlib.blake2b(identity.encode(), digest_size=12).hexdigest()
    home = state_home()
    return LockFile(secure_below(home.parent, home.name, "locks") / f"{purpose}-{digest}")
