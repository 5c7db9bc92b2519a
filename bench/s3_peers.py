"""S3: pdt and the tools that a user would pick instead, on the same work against the same server.

    .venv/bin/python bench/s3_peers.py [--keys N] [--size MIB] [--rounds N] [--endpoint URL]

Puts, lists and gets N small values (default 2,000) and one long value (default 256 MiB), by `pdt`, s5cmd and rclone as
far as these are on PATH, one after the other in each round. Prints medians of the time and of the processor time of the
commands themselves, and the most memory. A server that is slow hides the difference; then the processor time tells it.
Without --endpoint it starts ministack, as the tests do; with it, boto3's own configuration says who is asking.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

PIPELINE = """
import pdtcli

session = pdtcli.Session()
s3 = session.resource(pdtcli.s3_client({endpoint!r}))
task = pdtcli.InProcessSyncTask("move", pdtcli.YamlMetadataFileRepository("done"))
task.link("files", pdtcli.FileRepository("files"), is_input=True)
task.link("long", pdtcli.FileRepository("long"))
task.link("back", pdtcli.FileRepository("back"))
task.link("there", pdtcli.S3BucketRepository(s3, {bucket!r}, "pdt/"))
task.link("longer", pdtcli.S3BucketRepository(s3, {bucket!r}, "pdt-long/"))


@task
async def _(job, **repositories):
    pass


pipeline = pdtcli.Pipeline([task], session)
"""


# The command is no child of this process, whose memory would count for it.
WATCH = """
import resource, subprocess, sys, time

began = time.perf_counter()
code = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL)
took = time.perf_counter() - began
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(took, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)
sys.exit(code)
"""


class Cost(NamedTuple):
    """What a command took: seconds, seconds of the processor, MiB."""

    time: float
    processor: float
    memory: float


def run(command: list[str], directory: Path, environ: Mapping[str, str]) -> Cost:
    """Run a command to its end."""
    shutil.rmtree(directory / "back", ignore_errors=True)
    (directory / "back").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", WATCH, *command], cwd=directory, env=environ, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stderr}")
    return Cost(*map(float, done.stdout.split()))


def commands(bucket: str) -> dict[str, dict[str, list[str]]]:
    """By the work, and by the tool, a command."""
    pdt = [str(Path(sys.executable).parent / "pdt")]
    work = {
        "put": {
            "pdt": [*pdt, "repo", "cp", "--all", "move.files", "move.there"],
            "s5cmd": ["s5cmd", "cp", "files/", f"s3://{bucket}/s5cmd/"],
            "rclone": ["rclone", "copy", "files", f"s3:{bucket}/rclone", "--transfers=16", "--no-check-dest"],
        },
        "list": {
            "pdt": [*pdt, "repo", "ls", "move.there"],
            "s5cmd": ["s5cmd", "ls", f"s3://{bucket}/s5cmd/"],
            "rclone": ["rclone", "lsf", f"s3:{bucket}/rclone"],
        },
        "get": {
            "pdt": [*pdt, "repo", "cp", "--all", "move.there", "move.back"],
            "s5cmd": ["s5cmd", "cp", f"s3://{bucket}/s5cmd/*", "back/"],
            "rclone": ["rclone", "copy", f"s3:{bucket}/rclone", "back", "--transfers=16", "--no-check-dest"],
        },
        "up": {
            "pdt": [*pdt, "repo", "put", "move.longer", "long", "long/long"],
            "s5cmd": ["s5cmd", "cp", "long/long", f"s3://{bucket}/s5cmd-long/long"],
            "rclone": ["rclone", "copyto", "long/long", f"s3:{bucket}/rclone-long/long", "--no-check-dest"],
        },
        "down": {
            "pdt": [*pdt, "repo", "cp", "move.longer", "move.back", "long"],
            "s5cmd": ["s5cmd", "cp", f"s3://{bucket}/s5cmd-long/long", "back/long"],
            "rclone": ["rclone", "copyto", f"s3:{bucket}/rclone-long/long", "back/long", "--no-check-dest"],
        },
    }
    return {
        what: {tool: command for tool, command in tools.items() if tool == "pdt" or shutil.which(tool)}
        for what, tools in work.items()
    }


@contextmanager
def data(keys: int, size: int) -> Iterator[Path]:
    """A directory with what is to be moved, in memory where that can be."""
    base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="pdt-bench-", dir=base) as path:
        directory = Path(path)
        (directory / "files").mkdir()
        (directory / "long").mkdir()
        for number in range(keys):
            (directory / "files" / f"job-{number:07}").write_bytes(b"x" * 100)
        with open(directory / "long" / "long", "wb") as file:
            for _ in range(size):
                file.write(os.urandom(1024 * 1024))
        yield directory


def main() -> int:
    """Measure all."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--keys", type=int, default=2000)
    options.add_argument("--size", type=int, default=256, help="MiB of the long value")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--endpoint")
    chosen = options.parse_args()
    with ExitStack() as stack:
        # rclone cannot be given an authority that its own library does not like.
        environ = {name: value for name, value in os.environ.items() if name != "AWS_CA_BUNDLE"}
        if chosen.endpoint is None:
            from tests.servers.s3 import ministack

            server = stack.enter_context(ministack())
            chosen.endpoint = server.endpoint
            environ |= server.environ
        region = environ.get("AWS_DEFAULT_REGION") or environ.get("AWS_REGION") or "us-east-1"
        settings = {
            "TYPE": "s3",
            "PROVIDER": "Other",
            "ENV_AUTH": "true",
            "ENDPOINT": chosen.endpoint,
            "REGION": region,
        }
        environ |= {f"RCLONE_CONFIG_S3_{name}": value for name, value in settings.items()}
        environ |= {"RCLONE_S3_LIST_VERSION": "2", "S3_ENDPOINT_URL": chosen.endpoint, "AWS_REGION": region}
        directory = stack.enter_context(data(chosen.keys, chosen.size))
        bucket = f"pdt-bench-{uuid.uuid4().hex[:8]}"
        (directory / "pipeline.py").write_text(PIPELINE.format(endpoint=chosen.endpoint, bucket=bucket))
        run(
            [str(Path(sys.executable).parent / "pdt"), "repo", "ls", "move.there"], directory, environ
        )  # makes the bucket
        measure(chosen, directory, environ, bucket)
    return 0


def measure(chosen: argparse.Namespace, directory: Path, environ: Mapping[str, str], bucket: str) -> None:
    """Run everything, interleaved, and print the medians."""
    for what, tools in commands(bucket).items():
        count = chosen.size if what in ("up", "down") else chosen.keys
        if not count:
            continue
        costs: dict[str, list[Cost]] = {tool: [] for tool in tools}
        for _ in range(chosen.rounds):
            for tool, command in tools.items():
                costs[tool].append(run(command, directory, environ))
        own = statistics.median(cost.time for cost in costs["pdt"])
        for tool, each in costs.items():
            seconds = statistics.median(cost.time for cost in each)
            processor = statistics.median(cost.processor for cost in each)
            memory = max(cost.memory for cost in each)
            print(
                f"{what:5} {tool:7} {seconds:8.2f} s {count / seconds:10.0f}/s  processor {processor:7.2f} s  "
                f"memory {memory:5.0f} MiB  {seconds / own:5.2f} x pdt's time",
                flush=True,
            )


if __name__ == "__main__":
    sys.exit(main())
