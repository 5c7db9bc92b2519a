"""Bytes go from one descriptor to another whole, whatever the two are."""

from __future__ import annotations

import gzip
import io
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest

from pdtcli import FileRepository, Pipeline, PipelineHandle
from pdtcli.handles import RepositoryHandle
from pdtcli.pump import MOVE, copy, descriptor

SIZES = [0, 1, MOVE - 1, MOVE, 2 * MOVE + 1]


@pytest.fixture
def data(tmp_path: Path) -> Callable[[int], Path]:
    def make(size: int) -> Path:
        path = tmp_path / "data"
        path.write_bytes(os.urandom(size))
        return path

    return make


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("way", ["file to file", "file to pipe", "pipe to file"])
def test_all_of_it_arrives(data: Callable[[int], Path], tmp_path: Path, way: str, size: int) -> None:
    path = data(size)
    target = tmp_path / "target"
    if way == "file to file":
        with path.open("rb") as source, target.open("wb") as out:
            assert copy(source.fileno(), out.fileno()) == size
    elif way == "file to pipe":
        ends = os.pipe()
        with os.fdopen(ends[0], "rb") as pipe:
            reader = threading.Thread(target=lambda: target.write_bytes(pipe.read()))
            reader.start()
            with path.open("rb") as source, os.fdopen(ends[1], "wb") as out:
                assert copy(source.fileno(), out.fileno()) == size
            reader.join()
    else:
        ends = os.pipe()

        def feed() -> None:
            with os.fdopen(ends[1], "wb") as pipe:
                pipe.write(path.read_bytes())

        writer = threading.Thread(target=feed)
        writer.start()
        with os.fdopen(ends[0], "rb", buffering=0) as raw, target.open("wb") as out:
            assert copy(raw.fileno(), out.fileno()) == size
        writer.join()
    assert target.read_bytes() == path.read_bytes()


def test_it_goes_on_where_the_source_stands(data: Callable[[int], Path], tmp_path: Path) -> None:
    path = data(100)
    with path.open("rb", buffering=0) as source, (tmp_path / "target").open("wb") as out:
        source.read(10)
        assert copy(source.fileno(), out.fileno()) == 90
    assert (tmp_path / "target").read_bytes() == path.read_bytes()[10:]


def test_what_the_kernel_cannot_do_is_left_to_others(data: Callable[[int], Path], tmp_path: Path) -> None:
    with data(10).open("rb") as source, (tmp_path / "target").open("ab") as out:
        assert copy(source.fileno(), out.fileno()) is None
        assert source.read() == (tmp_path / "data").read_bytes()


def test_an_error_is_told(data: Callable[[int], Path]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with data(10).open("rb") as source, os.fdopen(writing, "wb", buffering=0) as out, pytest.raises(BrokenPipeError):
        copy(source.fileno(), out.fileno())


def test_nothing_goes_past_a_file_object_that_does_more(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "packed", "wb") as packed:
        assert descriptor(packed) is None  # type: ignore[arg-type]
    assert descriptor(io.BytesIO()) is None
    with (tmp_path / "packed").open("rb") as buffered:
        assert descriptor(buffered) is None  # it may have read ahead
    with (tmp_path / "packed").open("wb") as out:
        out.write(b"first")
        assert descriptor(out) == out.fileno()
        assert (tmp_path / "packed").read_bytes() == b"first"


@pytest.mark.parametrize("mode", ["wb", "ab"])
def test_cat_adds_to_what_was_written(tmp_path: Path, mode: Literal["wb", "ab"]) -> None:
    (tmp_path / "books").mkdir()
    (tmp_path / "books" / "emma").write_bytes(b"Emma Woodhouse")
    repository = FileRepository(tmp_path / "books")
    handle = RepositoryHandle(PipelineHandle(Pipeline([]), None), "books", repository)
    with (tmp_path / "out").open(mode) as out:
        out.write(b"title: ")
        handle.cat("emma", out)
        out.write(b"\n")
    assert (tmp_path / "out").read_bytes() == b"title: Emma Woodhouse\n"
