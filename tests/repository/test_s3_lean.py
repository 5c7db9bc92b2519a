"""The way past the client: when it is taken, when it is not, and that both give the same."""

from __future__ import annotations

import asyncio
import gc
import random
import weakref
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.processes import until
from tests.servers.certificate import self_signed
from tests.servers.process import data_directory
from tests.servers.proxy import Fault, Proxy, response
from tests.servers.s3 import S3Server, fresh_bucket, ministack

from pdtcli import BackendError, JobNotFound, S3BucketRepository, YamlMetadataS3Repository
from pdtcli.repository import s3_lean
from pdtcli.repository.s3_streams import LONG, PART
from pdtcli.repository.s3_xml import Listing, read_listing

MIB = 1024 * 1024


def goes_past(client: Any, bucket: str) -> bool:
    """Whether the frequent calls do."""
    state = s3_lean._states[client]
    return state.places.get(bucket) is not None and state.is_usual(client)


async def use(client: Any, bucket: str) -> None:
    """Whatever a repository does often."""
    repository = S3BucketRepository(client, bucket, "in/", ".bin")
    await repository.validate()
    for value in (b"", b"value", bytes(PART + 1)):
        await repository.write_bytes("job", value)
        assert await repository.read_bytes("job") == value
    assert await repository.read_range("job", 1, 3) == bytes(3)
    assert await repository.keys() == {"job"}
    assert [await repository.contains(job) for job in ("job", "other")] == [True, False]
    with pytest.raises(JobNotFound):
        await repository.read_bytes("other")
    await repository.delete("job")
    assert await repository.keys() == set()
    values = YamlMetadataS3Repository(client, bucket, "meta/")
    assert [await values.claim("job", {}), await values.claim("job", {})] == [True, False]


@pytest.fixture
def make(s3_server: S3Server) -> Iterator[Callable[..., Any]]:
    """Makes clients of ministack."""
    made = []

    def client(endpoint: str | None = None, **config: Any) -> Any:
        made.append(s3_server.client(endpoint, **config))
        return made[-1]

    yield client
    for each in made:
        s3_lean.release(each)
        each.close()


@pytest.mark.parametrize("which", ["s3", "swift"])
async def test_frequent_calls_go_past_the_client(request: pytest.FixtureRequest, which: str) -> None:
    client, bucket = request.getfixturevalue(f"{which}_client"), request.getfixturevalue(f"{which}_bucket")
    repository = S3BucketRepository(client, bucket)
    await repository.validate()
    assert goes_past(client, bucket)
    await repository.write_bytes("job", b"x")
    assert await repository.keys() == {"job"}


@pytest.mark.parametrize("which", ["s3", "swift"])
async def test_names_of_all_kinds_are_signed_rightly(request: pytest.FixtureRequest, which: str) -> None:
    client, bucket = request.getfixturevalue(f"{which}_client"), request.getfixturevalue(f"{which}_bucket")
    for number, prefix in enumerate(
        ("a b/", "~!*'()/", "@:;,?#[]$=&+%25/", "\u00e9\u4e2d\U0001f600/", "a//b/", "./x/../")
    ):
        repository = S3BucketRepository(client, bucket, prefix, f" {number}\u00df.b+n")
        await repository.write_bytes("job", prefix.encode())
        assert await repository.read_bytes("job") == prefix.encode()
        assert await repository.contains("job")
        assert await repository.keys() == {"job"}
        found = client.get_object(Bucket=bucket, Key=f"{prefix}job {number}\u00df.b+n")
        assert found["Body"].read() == prefix.encode()
        await repository.delete("job")
        assert not await repository.contains("job")
    assert goes_past(client, bucket)


