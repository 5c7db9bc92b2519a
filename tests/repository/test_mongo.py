"""Metadata in MongoDB, against a real mongod."""

from __future__ import annotations

import asyncio
import datetime
import math
import pickle
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.servers.mongo import MongoServer, failing

import pdtcli
from pdtcli import (
    BackendError,
    InvalidJobId,
    InvalidValue,
    MongoMetadataRepository,
    PdtError,
    Session,
    UsageError,
    mongo_database,
)
from pdtcli.errors import exit_code
from pdtcli.repository import mongo, mongo_values

NOT_JOBS = ["", "..", "a/b", "-rf", "a\0", "x" * 64, "\u0430"]
UNUSUAL = ["a", "0", "A.b-c_d", "x" * 63, "a..b", "1e5", "null", "true"]
LIMIT = 1.3
"""Seconds; far below any test's own time limit, far above what the server needs. No multiple of the half second after
which pymongo connects again: a client that is closed in that moment leaves its socket to the garbage collector."""

Database = Any


@pytest.fixture
def repository(mongo_database: Database) -> MongoMetadataRepository:
    return MongoMetadataRepository(mongo_database, "records")


# ---- values


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"text": "caf\u00e9\n", "list": [1, 2.5, None, True], "nested": {"x": {}}},
        None,
        7,
        "text",
        [1, [2]],
        {"_value": 1},
        {"_value": 1, "other": 2},
        {"_id": "elsewhere"},
        {"$set": {"a": 1}, "a.b": {"$inc": 1, "c.d": 2}, "": 0},
        {"big": 2**63 - 1, "small": -(2**63), "bytes": b"\0\xff", "float": -0.5},
    ],
    ids=repr,
)
async def test_values_come_back(repository: MongoMetadataRepository, value: Any) -> None:
    await repository.dump("job", value)
    assert await repository.info("job") == value
    assert await repository.info_all() == {"job": value}
    assert await repository.info_many(["job", "other"]) == {"job": value}


async def test_integers_are_plain_ones(repository: MongoMetadataRepository) -> None:
    await repository.dump("job", {"n": 2**40})
    assert type((await repository.info("job"))["n"]) is int


async def test_no_number_is_lost(repository: MongoMetadataRepository) -> None:
    await repository.dump("job", {"nan": math.nan, "inf": math.inf})
    value = await repository.info("job")
    assert math.isnan(value["nan"])
    assert value["inf"] == math.inf


async def test_times_come_back_aware_and_in_utc(repository: MongoMetadataRepository) -> None:
    zone = datetime.timezone(datetime.timedelta(hours=2))
    await repository.dump("job", {"time": datetime.datetime(2024, 5, 6, 12, 0, 0, 123000, tzinfo=zone)})
    time = (await repository.info("job"))["time"]
    assert time == datetime.datetime(2024, 5, 6, 10, 0, 0, 123000, tzinfo=datetime.UTC)
    assert time.tzinfo is datetime.UTC


async def test_a_job_that_is_not_here_has_an_empty_value(repository: MongoMetadataRepository) -> None:
    assert await repository.info("job") == {}
    assert await repository.info("not a job") == {}


async def test_the_fields_of_a_value_are_those_of_its_document(
    mongo_database: Database, repository: MongoMetadataRepository
) -> None:
    await repository.dump("job", {"weh": 1})
    assert await mongo_database.records.find_one({"_id": "job"}) == {"_id": "job", "weh": 1}


async def test_a_value_replaces_the_whole_of_the_old_one(repository: MongoMetadataRepository) -> None:
    await repository.dump("job", {"old": 1})
    await repository.dump("job", {"new": 2})
    assert await repository.info("job") == {"new": 2}


class Text(str):
    pass


