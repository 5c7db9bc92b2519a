"""Makes the work: directories with many files, and what the peers need beside them.

A job is an empty file in `input`, and a job that is done an empty file in `done` as well. All contestants work on the
same two directories, so that none has another file system cache, or longer names, than the others.
"""

from __future__ import annotations

import itertools
import os
import shutil
import stat
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

PEERS = Path(__file__).with_name("peers")
PIPELINES = Path(__file__).with_name("pipelines")

DISTURBANCE = ".bench"

INPUT = ".txt"
"""The extension of inputs."""


def jobs(count: int) -> list[str]:
    """So many names."""
    return [f"job{number:07}" for number in range(count)]


def fill(directory: Path, names: Iterable[str], extension: str = "") -> None:
    """Make empty files in a directory, which need not exist."""
    directory.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        for name in names:
            os.mknod(name + extension, stat.S_IFREG | 0o644, dir_fd=descriptor)
    finally:
        os.close(descriptor)


def empty(*directories: Path) -> None:
    """Remove what is in the directories, and make those that are missing."""
    remove(*directories)
    for directory in directories:
        directory.mkdir(parents=True)


_gone = itertools.count()


def remove(*directories: Path) -> None:
    """Take directories out of the way, if they are there; they are removed when the bench ends.

    For some minutes ext4 does not use inodes again that were given back, and looks for others from the first one on:
    whoever makes files after many were removed would be the slower for it.
    """
    for directory in directories:
        if directory.exists():
            directory.rename(directory.parent / f".gone-{next(_gone)}")


def reclaim(*directories: Path) -> None:
    """Remove directories with few and large files, if they are there."""
    subprocess.run(["rm", "-rf", "--", *directories], check=True)


def disturb(tree: Path) -> None:
    """Change each directory of a tree, and change it back: something happened, and nothing is to be done."""
    for directory in places(tree):
        (directory / DISTURBANCE).touch()
        (directory / DISTURBANCE).unlink()


def places(tree: Path) -> list[Path]:
    """The directories that a tick has to look at."""
    return [tree / "input", tree / "pids", tree / "done"]


def count(directory: Path) -> int:
    """How many files there are."""
    return len(os.listdir(directory))


def tree(directory: Path, size: int, done: bool, pipeline: str = "files") -> Path:
    """`input`, `pids` and `done` for so many jobs, all of which are done, or none. Gives `directory` back.

    A tree can grow: what an earlier call has made stays. With it come the pipeline, and what peers have in its place.
    """
    there = count(directory / "input") if (directory / "input").exists() else 0
    names = jobs(size)[there:]
    fill(directory / "input", names, INPUT)
    fill(directory / "done", names if done else (), ".yaml")
    (directory / "pids").mkdir(exist_ok=True)
    shutil.copyfile(PIPELINES / f"{pipeline}.py", directory / "pipeline.py")
    for file in PEERS.iterdir():
        if file.is_file():
            shutil.copyfile(file, directory / file.name)
    return directory


def not_done(directory: Path) -> None:
    """Take a tree back to where no job has begun."""
    empty(directory / "done", directory / "pids")
    remove(directory / "state", directory / ".snakemake", directory / ".ninja_log", directory / "doit.json")


# ---- ninja


def ninja(directory: Path, size: int, done: bool) -> None:
    """`build.ninja` for a tree, and the log of the run in which all was done, as ninja itself would have written it."""
    names = jobs(size)
    with open(directory / "build.ninja", "w") as build:
        build.write("rule job\n  command = true >$out\n")
        build.writelines(f"build done/{name}.yaml: job input/{name}{INPUT}\n" for name in names)
    log = directory / ".ninja_log"
    log.unlink(missing_ok=True)
    if done:
        now = time.time_ns()
        with open(log, "w") as lines:
            lines.write("# ninja log v5\n")
            lines.writelines(
                f"0\t1\t{now}\tdone/{name}.yaml\t{murmur(f'true >done/{name}.yaml'.encode()):x}\n" for name in names
            )


def murmur(data: bytes) -> int:
    """MurmurHash64A as ninja uses it for command lines (ninja 1.11, src/build_log.cc)."""
    mask, m = 0xFFFFFFFFFFFFFFFF, 0xC6A4A7935BD1E995
    length = len(data)
    h = 0xDECAFBADDECAFBAD ^ (length * m & mask)
    for start in range(0, length - 7, 8):
        k = int.from_bytes(data[start : start + 8], "little") * m & mask
        k = (k ^ k >> 47) * m & mask
        h = (h ^ k) * m & mask
    if length & 7:
        h = (h ^ int.from_bytes(data[length & ~7 :], "little")) * m & mask
    h = (h ^ h >> 47) * m & mask
    return h ^ h >> 47


# ---- others


def doit(directory: Path, python: str) -> None:
    """doit's memory of a run in which all was done."""
    (directory / "doit.json").unlink(missing_ok=True)
    subprocess.run([python, "doit_done.py"], cwd=directory, check=True)


def random_file(path: Path, mib: int) -> None:
    """A file of so many MiB that cannot be compressed, written to the disk before this returns."""
    block = os.urandom(1 << 20)
    with open(path, "wb") as file:
        for _ in range(mib):
            file.write(block)
        os.fsync(file.fileno())
