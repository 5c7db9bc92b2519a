"""Bytes in MongoDB's GridFS, against a real mongod."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from gridfs.asynchronous import AsyncGridFSBucket
from tests.servers.mongo import failing

from pdtcli import BackendError, InvalidJobId, JobNotFound, MongoBlobRepository
from pdtcli.repository import mongo_blob, mongo_stream
from pdtcli.testing.writers import write_and_be_cancelled, write_and_raise

Database = Any
MIB = 1024 * 1024
NOT_JOBS = ["", "..", "a/b", "-rf", "a\0", "x" * 64, "\u0430"]


@pytest.fixture
def repository(mongo_database: Database) -> MongoBlobRepository:
    return MongoBlobRepository(mongo_database, "blobs")


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of 4 bytes, two at a time."""
    monkeypatch.setattr(mongo_stream, "CHUNK_SIZE", 4)
    monkeypatch.setattr(mongo_stream, "AT_ONCE", 8)


async def documents(database: Database) -> dict[str, int]:
    """How many documents are in each of the collections."""
    names = ("files", "chunks", "leases")
    return {name: await database[f"blobs.{name}"].count_documents({}) for name in names}


EMPTY = {"files": 0, "chunks": 0, "leases": 0}


# ---- values


@pytest.mark.parametrize("size", [0, 1, MIB - 1, MIB, MIB + 1, 8 * MIB - 1, 8 * MIB, 8 * MIB + 1])
async def test_bytes_come_back_as_they_went(
    mongo_database: Database, repository: MongoBlobRepository, size: int
) -> None:
    value = (bytes(range(251)) * (size // 251 + 1))[:size]
    await repository.write_bytes("job", value)
    assert await repository.read_bytes("job") == value
    assert await repository.keys() == {"job"}
    assert await documents(mongo_database) == {"files": 1, "chunks": -(-size // MIB), "leases": 0}


@pytest.mark.parametrize("n", [1, 3, 4, 5, 8, 9, 100])
@pytest.mark.usefixtures("small_chunks")
async def test_pieces_of_any_size_make_up_the_value(repository: MongoBlobRepository, n: int) -> None:
    value = bytes(range(50))
    async with await repository.open("job", "wb") as writer:
        for start in range(0, len(value), n):
            assert await writer.write(value[start : start + n]) == len(value[start : start + n])
    pieces = []
    async with await repository.open("job", "rb") as reader:
        assert await reader.read(0) == b""
        while piece := await reader.read(n):
            assert len(piece) <= n
            pieces.append(piece)
    assert b"".join(pieces) == value


async def test_text_comes_back_as_it_went(repository: MongoBlobRepository) -> None:
    async with await repository.open("job", "w") as writer:
        await writer.write("caf\u00e9 \U0001f600\r\n")
    async with await repository.open("job") as reader:
        assert await reader.read() == "caf\u00e9 \U0001f600\r\n"


@pytest.mark.parametrize("mode", ["r", "rb"])
async def test_a_job_that_is_not_here_cannot_be_read(repository: MongoBlobRepository, mode: Any) -> None:
    with pytest.raises(JobNotFound, match="does not hold job"):
        await repository.open("job", mode)


async def test_info_tells_where_the_value_is(mongo_database: Database, repository: MongoBlobRepository) -> None:
    info = await repository.info("job")
    assert (info.database, info.bucket, info.filename) == (mongo_database.name, "blobs", "job")
    assert str(info) == f"{mongo_database.name}/blobs/job"


@pytest.mark.parametrize("job", NOT_JOBS)
async def test_no_blob_has_a_name_that_is_no_job_id(
    mongo_database: Database, repository: MongoBlobRepository, job: str
) -> None:
    await repository.write_bytes("good", b"x")
    for mode in ("r", "rb", "w", "wb"):
        with pytest.raises(InvalidJobId):
            await repository.open(job, mode)
    with pytest.raises(InvalidJobId):
        await repository.delete_many(["good", job])
    assert not await repository.contains(job)
    assert await repository.among([job, "good"]) == {"good"}
    assert (await documents(mongo_database))["files"] == 1


# ---- present means complete


@pytest.mark.usefixtures("small_chunks")
async def test_a_value_is_not_there_before_it_is_complete(repository: MongoBlobRepository) -> None:
    async with await repository.open("job", "wb") as writer:
        await writer.write(b"half" * 10)
        assert await repository.keys() == set()
        assert not await repository.contains("job")
    assert await repository.keys() == {"job"}


@pytest.mark.usefixtures("small_chunks")
async def test_a_writer_that_raises_leaves_the_old_value_and_nothing_else(
    mongo_database: Database, repository: MongoBlobRepository
) -> None:
    await repository.write_bytes("job", b"old")
    await write_and_raise(repository, [b"new" * 10])
    assert await repository.read_bytes("job") == b"old"
    assert await documents(mongo_database) == {"files": 1, "chunks": 1, "leases": 0}


@pytest.mark.usefixtures("small_chunks")
async def test_a_writer_that_is_cancelled_leaves_nothing(
    mongo_database: Database, repository: MongoBlobRepository
) -> None:
    await write_and_be_cancelled(repository, [b"half" * 10])
    assert await documents(mongo_database) == EMPTY


async def test_a_closed_writer_takes_no_more_and_closes_again(repository: MongoBlobRepository) -> None:
    writer = await repository.open("job", "wb")
    await writer.close()
    await writer.close()
    await writer.abort()
    with pytest.raises(ValueError, match="closed"):
        await writer.write(b"x")
    assert await repository.keys() == {"job"}


@pytest.mark.usefixtures("small_chunks")
async def test_who_reads_the_old_value_reads_it_to_its_end(repository: MongoBlobRepository) -> None:
    await repository.write_bytes("job", b"old value " * 10)
    async with await repository.open("job", "rb") as reader:
        first = await reader.read(3)
        await repository.write_bytes("job", b"new")
        assert await repository.read_bytes("job") == b"new"
        await repository.delete("job")
        await repository.sweep()
        assert first + await reader.read() == b"old value " * 10


@pytest.mark.usefixtures("small_chunks")
async def test_what_is_missing_is_never_a_shorter_value(
    mongo_database: Database, repository: MongoBlobRepository
) -> None:
    await repository.write_bytes("job", bytes(range(40)))
    await mongo_database["blobs.chunks"].delete_one({"n": 7})
    async with await repository.open("job", "rb") as reader:
        with pytest.raises(BackendError, match="chunk 7 of job is missing"):
            await reader.read()


async def test_of_writers_at_once_one_stores_its_whole_value(
    mongo_database: Database, repository: MongoBlobRepository
) -> None:
    values = [bytes([number]) * (MIB + number) for number in range(1, 7)]  # of two chunks each
    await asyncio.gather(*(repository.write_bytes("job", value) for value in values))
    assert await repository.read_bytes("job") in values
    await repository.sweep(0)
    assert await documents(mongo_database) == {"files": 1, "chunks": 2, "leases": 0}


async def test_a_clock_that_is_behind_does_not_lose_an_overwrite(
    mongo_database: Database, repository: MongoBlobRepository
) -> None:
    await repository.write_bytes("job", b"old")
    tomorrow = datetime.now(tz=UTC) + timedelta(days=1)
    await mongo_database["blobs.files"].update_one({}, {"$set": {"uploadDate": tomorrow}})
    await repository.write_bytes("job", b"new")
    assert await repository.read_bytes("job") == b"new"


# ---- litter


@pytest.mark.usefixtures("small_chunks")
async def test_what_is_replaced_or_deleted_is_swept_in_the_end(
    mongo_database: Database, repository: MongoBlobRepository
) -> None:
    for number in range(3):
        await repository.write_bytes("job", bytes(10 + number))
    await repository.write_bytes("other", b"x")
    await repository.delete_many(["job", "absent"])
    assert await repository.sweep() == 0
    assert await repository.sweep(0) == 3
    assert await documents(mongo_database) == {"files": 1, "chunks": 1, "leases": 0}
    assert await repository.read_bytes("other") == b"x"


@pytest.mark.usefixtures("small_chunks")
async def test_the_chunks_of_a_killed_writer_are_swept_when_the_pipeline_opens(
    mongo_database: Database, repository: MongoBlobRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = await repository.open("job", "wb")
    await writer.write(b"half" * 10)
    await repository.validate()
    assert (await documents(mongo_database))["chunks"] == 10
    long_ago = datetime.now(tz=UTC) - timedelta(seconds=2 * mongo_blob.GRACE)
    await mongo_database["blobs.leases"].update_many({}, {"$set": {"at": long_ago}})
    await repository.validate()
    assert await documents(mongo_database) == EMPTY


@pytest.mark.usefixtures("small_chunks")
async def test_a_writer_whose_chunks_were_swept_stores_nothing(
    mongo_database: Database, repository: MongoBlobRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mongo_stream, "TOUCH", 0.0)
    writer = await repository.open("job", "wb")
    await writer.write(b"half" * 10)
    await repository.sweep(0)
    with pytest.raises(BackendError, match="has been swept"):
        await writer.close()
    assert await documents(mongo_database) == EMPTY


@pytest.mark.usefixtures("small_chunks")
async def test_a_value_whose_writer_was_killed_at_the_very_end_stays(
    mongo_database: Database, repository: MongoBlobRepository
) -> None:
    await repository.write_bytes("job", b"value")
    stored = await mongo_database["blobs.files"].find_one({})
    await mongo_database["blobs.leases"].insert_one({"_id": stored["_id"], "at": datetime(2024, 1, 1, tzinfo=UTC)})
    assert await repository.sweep() == 0
    assert await repository.read_bytes("job") == b"value"
    assert await documents(mongo_database) == {"files": 1, "chunks": 2, "leases": 0}


# ---- other tools


async def test_what_other_tools_store_can_be_read(mongo_database: Database, repository: MongoBlobRepository) -> None:
    bucket = AsyncGridFSBucket(mongo_database, "blobs")
    value = bytes(range(256)) * 5000
    await bucket.upload_from_stream("job", b"old")
    await bucket.upload_from_stream("job", value)
    await bucket.upload_from_stream("not a job", b"")
    assert await repository.keys() == {"job"}
    assert await repository.read_bytes("job") == value
    await repository.delete("job")
    assert await repository.keys() == set()


async def test_what_is_stored_can_be_read_by_other_tools(
    mongo_database: Database, repository: MongoBlobRepository
) -> None:
    value = bytes(range(256)) * 20_000
    await repository.write_bytes("job", value)
    stream = await AsyncGridFSBucket(mongo_database, "blobs").open_download_stream_by_name("job")
    assert await stream.read() == value


# ---- keys


async def test_a_listing_of_several_pages_misses_nothing(
    repository: MongoBlobRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mongo_blob, "KEYS", 3)
    monkeypatch.setattr(mongo_blob, "ASKED", 3)
    for count in (0, 3, 4, 7):
        jobs = {f"job-{number}" for number in range(count)}
        for job in jobs:
            await repository.write_bytes(job, job.encode())
        assert await repository.keys() == jobs
        assert await repository.among([*jobs, "x"]) == jobs
        await repository.delete_many(jobs)
    assert await repository.keys() == set()


async def test_keys_are_read_from_the_index_alone(mongo_database: Database, repository: MongoBlobRepository) -> None:
    for job in "abc":
        await repository.write_bytes(job, b"x")
    await mongo_database.command("profile", 2)
    assert await repository.keys() == {"a", "b", "c"}
    await mongo_database.command("profile", 0)
    entry = await mongo_database["system.profile"].find_one({"command.find": "blobs.files"})
    assert (entry["docsExamined"], entry["keysExamined"]) == (0, 3)


# ---- servers that fail


@pytest.mark.usefixtures("small_chunks")
async def test_what_fails_for_a_moment_is_done_again(mongo_database: Database, repository: MongoBlobRepository) -> None:
    value = bytes(range(40))
    commands = ["insert", "update", "find", "delete"]
    async with await repository.open("job", "wb") as writer:
        await writer.write(value[:20])
        async with failing(mongo_database.client, commands, times=2, closeConnection=True):
            await writer.write(value[20:])
    async with await repository.open("job", "rb") as reader:
        first = await reader.read(8)
        async with failing(mongo_database.client, commands, times=2, closeConnection=True):
            assert first + await reader.read() == value
    assert await documents(mongo_database) == {"files": 1, "chunks": 10, "leases": 0}


@pytest.mark.usefixtures("small_chunks")
async def test_an_answer_that_was_lost_does_not_store_a_chunk_twice(
    mongo_database: Database, repository: MongoBlobRepository
) -> None:
    how: Any = {"writeConcernError": {"code": 64, "errmsg": "waiting"}, "errorLabels": ["RetryableWriteError"]}
    async with failing(mongo_database.client, ["insert"], times=2, **how):
        await repository.write_bytes("job", bytes(range(40)))
    assert await repository.read_bytes("job") == bytes(range(40))


@pytest.mark.usefixtures("small_chunks")
async def test_a_server_that_goes_on_failing_is_one_sentence_and_leaves_the_old_value(mongo_database: Database) -> None:
    repository = MongoBlobRepository(mongo_database, "blobs", timeout=1.0)
    await repository.write_bytes("job", b"old")
    async with failing(mongo_database.client, ["insert"], errorCode=6):
        with pytest.raises(BackendError):
            await repository.write_bytes("job", b"new" * 10)
    assert await repository.read_bytes("job") == b"old"
    assert await documents(mongo_database) == {"files": 1, "chunks": 1, "leases": 0}
