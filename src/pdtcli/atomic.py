"""Files and directories that appear complete or not at all.

A small value that is new is made without a name, where the file system can do that, and then linked to its own. Any
other is made under a hidden temporary name beside its place and then renamed. The temporary name tells which process
makes it, so that what a killed one left behind is known for litter, and swept, by whoever next lists the directory.

That holds against a kill. Against a loss of power it takes `durable`: the data is on the disk before the name is, and
the name before anything else is done that builds on it.
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from .errors import BackendError, PdtError, sentence
from .host import boot_id, current_umask, hostname, is_alive, process_start

__all__ = (
    "PREFIX",
    "create",
    "is_being_written",
    "publish",
    "remove_tree",
    "replace",
    "replace_tree",
    "sweep",
    "sync",
    "temporary_name",
    "write_new",
    "writing",
)

PREFIX = ".pdt-"
"""How every temporary name begins."""

FOREIGN_AGE = 24 * 3600.0
"""Seconds after which a temporary file of another host, which cannot be asked, counts as litter."""

_NAME = re.compile(r"\.pdt-(?P<host>.*)-(?P<boot>[0-9a-f]*)-(?P<pid>\d+)-(?P<start>\d+)-\d+")
_serial = itertools.count()
_owner: tuple[int, str] | None = None


def temporary_name() -> str:
    """A fresh hidden name that tells its maker: host, boot, process and start time."""
    global _owner
    pid = os.getpid()
    if _owner is None or _owner[0] != pid:  # a forked worker is another maker
        _owner = (pid, f"{PREFIX}{hostname()}-{boot_id()[:8]}-{pid}-{process_start(pid) or 0}")
    return f"{_owner[1]}-{next(_serial)}"


def _is_litter(name: str, directory: str) -> bool:
    match = _NAME.fullmatch(name)
    if match is None:
        return False
    if match["host"] == hostname():
        return match["boot"] != boot_id()[:8] or not is_alive(int(match["pid"]), int(match["start"]))
    try:
        return time.time() - os.lstat(os.path.join(directory, name)).st_mtime > FOREIGN_AGE
    except FileNotFoundError:
        return False


def sweep(directory: str | os.PathLike[str], names: Iterable[str]) -> None:
    """Remove those of the temporary `names` in `directory` whose maker is gone."""
    for name in names:
        if _is_litter(name, os.fspath(directory)):
            path = os.path.join(directory, name)
            try:
                os.unlink(path)
            except IsADirectoryError:
                shutil.rmtree(path, ignore_errors=True)
            except OSError:
                pass  # swept by another, or not ours to sweep: a listing must not fail over it


@contextmanager
def writing(target: str | os.PathLike[str]) -> Iterator[None]:
    """A block that writes `target` under a temporary name, which is not the one that an error should tell.

    :raises BackendError: for an OSError.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise BackendError(f"{os.fspath(target)} cannot be written: its directory is not there") from error
    except OSError as error:
        raise BackendError(f"{os.fspath(target)} cannot be written: {error.strerror or sentence(error)}") from error


def sync(path: str | os.PathLike[str]) -> None:
    """Wait until the disk has what was written to a file, or to all the files in a directory and those below it."""
    if os.path.isdir(path) and not os.path.islink(path):
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False):
                    sync(entry)
    _sync_one(path)


def _sync_one(path: str | os.PathLike[str]) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def publish(temporary: str | os.PathLike[str], path: str | os.PathLike[str], durable: bool = False) -> None:
    """Give what is complete under one name its own, in place of what is there.

    :param durable: whether to return only when the disk has the data and the name.
    """
    if not durable:
        os.rename(temporary, path)
        return
    sync(temporary)
    os.rename(temporary, path)
    _sync_one(os.path.dirname(os.fspath(path)))


