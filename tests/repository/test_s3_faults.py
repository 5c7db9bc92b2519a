"""S3 repositories on a network, and with servers, that fail."""

from __future__ import annotations

import asyncio
import gc
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.servers.proxy import Fault, Proxy, response
from tests.servers.s3 import S3Server

from pdtcli import BackendError, JobNotFound, S3BucketRepository, YamlMetadataS3Repository
from pdtcli.repository import s3_streams
from pdtcli.repository.s3_streams import PART

MIB = 1024 * 1024
ATTEMPTS = 3


@pytest.fixture
def proxy(s3_server: S3Server, proxy_to: Callable[[int], Proxy]) -> Proxy:
    return proxy_to(s3_server.port)


@pytest.fixture
def client(s3_server: S3Server, proxy: Proxy) -> Iterator[Any]:
    """A client that goes through the proxy, and is not patient."""
    client = s3_server.client(
        proxy.endpoint,
        connect_timeout=2,
        read_timeout=1,
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
    )
    yield client
    client.close()


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_streams, "pause", lambda attempt: 0.0)


@pytest.fixture
def blobs(client: Any, s3_bucket: str) -> S3BucketRepository:
    return S3BucketRepository(client, s3_bucket, "in/", ".bin")


@pytest.fixture
def values(client: Any, s3_bucket: str) -> YamlMetadataS3Repository:
    return YamlMetadataS3Repository(client, s3_bucket, "in/")


def s3_error(status: str, code: str, **headers: str) -> Fault:
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>so it is</Message></Error>"
    return Fault("answer", data=response(status, body, Content_Type="application/xml", **headers))


# ---- reading


