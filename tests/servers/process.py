"""Servers for the tests: real ones, on loopback, each started when a test first asks for it.

A server is a process of this machine on ports that were free, with its data in a temporary directory that vanishes with
it. Test runs may go on beside each other: each has servers of its own, and a port that another one was quicker to take
is given up for the next. Nothing outlives the run, not even one that is killed: the kernel ends the servers with their
parent, and the next run sweeps their directories.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

T = TypeVar("T")

INSTALLED = Path(os.environ.get("PDT_TEST_SERVERS") or Path(sys.prefix) / "servers")
"""Where `tools/setup dev` puts what comes from PyPI: one environment for each, since they are no part of ours."""

PREFIX = "pdt-servers-"
START = 60.0
"""Seconds that a server may take to answer, on a machine that is busy with other things."""

TRIES = 5


class DidNotStart(Exception):
    """The server ended before it answered; most likely somebody else took its port."""


def find(command: str, environment: str | None = None) -> str:
    """The path of a server's command; the test that needs it is skipped when it is not installed.

    :param environment: the directory below `INSTALLED` that it is looked for in, before PATH.
    """
    if environment is not None:
        candidate = INSTALLED / environment / "bin" / command
        if candidate.exists():
            return str(candidate)
    # Debian puts daemons where the PATH of a plain user does not lead.
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"))
    found = shutil.which(command, path=path)
    if found is None:
        pytest.skip(f"{command} is not installed: 'make setup' installs it, or says why it cannot")
    return found


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on; below the range from which the kernel takes those of outgoing connections."""
    ports: list[int] = []
    while len(ports) < count:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe:
            # As the servers do, who are not kept off a port by what is left of old connections.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in ports:
            ports.append(port)
    return ports


def _sweep(base: Path) -> None:
    """Remove the directories of test runs that were killed."""
    for directory in base.glob(f"{PREFIX}*"):
        owner = directory.name.removeprefix(PREFIX).partition("-")[0]
        if owner.isdigit() and not Path(f"/proc/{owner}").exists():
            shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def data_directory() -> Iterator[Path]:
    """A new directory, in memory where that can be: Swift needs its extended attributes, all others its speed."""
    memory = Path("/dev/shm")
    base = memory if memory.is_dir() and os.access(memory, os.W_OK) else Path(tempfile.gettempdir())
    _sweep(base)
    path = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=base))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


class Process:
    """A server's process, which writes what it has to say to a file.

    :param command: what to run, in the foreground.
    :param log: the file.
    """

    def __init__(self, command: Sequence[str], log: Path, environ: Mapping[str, str] | None = None) -> None:
        # The kernel tells the server when this process dies, however it dies.
        setpriv = shutil.which("setpriv")
        wrapped = [setpriv, "--pdeathsig", "TERM", "--", *command] if setpriv else list(command)
        self.log = log
        with open(log, "ab") as output:
            self._process = subprocess.Popen(
                wrapped,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=log.parent,
                env={**os.environ, "TMPDIR": str(log.parent), **(environ or {})},
                start_new_session=True,  # a Ctrl-C is for pytest, which then stops its servers in order
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def wait_until(self, answers: Callable[[], bool]) -> None:
        """Return once the server answers.

        :raises DidNotStart: when it ended.
        """
        deadline = time.monotonic() + START
        while True:
            if not self.is_running:
                raise DidNotStart(f"{self._process.args!r} ended with {self._process.returncode}: {self.last_words()}")
            if answers():
                break
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self._process.args!r} does not answer: {self.last_words()}")
            time.sleep(0.02)
        if not self.is_running:  # it was somebody else who answered
            raise DidNotStart(self.last_words())

    def last_words(self) -> str:
        """The end of what it wrote."""
        return self.log.read_text(errors="replace")[-2000:] if self.log.exists() else ""

    def wait(self) -> int:
        """Wait until it ends by itself; its exit status."""
        return self._process.wait(START)

    def freeze(self) -> None:
        """Stop the server in its tracks: it neither answers nor hangs up."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """End the server without a chance to say goodbye."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """End the server, at last by force; do nothing when it has ended."""
        if self.is_running:
            self.thaw()
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait()


def listens(port: int) -> bool:
    """Whether something accepts connections on a port of this machine."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def started(attempt: Callable[[], T]) -> T:
    """What `attempt` starts, which is tried again, on other ports, when it did not start."""
    for left in reversed(range(TRIES)):
        try:
            return attempt()
        except DidNotStart:
            if not left:
                raise
    raise AssertionError


def http_status(url: str) -> int | None:
    """The status that a GET is answered with, or None when there is no answer."""
    import http.client
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=5)
    try:
        connection.request("GET", parts.path or "/")
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
