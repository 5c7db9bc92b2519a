"""The servers that other tests stand on do start, answer, and differ in what they are there for."""

from __future__ import annotations

import ssl
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import pytest
from pymongo.errors import AutoReconnect, OperationFailure
from tests.servers.docker import DockerEngine
from tests.servers.mongo import MongoServer, failing, fresh_database
from tests.servers.proxy import Fault, Proxy, response
from tests.servers.registry import RegistryServer
from tests.servers.s3 import S3Server

# ---- S3


@pytest.mark.parametrize("which", ["s3", "swift"])
def test_an_s3_server_keeps_what_it_is_given(which: str, request: pytest.FixtureRequest) -> None:
    client, bucket = request.getfixturevalue(f"{which}_client"), request.getfixturevalue(f"{which}_bucket")
    client.put_object(Bucket=bucket, Key="a/b.c", Body=b"value")
    assert client.get_object(Bucket=bucket, Key="a/b.c")["Body"].read() == b"value"
    assert [entry["Key"] for entry in client.list_objects_v2(Bucket=bucket)["Contents"]] == ["a/b.c"]


def test_swift_looks_at_the_secret(swift_server: S3Server, swift_bucket: str) -> None:
    client = swift_server.client(secret_key="wrong")
    with pytest.raises(client.exceptions.ClientError, match="SignatureDoesNotMatch"):
        client.list_objects_v2(Bucket=swift_bucket)
    client.close()


def test_one_put_of_many_if_absent_is_granted(s3_client: Any, s3_bucket: str) -> None:
    s3_client.put_object(Bucket=s3_bucket, Key="job", Body=b"first", IfNoneMatch="*")
    with pytest.raises(s3_client.exceptions.ClientError, match="PreconditionFailed"):
        s3_client.put_object(Bucket=s3_bucket, Key="job", Body=b"second", IfNoneMatch="*")


# ---- MongoDB


async def test_mongo_keeps_what_it_is_given(mongo_database: Any) -> None:
    await mongo_database.jobs.insert_one({"_id": "job", "value": 1})
    assert await mongo_database.jobs.find_one("job") == {"_id": "job", "value": 1}


async def test_mongo_fails_as_it_is_told(mongo_database: Any) -> None:
    async with failing(mongo_database.client, ["insert"], errorCode=13):
        with pytest.raises(OperationFailure) as caught:
            await mongo_database.jobs.insert_one({"_id": "job"})
    await mongo_database.jobs.insert_one({"_id": "job"})
    assert caught.value.code == 13


async def test_a_replica_set_asks_for_a_password_and_has_transactions(mongo_replica_database: Any) -> None:
    async with mongo_replica_database.client.start_session() as session:
        async with await session.start_transaction():
            await mongo_replica_database.jobs.insert_one({"_id": "job"}, session=session)
    assert await mongo_replica_database.jobs.count_documents({}) == 1


@pytest.mark.broken_connections
async def test_mongo_with_tls_speaks_nothing_else(mongo_tls_server: MongoServer) -> None:
    from pymongo import AsyncMongoClient

    async with fresh_database(mongo_tls_server) as database:
        await database.command("ping")
    client: AsyncMongoClient[dict[str, Any]]
    uri = f"mongodb://127.0.0.1:{mongo_tls_server.port}/"
    async with AsyncMongoClient(uri, serverSelectionTimeoutMS=200) as client:
        with pytest.raises(AutoReconnect):
            await client.admin.command("ping")


# ---- registries


def get(url: str, **how: Any) -> int:
    headers = how.pop("headers", {})
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), **how) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


@pytest.mark.parametrize("which", ["registry_server", "registry_other_server", "registry_keep_server"])
def test_a_registry_answers(which: str, request: pytest.FixtureRequest) -> None:
    server: RegistryServer = request.getfixturevalue(which)
    assert get(f"{server.url}/v2/") == 200


def test_a_registry_asks_for_a_password(registry_auth_server: RegistryServer) -> None:
    url = f"{registry_auth_server.url}/v2/"
    basic = b64encode(f"{registry_auth_server.user}:{registry_auth_server.password}".encode()).decode()
    assert (get(url), get(url, headers={"Authorization": f"Basic {basic}"})) == (401, 200)


