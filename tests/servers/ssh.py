"""An OpenSSH server of its own, with a host key and a user's key that were made for it, for whoever runs the tests."""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from .process import DidNotStart, Process, data_directory, find, free_ports, listens, started


@dataclass(frozen=True)
class SshServer:
    """Where a server is, and how it is entered.

    :ivar known_hosts: a file that vouches for its host key.
    :ivar key: the private key that opens it.
    """

    port: int
    known_hosts: Path
    key: Path
    process: Process = field(repr=False)

    def url(self, path: Path) -> str:
        """Of a directory of this machine, by way of the server."""
        return f"sftp://127.0.0.1:{self.port}{path}"

    @property
    def options(self) -> dict[str, Any]:
        """For asyncssh."""
        who = {"username": getpass.getuser(), "client_keys": [str(self.key)], "agent_path": None}
        return {**who, "known_hosts": str(self.known_hosts)}


@contextmanager
def sshd() -> Iterator[SshServer]:
    """A server with SFTP."""
    import asyncssh

    command = find("sshd")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # it does not start without
    with data_directory() as directory:
        host, user = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
        host.write_private_key(directory / "host")
        user.write_private_key(directory / "user")
        for key in ("host", "user"):
            (directory / key).chmod(0o600)
        user.write_public_key(directory / "authorized")

        def attempt() -> SshServer:
            (port,) = free_ports(1)
            config = [
                *(f"Port {port}", "ListenAddress 127.0.0.1", f"HostKey {directory}/host", "PidFile none"),
                *(f"AuthorizedKeysFile {directory}/authorized", "StrictModes no", "PermitRootLogin yes"),
                *("PasswordAuthentication no", "KbdInteractiveAuthentication no", "UsePAM no"),
                *("Subsystem sftp internal-sftp", "MaxStartups 100", "PrintMotd no"),
            ]
            (directory / "config").write_text("\n".join(config) + "\n")
            public = host.export_public_key().decode().strip()
            (directory / "known_hosts").write_text(f"[127.0.0.1]:{port} {public}\n")
            process = Process([command, "-D", "-e", "-f", str(directory / "config")], directory / "log")
            try:
                process.wait_until(lambda: listens(port))
            except BaseException:
                process.stop()
                raise
            return SshServer(port, directory / "known_hosts", directory / "user", process)

        try:
            server = started(attempt)
        except DidNotStart as error:
            pytest.skip(f"sshd does not run on this machine: {str(error).splitlines()[-1]}")
        try:
            yield server
        finally:
            hang_up()
            server.process.stop()


def hang_up() -> None:
    """Close the connections that fsspec keeps as long as it lives."""
    if "sshfs" not in sys.modules:
        return
    from fsspec.asyn import sync
    from sshfs import SSHFileSystem

    for fs in list(SSHFileSystem._cache.values()):
        sync(fs.loop, fs._pool.close)
        sync(fs.loop, fs._stack.aclose)
    SSHFileSystem.clear_instance_cache()
