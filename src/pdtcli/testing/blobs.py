"""What every blob repository has to do: streams that are whole or not there."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Awaitable, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from ..errors import InvalidJobId, JobNotFound, PdtError
from ..repository.memory import InProcessBlobRepository
from ..stream import CHUNK, MemoryReader, ReadStream, copy_stream
from .base import AT_ONCE, NOT_JOBS, RepositorySuite
from .writers import write_and_be_cancelled, write_and_raise

__all__ = ("BlobRepositorySuite",)

MIB = 1024 * 1024
PART = 8 * MIB
"""From here on, stores take values in parts."""

_noise = random.Random(0).randbytes(2 * MIB + 1)  # noqa: S311 - the same bytes every time


def pieces(size: int, piece: int = CHUNK) -> Iterator[bytes]:
    """Bytes that do not repeat where a store might cut them, so many at a time."""
    start = 0
    while size > 0:
        some = _noise[start % MIB :][: min(piece, size)]
        yield some
        size -= len(some)
        start += 1_000_003


@pytest.mark.asyncio
class BlobRepositorySuite(RepositorySuite):
    """Bytes and text, in and out, by one and by many."""

    large: ClassVar[int] = 32 * MIB
    """Bytes of a value that is streamed through; it is never in memory as a whole."""

    any_bytes: ClassVar[bool] = True
    """Whether any bytes are a value; where they are not, `value` makes some that are, and sizes are not tried."""

    def value(self, number: int) -> bytes:
        """Value `number`, some bytes long; each has another length."""
        return f"value {number}\n".encode() + b"\0\xff\r\n" * (number % 7) + b"x" * number

    def raw_value(self, number: int) -> bytes:
        return self.value(number)

    async def put(self, repository: Any, job: str, number: int) -> None:
        await repository.write_bytes(job, self.value(number))

    async def check(self, repository: Any, job: str, number: int) -> None:
        assert await repository.read_bytes(job) == self.value(number)

    def need_any_bytes(self) -> None:
        """Skip the test where not any bytes are a value."""
        if not self.any_bytes:
            pytest.skip("not any bytes are a value here")

    # ---- sizes

    @pytest.mark.parametrize("size", [0, 1, PART - 1, PART, PART + 1])
    async def test_a_value_of_any_size_comes_back(self, repository: Any, size: int) -> None:
        self.need_any_bytes()
        value = b"".join(pieces(size))
        async with await repository.open("job", "wb") as writer:
            assert await writer.write(value) == size
        async with await repository.open("job", "rb") as reader:
            assert hashlib.sha256(await reader.read()).digest() == hashlib.sha256(value).digest()
        assert await repository.keys() == {"job"}
        stored = await self.raw(repository, "job")
        assert stored is not None
        assert hashlib.sha256(stored).digest() == hashlib.sha256(value).digest()

    async def test_a_large_value_streams_through(self, repository: Any) -> None:
        self.need_any_bytes()
        sent, received = hashlib.sha256(), hashlib.sha256()
        async with await repository.open("job", "wb") as writer:
            for piece in pieces(self.large):
                sent.update(piece)
                assert await writer.write(piece) == len(piece)
            del piece
        total = 0
        async with await repository.open("job", "rb") as reader:
            while data := await reader.read(CHUNK):
                assert len(data) <= CHUNK
                total += len(data)
                received.update(data)
        assert total == self.large
        assert sent.digest() == received.digest()

    @pytest.mark.parametrize("piece", [1, 7, 65_537, PART + 3])
    async def test_a_value_may_be_written_and_read_in_any_pieces(self, repository: Any, piece: int) -> None:
        self.need_any_bytes()
        size = 500 if piece < 10 else 2 * PART + 1
        value = b"".join(pieces(size))
        async with await repository.open("job", "wb") as writer:
            for start in range(0, size, piece):
                assert await writer.write(value[start : start + piece]) == len(value[start : start + piece])
        async with await repository.open("job", "rb") as reader:
            read = bytearray()
            while data := await reader.read(piece):
                assert len(data) <= piece
                read += data
            assert await reader.read(piece) == b""
            assert await reader.read() == b""
        assert read == value

    async def test_the_rest_is_what_is_left(self, repository: Any) -> None:
        self.need_any_bytes()
        await repository.write_bytes("job", b"0123456789")
        for everything in (None, -1):
            async with await repository.open("job", "rb") as reader:
                first = await reader.read(3)
                assert first + await reader.read(everything) == b"0123456789"
                assert await reader.read(everything) == b""
        async with await repository.open("job", "rb") as reader:
            assert await reader.read() == b"0123456789"

    async def test_a_reader_may_leave_early(self, repository: Any) -> None:
        self.need_any_bytes()
        await repository.write_bytes("job", b"".join(pieces(2 * PART)))
        for _ in range(20):
            async with await repository.open("job", "rb") as reader:
                assert await reader.read(10) == _noise[:10]
        reader = await repository.open("job", "rb")
        await reader.close()
        await reader.close()

    # ---- modes

    async def test_text_comes_back_as_it_went(self, repository: Any) -> None:
        self.need_any_bytes()
        text = "caf\u00e9 \U0001f600\r\n\nsecond\rthird\u2028" * 20_000
        async with await repository.open("job", "w") as writer:
            assert await writer.write(text[:7]) == 7
            await writer.write(text[7:])
        async with await repository.open("job") as reader:
            assert await reader.read(6) == text[:6]
        async with await repository.open("job", "r") as reader:
            assert await reader.read() == text
        assert await repository.read_bytes("job") == text.encode()

    async def test_text_comes_line_by_line(self, repository: Any) -> None:
        self.need_any_bytes()
        await repository.write_bytes("job", "one\ntw\u00f6\n\nlast".encode())
        async with await repository.open("job", "r") as reader:
            assert [line async for line in reader] == ["one\n", "tw\u00f6\n", "\n", "last"]

    @pytest.mark.parametrize("mode", ["a", "x", "", "r+b", "bw", "rw"])
    async def test_there_are_four_modes(self, repository: Any, mode: str) -> None:
        with pytest.raises(ValueError, match="r, rb, w or wb"):
            await repository.open("job", mode)
        assert await repository.keys() == set()

    @pytest.mark.parametrize("mode", ["r", "rb"])
    async def test_what_is_not_there_cannot_be_read(self, repository: Any, mode: str) -> None:
        await self.put(repository, "job.1", 0)
        with pytest.raises(JobNotFound):
            await repository.open("job", mode)
        with pytest.raises(JobNotFound):
            await repository.read_bytes("job")

    async def test_nothing_opens_under_another_name(self, repository: Any) -> None:
        await self.put(repository, "good", 0)
        for name in NOT_JOBS:
            for mode in ("r", "rb", "w", "wb"):
                with pytest.raises(InvalidJobId):
                    await repository.open(name, mode)
        assert await repository.keys() == {"good"}

    # ---- whole or not at all

    async def test_a_value_is_not_there_before_it_is_complete(self, repository: Any) -> None:
        value = self.value(1)
        async with await repository.open("job", "wb") as writer:
            await writer.write(value[:5])
            assert await repository.keys() == set()
            assert [job async for job in repository] == []
            assert await repository.contains("job") is False
            with pytest.raises(JobNotFound):
                await repository.open("job", "rb")
            await writer.write(value[5:])
        assert await repository.keys() == {"job"}
        await self.check(repository, "job", 1)

    async def test_a_large_value_is_not_there_before_it_is_complete(self, repository: Any) -> None:
        self.need_any_bytes()
        async with await repository.open("job", "wb") as writer:
            for piece in pieces(2 * PART):
                await writer.write(piece)
            assert await repository.keys() == set()
            assert await repository.contains("job") is False
        assert await repository.contains("job") is True

    async def test_who_reads_during_a_write_reads_the_old_value(self, repository: Any) -> None:
        await self.put(repository, "job", 1)
        async with await repository.open("job", "wb") as writer:
            await writer.write(self.value(2)[:5])
            await self.check(repository, "job", 1)
            assert await repository.keys() == {"job"}
            await writer.write(self.value(2)[5:])
        await self.check(repository, "job", 2)

    async def test_a_value_is_overwritten(self, repository: Any) -> None:
        for number in (9, 2, 5):
            await self.put(repository, "job", number)
            await self.check(repository, "job", number)
        assert await repository.keys() == {"job"}

    async def test_a_large_value_gives_way_to_a_small_one(self, repository: Any) -> None:
        self.need_any_bytes()
        await repository.write_bytes("job", b"".join(pieces(PART + 1)))
        for value in (b"small", b"", b"".join(pieces(PART + 1)), b"small"):
            await repository.write_bytes("job", value)
            assert await repository.read_bytes("job") == value

    @pytest.mark.parametrize("breaks_off", [write_and_raise, write_and_be_cancelled])
    @pytest.mark.parametrize("size", [5, 2 * PART + 1])
    @pytest.mark.parametrize("old", [False, True])
    async def test_a_writer_that_breaks_off_leaves_what_was_there(
        self, repository: Any, breaks_off: Callable[[Any, Iterable[bytes]], Awaitable[None]], size: int, old: bool
    ) -> None:
        if old:
            await self.put(repository, "job", 1)
        await breaks_off(repository, pieces(size if self.any_bytes else 5))
        await self._is_as_before(repository, old)

    async def _is_as_before(self, repository: Any, old: bool) -> None:
        assert await repository.keys() == ({"job"} if old else set())
        if old:
            await self.check(repository, "job", 1)
        try:
            assert await self.raw_get(repository, "job") == (self.raw_value(1) if old else None)
        except NotImplementedError:
            pass

    async def test_a_closed_writer_takes_no_more(self, repository: Any) -> None:
        writer = await repository.open("job", "wb")
        await writer.write(self.value(1))
        await writer.close()
        await writer.close()
        await writer.abort()
        with pytest.raises(ValueError, match="closed"):
            await writer.write(b"x")
        await self.check(repository, "job", 1)

    async def test_an_aborted_writer_keeps_nothing(self, repository: Any) -> None:
        writer = await repository.open("job", "wb")
        await writer.write(self.value(1))
        await writer.abort()
        await writer.abort()
        await writer.close()
        with pytest.raises(ValueError, match="closed"):
            await writer.write(b"x")
        assert await repository.keys() == set()

    # ---- several at once

    async def test_of_many_writers_one_wins_whole(self, repository: Any) -> None:
        async def write(number: int) -> None:
            value = self.value(number)
            async with await repository.open("job", "wb") as writer:
                await writer.write(value[:5])
                await asyncio.sleep(0)
                await writer.write(value[5:])

        await asyncio.gather(*(write(number) for number in range(AT_ONCE)))
        assert await repository.read_bytes("job") in [self.value(number) for number in range(AT_ONCE)]
        assert await repository.keys() == {"job"}

    async def test_of_writers_of_large_values_one_wins_whole(self, repository: Any) -> None:
        self.need_any_bytes()
        sizes = {letter: PART + number * MIB + number for number, letter in enumerate(b"abc")}

        async def write(letter: int, size: int) -> None:
            async with await repository.open("job", "wb") as writer:
                for piece in pieces(size):
                    await writer.write(bytes([letter]) * len(piece))

        await asyncio.gather(*(write(letter, size) for letter, size in sizes.items()))
        value = await repository.read_bytes("job")
        assert set(value) == {value[0]}
        assert len(value) == sizes[value[0]]

    async def test_who_reads_while_others_write_reads_whole_values(self, repository: Any) -> None:
        await self.put(repository, "job", 0)
        done = False

        async def write() -> None:
            nonlocal done
            try:
                for number in range(1, 15):
                    await self.put(repository, "job", number)
            finally:
                done = True

        async def read() -> None:
            known = [self.value(number) for number in range(15)]
            seen = 0
            while not done:
                value = await repository.read_bytes("job")
                assert value in known
                assert known.index(value) >= seen
                seen = known.index(value)
                await asyncio.sleep(0)

        await asyncio.gather(write(), read(), read())

    async def test_a_reader_never_mixes_two_values(self, repository: Any) -> None:
        self.need_any_bytes()
        size = 3 * PART
        await repository.write_bytes("job", b"o" * size)
        async with await repository.open("job", "rb") as reader:
            value = await reader.read(CHUNK)
            await repository.write_bytes("job", b"n" * size)
            try:
                while data := await reader.read(CHUNK):
                    value += data
            except PdtError:
                return  # the old value is gone, and it says so
        assert value == b"o" * size

    # ---- in and out

    async def test_values_are_copied_from_and_to_other_repositories(self, repository: Any) -> None:
        other = InProcessBlobRepository({"job": self.value(4)})
        async with await other.open("job", "rb") as reader, await repository.open("job", "wb") as writer:
            await copy_stream(reader, writer)
        async with await repository.open("job", "rb") as reader, await other.open("copy", "wb") as writer:
            await copy_stream(reader, writer)
        assert other.data["copy"] == self.value(4)

    async def test_what_a_job_left_behind_is_collected(self, repository: Any, tmp_path_factory: Any) -> None:
        path = Path(tmp_path_factory.mktemp("left")) / "output"
        path.write_bytes(self.value(6))

        async def source() -> ReadStream:
            return MemoryReader(self.value(6))

        await repository.collect("moved", source, str(path))
        await repository.collect("copied", source)
        await self.check(repository, "moved", 6)
        await self.check(repository, "copied", 6)

    async def test_what_is_not_left_cannot_be_collected(self, repository: Any) -> None:
        async def source() -> ReadStream:
            raise JobNotFound("there is no output")

        with pytest.raises(JobNotFound):
            await repository.collect("job", source)
        assert await repository.keys() == set()

    async def test_a_file_on_this_machine_is_the_value(self, repository: Any) -> None:
        assert await repository.local_file("job") is None
        await self.put(repository, "job", 1)
        path = await repository.local_file("job")
        assert path is None or Path(path).read_bytes() == self.value(1)