@pytest.mark.parametrize("kind", ["reset", "close", "hang"])
@pytest.mark.parametrize("size", [100_000, 3 * MIB])
async def test_a_reader_goes_on_where_the_connection_broke(
    blobs: S3BucketRepository, proxy: Proxy, kind: Any, size: int
) -> None:
    value = os.urandom(size)
    await blobs.write_bytes("job", value)
    proxy.inject(Fault(kind, after=size // 2), matching=rb"^GET ")
    proxy.inject(Fault(kind, after=size // 4), matching=rb"^GET ")
    assert await blobs.read_bytes("job") == value
    assert proxy.faults == 2


async def test_a_reader_does_not_join_halves_of_two_values(
    blobs: S3BucketRepository, proxy: Proxy, s3_client: Any, s3_bucket: str
) -> None:
    await blobs.write_bytes("job", b"a" * 3 * MIB)
    proxy.inject(Fault("close", after=2 * MIB), matching=rb"^GET ")
    async with await blobs.open("job", "rb") as reader:
        assert set(await reader.read(MIB)) == set(b"a")
        s3_client.put_object(Bucket=s3_bucket, Key="in/job.bin", Body=b"b" * 3 * MIB)
        with pytest.raises(BackendError, match="was replaced or deleted while it was read: read it again"):
            await reader.read()


async def test_a_reader_tells_when_its_value_was_deleted(
    blobs: S3BucketRepository, proxy: Proxy, s3_client: Any, s3_bucket: str
) -> None:
    await blobs.write_bytes("job", b"a" * 3 * MIB)
    proxy.inject(Fault("close", after=2 * MIB), matching=rb"^GET ")
    async with await blobs.open("job", "rb") as reader:
        await reader.read(MIB)
        s3_client.delete_object(Bucket=s3_bucket, Key="in/job.bin")
        with pytest.raises(BackendError, match="was replaced or deleted"):
            await reader.read()


LONG = 5 * PART + 5
RANGE = rb"(?i)^GET .*\r\nrange: bytes=%d-"


async def _read(blobs: S3BucketRepository, piece: int) -> bytes:
    read = bytearray()
    async with await blobs.open("job", "rb") as reader:
        while data := await reader.read(piece):
            assert len(data) <= piece
            read += data
    return bytes(read)


@pytest.mark.parametrize("piece", [3_000_001, 20 * MIB])
async def test_a_long_value_is_read_in_ranges(blobs: S3BucketRepository, proxy: Proxy, piece: int) -> None:
    value = os.urandom(LONG)
    await blobs.write_bytes("job", value)
    before = proxy.connections
    assert await _read(blobs, piece) == value
    assert proxy.connections > before


@pytest.mark.parametrize("kind", ["reset", "close", "hang"])
async def test_a_range_goes_on_where_its_connection_broke(blobs: S3BucketRepository, proxy: Proxy, kind: Any) -> None:
    value = os.urandom(LONG)
    await blobs.write_bytes("job", value)
    for number in (2, 4):
        proxy.inject(Fault(kind, after=3 * MIB), matching=RANGE % (number * PART))
    assert await _read(blobs, MIB) == value
    assert proxy.faults == 2


async def test_ranges_are_all_of_one_value(
    blobs: S3BucketRepository, proxy: Proxy, s3_client: Any, s3_bucket: str
) -> None:
    await blobs.write_bytes("job", b"a" * LONG)
    async with await blobs.open("job", "rb") as reader:
        assert await reader.read(MIB) == b"a" * MIB
        s3_client.put_object(Bucket=s3_bucket, Key="in/job.bin", Body=b"b" * LONG)
        await reader.read(PART)
        with pytest.raises(BackendError, match="was replaced or deleted while it was read: read it again"):
            await reader.read()


async def test_a_range_that_is_refused_is_told_and_the_others_are_forgotten(
    blobs: S3BucketRepository, proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    await blobs.write_bytes("job", bytes(LONG))
    proxy.inject(s3_error("403 Forbidden", "AccessDenied"), matching=rb"(?i)^GET .*\r\nrange: ", times=100)
    async with await blobs.open("job", "rb") as reader:
        await reader.read(MIB)
        for _ in range(2):
            with pytest.raises(BackendError, match="no permission"):
                await reader.read()
    gc.collect()
    assert caplog.records == []


async def test_a_reader_of_a_long_value_may_leave_early(blobs: S3BucketRepository, proxy: Proxy) -> None:
    await blobs.write_bytes("job", bytes(LONG))
    async with await blobs.open("job", "rb") as reader:
        await reader.read(MIB)
    assert proxy.exchanges < 20  # of which most stored it
    async with await blobs.open("job", "rb") as reader:
        for _ in range(9):
            await reader.read(MIB)
    assert await _read(blobs, PART) == bytes(LONG)


async def test_a_read_that_is_cancelled_loses_nothing(blobs: S3BucketRepository, proxy: Proxy) -> None:
    value = os.urandom(LONG)
    await blobs.write_bytes("job", value)
    async with await blobs.open("job", "rb") as reader:
        read = bytearray()
        while len(read) < PART:
            read += await reader.read(MIB)
        proxy.inject(Fault("delay", seconds=0.3), matching=RANGE % PART)
        task = asyncio.create_task(reader.read(MIB))
        while not proxy.faults:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while data := await reader.read(MIB):
            read += data
    assert bytes(read) == value


async def test_a_cancelled_read_of_a_short_value_loses_nothing(blobs: S3BucketRepository, proxy: Proxy) -> None:
    value = os.urandom(3 * MIB)
    await blobs.write_bytes("job", value)
    async with await blobs.open("job", "rb") as reader:
        read = await reader.read(MIB)
        reader._drop()  # type: ignore[attr-defined]
        proxy.inject(Fault("delay", seconds=0.3), matching=RANGE % MIB)
        task = asyncio.create_task(reader.read(2 * MIB))
        while not proxy.faults:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while data := await reader.read(MIB):
            assert len(data) <= MIB
            read += data
    assert read == value


async def test_a_reader_of_a_server_that_ignores_ranges_skips_what_it_has(
    blobs: S3BucketRepository, proxy: Proxy
) -> None:
    value = os.urandom(3 * MIB)
    await blobs.write_bytes("job", value)
    async with await blobs.open("job", "rb") as reader:
        head = await reader.read(MIB)
        etag = reader._etag  # type: ignore[attr-defined]
        reader._drop()  # type: ignore[attr-defined]
        whole = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nETag: %b\r\n\r\n" % (len(value), etag.encode())
        proxy.inject(Fault("answer", data=whole + value), matching=rb"^GET ")
        assert head + await reader.read() == value


async def test_a_reader_gives_up_when_nothing_more_comes(blobs: S3BucketRepository, proxy: Proxy) -> None:
    await blobs.write_bytes("job", bytes(3 * MIB))
    async with await blobs.open("job", "rb") as reader:
        await reader.read(MIB)
        reader._drop()  # type: ignore[attr-defined]
        lines = f"ETag: {reader._etag}\r\nContent-Range: bytes {reader._at}-9/9\r\n"  # type: ignore[attr-defined]
        empty = f"HTTP/1.1 206 Partial Content\r\nContent-Length: 1000000\r\n{lines}\r\n".encode()
        proxy.inject(Fault("answer", data=empty), matching=rb"^GET ", times=ATTEMPTS)
        with pytest.raises(BackendError, match=r"in/job\.bin: the connection to http://127\.0\.0\.1:\d+ broke"):
            await reader.read()
    assert proxy.faults == ATTEMPTS


async def test_a_value_that_has_gone_is_not_taken_for_a_failure(blobs: S3BucketRepository, proxy: Proxy) -> None:
    proxy.inject(s3_error("503 Slow Down", "SlowDown"), matching=rb"^GET ")
    with pytest.raises(JobNotFound):
        await blobs.open("job", "rb")


async def test_opening_a_value_can_be_cancelled(blobs: S3BucketRepository, proxy: Proxy) -> None:
    await blobs.write_bytes("job", bytes(3 * MIB))
    proxy.inject(Fault("delay", seconds=0.3), matching=rb"^GET ")
    task = asyncio.create_task(blobs.open("job", "rb"))
    while not proxy.faults:
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(await blobs.read_bytes("job")) == 3 * MIB


# ---- writing


@pytest.mark.parametrize("fault", [Fault("reset", of="request", after=1000), s3_error("503 Slow Down", "SlowDown")])
async def test_a_put_is_tried_again(blobs: S3BucketRepository, proxy: Proxy, fault: Fault) -> None:
    value = os.urandom(MIB)
    proxy.inject(fault, matching=rb"^PUT ", times=ATTEMPTS - 1)
    await blobs.write_bytes("job", value)
    assert await blobs.read_bytes("job") == value
    assert proxy.faults == ATTEMPTS - 1


async def test_a_part_is_tried_again(blobs: S3BucketRepository, proxy: Proxy) -> None:
    value = os.urandom(2 * PART + 5)
    proxy.inject(Fault("reset", of="request", after=MIB), matching=rb"partNumber=2")
    await blobs.write_bytes("job", value)
    assert await blobs.read_bytes("job") == value


@pytest.mark.parametrize("number", [1, 3])
async def test_a_part_that_cannot_be_stored_ends_the_upload(
    blobs: S3BucketRepository, proxy: Proxy, s3_client: Any, s3_bucket: str, number: int
) -> None:
    await blobs.write_bytes("job", b"old")
    proxy.inject(s3_error("500 Oh", "InternalError"), matching=rb"partNumber=%d" % number, times=ATTEMPTS)
    with pytest.raises(BackendError, match="the server failed, and went on failing: try again later"):
        await blobs.write_bytes("job", bytes(3 * PART + 5))
    assert await blobs.read_bytes("job") == b"old"
    assert s3_client.list_multipart_uploads(Bucket=s3_bucket).get("Uploads", []) == []


async def test_a_writer_whose_server_is_away_raises(blobs: S3BucketRepository, proxy: Proxy) -> None:
    writer = await blobs.open("job", "wb")
    await writer.write(bytes(PART + 1))
    proxy.down()
    with pytest.raises(BackendError, match=r"cannot be reached|connection .* broke"):
        await writer.close()
    proxy.up()
    assert await blobs.keys() == set()


async def test_a_completion_whose_answer_is_lost_counts(blobs: S3BucketRepository, proxy: Proxy) -> None:
    value = os.urandom(PART + 5)
    proxy.inject(Fault("reset"), matching=rb"^POST [^ ]*uploadId=")
    await blobs.write_bytes("job", value)
    assert proxy.faults == 1
    assert await blobs.read_bytes("job") == value


async def test_an_upload_that_somebody_else_ended_is_no_value(
    blobs: S3BucketRepository, s3_client: Any, s3_bucket: str
) -> None:
    await blobs.write_bytes("job", b"old")
    writer = await blobs.open("job", "wb")
    await writer.write(bytes(PART + 1))
    (upload,) = s3_client.list_multipart_uploads(Bucket=s3_bucket)["Uploads"]
    s3_client.abort_multipart_upload(Bucket=s3_bucket, Key=upload["Key"], UploadId=upload["UploadId"])
    with pytest.raises(BackendError):
        await writer.close()
    assert await blobs.read_bytes("job") == b"old"


async def test_a_cancelled_put_has_ended_when_its_writer_has(blobs: S3BucketRepository, proxy: Proxy) -> None:
    proxy.inject(Fault("delay", seconds=0.5), matching=rb"^PUT ")
    writer = await blobs.open("job", "wb")
    await writer.write(b"late")
    task = asyncio.create_task(writer.close())
    while not proxy.faults:
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await blobs.delete("job")
    assert not await blobs.contains("job")


# ---- claims


async def test_a_claim_whose_answer_is_lost_is_granted(values: YamlMetadataS3Repository, proxy: Proxy) -> None:
    assert await values.claim("first", {})
    proxy.inject(Fault("reset"), matching=rb"^PUT ")
    assert await values.claim("job", {"by": "me"})
    assert proxy.faults == 1
    assert not await values.claim("job", {"by": "me"})


async def test_a_claim_that_meets_another_is_tried_again(values: YamlMetadataS3Repository, proxy: Proxy) -> None:
    assert await values.claim("first", {})
    proxy.inject(s3_error("409 Conflict", "ConditionalRequestConflict"), matching=rb"^PUT ", times=ATTEMPTS - 1)
    assert await values.claim("job", {})


async def test_a_server_that_knows_no_conditions_is_told(values: YamlMetadataS3Repository, proxy: Proxy) -> None:
    proxy.inject(s3_error("501 Not Implemented", "NotImplemented"), matching=rb"^PUT ")
    with pytest.raises(Exception, match="does not know the condition If-None-Match"):
        await values.claim("job", {})
    assert await values.keys() == set()


# ---- deletes


async def test_a_server_without_batch_deletes_is_asked_one_by_one(blobs: S3BucketRepository, proxy: Proxy) -> None:
    for job in ("a", "b", "c"):
        await blobs.write_bytes(job, b"")
    proxy.inject(s3_error("501 Not Implemented", "NotImplemented"), matching=rb"^POST ")
    await blobs.delete_many(["a", "b", "x"])
    assert await blobs.keys() == {"c"}


async def test_what_a_batch_did_not_delete_is_deleted_alone(blobs: S3BucketRepository, proxy: Proxy) -> None:
    await blobs.write_bytes("a", b"")
    body = (
        "<DeleteResult><Error><Key>in/a.bin</Key><Code>InternalError</Code><Message>oh</Message></Error></DeleteResult>"
    )
    proxy.inject(Fault("answer", data=response("200 OK", body)), matching=rb"^POST ")
    await blobs.delete_many(["a", "b"])
    assert await blobs.keys() == set()


# ---- servers that do not answer, or say no


@pytest.mark.parametrize("kind", ["reset", "close"])
async def test_a_listing_that_breaks_off_is_tried_again(blobs: S3BucketRepository, proxy: Proxy, kind: Any) -> None:
    await blobs.write_bytes("job", b"")
    proxy.inject(Fault(kind, after=300), matching=rb"^GET ", times=ATTEMPTS - 1)
    assert await blobs.keys() == {"job"}
    assert proxy.faults == ATTEMPTS - 1


async def test_a_server_that_hangs_is_given_up_in_time(blobs: S3BucketRepository, proxy: Proxy) -> None:
    proxy.inject(Fault("hang"), times=100)
    began = time.monotonic()
    with pytest.raises(BackendError, match="did not answer in time, in as many attempts as the client makes"):
        await blobs.keys()
    assert time.monotonic() - began < 60  # and not for ever


async def test_a_server_that_is_away_is_told(blobs: S3BucketRepository, proxy: Proxy) -> None:
    proxy.down()
    for call in (blobs.validate, blobs.keys, lambda: blobs.contains("job"), lambda: blobs.delete("job")):
        with pytest.raises(BackendError, match=r"http://127\.0\.0\.1:\d+ cannot be reached: look at the address"):
            await call()
    proxy.up()


@pytest.mark.parametrize(
    ("status", "code", "sentence"),
    [
        ("403 Forbidden", "AccessDenied", "no permission: the policy of the bucket, or of the user, has to allow it"),
        ("403 Forbidden", "InvalidAccessKeyId", "the server does not know the access key"),
        ("400 Bad Request", "ExpiredToken", "the session token has expired: fetch a new one"),
        ("503 Slow Down", "SlowDown", "the server asks to slow down, and went on asking"),
        ("418 Teapot", "Teapot", r"the server refused it with Teapot \(so it is\)"),
    ],
)
async def test_a_refusal_is_a_sentence(
    blobs: S3BucketRepository, proxy: Proxy, status: str, code: str, sentence: str
) -> None:
    proxy.inject(s3_error(status, code), times=100)
    with pytest.raises(BackendError, match=sentence):
        await blobs.validate()
    with pytest.raises(BackendError, match=rf"^s3://[^ ]*/in/job\.bin at http://127\.0\.0\.1:\d+: {sentence}"):
        await blobs.write_bytes("job", b"x")


async def test_a_clock_that_is_wrong_is_told(blobs: S3BucketRepository, proxy: Proxy) -> None:
    fault = s3_error("403 Forbidden", "RequestTimeTooSkewed", Date="Thu, 01 Jan 2026 00:00:00 GMT")
    proxy.inject(fault, times=100)
    with pytest.raises(BackendError, match="the clocks differ too much, there it is Thu, 01 Jan 2026 00:00:00 GMT"):
        await blobs.keys()


async def test_the_reason_for_a_refused_head_is_asked_for(blobs: S3BucketRepository, proxy: Proxy) -> None:
    proxy.inject(Fault("answer", data=response("403 Forbidden")), matching=rb"^HEAD ")
    proxy.inject(s3_error("403 Forbidden", "AccessDenied"), matching=rb"^GET ")
    with pytest.raises(BackendError, match="no permission"):
        await blobs.contains("job")
