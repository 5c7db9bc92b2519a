"""A real mongod: alone, as a replica set with users and passwords, and with TLS.

All of them take test commands, so that `failing` can have a command answered with an error, a closed connection or
silence (https://github.com/mongodb/mongo/wiki/The-%22failCommand%22-fail-point).
"""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from .certificate import Certificate, self_signed
from .process import INSTALLED, START, DidNotStart, Process, data_directory, find, free_ports, listens, started

if TYPE_CHECKING:
    from pymongo.asynchronous.database import AsyncDatabase


@dataclass(frozen=True)
class MongoServer:
    """Where a mongod is; `uri` has in it whatever is needed to use it."""

    uri: str
    port: int
    process: Process = field(repr=False)
    user: str | None = None
    password: str | None = None
    certificate: Certificate | None = None

    def through(self, port: int) -> str:
        """The URI with another port of this machine, such as a proxy's."""
        return self.uri.replace(f"127.0.0.1:{self.port}", f"127.0.0.1:{port}")


def _binary() -> str:
    for found in (INSTALLED / "mongod").glob("lib/python3*/site-packages/fiftyone/db/bin/mongod"):
        if not found.stat().st_mode & 0o100:
            found.chmod(0o755)
        return str(found)
    return find("mongod")


class Mongod:
    """A process that can be killed, and then started again on what it left."""

    def __init__(self, command: Sequence[str], port: int, directory: Path) -> None:
        self.port = port
        self._command = command
        self._log = directory / "log"
        self.process = Process(command, self._log)

    def wait(self) -> None:
        """Return once it listens."""
        try:
            self.process.wait_until(lambda: listens(self.port))
        except DidNotStart:
            if "error while loading shared libraries" in self.process.last_words():
                words = self.process.last_words().strip()
                pytest.skip(f"mongod lacks a library; on Debian, install libcurl4: {words}")
            raise
        except BaseException:
            self.process.stop()
            raise

    def kill(self) -> None:
        """End it without a chance to say goodbye, or to write what it has not written yet."""
        self.process.kill()

    def restart(self) -> None:
        """Start it again; do nothing when it runs."""
        if not self.process.is_running:
            self.process = Process(self._command, self._log)
            self.wait()


@contextmanager
def _mongod(*options: str) -> Iterator[Mongod]:
    command = _binary()
    with data_directory() as directory:

        def attempt() -> Mongod:
            (port,) = free_ports(1)
            arguments = [
                *("--dbpath", str(directory), "--port", str(port), "--bind_ip", "127.0.0.1", "--nounixsocket"),
                *("--wiredTigerCacheSizeGB", "0.25", "--setParameter", "diagnosticDataCollectionEnabled=false"),
                *("--setParameter", "enableTestCommands=1", "--quiet"),
                *options,
            ]
            server = Mongod([command, *arguments], port, directory)
            server.wait()
            return server

        server = started(attempt)
        try:
            yield server
        finally:
            server.kill()  # an orderly end writes to disk what vanishes the next moment


@contextmanager
def standalone() -> Iterator[MongoServer]:
    """A mongod that lets everybody do everything."""
    with _mongod() as server:
        yield MongoServer(f"mongodb://127.0.0.1:{server.port}/", server.port, server.process)


USER, PASSWORD = "pdt", "p@ss/word:%"
"""A password that a URI has to quote."""


@contextmanager
def _key() -> Iterator[Path]:
    with data_directory() as keys:
        key = keys / "key"
        key.write_text("a key that members of a replica set share")
        key.chmod(0o600)
        yield key


@contextmanager
def replica_set() -> Iterator[MongoServer]:
    """A replica set of one, which has transactions, and asks for a password."""
    with _key() as key, _mongod("--replSet", "rs0", "--auth", "--keyFile", str(key)) as server:
        _initiate([server.port])
        yield MongoServer(_replica_uri([server.port]), server.port, server.process, USER, PASSWORD)


def _replica_uri(ports: Sequence[int]) -> str:
    hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
    return f"mongodb://{USER}:{quote(PASSWORD, safe='')}@{hosts}/?replicaSet=rs0&authSource=admin"


class ReplicaSet:
    """Three members that elect another primary within two seconds; `uri` has in it whatever is needed to use it."""

    def __init__(self, members: Sequence[Mongod]) -> None:
        self.members = members
        self.uri = _replica_uri([member.port for member in members])

    def primary(self) -> Mongod:
        """The member that takes writes."""
        port = _primary([member.port for member in self.members if member.process.is_running])
        return next(member for member in self.members if member.port == port)

    def heal(self) -> None:
        """Have all members run, and follow one primary."""
        for member in self.members:
            member.restart()
            member.process.thaw()
        deadline = time.monotonic() + START
        while time.monotonic() < deadline:
            said = [_hello(member.port) for member in self.members]
            if (
                sum(bool(one.get("isWritablePrimary")) for one in said) == 1
                and sum(bool(one.get("secondary")) for one in said) == len(said) - 1
            ):
                return
            time.sleep(0.05)
        raise TimeoutError("the replica set does not come together")

    def step_down(self) -> None:
        """Have the primary give up its place, and not take it again for some seconds."""
        from pymongo import MongoClient

        uri = f"mongodb://127.0.0.1:{self.primary().port}/?directConnection=true&authSource=admin"
        client: MongoClient[dict[str, Any]]
        with MongoClient(uri, username=USER, password=PASSWORD) as client:
            client.admin.command({"replSetStepDown": 5, "secondaryCatchUpPeriodSecs": 2, "force": True})


