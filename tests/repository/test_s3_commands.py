"""Buckets on the command line: real processes, and servers that are killed or hang while they are asked."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest
from tests.cli.harness import Pdt
from tests.servers.s3 import S3Server, ministack

from pdtcli import S3BucketRepository, Session, s3_client

MIB = 1024 * 1024

PIPELINE = """
import pdtcli

session = pdtcli.Session()
s3 = session.resource(pdtcli.s3_client(connect_timeout=1, read_timeout=1, max_attempts=2, connections=4))
task = pdtcli.InProcessSyncTask("count", pdtcli.YamlMetadataS3Repository(s3, "books", "done/", create=False))
task.link("text", pdtcli.S3BucketRepository(s3, "books", "texts/", create=False), is_input=True)


@task
async def _(job, text):
    pass


pipeline = pdtcli.Pipeline([task], session)
"""


@pytest.fixture
def server() -> Iterator[S3Server]:
    """A server that may be hurt."""
    with ministack() as server:
        client = server.client()
        client.create_bucket(Bucket="books")
        client.close()
        yield server
        server.process.thaw() if server.process.is_running else None


@pytest.fixture
def pdt(tmp_path: Path, server: S3Server) -> Pdt:
    """`pdt` where a pipeline has its data on the server."""
    made = Pdt(tmp_path)
    made.env |= server.environ
    made.write("pipeline.py", PIPELINE)
    return made


@contextmanager
def started(pdt: Pdt, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A command that is talked to while it runs."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [*pdt.command, *arguments], cwd=pdt.directory, env=pdt.env, stdin=pipe, stdout=pipe, stderr=pipe
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def gave_up(process: subprocess.Popen[bytes]) -> None:
    """It ended with one sentence and the code for a backend that cannot be reached."""
    _, errors = process.communicate(timeout=60)
    text = errors.decode()
    assert (process.returncode, text.count("\n")) == (5, 1), text
    assert "127.0.0.1" in text


async def store(server: S3Server, job: str, value: bytes) -> None:
    client = server.client()
    try:
        await S3BucketRepository(client, "books", "texts/").write_bytes(job, value)
    finally:
        client.close()


def hurt(server: S3Server, how: str) -> None:
    (server.process.kill if how == "killed" else server.process.freeze)()


HOW = pytest.mark.parametrize("how", ["killed", "hung"])


@HOW
def test_a_listing_from_a_server_that_is_no_more_ends_in_time(pdt: Pdt, server: S3Server, how: str) -> None:
    hurt(server, how)
    with started(pdt, "repo", "ls", "count.text") as process:
        gave_up(process)


@HOW
def test_a_value_that_breaks_off_half_way_ends_in_time(pdt: Pdt, server: S3Server, how: str) -> None:
    asyncio.run(store(server, "long", bytes(64 * MIB)))
    with started(pdt, "repo", "cat", "count.text", "long") as process:
        assert process.stdout is not None
        assert len(process.stdout.read(MIB)) == MIB
        hurt(server, how)
        gave_up(process)


@HOW
def test_a_value_that_is_half_stored_when_the_server_goes_is_none(pdt: Pdt, server: S3Server, how: str) -> None:
    with started(pdt, "repo", "put", "count.text", "long") as process:
        assert process.stdin is not None
        _feed(process.stdin, 10)
        client = server.client()
        try:
            while not client.list_multipart_uploads(Bucket="books").get("Uploads"):
                pass  # it has begun to send when this ends
        finally:
            client.close()
        hurt(server, how)
        try:
            _feed(process.stdin, 100)
        except BrokenPipeError:
            pass  # it noticed before it had all
        gave_up(process)
    if how == "hung":
        server.process.thaw()
        assert pdt("repo", "ls", "count.text").out == ""


def _feed(stdin: IO[bytes], count: int) -> None:
    for _ in range(count):
        stdin.write(bytes(MIB))
        stdin.flush()


@HOW
def test_a_tick_without_its_server_ends_in_time(pdt: Pdt, server: S3Server, how: str) -> None:
    hurt(server, how)
    with started(pdt, "tick") as process:
        gave_up(process)


CLAIM = """
import asyncio, sys
import pdtcli

session = pdtcli.Session()
s3 = session.resource(pdtcli.s3_client())
live = pdtcli.YamlMetadataS3Repository(s3, sys.argv[1], "pids/")


