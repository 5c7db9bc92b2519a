"""Repositories in S3 buckets, on two servers of different making."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.servers.s3 import S3Server

from pdtcli import (
    BackendError,
    InvalidJobId,
    InvalidValue,
    JobNotFound,
    S3BucketInfo,
    S3BucketRepository,
    Session,
    Unsupported,
    UsageError,
    YamlMetadataS3Repository,
    s3_client,
)
from pdtcli.repository import s3, s3_claims, s3_listing
from pdtcli.repository.s3_streams import PART
from pdtcli.testing.writers import write_and_be_cancelled, write_and_raise

MIB = 1024 * 1024


class Place:
    """A bucket of one test."""

    def __init__(self, server: S3Server, client: Any, bucket: str) -> None:
        self.server = server
        self.client = client
        self.bucket = bucket

    def put(self, *keys: str) -> None:
        for key in keys:
            self.client.put_object(Bucket=self.bucket, Key=key, Body=key.encode())

    def uploads(self) -> list[Any]:
        return list(self.client.list_multipart_uploads(Bucket=self.bucket).get("Uploads", ()))

    def blobs(self, prefix: str = "in/", suffix: str = ".bin", **options: Any) -> S3BucketRepository:
        return S3BucketRepository(self.client, self.bucket, prefix, suffix, **options)

    def values(self, **options: Any) -> YamlMetadataS3Repository:
        return YamlMetadataS3Repository(self.client, self.bucket, "meta/", **options)


@pytest.fixture
def ministack(s3_server: S3Server, s3_client: Any, s3_bucket: str) -> Place:
    return Place(s3_server, s3_client, s3_bucket)


@pytest.fixture
def swift(swift_server: S3Server, swift_client: Any, swift_bucket: str) -> Place:
    return Place(swift_server, swift_client, swift_bucket)


@pytest.fixture(params=["ministack", "swift"])
def place(request: pytest.FixtureRequest) -> Place:
    found: Place = request.getfixturevalue(request.param)
    return found


# ---- values


@pytest.mark.parametrize("size", [0, 1, 300_000, PART - 1, PART, PART + 1, 3 * PART + 7])
async def test_values_of_all_sizes_come_back(place: Place, size: int) -> None:
    value = (b"0123456789abcde" * (size // 15 + 1))[:size]
    repository = place.blobs()
    async with await repository.open("job", "wb") as writer:
        for start in range(0, size, MIB):
            await writer.write(value[start : start + MIB])
    async with await repository.open("job", "rb") as reader:
        pieces = [await reader.read(10)]
        while piece := await reader.read(700_000):
            pieces.append(piece)
    assert b"".join(pieces) == value
    assert await repository.read_bytes("job") == value
    assert place.uploads() == []


async def test_8_mib_are_one_put_and_more_is_a_multipart_upload(ministack: Place) -> None:
    repository = ministack.blobs()
    etags = []
    for size in (PART, PART + 1):
        await repository.write_bytes("job", bytes(size))
        etags.append(ministack.client.head_object(Bucket=ministack.bucket, Key="in/job.bin")["ETag"])
    assert ["-2" in etag for etag in etags] == [False, True]


async def test_text_comes_back_as_it_went(place: Place) -> None:
    repository = place.blobs()
    async with await repository.open("job", "w") as writer:
        await writer.write("caf\u00e9 \U0001f600\r\n")
    async with await repository.open("job") as reader:
        assert await reader.read() == "caf\u00e9 \U0001f600\r\n"


async def test_an_object_has_the_type_that_the_repository_says(ministack: Place) -> None:
    await ministack.blobs(mimetype="text/plain").write_bytes("short", b"x")
    await ministack.blobs(mimetype="text/plain").write_bytes("long", bytes(PART + 1))
    await ministack.values().dump("value", {})
    heads = [
        ministack.client.head_object(Bucket=ministack.bucket, Key=key)["ContentType"]
        for key in ("in/short.bin", "in/long.bin", "meta/value.yaml")
    ]
    assert heads == ["text/plain", "text/plain", "text/yaml"]


@pytest.mark.parametrize("size", [10, 2 * PART + 1])
async def test_a_writer_that_raises_leaves_the_old_value_and_no_upload(place: Place, size: int) -> None:
    repository = place.blobs()
    await repository.write_bytes("job", b"old")
    await write_and_raise(repository, [bytes(size)])
    assert await repository.read_bytes("job") == b"old"
    assert place.uploads() == []


@pytest.mark.parametrize("size", [10, 2 * PART + 1])
async def test_a_writer_that_is_cancelled_leaves_nothing(place: Place, size: int) -> None:
    repository = place.blobs()
    await write_and_be_cancelled(repository, [bytes(size)])
    assert await repository.keys() == set()
    assert place.uploads() == []


async def test_a_closed_writer_takes_no_more_and_closes_again(ministack: Place) -> None:
    repository = ministack.blobs()
    writer = await repository.open("job", "wb")
    await writer.close()
    await writer.close()
    await writer.abort()
    with pytest.raises(ValueError, match="closed"):
        await writer.write(b"x")
    assert await repository.keys() == {"job"}


async def test_of_several_writers_of_one_job_one_has_the_last_word(ministack: Place) -> None:
    repository = ministack.blobs()
    values = [bytes([number]) * (PART + 1) for number in range(4)]
    await asyncio.gather(*(repository.write_bytes("job", value) for value in values))
    assert await repository.read_bytes("job") in values
    assert ministack.uploads() == []


@pytest.mark.parametrize("mode", ["r", "rb"])
async def test_a_job_that_is_not_here_cannot_be_read(place: Place, mode: Any) -> None:
    with pytest.raises(JobNotFound, match="does not hold job"):
        await place.blobs().open("job", mode)


async def test_a_closed_reader_reads_no_more(ministack: Place) -> None:
    repository = ministack.blobs()
    await repository.write_bytes("job", bytes(MIB))
    reader = await repository.open("job", "rb")
    await reader.close()
    await reader.close()
    with pytest.raises(ValueError, match="closed"):
        await reader.read(1)


@pytest.mark.parametrize("job", ["", "..", "../x", "a/b", "-rf", "a\n", "x" * 64, "\u0430"])
async def test_names_that_are_no_job_ids_are_refused(ministack: Place, job: str) -> None:
    repository = ministack.values()
    await repository.dump("good", 1)
    for call in (repository.delete, repository.info, repository.open_writer, repository.open_reader):
        with pytest.raises(InvalidJobId):
            await call(job)
    for write in (repository.dump, repository.claim):
        with pytest.raises(InvalidJobId):
            await write(job, {})
    with pytest.raises(InvalidJobId):
        await repository.delete_many(["good", job])
    assert not await repository.contains(job)
    assert await repository.among([job, "good"]) == {"good"}


async def test_a_part_of_a_value_is_read(place: Place) -> None:
    repository = place.blobs()
    await repository.write_bytes("job", b"0123456789")
    await repository.write_bytes("empty", b"")
    ranges = [(0, 3), (4, 100), (9, 1), (10, 5), (100, 1), (3, 0)]
    parts = [await repository.read_range("job", start, length) for start, length in ranges]
    assert parts == [b"012", b"456789", b"9", b"", b"", b""]
    assert await repository.read_range("empty", 0, 5) == b""
    with pytest.raises(JobNotFound, match="does not hold other"):
        await repository.read_range("other", 0, 1)


# ---- keys


async def test_prefix_and_suffix_are_exact(place: Place) -> None:
    place.put("in/a.bin", "in/b.bin.txt", "in/cbin", "out/d.bin", "in", "in/deep/e.bin", "in/", "in/.bin", "in/f.BIN")
    assert await place.blobs().keys() == {"a"}
    assert [job async for job in place.blobs()] == ["a"]
    assert await place.blobs("", "").keys() == {"in"}
    assert await place.blobs("in/", "").keys() == {"a.bin", "b.bin.txt", "cbin", "f.BIN"}


async def test_unusual_names_come_back(place: Place) -> None:
    names = {"0", "a-b", "a_b", "A.b", "a..b", "x" * 63, "a.bin"}
    repository = place.blobs("p %+&<'\u00e9/", " &.bin")
    for name in names:
        await repository.write_bytes(name, name.encode())
    assert await repository.keys() == names
    assert {job async for job in repository} == names
    assert [await repository.contains(name) for name in names] == [True] * len(names)
    await repository.delete_many(names)
    assert await repository.keys() == set()


async def test_other_names_are_skipped_with_one_warning(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    place.put("in/good.bin", "in/a b.bin", "in/-x.bin", "in/\u00e9&amp;+%2B.bin", "in/.pdt-probe-1.bin", "in/\n.bin")
    repository = place.blobs()
    for _ in range(2):
        assert await repository.keys() == {"good"}
    assert [record.getMessage() for record in caplog.records] == [
        f"{repository}: skipped 4 names that are not valid job ids: '\\n', '-x', 'a b', …"
    ]


NAMES = {
    "counted": [f"job-{number:05}" for number in range(260)],
    "hashes": [f"{number * 7919 % 65536:04x}" for number in range(200)],
    "one block": [f"same-{number:03}-end" for number in range(100, 160)],
    "lengths": ["a" * length for length in range(1, 60)] + ["b", "Z", "0"],
    "mixed": [f"{a}{b}" for a in "aA0z" for b in ("", ".x", "-x", "_x", "x", "Zx9")],
}


@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)
async def test_a_long_listing_is_the_same_in_parallel(
    ministack: Place, monkeypatch: pytest.MonkeyPatch, names: list[str]
) -> None:
    monkeypatch.setattr(s3_listing, "PAGE", 7)
    monkeypatch.setattr(s3_listing, "SERIAL", 2)
    monkeypatch.setattr(s3_listing, "WORTH", 1e9)
    ministack.put(*(f"in/{name}.bin" for name in names), "in/~.bin", "in/job-00100/x.bin", "other", "zzz")
    repository = ministack.blobs()
    assert await repository.keys() == set(names)
    keys = await s3_listing.keys(repository._bucket, "in/")
    assert len(keys) == len(set(keys)) == len(names) + 1


async def test_a_listing_of_several_answers_is_whole(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_listing, "PAGE", 5)
    names = {f"job-{number}" for number in range(23)}
    place.put(*(f"in/{name}.bin" for name in names))
    assert await place.blobs().keys() == names
    assert {job async for job in place.blobs()} == names


async def test_a_few_or_many_jobs_are_looked_for(place: Place) -> None:
    place.put("in/a.bin", "in/b.bin")
    repository = place.blobs()
    assert await repository.among(["a", "x"]) == {"a"}
    assert await repository.among(["a", *(f"x{number}" for number in range(100))]) == {"a"}
    assert [await repository.contains(job) for job in ("a", "x", "a/b")] == [True, False, False]


# ---- deletes


async def test_deletes_are_idempotent(place: Place) -> None:
    place.put("in/a.bin", "in/b.bin", "in/c.bin", "in/a")
    repository = place.blobs()
    await repository.delete("a")
    await repository.delete("a")
    await repository.delete_many(["a", "b", "b", "nothing"])
    await repository.delete_many(["nothing"])
    await repository.delete_many([])
    assert await repository.keys() == {"c"}
    assert await place.blobs("in/", "").keys() == {"a", "c.bin"}


async def test_more_than_a_thousand_are_deleted(place: Place) -> None:
    repository = place.blobs()
    place.put("in/first.bin", "in/last.bin", "in/kept.bin")
    await repository.delete_many(["first", *(f"absent-{number}" for number in range(999)), "last"])
    assert await repository.keys() == {"kept"}


# ---- metadata


async def test_metadata_come_back(place: Place) -> None:
    repository = place.values()
    value = {"text": "caf\u00e9\n", "list": [1, 2.5, None, True], "time": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)}
    await repository.dump("job", value)
    await repository.dump("null", None)
    assert await repository.info("job") == value
    assert await repository.info("other") == {}
    assert await repository.info_all() == {"job": value, "null": None}
    assert await repository.info_many(["job", "other", "a/b"]) == {"job": value}


async def test_the_metadata_of_many_jobs_come_back(ministack: Place) -> None:
    repository = ministack.values()
    for number in range(120):
        await repository.dump(f"job-{number}", number)
    assert await repository.info_all() == {f"job-{number}": number for number in range(120)}


async def test_broken_metadata_are_named(ministack: Place) -> None:
    ministack.put("meta/job.yaml")
    ministack.client.put_object(Bucket=ministack.bucket, Key="meta/job.yaml", Body=b"{")
    with pytest.raises(InvalidValue, match=r"meta/\*\.yaml>: job is not valid YAML"):
        await ministack.values().info("job")


async def test_of_many_claims_at_once_one_is_granted(ministack: Place) -> None:
    def claim(number: int) -> bool:
        return asyncio.run(ministack.values().claim("job", {"by": number}))

    granted = await asyncio.gather(*(asyncio.to_thread(claim, number) for number in range(20)))
    assert granted.count(True) == 1
    assert await ministack.values().info("job") == {"by": granted.index(True)}
    assert await ministack.values().keys() == {"job"}


async def test_a_claim_is_refused_where_there_is_a_value(ministack: Place) -> None:
    repository = ministack.values()
    await repository.dump("job", {"old": True})
    assert not await repository.claim("job", {})
    await repository.delete("job")
    assert [await repository.claim("job", {}), await repository.claim("job", {})] == [True, False]


async def test_a_server_that_lets_several_win_holds_no_live_records(swift: Place) -> None:
    with pytest.raises(Unsupported, match=r"cannot hold live records: .* is OpenStack Swift"):
        await swift.values().claim("job", {})
    assert await swift.blobs("", "").keys() == set()


async def test_a_server_without_conditional_puts_holds_no_live_records(
    ministack: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_conditions = ministack.client.put_object
    monkeypatch.setattr(ministack.client, "put_object", lambda IfNoneMatch=None, **rest: with_conditions(**rest))
    monkeypatch.setattr(s3_claims, "_claimable", type(s3_claims._claimable)())
    with pytest.raises(Unsupported, match="does not heed the condition If-None-Match"):
        await ministack.values().claim("job", {})
    assert ministack.client.list_objects_v2(Bucket=ministack.bucket)["KeyCount"] == 0


async def test_what_a_killed_process_left_is_swept_when_it_is_old(
    ministack: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    ministack.put("meta/.pdt-probe-1")
    for key in ("in/job.bin", "in/other.txt", "in/not a job.bin"):
        ministack.client.create_multipart_upload(Bucket=ministack.bucket, Key=key)
    repositories = (ministack.blobs(), ministack.values())
    for repository in repositories:
        await repository.validate()
    assert (len(ministack.uploads()), await ministack.values().keys()) == (3, set())
    for module in (s3, s3_claims):
        monkeypatch.setattr(module, "is_older", lambda moment, age: True)
    for repository in repositories:
        await repository.validate()
    assert {upload["Key"] for upload in ministack.uploads()} == {"in/other.txt", "in/not a job.bin"}
    assert ministack.client.list_objects_v2(Bucket=ministack.bucket)["KeyCount"] == 0


async def test_a_single_host_can_claim_on_any_server(swift: Place) -> None:
    def claim(number: int) -> bool:
        return asyncio.run(swift.values(single_host=True).claim("job", {"by": number}))

    granted = await asyncio.gather(*(asyncio.to_thread(claim, number) for number in range(8)))
    assert granted.count(True) == 1
    assert await swift.values().info("job") == {"by": granted.index(True)}


# ---- what it is, and what templates see


async def test_templates_see_where_the_object_is(place: Place) -> None:
    info = await place.blobs().info("job")
    assert info == S3BucketInfo(place.server.endpoint, f"s3://{place.bucket}/in/job.bin", place.bucket, "in/", ".bin")
    assert str(info) == f"s3://{place.bucket}/in/job.bin"
    inside = await place.blobs(incluster_endpoint="http://s3.svc:9000").info("job")
    assert inside.endpoint == "http://s3.svc:9000"


def test_it_says_what_it_is_without_a_client() -> None:
    def closed() -> Any:
        raise ZeroDivisionError

    repository = S3BucketRepository(closed, "bucket", "in/", ".bin")
    assert repr(repository) == "<S3BucketRepository bucket/in/*.bin>"
    assert repository.place == "s3://bucket/in/*.bin"
    assert repr(YamlMetadataS3Repository(closed, "bucket", "m/")) == "<YamlMetadataS3Repository bucket/m/*.yaml>"


# ---- sessions and buckets


@pytest.fixture
async def opened(s3_server: S3Server) -> AsyncIterator[Callable[[], Any]]:
    session = Session()
    client = session.resource(
        s3_client(
            s3_server.endpoint,
            aws_access_key_id=s3_server.access_key,
            aws_secret_access_key=s3_server.secret_key,
            region_name="us-east-1",
        )
    )
    async with session:
        yield client


async def test_a_missing_bucket_is_created_and_told(
    opened: Callable[[], Any], s3_bucket: str, caplog: pytest.LogCaptureFixture
) -> None:
    opened().delete_bucket(Bucket=s3_bucket)
    repository = S3BucketRepository(opened, s3_bucket)
    for _ in range(2):
        await repository.validate()
    assert [record.getMessage() for record in caplog.records] == [f"created the bucket {s3_bucket}, which was missing"]
    await repository.write_bytes("job", b"x")
    assert await repository.keys() == {"job"}


async def test_several_may_create_a_bucket_at_once(opened: Callable[[], Any], s3_bucket: str) -> None:
    opened().delete_bucket(Bucket=s3_bucket)
    await asyncio.gather(*(S3BucketRepository(opened, s3_bucket).validate() for _ in range(5)))
    assert await S3BucketRepository(opened, s3_bucket).keys() == set()


async def test_a_missing_bucket_is_named_where_none_is_to_be_created(place: Place) -> None:
    repository = S3BucketRepository(place.client, "pdt-there-is-none", create=False)
    sentence = f"s3://pdt-there-is-none at {place.server.endpoint}: there is no such bucket: create it, or .*"
    with pytest.raises(BackendError, match=sentence):
        await repository.validate()
    for call in (repository.keys, lambda: repository.write_bytes("job", b""), lambda: repository.read_bytes("job")):
        with pytest.raises(BackendError, match="there is no such bucket"):
            await call()


async def test_boto3_finds_its_settings_in_the_environment(
    s3_server: S3Server, s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3_server.environ.items():
        monkeypatch.setenv(name, value)
    session = Session()
    repository = S3BucketRepository(session.resource(s3_client(connections=3)), s3_bucket)
    async with session:
        await repository.validate()
        await repository.write_bytes("job", b"x")
        assert await repository.keys() == {"job"}
        assert repository._bucket.threads.size == 3


@pytest.mark.parametrize("settings", [{"profile_name": "nobody"}, {"endpoint_url": "no url"}, {"no_such_option": 1}])
async def test_settings_that_make_no_client_are_told(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session()
    session.resource(s3_client(region_name="us-east-1", **settings))
    with pytest.raises(UsageError, match="there is no S3 client with these settings"):
        await session.open()


# ---- errors are sentences


async def test_a_wrong_secret_is_told(swift: Place) -> None:
    client = swift.server.client(secret_key="wrong-secret")
    repository = S3BucketRepository(client, swift.bucket)
    for call in (repository.validate, repository.keys, lambda: repository.contains("job")):
        with pytest.raises(BackendError, match="the secret key is wrong: look at the credentials") as caught:
            await call()
        assert "wrong-secret" not in str(caught.value)
    client.close()


async def test_a_name_that_is_no_bucket_is_told(ministack: Place) -> None:
    with pytest.raises(UsageError, match="s3://A!: that is no valid name of a bucket"):
        await S3BucketRepository(ministack.client, "A!").validate()


async def test_missing_credentials_are_told(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    session = Session()
    client = session.resource(s3_client(s3_server.endpoint, region_name="us-east-1"))
    async with session:
        with pytest.raises(BackendError, match="there are no credentials for http://127"):
            await S3BucketRepository(client, "bucket").keys()