@contextmanager
def replica_set_of_three() -> Iterator[ReplicaSet]:
    """A replica set whose members can be killed and frozen one by one."""
    with ExitStack() as stack:
        key = stack.enter_context(_key())
        options = ("--replSet", "rs0", "--auth", "--keyFile", str(key), "--oplogSize", "50")
        members = [stack.enter_context(_mongod(*options)) for _ in range(3)]
        _initiate([member.port for member in members])
        replica = ReplicaSet(members)
        replica.heal()
        yield replica


def _hello(port: int) -> dict[str, Any]:
    """What a member says of itself; nothing when it does not answer."""
    from pymongo import MongoClient
    from pymongo.errors import PyMongoError

    client: MongoClient[dict[str, Any]]
    with MongoClient(f"mongodb://127.0.0.1:{port}/?directConnection=true", serverSelectionTimeoutMS=500) as client:
        try:
            return client.admin.command("hello")
        except PyMongoError:
            return {}


def _initiate(ports: Sequence[int]) -> None:
    from pymongo import MongoClient
    from pymongo.errors import PyMongoError

    client: MongoClient[dict[str, Any]]
    with MongoClient(f"mongodb://127.0.0.1:{ports[0]}/?directConnection=true") as client:
        members = [{"_id": number, "host": f"127.0.0.1:{port}"} for number, port in enumerate(ports)]
        quick = {"electionTimeoutMillis": 1000, "heartbeatIntervalMillis": 200}
        client.admin.command("replSetInitiate", {"_id": "rs0", "members": members, "settings": quick})
    with MongoClient(f"mongodb://127.0.0.1:{_primary(ports)}/?directConnection=true") as client:
        try:
            client.admin.command("createUser", USER, pwd=PASSWORD, roles=["root"])
        except PyMongoError as error:
            raise RuntimeError(f"no user for the replica set: {error}") from error


def _primary(ports: Sequence[int]) -> int:
    deadline = time.monotonic() + START
    while time.monotonic() < deadline:
        for port in ports:
            if _hello(port).get("isWritablePrimary"):
                return port
        time.sleep(0.05)
    raise TimeoutError("the replica set has elected nobody")


@contextmanager
def with_tls() -> Iterator[MongoServer]:
    """A mongod that speaks TLS only, with a certificate of our own making."""
    with data_directory() as directory:
        certificate = self_signed(directory)
        pem = directory / "both.pem"
        pem.write_bytes(certificate.key.read_bytes() + certificate.path.read_bytes())
        with _mongod("--tlsMode", "requireTLS", "--tlsCertificateKeyFile", str(pem)) as server:
            uri = f"mongodb://127.0.0.1:{server.port}/?tls=true&tlsCAFile={quote(str(certificate.path), safe='')}"
            yield MongoServer(uri, server.port, server.process, certificate=certificate)


@asynccontextmanager
async def fresh_database(server: MongoServer | ReplicaSet) -> AsyncIterator[AsyncDatabase[dict[str, Any]]]:
    """A database that nobody else has, by a client of the running event loop."""
    from pymongo import AsyncMongoClient

    client: AsyncMongoClient[dict[str, Any]]
    async with AsyncMongoClient(server.uri, tz_aware=True, serverSelectionTimeoutMS=10_000) as client:
        name = f"pdt-{uuid.uuid4().hex[:16]}"
        try:
            yield client[name]
        finally:
            await client.drop_database(name)


@asynccontextmanager
async def failing(client: Any, commands: Sequence[str], *, times: int | None = None, **how: Any) -> AsyncIterator[None]:
    """Have the server fail `commands` while the block runs.

    :param client: an `AsyncMongoClient`.
    :param times: so many times only; always when None.
    :param how: `errorCode=…`, `closeConnection=True`, or `blockConnection=True, blockTimeMS=…`; also `errorLabels`.
    """
    mode: Any = "alwaysOn" if times is None else {"times": times}
    data = {"failCommands": list(commands), **how}
    await client.admin.command({"configureFailPoint": "failCommand", "mode": mode, "data": data})
    try:
        yield
    finally:
        await client.admin.command({"configureFailPoint": "failCommand", "mode": "off"})
