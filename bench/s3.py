"""S3 repositories against a bare boto3 loop on the same server, side by side.

    .venv/bin/python bench/s3.py [--keys N] [--size MIB] [--endpoint URL]

Puts, lists and gets N small values (default 2,000), moves one long value (default 256 MiB) up and down, and prints the
rates of both and the most memory that this process had. Without --endpoint it starts ministack, as the tests do; with
it, boto3's own configuration says who is asking. Exits with 1 when a rate is below 0.8 of boto3's.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import sys
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from pdtcli import S3BucketRepository, Session, s3_client

WORST = 0.8
MIB = 1024 * 1024


async def rate(what: str, count: float, ours: Callable[[], Awaitable[Any]], theirs: Callable[[], Any]) -> float:
    """Run both, print how many a second each does, and give the ratio."""
    began = time.perf_counter()
    theirs()
    bare = count / (time.perf_counter() - began)
    began = time.perf_counter()
    await ours()
    own = count / (time.perf_counter() - began)
    print(f"{what:12} boto3 {bare:9.0f}/s   pdt {own:9.0f}/s   ratio {own / bare:5.2f}", flush=True)
    return own / bare


async def measure_small(client: Any, bucket: str, keys: int) -> list[float]:
    """Many small values, one after the other and several at once."""
    repository = S3BucketRepository(client, bucket, "own/")
    names = [f"job-{number:07}" for number in range(keys)]
    value = b"x" * 100

    async def put() -> None:
        for name in names:
            await repository.write_bytes(name, value)

    async def get() -> None:
        for name in names:
            await repository.read_bytes(name)

    async def many(work: Callable[[str], Awaitable[Any]]) -> None:
        todo = iter(names)

        async def worker() -> None:
            for name in todo:
                await work(name)

        await asyncio.gather(*(worker() for _ in range(16)))

    def bare_put() -> None:
        for name in names:
            client.put_object(Bucket=bucket, Key=f"bare/{name}", Body=value)

    def bare_get() -> None:
        for name in names:
            client.get_object(Bucket=bucket, Key=f"bare/{name}")["Body"].read()

    def bare_list() -> None:
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="bare/")
        assert sum(len(page["Contents"]) for page in pages) == keys

    async def listing() -> None:
        assert len(await repository.keys()) == keys

    def bare_delete() -> None:
        for start in range(0, keys, 1000):
            objects = [{"Key": f"bare/{name}"} for name in names[start : start + 1000]]
            client.delete_objects(Bucket=bucket, Delete={"Objects": objects, "Quiet": True})

    return [
        await rate("put", keys, put, bare_put),
        await rate("put, 16", keys, lambda: many(lambda name: repository.write_bytes(name, value)), bare_put),
        await rate("list", keys, listing, bare_list),
        await rate("get", keys, get, bare_get),
        await rate("get, 16", keys, lambda: many(repository.read_bytes), bare_get),
        await rate("delete", keys, lambda: repository.delete_many(names), bare_delete),
    ]


async def measure_long(client: Any, bucket: str, size: int) -> list[float]:
    """One long value, in MiB a second; boto3's own managed transfer is the peer."""
    repository = S3BucketRepository(client, bucket, "own/")
    chunk = os.urandom(MIB)

    class Source:
        """A file of `size` MiB that takes no room."""

        left = size * MIB

        def read(self, n: int = -1) -> bytes:
            n = min(self.left, n if n >= 0 else self.left)
            self.left -= n
            return (chunk * (n // MIB + 1))[:n]

    class Sink:
        def write(self, data: bytes) -> int:
            return len(data)

    async def up() -> None:
        async with await repository.open("long", "wb") as writer:
            for _ in range(size):
                await writer.write(chunk)

    async def down() -> None:
        got = 0
        async with await repository.open("long", "rb") as reader:
            while data := await reader.read(MIB):
                got += len(data)
        assert got == size * MIB

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    began = time.perf_counter()
    await up()
    own_up = time.perf_counter() - began
    began = time.perf_counter()
    await down()
    own_down = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    await repository.delete("long")
    began = time.perf_counter()
    client.upload_fileobj(Source(), bucket, "bare/long")
    bare_up = time.perf_counter() - began
    began = time.perf_counter()
    client.download_fileobj(bucket, "bare/long", Sink())
    bare_down = time.perf_counter() - began
    client.delete_object(Bucket=bucket, Key="bare/long")
    for what, bare, own in (("up", bare_up, own_up), ("down", bare_down, own_down)):
        print(f"{what:12} boto3 {size / bare:7.0f} MiB/s   pdt {size / own:7.0f} MiB/s   ratio {bare / own:5.2f}")
    print(f"memory       {before} MiB before, at most {after} MiB during {size} MiB up and down")
    return [bare_up / own_up, bare_down / own_down]


async def main() -> int:
    """Measure all."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--keys", type=int, default=2000)
    options.add_argument("--size", type=int, default=256, help="MiB of the long value")
    options.add_argument("--endpoint")
    chosen = options.parse_args()
    with ExitStack() as stack:
        settings: dict[str, Any] = {}
        if chosen.endpoint is None:
            from tests.servers.s3 import ministack

            server = stack.enter_context(ministack())
            chosen.endpoint = server.endpoint
            settings = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
        session = Session()
        resource_ = session.resource(s3_client(chosen.endpoint, **settings))
        async with session:
            bucket = f"pdt-bench-{uuid.uuid4().hex[:8]}"
            client = resource_()
            client.create_bucket(Bucket=bucket)
            ratios = await measure_small(client, bucket, chosen.keys) if chosen.keys else []
            if chosen.size:
                ratios += await measure_long(client, bucket, chosen.size)
            for prefix in ("own/", "bare/"):
                repository = S3BucketRepository(client, bucket, prefix)
                await repository.delete_many(await repository.keys())
            client.delete_bucket(Bucket=bucket)
    return 0 if min(ratios, default=1.0) >= WORST else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