def _deep() -> Any:
    value: Any = 0
    for _ in range(200):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"x": {1, 2}}, "of the type set"),
        ({"x": object()}, "of the type object"),
        ([Text("x")], "of the type Text"),
        (1j, "of the type complex"),
        ({"x": datetime.date(2024, 1, 2)}, "a date without a time"),
        ({"x": 2**63}, "more than 64 bits"),
        ({1: "x"}, "the key 1 is not a string"),
        ({"a\0b": 1}, "not a string that MongoDB takes"),
        ({"x": "\ud800"}, "not valid Unicode"),
        ({"x": {"$ref": "a", "$id": 1}}, "come back as a reference"),
        (_deep(), "nested more than"),
        ({"x": "x" * 17_000_000}, "16 MiB"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_cannot_be_held_is_refused_with_a_sentence(
    repository: MongoMetadataRepository, value: Any, reason: str
) -> None:
    await repository.dump("job", {"old": True})
    for write in (repository.dump, repository.claim):
        with pytest.raises(InvalidValue, match=reason):
            await write("job", value)
    assert await repository.info("job") == {"old": True}


scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text()
keys = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
values = st.recursive(scalars | st.binary(), lambda inner: st.lists(inner) | st.dictionaries(keys, inner), max_leaves=5)


@given(value=values)
@settings(max_examples=50)
def test_whatever_is_taken_survives_its_document(value: Any) -> None:
    import bson

    from pdtcli.repository.mongo_client import codec_options

    try:
        document = mongo_values.encode("job", value)
    except InvalidValue:
        return
    values: dict[str, Any] = {}
    mongo_values.decode_into(values, [bson.decode(bson.encode(document), codec_options())])
    assert values == {"job": value}


# ---- keys


@pytest.mark.parametrize("job", UNUSUAL)
async def test_unusual_names_are_names(repository: MongoMetadataRepository, job: str) -> None:
    await repository.dump(job, {"n": 1})
    assert await repository.keys() == {job}
    assert await repository.contains(job)


@pytest.mark.parametrize("job", NOT_JOBS)
async def test_no_value_has_a_name_that_is_no_job_id(repository: MongoMetadataRepository, job: str) -> None:
    await repository.dump("good", 1)
    for write in (repository.dump, repository.claim):
        with pytest.raises(InvalidJobId):
            await write(job, {})
    with pytest.raises(InvalidJobId):
        await repository.delete(job)
    with pytest.raises(InvalidJobId):
        await repository.delete_many(["good", job])
    with pytest.raises(InvalidJobId):
        await repository.dump_many({"other": 1, job: 2})
    assert not await repository.contains(job)
    assert await repository.info_all() == {"good": 1}


async def test_a_listing_of_several_pages_misses_nothing(
    repository: MongoMetadataRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mongo, "KEYS", 3)
    monkeypatch.setattr(mongo, "VALUES", 3)
    monkeypatch.setattr(mongo, "ASKED", 3)
    monkeypatch.setattr(mongo, "WRITES", 3)
    for count in (0, 1, 2, 3, 4, 6, 7, 10):
        expected = {f"job-{number}": {"n": number} for number in range(count)}
        await repository.dump_many(expected)
        assert await repository.keys() == set(expected)
        assert sorted([job async for job in repository]) == sorted(expected)
        assert await repository.info_all() == expected
        assert await repository.info_many([*expected, "x"]) == expected
        assert await repository.among([*expected, "x"]) == set(expected)
        await repository.delete_many([*expected, "x"])
        assert await repository.keys() == set()


async def test_a_listing_goes_on_when_the_last_of_a_page_is_deleted(
    repository: MongoMetadataRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mongo, "KEYS", 2)
    await repository.dump_many(dict.fromkeys("abcdefg", 1))
    seen = []
    async for job in repository:
        seen.append(job)
        if job == "c":
            await repository.delete("c")
    assert seen == list("abcdefg")


async def test_other_identifiers_are_skipped_and_counted_in_one_warning(
    mongo_database: Database,
    repository: MongoMetadataRepository,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mongo, "KEYS", 2)
    others = [5, "a b", b"\0", None, datetime.datetime(2024, 1, 1)]
    await mongo_database.records.insert_many([{"_id": other} for other in [*others, "good", "z"]])
    for _ in range(2):
        assert await repository.keys() == {"good", "z"}
        assert await repository.info_all() == {"good": {}, "z": {}}
    (record,) = caplog.records
    assert "skipped 5 names that are not valid job ids" in record.getMessage()


async def test_keys_are_read_from_the_index_alone(
    mongo_database: Database, repository: MongoMetadataRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mongo, "KEYS", 2)
    await repository.dump_many({f"job-{number}": {"n": number} for number in range(5)})
    await mongo_database.command("profile", 2)
    await repository.keys()
    await mongo_database.command("profile", 0)
    entries = await mongo_database["system.profile"].find({"command.find": "records"}).to_list()
    assert len(entries) == 3
    assert [entry["docsExamined"] for entry in entries] == [0, 0, 0]


async def test_deletes_may_be_repeated(repository: MongoMetadataRepository) -> None:
    await repository.dump("job", 1)
    for _ in range(2):
        await repository.delete("job")
        assert not await repository.contains("job")


# ---- claims


async def test_a_claim_is_granted_once(repository: MongoMetadataRepository) -> None:
    granted = [await repository.claim("job", value) for value in ({"by": 1}, {"by": 1}, {"by": 2}, None)]
    assert granted == [True, False, False, False]
    assert await repository.info("job") == {"by": 1}


async def test_of_many_claims_at_once_one_is_granted(
    mongo_server: MongoServer, mongo_database: Database, repository: MongoMetadataRepository
) -> None:
    async def claim(number: int) -> bool:
        session = Session()
        database = session.resource(pdtcli.mongo_database(mongo_server.uri, mongo_database.name))
        async with session:
            return await MongoMetadataRepository(database, "records").claim("job", {"by": number})

    granted = await asyncio.gather(*(asyncio.to_thread(asyncio.run, claim(number)) for number in range(8)))
    assert granted.count(True) == 1
    assert await repository.info("job") == {"by": granted.index(True)}


# ---- servers that fail

UNANSWERED: Any = {"closeConnection": True}
# Not one that says that the server is no primary any more: then the client waits for the news of who is.
PASSING: Any = {"errorCode": 6}


@pytest.mark.parametrize("how", [UNANSWERED, PASSING], ids=["closed", "passing"])
async def test_what_fails_for_a_moment_is_done_again(
    mongo_database: Database, repository: MongoMetadataRepository, how: Any
) -> None:
    client = mongo_database.client
    async with failing(client, ["insert", "update", "delete", "find"], times=2, **how):
        await repository.dump("job", {"n": 1})
    async with failing(client, ["find"], times=1, **how):
        assert await repository.keys() == {"job"}
    async with failing(client, ["find"], times=1, **how):
        assert await repository.info_all() == {"job": {"n": 1}}
    async with failing(client, ["delete"], times=1, **how):
        await repository.delete("job")
    async with failing(client, ["insert"], times=1, **how):
        assert await repository.claim("job", {"attempt": "x"})
    assert await repository.info_all() == {"job": {"attempt": "x"}}


async def test_a_claim_that_another_one_won_meanwhile_is_lost(
    mongo_database: Database, repository: MongoMetadataRepository
) -> None:
    await repository.dump("job", {"attempt": "theirs"})
    async with failing(mongo_database.client, ["insert"], times=1, **UNANSWERED):
        assert not await repository.claim("job", {"attempt": "ours"})


@pytest.mark.broken_connections
@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ({"errorCode": 2}, "error 2"),
        ({"errorCode": 13}, "the user may not do that"),
        (UNANSWERED, "connection|server"),
        (PASSING, "error 6|did not answer"),
        ({"blockConnection": True, "blockTimeMS": 3_000}, "did not answer within 1"),
    ],
    ids=["error", "forbidden", "closed", "passing", "hangs"],
)
async def test_what_goes_on_failing_is_one_sentence_within_the_time_limit(
    mongo_database: Database, how: Any, reason: str
) -> None:
    repository = MongoMetadataRepository(mongo_database, "records", timeout=LIMIT)
    commands = ["find", "insert", "update", "delete"]
    async with failing(mongo_database.client, commands, **how):
        for work in (
            repository.keys(),
            repository.dump("job", {}),
            repository.claim("job", {}),
            repository.delete("j"),
        ):
            with pytest.raises(BackendError, match=reason) as caught:
                await asyncio.wait_for(work, 20 * LIMIT)
            assert exit_code(caught.value) == 5
            assert "\n" not in str(caught.value)
            assert "Topology" not in str(caught.value)
    assert await repository.keys() == set()


