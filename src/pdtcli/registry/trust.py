"""Whom a registry's certificate may be signed by, and what is shown to it: the directories that container tools share.

``certs.d/HOST:PORT/`` holds authorities as ``*.crt`` and certificates of our own as ``NAME.cert`` and ``NAME.key``
(containers-certs.d(5); docs.docker.com, "Verify repository client with certificates"). The first directory that has the
registry counts.
"""

from __future__ import annotations

import os
import ssl
from pathlib import Path

from ..errors import UsageError

__all__ = ("contexts",)


def _bases() -> list[Path]:
    own = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return [own / "containers" / "certs.d", Path("/etc/containers/certs.d"), Path("/etc/docker/certs.d")]


def contexts() -> dict[str, ssl.SSLContext]:
    """What TLS to speak, by host and port; for other registries the system's authorities are what there is.

    :raises UsageError: for a file that cannot be used.
    """
    found: dict[str, ssl.SSLContext] = {}
    for base in _bases():
        try:
            directories = sorted(path for path in base.iterdir() if path.is_dir())
        except OSError:
            continue  # not there, or not for us to see
        for directory in directories:
            if directory.name not in found:
                found[directory.name] = _context(directory)
    return found


def _context(directory: Path) -> ssl.SSLContext:
    context = ssl.create_default_context()
    path = directory
    try:
        for path in sorted(directory.glob("*.crt")):
            context.load_verify_locations(path)
        for path in sorted(directory.glob("*.cert")):
            context.load_cert_chain(path, path.with_suffix(".key"))
    except OSError as error:  # which those of ssl are too
        raise UsageError(f"{path} holds no certificate that can be used: {error.strerror or error}") from None
    return context