def write_new(path: str, data: bytes, mode: int) -> None:
    """Write a file that is not there yet, in its place."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        _fill(fd, data, mode)
    finally:
        os.close(fd)


def _fill(fd: int, data: bytes, mode: int) -> None:
    if not mode & 0o077 and current_umask() & 0o700:
        os.fchmod(fd, mode)  # what is private is its owner's to read: a umask must not shut its owner out, too
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _write_temporary(directory: str, data: bytes, mode: int) -> str:
    path = os.path.join(directory, temporary_name())
    try:
        write_new(path, data, mode)
    except BaseException:
        _unlink_quietly(path)
        raise
    return path


_named_only: set[str] = set()
"""The directories on file systems in which every file has a name."""

_NO_UNNAMED = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOSYS)


@lru_cache(maxsize=1)
def _only_names() -> bool:
    return bool(os.environ.get("PDT_NO_TMPFILE"))


def _appear(target: str, data: bytes, mode: int, durable: bool) -> bool | None:
    """Make a file that gets its name once it is complete, so that a kill leaves nothing, where the kernel can do that.

    It changes the directory once; a temporary name changes it three times, which is a third of what a small file costs.
    NFS, FUSE and older overlays have no such files (O_TMPFILE in open(2)); ``PDT_NO_TMPFILE=1`` does without them.

    :returns: None where it cannot be done in this way, false when there is a file of that name.
    """
    directory = os.path.dirname(target) or "."
    if directory in _named_only or _only_names():
        return None
    try:
        fd = os.open(directory, os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC, mode)
    except OSError as error:
        if error.errno not in _NO_UNNAMED:
            raise
        _named_only.add(directory)
        return None
    try:
        _fill(fd, data, mode)
        if durable:
            os.fsync(fd)
        try:
            # For the sake of a directory, which such a path does without, Python calls linkat(2), which follows links.
            os.link(f"/proc/self/fd/{fd}", target, src_dir_fd=fd, follow_symlinks=True)
        except FileExistsError:
            return False
        except OSError:  # without /proc, or without hard links
            return None
    finally:
        os.close(fd)
    if durable:
        _sync_one(directory)
    return True


def _unlink_quietly(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass


def replace(path: str | os.PathLike[str], data: bytes, mode: int = 0o666, durable: bool = False) -> None:
    """Make `data` the content of the file `path`, in one step for whoever looks.

    :param durable: see `publish`.
    :raises BackendError: when it cannot be written.
    """
    target = os.fspath(path)
    with writing(target):
        if not os.path.lexists(target) and _appear(target, data, mode, durable):
            return
        temporary = _write_temporary(os.path.dirname(target), data, mode)
        try:
            publish(temporary, target, durable)
        except BaseException:
            _unlink_quietly(temporary)
            raise


def create(path: str | os.PathLike[str], data: bytes, mode: int = 0o666) -> bool:
    """Make the file `path` with `data` as its content unless it is there; whether it was made.

    Of several that try at once, on any number of machines, one succeeds: link(2) is atomic, on NFS too.

    :raises BackendError: when it cannot be written.
    :raises PdtError: on a file system without hard links.
    """
    target = os.fspath(path)
    if os.path.lexists(target):
        return False
    with writing(target):
        if (appeared := _appear(target, data, mode, False)) is not None:
            return appeared
        temporary = _write_temporary(os.path.dirname(target), data, mode)
        try:
            os.link(temporary, target, follow_symlinks=False)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
                raise
            raise PdtError(
                f"the file system of {os.path.dirname(target)} has no hard links, so that no job can be claimed there: "
                "keep live records on another file system"
            ) from error
        finally:
            _unlink_quietly(temporary)
    return True


def is_being_written(path: str | os.PathLike[str]) -> bool:
    """Whether some process has the file open for writing, as far as the file system can tell."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        # A read lease is granted only on a file that nobody has open for writing (fcntl(2)).
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return error.errno == errno.EAGAIN
    finally:
        os.close(fd)
    return False


def remove_tree(path: str | os.PathLike[str]) -> None:
    """Remove a directory and all in it; it disappears in one step, and nothing happens when it is not there."""
    doomed = Path(path).parent / temporary_name()
    try:
        os.rename(path, doomed)
    except FileNotFoundError:
        return
    _discard(doomed)


def replace_tree(path: Path, complete: Path, durable: bool = False) -> None:
    """Make the directory `complete` the directory `path`, in place of one that is there.

    A kill in the middle leaves the old one, the new one or none.

    :param durable: see `publish`.
    """
    aside: list[Path] = []
    try:
        while True:
            try:
                publish(complete, path, durable)
                return
            except OSError as error:
                full = error.errno in (errno.ENOTEMPTY, errno.EEXIST)
                if not full and not (path.is_symlink() and path.is_dir()):
                    raise
            aside.append(path.parent / temporary_name())
            try:
                os.rename(path, aside[-1])
            except FileNotFoundError:
                aside.pop()  # somebody else removed it
    finally:
        for doomed in aside:
            _discard(doomed)


def _discard(doomed: Path) -> None:
    if doomed.is_symlink() or not doomed.is_dir():
        os.unlink(doomed)
    else:
        shutil.rmtree(doomed)