async def main():
    async with session:
        await live.claim("warm-up-" + sys.argv[2], {})
        print("ready", flush=True)
        sys.stdin.readline()
        jobs = [f"job-{number}" for number in range(30)]
        for job, won in zip(jobs, await asyncio.gather(*(live.claim(job, {"by": sys.argv[2]}) for job in jobs))):
            if won:
                print(job)


asyncio.run(main())
"""


async def test_of_processes_that_race_for_claims_one_wins_each(s3_server: S3Server, s3_bucket: str) -> None:
    pipe = subprocess.PIPE
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", CLAIM, s3_bucket, str(number)],
            env={**os.environ, **s3_server.environ},
            stdin=pipe,
            stdout=pipe,
            text=True,
        )
        for number in range(4)
    ]
    try:
        for racer in racers:
            assert racer.stdout is not None
            assert racer.stdout.readline() == "ready\n"
        for racer in racers:  # all wait at the line
            assert racer.stdin is not None
            racer.stdin.write("go\n")
            racer.stdin.flush()
        won = [racer.communicate(timeout=60)[0].split() for racer in racers]
    finally:
        for racer in racers:
            racer.kill()
            racer.communicate()
    assert sorted(job for jobs in won for job in jobs) == sorted(f"job-{number}" for number in range(30))


# ---- long values in bounded memory


@pytest.mark.parametrize("which", ["s3", "swift"])
async def test_200_mib_go_up_and_down_in_a_fraction_of_the_memory(
    request: pytest.FixtureRequest, which: str, tmp_path: Path
) -> None:
    server, bucket = request.getfixturevalue(f"{which}_server"), request.getfixturevalue(f"{which}_bucket")
    done = subprocess.run(
        [sys.executable, "-c", LONG, bucket],
        env={**os.environ, **server.environ},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    sent, received, grown = done.stdout.split()
    assert sent == received
    assert int(grown) < 100 * MIB  # 40 MiB up, as much down, and what the libraries take


LONG = """
import asyncio, hashlib, resource, sys
import pdtcli

session = pdtcli.Session()
s3 = session.resource(pdtcli.s3_client(s3={"addressing_style": "path"}))
values = pdtcli.S3BucketRepository(s3, sys.argv[1], "long/")


async def main():
    async with session:
        await values.validate()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        sent, received = hashlib.sha256(), hashlib.sha256()
        async with await values.open("job", "wb") as writer:
            for number in range(200):
                piece = number.to_bytes(4) * (256 * 1024)
                sent.update(piece)
                await writer.write(piece)
        async with await values.open("job", "rb") as reader:
            while piece := await reader.read(1024 * 1024):
                received.update(piece)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        print(sent.hexdigest(), received.hexdigest(), 1024 * grown)


asyncio.run(main())
"""


# ---- what is imported


def test_a_pipeline_without_buckets_imports_nothing_of_them(tmp_path: Path) -> None:
    pdt = Pdt(tmp_path)
    pdt.write(
        "pipeline.py",
        """
        import pdtcli

        task = pdtcli.InProcessSyncTask("count", pdtcli.YamlMetadataFileRepository("done"))
        task.link("text", pdtcli.FileRepository("texts"), is_input=True)

        @task
        async def _(job, text):
            pass

        pipeline = pdtcli.Pipeline([task], pdtcli.Session())
        """,
    )
    pdt.write("texts/emma", "handsome clever and rich")
    program = (
        "import atexit, sys\n"
        "atexit.register(lambda: print('\\n'.join(sys.modules), file=sys.stderr))\n"
        "sys.argv[:] = ['pdt', 'run']\n"
        "from pdtcli.cli.app import entry\n"
        "entry()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=pdt.directory, env=pdt.env, capture_output=True, text=True, check=True
    )
    modules = {name.partition(".")[0] for name in done.stderr.split()}
    assert "pdtcli" in modules
    assert not modules & {"boto3", "botocore", "urllib3", "s3transfer"}
    assert (pdt.directory / "done" / "emma.yaml").exists()


async def test_a_session_closes_what_it_opened(s3_server: S3Server, s3_bucket: str) -> None:
    from pdtcli.repository import s3_lean

    session = Session()
    client = session.resource(
        s3_client(
            s3_server.endpoint,
            aws_access_key_id=s3_server.access_key,
            aws_secret_access_key=s3_server.secret_key,
            region_name=s3_server.region,
        )
    )
    async with session:
        repository = S3BucketRepository(client, s3_bucket)
        await repository.validate()
        await repository.write_bytes("job", b"x")
        (pool,) = s3_lean._states[client()]._pools.values()
        assert pool._idle
    assert not pool._idle
