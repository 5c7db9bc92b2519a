"""MongoDB repositories on servers that are killed, frozen or voted out, and on connections that lose an answer."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from tests.cli.harness import Pdt
from tests.processes import race
from tests.servers.mongo import MongoServer, ReplicaSet, fresh_database, standalone
from tests.servers.proxy import Fault, Proxy

import pdtcli
from pdtcli import BackendError, MongoBlobRepository, MongoMetadataRepository, Session

pytestmark = pytest.mark.broken_connections

Database = Any
MIB = 1024 * 1024
JOBS = [f"job-{number}" for number in range(40)]

# ---- the primary of a replica set goes away


@pytest.fixture
async def replica_database(mongo_replica_set: ReplicaSet) -> AsyncIterator[Database]:
    """A database of this test's own on the replica set, which is whole again afterwards."""
    async with fresh_database(mongo_replica_set) as database:
        try:
            yield database
        finally:
            await asyncio.to_thread(mongo_replica_set.heal)


def kill_primary(replica: ReplicaSet) -> None:
    replica.primary().kill()


@pytest.mark.parametrize("hurt", [ReplicaSet.step_down, kill_primary], ids=["steps down", "is killed"])
async def test_nothing_is_lost_or_granted_twice_when_the_primary_goes(
    mongo_replica_set: ReplicaSet, replica_database: Database, hurt: Callable[[ReplicaSet], None]
) -> None:
    values = MongoMetadataRepository(replica_database, "values")
    blobs = MongoBlobRepository(replica_database, "blobs")
    reached = asyncio.Event()
    value = os.urandom(MIB)

    async def write() -> None:
        for number, job in enumerate(JOBS):
            await values.dump(job, {"number": number, "text": "x" * 1000})
            if number == 10:
                reached.set()

    async def write_blob() -> None:
        async with await blobs.open("long", "wb") as writer:
            for _ in range(10):
                await writer.write(value)
            await reached.wait()
            for _ in range(10):
                await writer.write(value)

    async def claim(attempt: str) -> list[str]:
        session = Session()
        database = session.resource(pdtcli.mongo_database(mongo_replica_set.uri, replica_database.name))
        async with session:
            claims = MongoMetadataRepository(database, "claims")
            return [job for job in JOBS if await claims.claim(job, {"attempt": attempt})]

    async def read() -> None:
        while len(seen := await values.info_all()) < len(JOBS):
            assert all(info == {"number": JOBS.index(job), "text": "x" * 1000} for job, info in seen.items())
            assert "long" not in await blobs.keys() or len(await blobs.read_bytes("long")) == 20 * MIB

    async def trouble() -> None:
        await reached.wait()
        await asyncio.to_thread(hurt, mongo_replica_set)

    *_, first, second = await asyncio.gather(write(), write_blob(), read(), trouble(), claim("first"), claim("second"))
    assert await values.keys() == set(JOBS)
    assert await blobs.read_bytes("long") == value * 20
    assert sorted(first + second) == sorted(JOBS)
    claims = await MongoMetadataRepository(replica_database, "claims").info_all()
    assert {job for job, record in claims.items() if record["attempt"] == "first"} == set(first)


# ---- a server that stands alone is killed, or frozen, in the middle of something


@pytest.fixture
def server() -> Iterator[MongoServer]:
    """A server of this test's own."""
    with standalone() as server:
        yield server


PIPELINE = """
    import pdtcli

    session = pdtcli.Session()
    database = session.resource(pdtcli.mongo_database({uri!r}, "books", timeout={timeout}))
    count = pdtcli.InProcessSyncTask("count", pdtcli.MongoMetadataRepository(database, "done"))
    count.link("books", pdtcli.MongoMetadataRepository(database, "books"), is_input=True)

    @count
    def _(job, books):
        pass

    pipeline = pdtcli.Pipeline([count], session)
"""


def block(server: MongoServer, command: str, skip: int) -> Callable[[], None]:
    """Have the server take a command of `pdt` and not answer it; waits, when called, until it has taken one.

    :param skip: how many are answered before.
    """
    client: MongoClient[dict[str, Any]]
    data = {"failCommands": [command], "blockConnection": True, "blockTimeMS": 60_000, "appName": "pdt"}
    with MongoClient(server.uri) as client:
        mode: Any = {"skip": skip} if skip else "alwaysOn"
        before = client.admin.command({"configureFailPoint": "failCommand", "mode": mode, "data": data})["count"]

    def entered() -> None:
        waiting: MongoClient[dict[str, Any]]
        with MongoClient(server.uri) as waiting:
            wait = {"waitForFailPoint": "failCommand", "timesEntered": before + 1, "maxTimeMS": 60_000}
            waiting.admin.command(wait)

    return entered


COMMANDS = {
    "ls": ("find", ["repo", "ls", "count.books"]),
    "put": ("update", ["repo", "put", "count.books", "other", "value.yaml"]),
    "tick": ("find", ["tick"]),
}