async def test_it_can_be_switched_off(
    make: Callable[..., Any], s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PDT_S3_LEAN", "0")
    client = make()
    await use(client, s3_bucket)
    assert not goes_past(client, s3_bucket)


async def test_somebody_who_watches_the_client_sees_everything(make: Callable[..., Any], s3_bucket: str) -> None:
    client, seen = make(), []
    repository = S3BucketRepository(client, s3_bucket)
    await repository.validate()
    await repository.write_bytes("before", b"x")
    client.meta.events.register("before-send.s3", lambda request, **_: seen.append(request.method))
    await repository.write_bytes("after", b"x")
    await repository.read_bytes("after")
    assert seen == ["PUT", "GET"]
    await use(client, s3_bucket)


@pytest.mark.parametrize(
    "config",
    [
        {"signature_version": "s3"},
        {"retries": {"mode": "adaptive"}},
        {"proxies": {"http": "http://127.0.0.1:9"}},
    ],
    ids=["signature", "adaptive", "proxy"],
)
async def test_what_is_not_known_is_left_to_the_client(
    make: Callable[..., Any], s3_bucket: str, config: dict[str, Any]
) -> None:
    client = make(**config)
    repository = S3BucketRepository(client, s3_bucket)
    try:
        await repository.keys()
    except BackendError:
        assert "adaptive" not in str(config)
    assert not goes_past(client, s3_bucket)


async def test_a_proxy_of_the_environment_is_left_to_the_client(
    make: Callable[..., Any], s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    client = make(retries={"total_max_attempts": 1})
    with pytest.raises(BackendError, match="the proxy on the way"):
        await S3BucketRepository(client, s3_bucket).keys()
    assert not goes_past(client, s3_bucket)


@pytest.mark.parametrize(
    "config",
    [
        {"retries": {"mode": "legacy"}},
        {"request_checksum_calculation": "when_required", "response_checksum_validation": "when_required"},
        {"s3": {"addressing_style": "path", "payload_signing_enabled": False}},
        {"tcp_keepalive": True, "read_timeout": 5, "user_agent_extra": "books/1.0"},
    ],
    ids=["legacy", "checksums", "unsigned payload", "others"],
)
async def test_settings_of_the_client_count(make: Callable[..., Any], s3_bucket: str, config: dict[str, Any]) -> None:
    client = make(**config)
    await use(client, s3_bucket)
    assert goes_past(client, s3_bucket)


# ---- credentials


def _borrowed(server: S3Server) -> dict[str, Any]:
    import boto3

    sts = boto3.session.Session().client(
        "sts",
        endpoint_url=server.endpoint,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        region_name=server.region,
    )
    try:
        found: dict[str, Any] = sts.get_session_token()["Credentials"]
    finally:
        sts.close()
    return found


async def test_a_session_token_is_sent(s3_server: S3Server, s3_bucket: str) -> None:
    import boto3

    borrowed = _borrowed(s3_server)
    client = boto3.session.Session().client(
        "s3",
        endpoint_url=s3_server.endpoint,
        aws_access_key_id=borrowed["AccessKeyId"],
        aws_secret_access_key=borrowed["SecretAccessKey"],
        aws_session_token=borrowed["SessionToken"],
        region_name=s3_server.region,
    )
    try:
        await use(client, s3_bucket)
        assert goes_past(client, s3_bucket)
    finally:
        s3_lean.release(client)
        client.close()


async def test_credentials_that_expire_are_fetched_anew(s3_server: S3Server, s3_bucket: str) -> None:
    import boto3
    import botocore.session
    from botocore.credentials import RefreshableCredentials

    fetched = 0
    lifetime = timedelta(hours=1)

    def fetch() -> dict[str, str]:
        nonlocal fetched
        fetched += 1
        borrowed = _borrowed(s3_server)
        return {
            "access_key": borrowed["AccessKeyId"],
            "secret_key": borrowed["SecretAccessKey"],
            "token": borrowed["SessionToken"],
            "expiry_time": (datetime.now(tz=UTC) + lifetime).isoformat(),
        }

    session = botocore.session.get_session()
    credentials = RefreshableCredentials.create_from_metadata(fetch(), fetch, "a test")
    session._credentials = credentials
    client = boto3.session.Session(botocore_session=session, region_name=s3_server.region).client(
        "s3", endpoint_url=s3_server.endpoint
    )
    try:
        repository = S3BucketRepository(client, s3_bucket)
        await repository.validate()
        assert goes_past(client, s3_bucket)
        await repository.write_bytes("job", b"x")
        assert fetched == 1
        # Soon: each look at them fetches new ones, while these still hold.
        lifetime = timedelta(seconds=60)
        credentials._expiry_time = datetime.now(tz=UTC) + lifetime
        assert await repository.read_bytes("job") == b"x"
        assert fetched > 1
    finally:
        s3_lean.release(client)
        client.close()


# ---- TLS


@pytest.fixture(scope="module")
def tls_server() -> Iterator[tuple[S3Server, str]]:
    """A ministack that speaks HTTPS, and the file with the certificate to trust."""
    with data_directory() as directory:
        certificate = self_signed(directory)
        with ministack(certificate) as server:
            yield server, str(certificate.path)


async def test_a_certificate_is_checked_as_the_client_checks_it(tls_server: tuple[S3Server, str]) -> None:
    import boto3

    server, trusted = tls_server

    def client(verify: Any) -> Any:
        from botocore.config import Config

        return boto3.session.Session().client(
            "s3",
            endpoint_url=server.endpoint,
            aws_access_key_id=server.access_key,
            aws_secret_access_key=server.secret_key,
            region_name=server.region,
            verify=verify,
            config=Config(retries={"total_max_attempts": 1}),
        )

    good, bad = client(trusted), client(True)
    try:
        with fresh_bucket(good) as bucket:
            await use(good, bucket)
            assert goes_past(good, bucket)
            repository = S3BucketRepository(bad, bucket)
            with pytest.raises(BackendError, match=r"the certificate of .* was not accepted"):
                await repository.keys()
            # The same on the way past the client: what it has learned must not weaken the check.
            s3_lean._state_of(bad).places[bucket] = s3_lean._states[good].places[bucket]
            pool = s3_lean._state_of(bad).pool(bad, "https", "127.0.0.1", server.port)
            with pytest.raises(Exception, match="CERTIFICATE_VERIFY_FAILED"):
                pool.exchange(b"GET / HTTP/1.1\r\n\r\n")
    finally:
        for each in (good, bad):
            s3_lean.release(each)
            each.close()


# ---- connections


@pytest.fixture
def proxy(s3_server: S3Server, proxy_to: Callable[[int], Proxy]) -> Proxy:
    return proxy_to(s3_server.port)


@pytest.fixture
async def blobs(make: Callable[..., Any], proxy: Proxy, s3_bucket: str) -> S3BucketRepository:
    """A repository whose frequent calls go past the client already."""
    client = make(proxy.endpoint, read_timeout=2, retries={"mode": "standard", "total_max_attempts": 2})
    repository = S3BucketRepository(client, s3_bucket, "in/")
    await repository.validate()
    assert goes_past(client, s3_bucket)
    return repository


async def test_connections_are_used_again(blobs: S3BucketRepository, proxy: Proxy) -> None:
    await blobs.write_bytes("job", b"x")
    before = proxy.connections
    for _ in range(10):
        await blobs.read_bytes("job")
    assert proxy.connections == before


async def test_connections_that_were_closed_meanwhile_are_not(blobs: S3BucketRepository, proxy: Proxy) -> None:
    await blobs.write_bytes("job", b"x")
    for _ in range(3):
        proxy.cut()
        assert await blobs.read_bytes("job") == b"x"


def answer(head: str, body: bytes) -> Fault:
    return Fault("answer", data=head.replace("\n", "\r\n").encode() + b"\r\n\r\n" + body)


@pytest.mark.parametrize(
    "fault",
    [
        answer('HTTP/1.1 100 Continue\n\nHTTP/1.1 200 OK\nETag: "x"\nContent-Length: 5', b"VALUE"),
        answer('HTTP/1.0 200 OK\nETag: "x"\nContent-Length: 5', b"VALUE"),
        answer('HTTP/1.1 200\netag:"x"\ncontent-length:5\nX-Long: ' + "x" * 100_000, b"VALUE"),
    ],
    ids=["continue", "1.0", "long head"],
)
async def test_answers_of_all_forms_are_read(blobs: S3BucketRepository, proxy: Proxy, fault: Fault) -> None:
    await blobs.write_bytes("job", b"value")
    proxy.inject(fault, matching=rb"^GET ")
    assert [await blobs.read_bytes("job") for _ in range(2)] == [b"VALUE", b"value"]


async def test_an_answer_in_chunks_is_put_together(blobs: S3BucketRepository, proxy: Proxy) -> None:
    body = b"<ListBucketResult><Contents><Key>in/job</Key></Contents></ListBucketResult>"
    chunks = b"".join(b"%x;a=b\r\n%b\r\n" % (len(part), part) for part in (body[:1], body[1:20], body[20:]))
    proxy.inject(
        answer("HTTP/1.1 200 OK\nTransfer-Encoding: chunked", chunks + b"0\r\nT: x\r\n\r\n"), matching=rb"^GET "
    )
    assert [await blobs.keys(), await blobs.keys()] == [{"job"}, set()]


async def test_an_answer_may_end_with_its_connection(blobs: S3BucketRepository, proxy: Proxy) -> None:
    body = b"<ListBucketResult><Contents><Key>in/job</Key></Contents></ListBucketResult>"
    proxy.inject(answer("HTTP/1.1 200 OK", body), matching=rb"^GET ")
    assert [await blobs.keys(), await blobs.keys()] == [{"job"}, set()]


@pytest.mark.parametrize(
    "data",
    [b"SSH-2.0-OpenSSH_9.2\r\n\r\n", b"HTTP/1.1 xyz\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\n", b""],
)
async def test_what_is_no_http_is_told(blobs: S3BucketRepository, proxy: Proxy, data: bytes) -> None:
    proxy.inject(Fault("answer", data=data), matching=rb"^GET ", times=2)
    with pytest.raises(BackendError, match=r"the connection to .* broke"):
        await blobs.keys()
    assert proxy.faults == 2


async def test_a_value_with_another_checksum_is_not_given(blobs: S3BucketRepository, proxy: Proxy) -> None:
    proxy.inject(
        Fault("answer", data=response("200 OK", "value", ETag='"x"', x_amz_checksum_crc32="AAAAAA==")),
        matching=rb"^GET ",
    )
    with pytest.raises(BackendError, match="with another checksum than it was stored with"):
        await blobs.read_bytes("job")


# ---- the first part of a value


def put_in_parts(repository: S3BucketRepository, job: str, value: bytes, part: int) -> None:
    """Store a value in parts of some size."""
    client, place = repository.client, {"Bucket": repository.bucket, "Key": repository.object_name(job)}
    upload = client.create_multipart_upload(**place)["UploadId"]
    parts = []
    for number, start in enumerate(range(0, len(value), part), 1):
        body = value[start : start + part]
        made = client.upload_part(**place, UploadId=upload, PartNumber=number, Body=body)
        parts.append({"PartNumber": number, "ETag": made["ETag"]})
    client.complete_multipart_upload(**place, UploadId=upload, MultipartUpload={"Parts": parts})


@pytest.mark.parametrize("size", [5 * MIB, 5 * MIB + 1, 12 * MIB, LONG + 1, LONG + PART + 1])
@pytest.mark.parametrize("part", [5 * MIB, PART, 3 * PART])
async def test_a_value_is_read_whatever_its_parts(
    blobs: S3BucketRepository, proxy: Proxy, size: int, part: int
) -> None:
    value = random.Random(size).randbytes(size)
    put_in_parts(blobs, "job", value, part)
    before = proxy.exchanges
    assert await blobs.read_bytes("job") == value
    if size <= LONG:
        assert proxy.exchanges - before == (1 if size <= part else 2), "the first part, and the rest if there is one"
    async with await blobs.open("job", "rb") as reader:
        pieces = []
        while piece := await reader.read(3 * MIB + 7):
            pieces.append(piece)
    assert b"".join(pieces) == value
    proxy.inject(Fault("reset", after=3 * MIB), matching=rb"^GET .*partNumber=1")
    assert await blobs.read_bytes("job") == value
    assert proxy.faults == 1


@pytest.mark.parametrize(
    ("first", "asks_again"),
    [
        (response("400 Bad Request", "<Error><Code>InvalidArgument</Code></Error>"), False),
        (response("405 Method Not Allowed", ""), False),
        (response("416 Range Not Satisfiable", "<Error><Code>InvalidPartNumber</Code></Error>"), True),
        (response("501 Not Implemented", "<Error><Code>NotImplemented</Code></Error>"), False),
        (response("200 OK", "val", ETag='"0123-2"'), False),
        (response("200 OK", "val"), False),
        (response("206 Partial Content", "", ETag='"x"', Content_Range="bytes 0--1/0"), False),
        (response("206 Partial Content", "val", ETag='"x"', Content_Range="bytes 0-2/*"), False),
    ],
    ids=["400", "405", "416", "501", "200, in parts", "200, no ETag", "206, nothing", "206, of unknown length"],
)
async def test_a_server_that_does_not_know_parts_is_asked_for_all(
    blobs: S3BucketRepository, proxy: Proxy, first: bytes, asks_again: bool
) -> None:
    await blobs.write_bytes("job", b"value")
    proxy.inject(Fault("answer", data=first), matching=rb"^GET .*partNumber=1", times=2)
    assert [await blobs.read_bytes("job") for _ in range(2)] == [b"value", b"value"]
    assert proxy.faults == (2 if asks_again else 1)


async def test_a_bucket_that_has_moved_is_found_by_the_client(blobs: S3BucketRepository, proxy: Proxy) -> None:
    await blobs.write_bytes("job", b"value")
    body = "<Error><Code>PermanentRedirect</Code><Message>elsewhere</Message></Error>"
    proxy.inject(Fault("answer", data=response("301 Moved", body)), matching=rb"^GET ")
    assert await blobs.read_bytes("job") == b"value"
    assert proxy.faults == 1


async def test_a_budget_for_other_attempts_is_filled_again(blobs: S3BucketRepository, proxy: Proxy) -> None:
    body = "<Error><Code>InternalError</Code></Error>"
    await blobs.write_bytes("job", b"value")
    for _ in range(3):
        proxy.inject(Fault("answer", data=response("500 Oh", body)), matching=rb"^GET ")
        assert await blobs.read_bytes("job") == b"value"
    client = blobs.client
    quota = next(
        handler.__self__._quota
        for handler in client.meta.events._emitter._handlers.prefix_search("after-call.s3.GetObject")
        if hasattr(getattr(handler, "__self__", None), "_quota")
    )
    for _ in range(60):
        await blobs.read_bytes("job")
    assert quota.available_capacity == quota.INITIAL_CAPACITY


async def test_a_client_that_nobody_uses_any_more_goes_away(s3_server: S3Server, s3_bucket: str) -> None:
    client = s3_server.client()
    repository = S3BucketRepository(client, s3_bucket)
    await repository.validate()
    await asyncio.gather(*(repository.write_bytes(f"job-{number}", b"x") for number in range(4)))
    (pool,) = s3_lean._states[client]._pools.values()
    assert pool._idle
    client.close()
    gone = weakref.ref(client)
    del client, repository
    gc.collect()
    # The last to let go of it may be one of its threads.
    until(lambda: gone() is None and not pool._idle, "the client to go away")


# ---- listings


FORMS: dict[str, Listing | None] = {
    "": Listing([], None, None),
    "<Contents><Key>a</Key></Contents><Contents><Key>b</Key></Contents>": Listing(["a", "b"], "b", None),
    "<Contents><Key>a%20%2B+b</Key></Contents><EncodingType>url</EncodingType>"
    "<CommonPrefixes><Prefix>b%2F</Prefix></CommonPrefixes>": Listing(["a + b"], "b/", None),
    "<Contents><Key>a%20&amp;&lt;</Key></Contents>": Listing(["a%20&<"], "a%20&<", None),
    "<Contents><Key><![CDATA[a<b]]></Key></Contents>": Listing(["a<b"], "a<b", None),
    "<Contents><Key>a&#10;b</Key></Contents>": Listing(["a\nb"], "a\nb", None),
    "<Contents><Key>a\nb</Key></Contents>": Listing(["a\nb"], "a\nb", None),
    "<Contents><Key>a</Key></Contents><CommonPrefixes><Prefix>b/</Prefix></CommonPrefixes>"
    "<Contents><Key>c</Key></Contents>": Listing(["a", "c"], "c", None),
    "<IsTruncated>true</IsTruncated><NextContinuationToken>x&amp;y</NextContinuationToken>": Listing([], None, "x&y"),
}


@pytest.mark.parametrize("inside", FORMS)
@pytest.mark.parametrize("namespace", ["", " xmlns='http://s3.amazonaws.com/doc/2006-03-01/'"])
def test_listings_of_all_forms_are_read(inside: str, namespace: str) -> None:
    assert read_listing(f"<ListBucketResult{namespace}>{inside}</ListBucketResult>".encode()) == FORMS[inside]


@pytest.mark.parametrize(
    "body", ["", "text", "<A/>", "<ListBucketResult>", "<Error><Code>InternalError</Code></Error>"]
)
def test_what_is_no_listing_is_not_taken_for_one(body: str) -> None:
    with pytest.raises(ValueError, match="no listing"):
        read_listing(body.encode())