# ---- connections


async def _one_read(uri: str, **options: Any) -> set[str]:
    session = Session()
    database = session.resource(mongo_database(uri, "test", timeout=LIMIT, **options))
    async with session:
        return await MongoMetadataRepository(database, "absent").keys()


async def test_the_resource_is_there_while_its_session_is_open(mongo_server: MongoServer) -> None:
    session = Session()
    database = session.resource(mongo_database(f"{mongo_server.uri}some-name?appname=x"))
    repository = MongoMetadataRepository(database, "records")
    place = repository.place
    for _ in range(2):
        with pytest.raises(PdtError, match="its session is not open"):
            await repository.keys()
        async with session:
            await repository.validate()
            assert await repository.keys() == set()
            assert repository.place == place
    assert repr(repository) == "<MongoMetadataRepository some-name.records>"


async def test_a_collection_can_be_given_too(mongo_database: Database) -> None:
    below = MongoMetadataRepository(mongo_database["a"], "b")
    itself = MongoMetadataRepository(lambda: mongo_database["a.b"])
    await below.dump("job", {"n": 1})
    assert await itself.info("job") == {"n": 1}
    assert repr(below) == f"<MongoMetadataRepository {mongo_database.name}.a.b>"


async def test_a_replica_set_with_a_password(mongo_replica_database: Database) -> None:
    repository = MongoMetadataRepository(mongo_replica_database, "records")
    async with failing(mongo_replica_database.client, ["insert", "update"], times=1, **UNANSWERED):
        assert await repository.claim("job", {"by": 1})
    assert not await repository.claim("job", {"by": 1})
    assert await repository.info_all() == {"job": {"by": 1}}