def test_a_registry_asks_for_a_token(registry_token_server: RegistryServer) -> None:
    import json
    import re

    url = f"{registry_token_server.url}/v2/things/tags/list"
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(url)
    with caught.value:
        challenge = dict(re.findall(r'(\w+)="([^"]*)"', caught.value.headers["WWW-Authenticate"]))
    query = urllib.parse.urlencode({"service": challenge["service"], "scope": challenge["scope"]})
    basic = b64encode(f"{registry_token_server.user}:{registry_token_server.password}".encode()).decode()
    asking = urllib.request.Request(f"{challenge['realm']}?{query}", headers={"Authorization": f"Basic {basic}"})
    with urllib.request.urlopen(asking) as answer:
        token = json.load(answer)["token"]
    assert get(url, headers={"Authorization": f"Bearer {token}"}) == 404  # let in, and nothing is there


def test_a_registry_speaks_tls(registry_tls_server: RegistryServer) -> None:
    assert registry_tls_server.certificate is not None
    context = ssl.create_default_context(cafile=str(registry_tls_server.certificate.path))
    assert get(f"{registry_tls_server.url}/v2/", context=context) == 200


def test_the_engine_answers(docker_engine: DockerEngine) -> None:
    client = docker_engine.client()
    image = docker_engine.small_image(client, "small", "job")
    assert image in [each.id for each in client.images.list()]
    client.close()


# ---- the proxy


@pytest.fixture
def through(s3_server: S3Server, proxy_to: Callable[[int], Proxy]) -> Proxy:
    return proxy_to(s3_server.port)


@pytest.fixture
def client(s3_server: S3Server, through: Proxy) -> Any:
    client = s3_server.client(through.endpoint, retries={"total_max_attempts": 1}, read_timeout=5)
    yield client
    client.close()


def test_the_proxy_lets_through(client: Any, through: Proxy, s3_bucket: str) -> None:
    value = bytes(range(256)) * 4096
    client.put_object(Bucket=s3_bucket, Key="job", Body=value)
    assert client.get_object(Bucket=s3_bucket, Key="job")["Body"].read() == value
    assert (through.exchanges, through.faults) == (2, 0)


def test_the_proxy_cuts_in_the_middle_of_an_answer(client: Any, through: Proxy, s3_bucket: str) -> None:
    from botocore.exceptions import IncompleteReadError, ResponseStreamingError

    client.put_object(Bucket=s3_bucket, Key="job", Body=b"x" * 1_000_000)
    for kind in ("reset", "close"):
        through.inject(Fault(kind, after=500_000), matching=b"^GET ")
        with pytest.raises((IncompleteReadError, ResponseStreamingError)):
            client.get_object(Bucket=s3_bucket, Key="job")["Body"].read()
    assert len(client.get_object(Bucket=s3_bucket, Key="job")["Body"].read()) == 1_000_000


def test_the_proxy_cuts_in_the_middle_of_a_request(client: Any, s3_client: Any, through: Proxy, s3_bucket: str) -> None:
    from botocore.exceptions import BotoCoreError

    through.inject(Fault("reset", after=500_000, of="request"), matching=b"^PUT ")
    with pytest.raises(BotoCoreError):
        client.put_object(Bucket=s3_bucket, Key="job", Body=b"x" * 1_000_000)
    assert s3_client.list_objects_v2(Bucket=s3_bucket)["KeyCount"] == 0


def test_the_proxy_answers_itself(client: Any, through: Proxy, s3_bucket: str) -> None:
    error = response("503 Slow Down", "<Error><Code>SlowDown</Code></Error>")
    through.inject(Fault("answer", data=error), times=2, matching=b"^PUT ")
    for _ in range(2):
        with pytest.raises(client.exceptions.ClientError, match="SlowDown"):
            client.put_object(Bucket=s3_bucket, Key="job", Body=b"x" * 1_000_000)
    client.put_object(Bucket=s3_bucket, Key="job", Body=b"x")


def test_the_proxy_falls_silent(s3_server: S3Server, through: Proxy, s3_bucket: str) -> None:
    from botocore.exceptions import ReadTimeoutError

    client = s3_server.client(through.endpoint, retries={"total_max_attempts": 1}, read_timeout=0.2)
    through.inject(Fault("hang"))
    with pytest.raises(ReadTimeoutError):
        client.list_objects_v2(Bucket=s3_bucket)
    through.inject(Fault("delay", seconds=0.01))
    client.list_objects_v2(Bucket=s3_bucket)
    client.close()


def test_the_proxy_refuses_until_it_is_up_again(client: Any, through: Proxy, s3_bucket: str) -> None:
    from botocore.exceptions import EndpointConnectionError

    through.down()
    with pytest.raises(EndpointConnectionError):
        client.list_objects_v2(Bucket=s3_bucket)
    through.up()
    client.list_objects_v2(Bucket=s3_bucket)
