"""How long `FileRepository.keys` takes on a large directory, against `ls -f` on the same one.

    .venv/bin/python bench/listing.py [FILES] [ROUNDS]

The two take turns, so that whatever else the machine does slows down both; the medians are compared. Exits with 1 when
keys takes more than four times as long.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from pdtcli import FileRepository

ALLOWED = 4.0


def fill(directory: Path, files: int) -> None:
    """Make empty files with the names of jobs."""
    for number in range(files):
        (directory / f"job-{number:07}.txt").touch()


def time_ls(directory: Path) -> float:
    """Seconds that one `ls -f` takes, its start included."""
    began = time.perf_counter()
    subprocess.run(["ls", "-f", directory], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


async def time_keys(repository: FileRepository) -> float:
    """Seconds that one bulk listing takes in a running event loop."""
    began = time.perf_counter()
    await repository.keys()
    return time.perf_counter() - began


async def measure(directory: Path, rounds: int) -> tuple[float, float]:
    """The medians of `ls -f` and of `keys`."""
    repository = FileRepository(directory, ".txt")
    pairs = [(time_ls(directory), await time_keys(repository)) for _ in range(rounds)]
    return median(ls for ls, _ in pairs), median(keys for _, keys in pairs)


def main(files: int = 200_000, rounds: int = 9) -> int:
    """Measure and print one line."""
    with tempfile.TemporaryDirectory(prefix="pdt-bench-") as name:
        fill(Path(name), files)
        ls, keys = asyncio.run(measure(Path(name), rounds))
    ratio = keys / ls
    print(f"{files} files: ls -f {ls * 1000:.0f} ms, keys {keys * 1000:.0f} ms, ratio {ratio:.2f} (at most {ALLOWED})")
    return 0 if ratio <= ALLOWED else 1


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
