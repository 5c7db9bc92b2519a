"""A real mongod: alone, as a replica set with users and passwords, and with TLS.

All of them take test commands, so that `failing` can have a command answered with an error, a closed connection or
silence (https://github.com/mongodb/mongo/wiki/The-%22failCommand%22-fail-point).
"""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
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


@contextmanager
def _mongod(*options: str) -> Iterator[tuple[Process, int, Path]]:
    command = _binary()
    with data_directory() as directory:

        def attempt() -> tuple[Process, int, Path]:
            (port,) = free_ports(1)
            arguments = [
                *("--dbpath", str(directory), "--port", str(port), "--bind_ip", "127.0.0.1", "--nounixsocket"),
                *("--wiredTigerCacheSizeGB", "0.25", "--setParameter", "diagnosticDataCollectionEnabled=false"),
                *("--setParameter", "enableTestCommands=1", "--quiet"),
                *(option.replace("@DIRECTORY@", str(directory)) for option in options),
            ]
            process = Process([command, *arguments], directory / "log")
            try:
                process.wait_until(lambda: listens(port))
            except DidNotStart:
                if "error while loading shared libraries" in process.last_words():
                    pytest.skip(f"mongod lacks a library; on Debian, install libcurl4: {process.last_words().strip()}")
                raise
            except BaseException:
                process.stop()
                raise
            return process, port, directory

        process, port, directory = started(attempt)
        try:
            yield process, port, directory
        finally:
            process.kill()  # an orderly end writes to disk what vanishes the next moment


@contextmanager
def standalone() -> Iterator[MongoServer]:
    """A mongod that lets everybody do everything."""
    with _mongod() as (process, port, _):
        yield MongoServer(f"mongodb://127.0.0.1:{port}/", port, process)


@contextmanager
def replica_set() -> Iterator[MongoServer]:
    """A replica set of one, which has transactions, and asks for a password that a URI has to quote."""
    with data_directory() as keys:
        key = keys / "key"
        key.write_text("a key that members of a replica set share")
        key.chmod(0o600)
        with _mongod("--replSet", "rs0", "--auth", "--keyFile", str(key)) as (process, port, _):
            user, password = "pdt", "p@ss/word:%"
            _initiate(port, user, password)
            uri = f"mongodb://{user}:{quote(password, safe='')}@127.0.0.1:{port}/?replicaSet=rs0&authSource=admin"
            yield MongoServer(uri, port, process, user, password)


def _initiate(port: int, user: str, password: str) -> None:
    from pymongo import MongoClient
    from pymongo.errors import PyMongoError

    client: MongoClient[dict[str, Any]]
    with MongoClient(f"mongodb://127.0.0.1:{port}/?directConnection=true") as client:
        member = {"_id": 0, "host": f"127.0.0.1:{port}"}
        client.admin.command("replSetInitiate", {"_id": "rs0", "members": [member]})
        deadline = time.monotonic() + START
        while not client.admin.command("hello").get("isWritablePrimary"):
            if time.monotonic() > deadline:
                raise TimeoutError("the replica set has elected nobody")
            time.sleep(0.05)
        try:
            client.admin.command("createUser", user, pwd=password, roles=["root"])
        except PyMongoError as error:
            raise RuntimeError(f"no user for the replica set: {error}") from error


@contextmanager
def with_tls() -> Iterator[MongoServer]:
    """A mongod that speaks TLS only, with a certificate of our own making."""
    with data_directory() as directory:
        certificate = self_signed(directory)
        pem = directory / "both.pem"
        pem.write_bytes(certificate.key.read_bytes() + certificate.path.read_bytes())
        with _mongod("--tlsMode", "requireTLS", "--tlsCertificateKeyFile", str(pem)) as (process, port, _):
            uri = f"mongodb://127.0.0.1:{port}/?tls=true&tlsCAFile={quote(str(certificate.path), safe='')}"
            yield MongoServer(uri, port, process, certificate=certificate)


@asynccontextmanager
async def fresh_database(server: MongoServer) -> AsyncIterator[AsyncDatabase[dict[str, Any]]]:
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