async def test_a_claim_on_a_replica_set_is_exactly_once_without_a_signature(mongo_replica_database: Database) -> None:
    """The server knows the insert again that is repeated."""
    repository = MongoMetadataRepository(mongo_replica_database, "records")
    how: Any = {"writeConcernError": {"code": 64, "errmsg": "waiting"}, "errorLabels": ["RetryableWriteError"]}
    async with failing(mongo_replica_database.client, ["insert"], times=1, **how):
        assert await repository.claim("job", {"by": 1})


async def test_tls(mongo_tls_server: MongoServer) -> None:
    assert await _one_read(mongo_tls_server.uri) == set()


@pytest.mark.broken_connections
async def test_a_wrong_password_is_one_sentence_that_does_not_show_it(mongo_replica_server: MongoServer) -> None:
    uri = f"mongodb://pdt:wrong-secret@127.0.0.1:{mongo_replica_server.port}/?replicaSet=rs0&authSource=admin"
    with pytest.raises(BackendError, match="refuses the login") as caught:
        await _one_read(uri)
    assert "secret" not in str(caught.value)


@pytest.mark.broken_connections
async def test_no_password_is_one_sentence(mongo_replica_server: MongoServer) -> None:
    with pytest.raises(BackendError, match="asks for a login"):
        await _one_read(f"mongodb://127.0.0.1:{mongo_replica_server.port}/?directConnection=true")


@pytest.mark.broken_connections
async def test_a_server_that_is_not_there_is_one_sentence() -> None:
    with pytest.raises(BackendError, match=r"no server within 1\.3 s"):
        await _one_read("mongodb://me:secret@127.0.0.1:1/")


@pytest.mark.broken_connections
@pytest.mark.parametrize(
    "uri",
    [
        "mongodb://u:s/ecret@host/",
        "mongodb://u:1/ecret@host/",
        "mongodb://host:ecret/",
        "http://u:ecret@host/",
    ],
)
async def test_a_uri_that_makes_no_sense_is_not_shown(uri: str) -> None:
    session = Session()
    repository = MongoMetadataRepository(session.resource(mongo_database(uri, "name")), "x")
    with pytest.raises(UsageError, match="percent-encoded") as caught:
        await session.open()
    assert "ecret" not in f"{caught.value} {caught.value.__cause__} {repository!r} {repository.place}"


@pytest.mark.parametrize("uri", ["mongodb://me:secret@host", "mongodb://me:secret@host/?w=1"])
def test_a_database_has_to_be_named(uri: str) -> None:
    with pytest.raises(UsageError, match="names no database") as caught:
        mongo_database(uri)
    assert "secret" not in str(caught.value)


async def test_unacknowledged_writes_are_refused(mongo_server: MongoServer) -> None:
    with pytest.raises(UsageError, match="w=0"):
        await _one_read(f"{mongo_server.uri}?w=0")


@pytest.mark.parametrize("thing", [None, 5, "collection"])
async def test_other_things_are_refused(thing: Any) -> None:
    with pytest.raises(UsageError, match="AsyncDatabase or AsyncCollection"):
        await MongoMetadataRepository(lambda: thing, "x").keys()


def test_a_repository_on_a_function_can_be_pickled() -> None:
    assert repr(pickle.loads(pickle.dumps(MongoMetadataRepository(_nothing, "x")))) == "<MongoMetadataRepository x>"


def _nothing() -> AsyncIterator[None]:
    raise NotImplementedError
