"""The servers as fixtures: one of each for a test run, started by the first test that asks for it."""

from __future__ import annotations

import gc
import warnings
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from . import docker, mongo, registry, s3, ssh
from .proxy import Proxy, proxying

if TYPE_CHECKING:
    from pymongo.asynchronous.database import AsyncDatabase

# ---- S3


@pytest.fixture(scope="session")
def s3_server() -> Iterator[s3.S3Server]:
    """ministack."""
    with s3.ministack() as server:
        yield server


@pytest.fixture(scope="session")
def swift_server() -> Iterator[s3.S3Server]:
    """OpenStack Swift."""
    with s3.swift() as server:
        yield server


@pytest.fixture(scope="session")
def s3_client(s3_server: s3.S3Server) -> Iterator[Any]:
    """A boto3 client of `s3_server`."""
    client = s3_server.client()
    yield client
    client.close()


@pytest.fixture(scope="session")
def swift_client(swift_server: s3.S3Server) -> Iterator[Any]:
    """A boto3 client of `swift_server`."""
    client = swift_server.client()
    yield client
    client.close()


@pytest.fixture
def s3_bucket(s3_client: Any) -> Iterator[str]:
    """The name of a bucket on `s3_server` that is this test's own."""
    with s3.fresh_bucket(s3_client) as bucket:
        yield bucket


@pytest.fixture
def swift_bucket(swift_client: Any) -> Iterator[str]:
    """The name of a bucket on `swift_server` that is this test's own."""
    with s3.fresh_bucket(swift_client) as bucket:
        yield bucket


# ---- MongoDB


@pytest.fixture(scope="session")
def mongo_server() -> Iterator[mongo.MongoServer]:
    """A mongod."""
    with mongo.standalone() as server:
        yield server


@pytest.fixture(scope="session")
def mongo_replica_server() -> Iterator[mongo.MongoServer]:
    """A replica set with a user and a password."""
    with mongo.replica_set() as server:
        yield server


@pytest.fixture(scope="session")
def mongo_replica_set() -> Iterator[mongo.ReplicaSet]:
    """A replica set of three; who hurts it heals it."""
    with mongo.replica_set_of_three() as replica:
        yield replica


@pytest.fixture(scope="session")
def mongo_tls_server() -> Iterator[mongo.MongoServer]:
    """A mongod with TLS."""
    with mongo.with_tls() as server:
        yield server


@pytest.fixture
async def mongo_database(mongo_server: mongo.MongoServer) -> AsyncIterator[AsyncDatabase[dict[str, Any]]]:
    """A database on `mongo_server` that is this test's own; its `client` is one of this test's event loop."""
    async with mongo.fresh_database(mongo_server) as database:
        yield database


@pytest.fixture
async def mongo_replica_database(
    mongo_replica_server: mongo.MongoServer,
) -> AsyncIterator[AsyncDatabase[dict[str, Any]]]:
    """A database on `mongo_replica_server` that is this test's own."""
    async with mongo.fresh_database(mongo_replica_server) as database:
        yield database


def pytest_itemcollected(item: pytest.Item) -> None:
    """In a test in which a mongod is out of reach, do not complain of what pymongo leaves of connections.

    A client that is closed while it connects forgets the socket.
    """
    if item.get_closest_marker("broken_connections"):
        item.add_marker(pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None]:
    """After such a test, collect it, or the garbage collector would complain in the middle of another one.

    Only here is the event loop gone that a socket may hang on.
    """
    yield
    if item.get_closest_marker("broken_connections"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()


# ---- OCI registries


@pytest.fixture(scope="session")
def registry_server() -> Iterator[registry.RegistryServer]:
    """A registry that is open to everybody."""
    with registry.serving() as server:
        yield server


@pytest.fixture(scope="session")
def registry_other_server() -> Iterator[registry.RegistryServer]:
    """Another one, to copy to."""
    with registry.serving() as server:
        yield server


@pytest.fixture(scope="session")
def registry_keep_server() -> Iterator[registry.RegistryServer]:
    """A registry that forbids deletes."""
    with registry.serving(deletes=False) as server:
        yield server


@pytest.fixture(scope="session")
def registry_auth_server() -> Iterator[registry.RegistryServer]:
    """A registry with Basic authentication."""
    with registry.with_password() as server:
        yield server


@pytest.fixture(scope="session")
def registry_token_server() -> Iterator[registry.RegistryServer]:
    """A registry with Bearer tokens."""
    with registry.with_tokens() as server:
        yield server


@pytest.fixture(scope="session")
def registry_tls_server() -> Iterator[registry.RegistryServer]:
    """A registry with TLS."""
    with registry.with_tls() as server:
        yield server


# ---- the rest


@pytest.fixture(scope="session")
def docker_engine() -> Iterator[docker.DockerEngine]:
    """A Docker engine."""
    with docker.engine() as server:
        yield server


@pytest.fixture(scope="session")
def ssh_server() -> Iterator[ssh.SshServer]:
    """An OpenSSH server."""
    with ssh.sshd() as server:
        yield server


@pytest.fixture
def proxy_to() -> Iterator[Callable[[int], Proxy]]:
    """Makes proxies to ports of this machine, which end with the test."""
    with ExitStack() as stack:
        yield lambda port: stack.enter_context(proxying(port))
