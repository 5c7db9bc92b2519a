"""Whoever cannot prove to be the server that was asked for is not talked to, unless the pipeline says so."""

from __future__ import annotations

import pytest
from tests.servers.mongo import MongoServer
from tests.servers.registry import RegistryServer

import pdtcli
from pdtcli import InProcessSyncTask, Pipeline, PipelineHandle, Repository, Session
from pdtcli.errors import BackendError


def refusal(session: Session, repository: Repository) -> str:
    """What is said of a repository when it is listed."""
    task = InProcessSyncTask("task", pdtcli.InProcessMetadataRepository(), func=lambda job: None)
    task.link("input", repository, is_input=True)
    with pytest.raises(BackendError) as caught:
        PipelineHandle(Pipeline([task], session), None).repo("task.input").ls()
    return str(caught.value)


def check(said: str, port: int) -> None:
    assert "certificate" in said
    assert str(port) in said
    assert "\n" not in said
    assert len(said) < 400


def test_an_s3_server(registry_tls_server: RegistryServer, monkeypatch: pytest.MonkeyPatch) -> None:
    # What it speaks below TLS does not matter: it does not come to that.
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    session = Session()
    port = int(registry_tls_server.domain.rpartition(":")[2])
    client = session.resource(pdtcli.s3_client(f"https://127.0.0.1:{port}", region_name="us-east-1", max_attempts=1))

    check(refusal(session, pdtcli.S3BucketRepository(client, "bucket")), port)


@pytest.mark.broken_connections
def test_a_mongod(mongo_tls_server: MongoServer) -> None:
    session = Session()
    uri = f"mongodb://127.0.0.1:{mongo_tls_server.port}/?tls=true"
    database = session.resource(pdtcli.mongo_database(uri, "tests", timeout=1))

    check(refusal(session, pdtcli.MongoMetadataRepository(database, "values")), mongo_tls_server.port)


def test_a_registry(registry_tls_server: RegistryServer) -> None:
    session = Session()
    domain = registry_tls_server.domain

    @session.resource
    async def registry():  # type: ignore[no-untyped-def]
        async with pdtcli.Registry(timeout=2) as client:
            yield client

    said = refusal(session, pdtcli.DockerRepository(registry, domain, "team/images"))

    check(said, int(domain.rpartition(":")[2]))
