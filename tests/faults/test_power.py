"""The power fails right after a command has ended: what it said is done with `--fsync` is there afterwards, and whole.

A file system of its own is shut down without its journal being written (`EXT4_IOC_SHUTDOWN`), unmounted and mounted
anew, which is what a loss of power leaves of it.
"""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.faults.stores import STORES
from tests.faults.world import World

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


@pytest.fixture
def power(tmp_path: Path) -> Iterator[tuple[World, Disk]]:
    """A world whose data is on a disk of its own, and that disk."""
    with disk(tmp_path) as made:
        world = World.make(tmp_path / "world", STORES["files"]({"directory": str(made.path / "data")}))
        os.sync()  # what was given is given
        yield world, made
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


def test_nothing_that_is_done_is_lost(power: tuple[World, Disk]) -> None:
    if "--fsync" not in power[0].pdt("run", "--help").output:
        pytest.skip("pdt run has no --fsync")
    power[0].pdt("run", "--no-progress", "--fsync")

    assert lost(*power) == {}
    assert power[0].pdt("run", "--no-progress", "--fsync").code == 1
    assert power[0].violations() == []


def test_without_fsync_something_is_or_this_test_sees_nothing(power: tuple[World, Disk]) -> None:
    power[0].pdt("run", "--no-progress")

    assert lost(*power) != {}
