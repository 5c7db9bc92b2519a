"""What is known of fsspec's file systems: how values are written on each, and what each is opened with.

fsspec opens SSH without asking whether the host is the right one, and waits forever for whatever falls silent. Both are
mended here, as defaults that the options of a repository override.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

__all__ = ("Writing", "identity", "is_absent", "is_lost", "open_file_system", "writing_on")


class Writing(Enum):
    """How a value gets under its name."""

    LOCAL = "a file of this machine: a hidden file that is renamed"
    MEMORY = "this process's memory: stored in one step at the end"
    RENAME = "a hidden file that the server renames in one step"
    COMMIT = "an upload that the store shows when it is complete"
    MOVE = "a hidden file that is moved, in however many steps that takes"
    SPOOL = "a temporary file of this machine that is uploaded at the end, and may be seen half"

    @property
    def is_atomic(self) -> bool:
        return self not in (Writing.MOVE, Writing.SPOOL)


KNOWN = {
    **dict.fromkeys(("file", "local"), Writing.LOCAL),
    **dict.fromkeys(("memory",), Writing.MEMORY),
    # posix-rename@openssh.com, and HDFS's rename.
    **dict.fromkeys(("sftp", "ssh"), Writing.RENAME),
    **dict.fromkeys(("s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss", "oci"), Writing.COMMIT),
}
"""File systems, by what fsspec calls them, that are known to do better."""

SSH = ("sftp", "ssh")
SSH_OPTIONS: Mapping[str, Any] = {
    "known_hosts": (),  # asyncssh's own: those in ~/.ssh/known_hosts; None would be anybody
    "connect_timeout": 30,
    "keepalive_interval": 10,
    "keepalive_count_max": 3,
}
"""A host that has not answered for half a minute is gone."""


def writing_on(fs: Any) -> Writing:
    """How values are written on a file system."""
    names = (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)
    from fsspec import AbstractFileSystem

    moves = type(fs).mv is not AbstractFileSystem.mv  # that one copies, and takes names for patterns
    return next((KNOWN[name] for name in names if name in KNOWN), Writing.MOVE if moves else Writing.SPOOL)


def open_file_system(url: str, options: Mapping[str, Any]) -> tuple[Any, str]:
    """The file system that a URL names, and the path in it.

    :raises ImportError: when fsspec, or what it needs for this file system, is not installed.
    """
    from fsspec.core import url_to_fs

    fs, path = url_to_fs(url, **_with_defaults(url, options))
    return fs, str(path)


def _with_defaults(url: str, options: Mapping[str, Any]) -> dict[str, Any]:
    given = dict(options)
    for number, part in enumerate(url.split("::")):
        protocol, mark, _ = part.partition("://")
        if mark and protocol in SSH:
            import sshfs  # noqa: F401 - paramiko, which fsspec falls back to, takes other options

            # Options by the name of a protocol are for its part of the chain; those without one are for the first.
            named = {**SSH_OPTIONS, **given.get(protocol, {})}
            given[protocol] = {key: value for key, value in named.items() if number or key not in options}
    return given


IDENTITY = ("size", "etag", "ETag", "generation", "last_modified", "LastModified", "Last-Modified", "updated", "mtime")
"""What file systems say of a file that another value under the same name does not share."""


def identity(fs: Any, path: str) -> dict[str, Any] | None:
    """What tells one value of a file from the next; None where whoever has it open goes on reading the old one.

    Object stores and web servers are read in several requests, of which each may meet another value.
    """
    names = (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)
    if writing_on(fs) is not Writing.COMMIT and "http" not in names:
        return None
    info = fs.info(path)
    return {key: info[key] for key in IDENTITY if key in info}


def is_absent(error: FileNotFoundError) -> bool:
    """Whether what was not found is not there: fsspec's HTTP says so of whatever keeps it from looking, too."""
    cause = error.__cause__
    if type(cause).__module__.partition(".")[0] == "aiohttp":
        return getattr(cause, "status", None) in (404, 410)
    return not isinstance(cause, TimeoutError)


def is_lost(fs: Any) -> bool:
    """Whether the connection of a file system has ended, which then is good for nothing any more."""
    client: Any = getattr(fs, "_client", None)  # of sshfs; no other one lives on a single connection
    return hasattr(client, "is_closed") and bool(client.is_closed())
