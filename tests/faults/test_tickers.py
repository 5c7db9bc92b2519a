"""Many tickers work on one pipeline at once, on this host and on others, and are killed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.faults.tickers import Field, Ticker, can_unshare
from tests.processes import until
from tests.servers.mongo import MongoServer
from tests.servers.s3 import S3Server

from pdtcli import open_pipeline

FULL = os.environ.get("PDT_FAULTS") == "full"
PATIENCE = 3600 if FULL else 100
ALL = int(os.environ.get("PDT_FAULTS_JOBS", "2000"))
"""How many jobs there are in the full run."""

QUOTA = 8 if FULL else 4

pytestmark = pytest.mark.timeout(PATIENCE + 100)

HERE = [Ticker("a"), Ticker("b")]
"""Two on this host, with state directories of their own, as two users have them."""

ELSEWHERE = [Ticker("a", namespace=True), Ticker("c", namespace=True, name="elsewhere")]
"""A container with the name and the state directory of this host, and another host."""


def tickers() -> list[Ticker]:
    some = [*HERE, *(ELSEWHERE if can_unshare() else HERE)]
    return [*HERE, *HERE, *some] if FULL else some


def work(field: Field, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the tickers finish all jobs, and look at what they left."""
    for name, value in {**field.environ, "QUOTA": str(field.quota)}.items():
        monkeypatch.setenv(name, value)

    with open_pipeline(field.spec) as pipeline:

        def finished() -> bool:
            row = pipeline.status()[0]
            return row.done + row.failed == field.jobs and row.live == 0

        with field.tickers(*tickers()) as running:
            until(finished, "all jobs to be finished", PATIENCE)

        assert field.complaints() == []
        assert [process.returncode for process in running] == [0] * len(running)
        assert field.violations() == []
        assert {job for _, job, _ in field.history()} == field.names
        assert pipeline.repo("work.done").ls() == field.names
        assert pipeline.repo("work.failed").ls() == pipeline.repo("work.pids").ls() == set()
    outputs = {path.name: path.read_text() for path in (field.directory / "output").iterdir()}
    assert outputs == {name: f"{name}\n" for name in field.names}
    assert field.litter() == []


def test_on_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work(Field(tmp_path, ALL if FULL else 60, QUOTA), monkeypatch)


def test_on_s3(tmp_path: Path, s3_server: S3Server, s3_bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    environ = {"STORE": "s3", "BUCKET": s3_bucket, **s3_server.environ}
    work(Field(tmp_path, ALL if FULL else 12, QUOTA, environ), monkeypatch)


def test_on_mongo(tmp_path: Path, mongo_server: MongoServer, monkeypatch: pytest.MonkeyPatch) -> None:
    environ = {"STORE": "mongo", "MONGO_URI": mongo_server.uri, "DATABASE": f"tickers-{tmp_path.name}"}
    work(Field(tmp_path, ALL if FULL else 24, QUOTA, environ), monkeypatch)
