"""The power fails right after a command has ended: what it said is done with `--fsync` is there afterwards, and whole.

A file system of its own is shut down without its journal being written (`EXT4_IOC_SHUTDOWN`), unmounted and mounted
anew, which is what a loss of power leaves of it.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.faults.stores import STORES
from tests.faults.world import World
from tests.processes import ROOT

SHUTDOWN = 0x8004587D
"""`EXT4_IOC_SHUTDOWN`, in fs/ext4/ext4.h of Linux."""
NO_LOG_FLUSH = 2


class Disk:
    """A file system in a file.

    :ivar path: where it is mounted.
    """

    def __init__(self, image: Path, path: Path) -> None:
        self.image = image
        self.path = path

    def mount(self) -> None:
        subprocess.run(
            ["mount", "-o", "loop,commit=300", str(self.image), str(self.path)], check=True, capture_output=True
        )

    def unmount(self) -> None:
        subprocess.run(["umount", str(self.path)], check=True, capture_output=True)

    def fail(self) -> None:
        """Lose the power, and start again."""
        fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(fd, SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        finally:
            os.close(fd)
        self.unmount()
        self.mount()


@contextmanager
def disk(place: Path) -> Iterator[Disk]:
    """A small ext4 that is mounted as long as the block runs."""
    made = Disk(place / "image", place / "disk")
    made.path.mkdir()
    with open(made.image, "wb") as file:
        file.truncate(32 * 2**20)
    try:
        subprocess.run(["mkfs.ext4", "-q", str(made.image)], check=True, capture_output=True)
        made.mount()
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no file system can be mounted here: {error}")
    try:
        yield made
    finally:
        made.unmount()


@contextmanager
def powered(place: Path, sources: Path | None = None) -> Iterator[tuple[World, Disk]]:
    """A world whose data is on a disk of its own, and that disk."""
    with disk(place) as made:
        store = STORES["files"]({"directory": str(made.path / "data")})
        world = World.make(place / "world", store, sources=sources)
        os.sync()  # what was given is given
        try:
            yield world, made
        finally:
            world.discard()


def lost(world: World, disk: Disk) -> dict[str, Any]:
    """What was stored before the power failed and is not, or is something else, afterwards."""
    names = ("shell.done", "shell.failed", "shell.out", "result", "sizes.done", "pool.done")
    before = {(name, job): value for name in names for job, value in world.store.visible(name).items()}
    assert len(before) == 7
    disk.fail()
    after = {(name, job): value for name in names for job, value in world.store.visible(name).items()}
    return {
        f"{name} {job}": after.get((name, job)) for name, job in before if after.get((name, job)) != before[name, job]
    }


def test_nothing_that_is_done_is_lost(tmp_path: Path) -> None:
    with powered(tmp_path) as (world, disk):
        world.pdt("run", "--no-progress", "--fsync")

        assert lost(world, disk) == {}
        assert world.pdt("run", "--no-progress", "--fsync").code == 1  # a job failed, earlier
        assert world.violations() == []


FSYNCS = {
    "of what is complete under a temporary name, and of directories": r"(?<=    try:\n        )os\.fsync\(fd\)",
    "of what has no name yet": r"(?<=    if durable:\n            )os\.fsync\(fd\)",
}


@pytest.mark.parametrize("which", FSYNCS)
def test_an_fsync_that_is_taken_out_of_the_code_is_missed(tmp_path: Path, which: str) -> None:
    sources = tmp_path / "src"
    shutil.copytree(ROOT / "src", sources, ignore=shutil.ignore_patterns("__pycache__"))
    path = sources / "pdtcli" / "atomic.py"
    text, count = re.subn(FSYNCS[which], "pass", path.read_text())
    assert count == 1, "the code has changed: mend this pattern"
    path.write_text(text)

    with powered(tmp_path, sources) as (world, disk):
        world.pdt("run", "--no-progress", "--fsync")

        assert lost(world, disk) != {}
