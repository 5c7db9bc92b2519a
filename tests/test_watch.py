"""Word from the kernel that a directory changed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from pdtcli import FileRepository
from pdtcli.watch import DirectoryWatch

CHANGES: dict[str, Callable[[Path], object]] = {
    "a file appears": lambda path: (path / "new").touch(),
    "a file is completed": lambda path: (path / "old").write_text("x"),
    "a file goes": lambda path: (path / "old").unlink(),
    "a file is renamed": lambda path: (path / "old").rename(path / "new"),
    "a directory appears": lambda path: (path / "new").mkdir(),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
async def test_it_tells_when(tmp_path: Path, change: Callable[[Path], object]) -> None:
    (tmp_path / "old").touch()
    told = asyncio.Event()
    watch = DirectoryWatch([str(tmp_path)], told.set)
    change(tmp_path)
    await asyncio.wait_for(told.wait(), 30)
    watch.close()


async def test_it_tells_of_a_value_that_was_stored(tmp_path: Path) -> None:
    repository = FileRepository(tmp_path)
    told = asyncio.Event()
    watch = DirectoryWatch([repository.watched_path], told.set)
    await repository.write_bytes("job", b"x")
    await asyncio.wait_for(told.wait(), 30)
    watch.close()


async def test_many_changes_at_once_are_told_in_one_word(tmp_path: Path) -> None:
    calls: list[None] = []
    watch = DirectoryWatch([str(tmp_path)], lambda: calls.append(None))
    for number in range(3000):
        (tmp_path / f"{number:04}").touch()
    for _ in range(100):
        await asyncio.sleep(0)
    watch.close()
    assert 1 <= len(calls) <= 5


async def test_what_cannot_be_watched_is_left_out(tmp_path: Path) -> None:
    told = asyncio.Event()
    watch = DirectoryWatch([str(tmp_path), str(tmp_path / "missing")], told.set)
    (tmp_path / "new").touch()
    await asyncio.wait_for(told.wait(), 30)
    watch.close()
    assert not watch.complete


async def test_it_knows_when_it_watches_all(tmp_path: Path) -> None:
    watch = DirectoryWatch([str(tmp_path)], lambda: None)
    watch.close()
    assert watch.complete


async def test_a_closed_watch_is_silent_and_can_be_closed_again(tmp_path: Path) -> None:
    calls: list[None] = []
    watch = DirectoryWatch([str(tmp_path)], lambda: calls.append(None))
    watch.close()
    (tmp_path / "new").touch()
    for _ in range(10):
        await asyncio.sleep(0)
    watch.close()
    assert calls == []
