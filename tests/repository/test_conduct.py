"""What every repository has to do, whatever keeps its values."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.refused import refuses_the_name

from pdtcli import (
    AggregateAndRepository,
    AggregateOrRepository,
    BlobRepository,
    BlockingRepository,
    DirectoryRepository,
    FileRepository,
    InProcessBlobRepository,
    InProcessMetadataRepository,
    InvalidJobId,
    JobNotFound,
    MetadataRepository,
    RelatedItemRepository,
    Repository,
    YamlMetadataFileRepository,
    YamlMetadataRepository,
)
from pdtcli.stream import ReadStream, WriteStream
from pdtcli.testing.writers import write_and_be_cancelled, write_and_raise


class YamlInMemory(YamlMetadataRepository):
    """YAML on blobs that are not files: what a third party might write."""

    def __init__(self) -> None:
        self.blobs = InProcessBlobRepository()

    async def unfiltered_iter(self) -> AsyncIterator[str]:
        async for job in self.blobs.unfiltered_iter():
            yield job

    async def delete(self, job: str, /) -> None:
        await self.blobs.delete(job)

    async def open_reader(self, job: str, /) -> ReadStream:
        return await self.blobs.open_reader(job)

    async def open_writer(self, job: str, /) -> WriteStream:
        return await self.blobs.open_writer(job)


BLOBS: dict[str, Callable[[Path], BlobRepository]] = {
    "memory": lambda path: InProcessBlobRepository(),
    "files": FileRepository,
    "files with an extension": lambda path: FileRepository(path, ".tar.gz"),
    "files in any case": lambda path: FileRepository(path, ".txt", case_insensitive=True),
}
METADATA: dict[str, Callable[[Path], MetadataRepository]] = {
    "memory": lambda path: InProcessMetadataRepository(),
    "yaml files": YamlMetadataFileRepository,
    "yaml files in any case": lambda path: YamlMetadataFileRepository(path, case_insensitive=True),
    "yaml in memory": lambda path: YamlInMemory(),
}
CLAIMABLE = {name: make for name, make in METADATA.items() if name != "yaml in memory"}

each_blob = pytest.mark.parametrize("make", BLOBS.values(), ids=BLOBS)
each_metadata = pytest.mark.parametrize("make", METADATA.values(), ids=METADATA)
each_claimable = pytest.mark.parametrize("make", CLAIMABLE.values(), ids=CLAIMABLE)

NOT_JOBS = ["", "..", "../x", "a/b", "-rf", "a\0", "a\n", "x" * 64, "\u0430"]


# ---- blobs


@each_blob
async def test_bytes_come_back_as_they_went(tmp_path: Path, make: Callable[[Path], BlobRepository]) -> None:
    repository = make(tmp_path)
    value = bytes(range(256)) * 5000
    async with await repository.open("job", "wb") as writer:
        for start in range(0, len(value), 100_000):
            await writer.write(value[start : start + 100_000])
    async with await repository.open("job", "rb") as reader:
        assert await reader.read(10) == value[:10]
        assert await reader.read() == value[10:]
        assert await reader.read(10) == b""


@each_blob
async def test_text_comes_back_as_it_went(tmp_path: Path, make: Callable[[Path], BlobRepository]) -> None:
    repository = make(tmp_path)
    async with await repository.open("job", "w") as writer:
        await writer.write("caf\u00e9 \U0001f600\r\n")
    async with await repository.open("job") as reader:
        assert await reader.read() == "caf\u00e9 \U0001f600\r\n"


@each_blob
async def test_an_empty_value_is_a_value(tmp_path: Path, make: Callable[[Path], BlobRepository]) -> None:
    repository = make(tmp_path)
    await repository.write_bytes("job", b"")
    assert await repository.keys() == {"job"}
    assert await repository.read_bytes("job") == b""


@each_blob
async def test_a_value_is_not_there_before_it_is_complete(
    tmp_path: Path, make: Callable[[Path], BlobRepository]
) -> None:
    repository = make(tmp_path)
    async with await repository.open("job", "wb") as writer:
        await writer.write(b"half")
        seen = (await repository.keys(), await repository.contains("job"), [job async for job in repository])
    assert seen == (set(), False, [])
    assert await repository.contains("job")


@each_blob
async def test_a_writer_that_raises_leaves_the_old_value(
    tmp_path: Path, make: Callable[[Path], BlobRepository]
) -> None:
    repository = make(tmp_path)
    await repository.write_bytes("job", b"old")
    await write_and_raise(repository, [b"new"])
    assert await repository.read_bytes("job") == b"old"
    assert len(list(tmp_path.iterdir())) <= 1


@each_blob
async def test_a_writer_that_is_cancelled_leaves_nothing(
    tmp_path: Path, make: Callable[[Path], BlobRepository]
) -> None:
    repository = make(tmp_path)
    await write_and_be_cancelled(repository, [b"half"])
    assert await repository.keys() == set()
    assert list(tmp_path.iterdir()) == []


@each_blob
async def test_a_value_is_overwritten(tmp_path: Path, make: Callable[[Path], BlobRepository]) -> None:
    repository = make(tmp_path)
    await repository.write_bytes("job", b"a long old value")
    await repository.write_bytes("job", b"new")
    assert await repository.read_bytes("job") == b"new"


@each_blob
async def test_who_reads_the_old_value_reads_it_to_its_end(
    tmp_path: Path, make: Callable[[Path], BlobRepository]
) -> None:
    repository = make(tmp_path)
    await repository.write_bytes("job", b"old value")
    async with await repository.open("job", "rb") as reader:
        first = await reader.read(3)
        await repository.write_bytes("job", b"new")
        await repository.delete("job")
        assert first + await reader.read() == b"old value"


@each_blob
async def test_a_closed_writer_takes_no_more_and_closes_again(
    tmp_path: Path, make: Callable[[Path], BlobRepository]
) -> None:
    writer = await make(tmp_path).open("job", "wb")
    await writer.close()
    await writer.close()
    with pytest.raises(ValueError, match="closed"):
        await writer.write(b"x")


@each_blob
async def test_aborting_a_closed_writer_keeps_the_value(tmp_path: Path, make: Callable[[Path], BlobRepository]) -> None:
    repository = make(tmp_path)
    writer = await repository.open("job", "wb")
    await writer.close()
    await writer.abort()
    assert await repository.keys() == {"job"}


@each_blob
@pytest.mark.parametrize("mode", ["r", "rb"])
async def test_a_job_that_is_not_here_cannot_be_read(
    tmp_path: Path, make: Callable[[Path], BlobRepository], mode: Any
) -> None:
    with pytest.raises(JobNotFound, match="does not hold job"):
        await make(tmp_path).open("job", mode)


@each_blob
@pytest.mark.parametrize("mode", ["a", "x", "", "r+b", "bw"])
async def test_there_are_four_modes(tmp_path: Path, make: Callable[[Path], BlobRepository], mode: Any) -> None:
    with pytest.raises(ValueError, match="r, rb, w or wb"):
        await make(tmp_path).open("job", mode)
    assert list(tmp_path.iterdir()) == []


@each_blob
@pytest.mark.parametrize("job", NOT_JOBS)
async def test_no_blob_has_a_name_that_is_no_job_id(
    tmp_path: Path, make: Callable[[Path], BlobRepository], job: str
) -> None:
    repository = make(tmp_path)
    await repository.write_bytes("good", b"x")
    await refuses_the_name(repository, job)
    assert len(list(tmp_path.iterdir())) <= 1


# ---- metadata


@each_metadata
async def test_values_come_back(tmp_path: Path, make: Callable[[Path], MetadataRepository]) -> None:
    repository = make(tmp_path)
    value = {"text": "caf\u00e9\n", "list": [1, 2.5, None, True], "nested": {"x": {}}}
    await repository.dump("job", value)
    assert await repository.info("job") == value
    assert await repository.info_all() == {"job": value}
    assert await repository.info_many(["job", "other"]) == {"job": value}


@each_metadata
async def test_a_job_that_is_not_here_has_an_empty_value(
    tmp_path: Path, make: Callable[[Path], MetadataRepository]
) -> None:
    assert not await make(tmp_path).info("job")


@each_metadata
@pytest.mark.parametrize("job", NOT_JOBS)
async def test_no_value_has_a_name_that_is_no_job_id(
    tmp_path: Path, make: Callable[[Path], MetadataRepository], job: str
) -> None:
    repository = make(tmp_path)
    await repository.dump("good", 1)
    for write in (repository.dump, repository.claim):
        if write != repository.claim or not isinstance(repository, YamlInMemory):
            with pytest.raises(InvalidJobId):
                await write(job, {})
    with pytest.raises(InvalidJobId):
        await repository.delete(job)
    with pytest.raises(InvalidJobId):
        await repository.delete_many(["good", job])
    assert not await repository.contains(job)
    assert await repository.info_all() == {"good": 1}


@each_claimable
async def test_a_claim_is_granted_once(tmp_path: Path, make: Callable[[Path], MetadataRepository]) -> None:
    repository = make(tmp_path)
    same: dict[str, int] = {"by": 1}
    assert [await repository.claim("job", value) for value in (same, same, {"by": 2}, None)] == [
        True,
        False,
        False,
        False,
    ]
    assert await repository.info("job") == {"by": 1}


@each_claimable
async def test_a_claim_is_refused_where_there_is_a_value(
    tmp_path: Path, make: Callable[[Path], MetadataRepository]
) -> None:
    repository = make(tmp_path)
    await repository.dump("job", {"old": True})
    assert not await repository.claim("job", {})
    await repository.delete("job")
    assert await repository.claim("job", {})


@each_claimable
async def test_of_many_claims_at_once_one_is_granted(
    tmp_path: Path, make: Callable[[Path], MetadataRepository]
) -> None:
    repository = make(tmp_path)

    def claim(number: int) -> bool:
        return asyncio.run(repository.claim("job", {"by": number}))

    granted = await asyncio.gather(*(asyncio.to_thread(claim, number) for number in range(20)))
    assert granted.count(True) == 1
    assert await repository.info("job") == {"by": granted.index(True)}


# ---- keys, against a model

jobs = st.sampled_from(["a", "b", "c", "a.b", "A", "x-1"])
steps = st.lists(
    st.tuples(st.just("write"), jobs)
    | st.tuples(st.just("delete"), jobs)
    | st.tuples(st.just("delete_many"), st.lists(jobs, max_size=3)),
    max_size=12,
)


@pytest.mark.parametrize("make", [*BLOBS.values(), *METADATA.values()], ids=[*BLOBS, *METADATA])
@settings(max_examples=25)
@given(steps=steps)
def test_it_behaves_as_a_dictionary(
    tmp_path_factory: pytest.TempPathFactory,
    make: Callable[[Path], BlobRepository | MetadataRepository],
    steps: list[tuple[str, Any]],
) -> None:
    repository = make(tmp_path_factory.mktemp("model"))
    model: dict[str, int] = {}

    async def follow() -> None:
        for number, (step, what) in enumerate(steps):
            if step == "write":
                model[what] = number
                if isinstance(repository, MetadataRepository):
                    await repository.dump(what, number)
                else:
                    await repository.write_bytes(what, str(number).encode())
            elif step == "delete":
                model.pop(what, None)
                await repository.delete(what)
            else:
                for job in what:
                    model.pop(job, None)
                await repository.delete_many(what)
        assert await repository.keys() == set(model)
        assert sorted([job async for job in repository]) == sorted(model)
        assert {job for job in ("a", "b", "c", "A") if await repository.contains(job)} == set(model) & {*"abcA"}
        assert await repository.among(["a", "A", "zzz"]) == set(model) & {"a", "A"}
        if isinstance(repository, MetadataRepository):
            assert await repository.info_all() == model
        else:
            assert {job: int(await repository.read_bytes(job)) for job in await repository.keys()} == model

    asyncio.run(follow())


@pytest.mark.parametrize("make", [*BLOBS.values(), *METADATA.values()], ids=[*BLOBS, *METADATA])
async def test_the_set_of_keys_is_the_caller_s_own(
    tmp_path: Path, make: Callable[[Path], BlobRepository | MetadataRepository]
) -> None:
    repository = make(tmp_path)
    (await repository.keys()).add("mine")
    assert await repository.keys() == set()


# ---- names that are no job ids


async def test_other_names_are_skipped_and_counted_in_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    repository = InProcessMetadataRepository(dict.fromkeys(["good", "a b", "c/d", "..", "-x"]))
    assert await repository.keys() == {"good"}
    assert [record.getMessage() for record in caplog.records] == [
        "<InProcessMetadataRepository>: skipped 4 names that are not valid job ids: '-x', '..', 'a b', …"
    ]


async def test_the_warning_comes_once_however_often_a_repository_is_listed(caplog: pytest.LogCaptureFixture) -> None:
    repository = InProcessMetadataRepository({"a b": 1})
    for _ in range(3):
        await repository.keys()
        assert [job async for job in repository] == []
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


async def test_another_name_is_another_warning(caplog: pytest.LogCaptureFixture) -> None:
    repository = InProcessMetadataRepository({"a b": 1})
    await repository.keys()
    repository.data["c d"] = 1
    await repository.keys()
    assert [record.getMessage().rpartition(": ")[2] for record in caplog.records] == ["'a b'", "'a b', 'c d'"]


# ---- combinations write nowhere either

COMBINATIONS: dict[str, Callable[[Repository], Repository]] = {
    "and": lambda base: AggregateAndRepository(base=base),
    "or": lambda base: AggregateOrRepository(base=base),
    "nothing": lambda base: AggregateAndRepository(),
    "blocking": lambda base: BlockingRepository(base, InProcessMetadataRepository()),
    "map": lambda base: base.map(lambda info: asyncio.sleep(0, info)),
    "related": lambda base: RelatedItemRepository(base, InProcessMetadataRepository()),
    "directories": lambda base: DirectoryRepository("/nonexistent"),
}


@pytest.mark.parametrize("combine", COMBINATIONS.values(), ids=COMBINATIONS)
@pytest.mark.parametrize("job", NOT_JOBS)
async def test_no_combination_deletes_a_name_that_is_no_job_id(
    combine: Callable[[Repository], Repository], job: str
) -> None:
    base = InProcessMetadataRepository({job: 1, "good": 2})
    repository = combine(base)
    with pytest.raises(InvalidJobId):
        await repository.delete(job)
    with pytest.raises(InvalidJobId):
        await repository.delete_many(["good", job])
    assert base.data == {job: 1, "good": 2}
