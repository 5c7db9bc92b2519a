"""Byte and text streams."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdtcli import FileRepository, InProcessBlobRepository
from pdtcli.stream import MemoryReader, TextReader, copy_stream


class Crumbs(MemoryReader):
    """Bytes that come in pieces of given sizes, as a pipe or a socket may give them."""

    def __init__(self, data: bytes, sizes: list[int]) -> None:
        super().__init__(data)
        self._sizes = list(sizes)

    async def read(self, n: int | None = None, /) -> bytes:
        return await super().read(self._sizes.pop() if self._sizes else n)


texts = st.text(alphabet=st.sampled_from("ab\n\r\u00e9\u20ac\U0001f600\u0301 "), max_size=60)
sizes = st.lists(st.integers(1, 5), max_size=80)


@given(texts, sizes)
def test_text_is_the_same_however_its_bytes_come(text: str, sizes: list[int]) -> None:
    assert asyncio.run(TextReader(Crumbs(text.encode(), sizes)).read()) == text


@given(texts, sizes, st.lists(st.integers(0, 9), max_size=30))
def test_read_n_gives_n_characters_until_the_end(text: str, sizes: list[int], counts: list[int]) -> None:
    async def read() -> tuple[list[str], str]:
        reader = TextReader(Crumbs(text.encode(), sizes))
        return [await reader.read(n) for n in counts], await reader.read()

    pieces, rest = asyncio.run(read())

    at = 0
    for piece, n in zip(pieces, counts, strict=True):
        assert piece == text[at : at + n]
        at += len(piece)
    assert rest == text[at:]


@given(texts, sizes)
def test_lines_are_those_of_a_file(text: str, sizes: list[int]) -> None:
    async def lines() -> list[str]:
        return [line async for line in TextReader(Crumbs(text.encode(), sizes))]

    assert asyncio.run(lines()) == [line + "\n" for line in text.split("\n")[:-1]] + [
        line for line in text.split("\n")[-1:] if line
    ]


@given(texts, sizes, st.lists(st.none() | st.integers(0, 7), max_size=30))
def test_lines_and_characters_may_be_read_in_turns(text: str, sizes: list[int], turns: list[int | None]) -> None:
    async def read() -> str:
        reader = TextReader(Crumbs(text.encode(), sizes))
        got = [await (reader.readline() if n is None else reader.read(n)) for n in turns]
        return "".join(got) + await reader.read()

    assert asyncio.run(read()) == text


async def test_at_the_end_there_is_the_empty_string_again_and_again() -> None:
    reader = TextReader(MemoryReader(b"x"))
    assert [await reader.read(2), await reader.read(2), await reader.read(), await reader.readline()] == [
        "x",
        "",
        "",
        "",
    ]


async def test_minus_one_reads_all_as_for_files() -> None:
    assert await TextReader(MemoryReader(b"abc")).read(-1) == "abc"
    assert await MemoryReader(b"abc").read(-1) == b"abc"


async def test_half_a_character_at_the_end_is_an_error_and_not_dropped() -> None:
    with pytest.raises(UnicodeDecodeError):
        await TextReader(MemoryReader("caf\u00e9".encode()[:-1])).read()


async def test_other_encodings_and_error_handlers_can_be_asked_for() -> None:
    assert await TextReader(MemoryReader(b"caf\xe9"), "latin-1").read() == "caf\u00e9"
    assert await TextReader(MemoryReader(b"caf\xe9"), errors="replace").read() == "caf\ufffd"


async def test_a_character_across_the_border_of_two_large_chunks_is_one(tmp_path: Path) -> None:
    text = "x" * (1024 * 1024 - 1) + "\u20ac" + "y"
    (tmp_path / "job").write_text(text, encoding="utf-8")

    async with await FileRepository(tmp_path).open("job", "r") as reader:
        assert await reader.read() == text


async def test_small_reads_of_a_large_value_add_up(tmp_path: Path) -> None:
    text = "".join(map(str, range(200_000)))
    (tmp_path / "job").write_text(text)

    async with await FileRepository(tmp_path).open("job") as reader:
        pieces = []
        while piece := await reader.read(997):
            pieces.append(piece)

    assert "".join(pieces) == text
    assert {len(piece) for piece in pieces[:-1]} == {997}


async def test_a_line_longer_than_any_chunk_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "job").write_text("x" * 3_000_000 + "\nnext")

    async with await FileRepository(tmp_path).open("job") as reader:
        lines = [len(line) async for line in reader]

    assert lines == [3_000_001, 4]


async def test_newlines_are_left_as_they_are(tmp_path: Path) -> None:
    repository = FileRepository(tmp_path)
    async with await repository.open("job", "w") as writer:
        await writer.write("a\r\nb\n")
    assert (tmp_path / "job").read_bytes() == b"a\r\nb\n"
    async with await repository.open("job") as reader:
        assert await reader.read() == "a\r\nb\n"


async def test_writes_tell_how_much_they_took() -> None:
    repository = InProcessBlobRepository()
    async with await repository.open("text", "w") as text, await repository.open("bytes", "wb") as binary:
        assert (await text.write("\u20ac\u20ac"), await binary.write(b"abc")) == (2, 3)


async def test_text_that_has_no_utf8_leaves_no_value() -> None:
    repository = InProcessBlobRepository()
    with pytest.raises(UnicodeEncodeError):
        async with await repository.open("job", "w") as writer:
            await writer.write("half a character: \ud800")
    assert repository.data == {}


@given(st.binary(max_size=200), st.integers(1, 50))
def test_a_copy_is_identical(data: bytes, chunk: int) -> None:
    repository = InProcessBlobRepository()

    async def copy() -> int:
        async with await repository.open("copy", "wb") as target:
            return await copy_stream(MemoryReader(data), target, chunk)

    assert asyncio.run(copy()) == len(data)
    assert repository.data["copy"] == data