@pytest.mark.parametrize("fate", ["killed", "frozen"])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_server_that_goes_in_the_middle_of_a_command_is_one_sentence(
    server: MongoServer, tmp_path: Path, command: str, fate: str
) -> None:
    pdt = Pdt(tmp_path)
    pdt.write("pipeline.py", PIPELINE.format(uri=server.uri, timeout=2))
    pdt("repo", "put", "count.books", "job", "-", input="n: 1\n")
    asked, arguments = COMMANDS[command]
    pdt.write("value.yaml", "n: 2\n")
    entered = block(server, asked, skip=2 if command == "ls" else 0)
    with subprocess.Popen(
        [*pdt.command, *arguments],
        cwd=tmp_path,
        env=pdt.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            entered()
            if fate == "killed":
                server.process.kill()
            else:
                server.process.freeze()
            # Without a limit of its own it would wait for half a minute.
            out, err = process.communicate(timeout=25)
        finally:
            process.kill()
            if server.process.is_running:
                server.process.thaw()
    assert process.returncode == 5, err
    assert out == b""
    assert len(err.splitlines()) == 1, err
    assert b"MongoMetadataRepository books." in err


async def test_a_frozen_server_is_one_sentence_for_everything_that_was_asked(server: MongoServer) -> None:
    session = Session()
    database = session.resource(pdtcli.mongo_database(server.uri, "frozen", timeout=2))
    async with session:
        values, blobs = MongoMetadataRepository(database, "values"), MongoBlobRepository(database, "blobs")
        await values.dump("job", {"n": 1})
        await blobs.write_bytes("job", b"old")
        reader, writer = await blobs.open("job", "rb"), await blobs.open("job", "wb")
        await writer.write(b"new" * 10 * MIB)
        server.process.freeze()
        try:
            async with asyncio.timeout(25):
                answers = await asyncio.gather(
                    *(values.keys(), values.info_all(), values.info("job"), values.dump("job", {"n": 2})),
                    *(values.claim("other", {"attempt": "x"}), values.delete("job"), values.dump_many({"a": 1})),
                    *(blobs.keys(), reader.read(), writer.close(), blobs.delete("job")),
                    return_exceptions=True,
                )
        finally:
            server.process.thaw()
        assert {type(answer) for answer in answers} == {BackendError}
        assert all("within 2 s" in str(answer) for answer in answers), answers


# ---- answers that are lost


@pytest.fixture
async def lossy(
    mongo_server: MongoServer, mongo_database: Database, proxy_to: Callable[[int], Proxy]
) -> AsyncIterator[tuple[MongoMetadataRepository, Proxy]]:
    """A repository behind a proxy."""
    proxy = proxy_to(mongo_server.port)
    session = Session()
    database = session.resource(pdtcli.mongo_database(mongo_server.through(proxy.port), mongo_database.name))
    async with session:
        repository = MongoMetadataRepository(database, "claims")
        await repository.keys()
        yield repository, proxy


LOST = Fault("close")


async def test_a_claim_whose_answer_was_lost_is_known_by_its_attempt(
    mongo_database: Database, lossy: tuple[MongoMetadataRepository, Proxy]
) -> None:
    repository, proxy = lossy
    proxy.inject(LOST, matching=rb"insert\0", http=False)
    assert await repository.claim("job", {"attempt": "ours", "time": pdtcli.outcome.now()})
    assert proxy.faults == 1
    assert (await mongo_database.claims.find_one({"_id": "job"}))["attempt"] == "ours"
    proxy.inject(LOST, matching=rb"insert\0", http=False)
    assert not await repository.claim("job", {"attempt": "theirs"})


async def test_a_claim_whose_answer_was_lost_is_told_of_when_nobody_can_say_whose_it_is(
    lossy: tuple[MongoMetadataRepository, Proxy],
) -> None:
    repository, proxy = lossy
    proxy.inject(LOST, matching=rb"insert\0", http=False)
    with pytest.raises(BackendError, match="does not tell by whom"):
        await repository.claim("job", {"by": 1})
    assert not await repository.claim("job", {"by": 1})


async def test_a_listing_that_broke_goes_on_along_the_index(
    lossy: tuple[MongoMetadataRepository, Proxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    from pdtcli.repository import mongo

    monkeypatch.setattr(mongo, "VALUES", 10)
    repository, proxy = lossy
    values = {job: {"n": number} for number, job in enumerate(JOBS)}
    await repository.dump_many(values)
    proxy.inject(LOST, matching=rb"getMore\0", http=False)
    assert await repository.info_all() == values
    assert proxy.faults == 1


# ---- claims of several processes

CLAIM = """
import asyncio, json, sys
import pdtcli

async def main(uri, name, attempt, count):
    session = pdtcli.Session()
    database = session.resource(pdtcli.mongo_database(uri, name))
    async with session:
        claims = pdtcli.MongoMetadataRepository(database, "claims")
        await claims.validate()
        print("ready", flush=True)
        sys.stdin.readline()
        jobs = [f"job-{number}" for number in range(int(count))]
        print(json.dumps([job for job in jobs if await claims.claim(job, {"attempt": attempt})]))

asyncio.run(main(*sys.argv[1:]))
"""


def test_of_several_processes_exactly_one_wins_each_claim(mongo_server: MongoServer, tmp_path: Path) -> None:
    name = f"race-{os.getpid()}"
    client: MongoClient[dict[str, Any]]
    with MongoClient(mongo_server.uri) as client:
        try:
            said = race(CLAIM, *((mongo_server.uri, name, number, 200) for number in range(4)))
            won = [json.loads(one) for one in said]
            records: list[dict[str, Any]] = client[name].claims.find().to_list()
            stored = {record["_id"]: record["attempt"] for record in records}
        finally:
            client.drop_database(name)
    assert stored == {job: str(number) for number, jobs in enumerate(won) for job in jobs}
    assert sum(map(len, won)) == 200
