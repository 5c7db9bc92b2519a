"""Names by the thousand mean what each of them means; jobs lie on their shelves, and are found there."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdtcli import DirectoryRepository, FileRepository, UsageError, YamlMetadataFileRepository
from pdtcli.repository.names import BATCH, Names

CHARACTERS = st.text(alphabet="aZ0-_. \nä/.ymlYK\u212a", max_size=8)


@given(
    st.lists(st.one_of(CHARACTERS, CHARACTERS.map("{}.yaml".format))),
    st.sampled_from(["", ".yaml", ".a.b", "+"]),
    st.booleans(),
)
def test_names_together_mean_what_each_means(names: list[str], extension: str, case_insensitive: bool) -> None:
    meaning = Names(extension, case_insensitive)
    jobs = [found[1] for name in names if (found := meaning.match(name)) is not None]
    others = [name for name in names if meaning.match(name) is None]

    assert meaning.split(list(names)) == (jobs, others)


@given(st.lists(st.from_regex(r"[a-z0-9]([a-z.-]{0,61}[a-z0-9])?", fullmatch=True), min_size=1), st.booleans())
def test_names_that_are_all_of_jobs_give_these(jobs: list[str], case_insensitive: bool) -> None:
    names = [f"{job}.yaml" for job in jobs]

    assert Names(".yaml", case_insensitive).split(names) == (jobs, [])
    assert Names("", False).split(list(jobs)) == (jobs, [])


def test_a_line_break_does_not_make_two_of_one(tmp_path: Path) -> None:
    assert Names("", False).split(["a\nb", "c"]) == (["c"], ["a\nb"])


def test_a_large_directory_is_listed_whole_and_once(tmp_path: Path) -> None:
    jobs = {f"job{number}" for number in range(2 * BATCH + 7)}
    for job in jobs:
        (tmp_path / f"{job}.txt").touch()
    (tmp_path / "sub.txt").mkdir()
    repository = FileRepository(tmp_path, ".txt")

    scanned = [job for part in repository.scan() for job in part]

    assert len(scanned) == len(jobs)
    assert set(scanned) == jobs == asyncio.run(repository.keys())


class TestShelves:
    def test_a_job_lies_where_its_digest_says(self, tmp_path: Path) -> None:
        repository = FileRepository(tmp_path, ".txt", shard=2)
        # The first digits of b2sum --length 64; they are the layout, and must never change.
        assert repository.fullpath("emma") == tmp_path / "58" / "emma.txt"
        assert FileRepository(tmp_path, shard=1).fullpath("emma") == tmp_path / "5" / "emma"
        assert FileRepository(tmp_path, shard=0).fullpath("emma") == tmp_path / "emma"

    async def test_values_come_back(self, tmp_path: Path) -> None:
        repository = YamlMetadataFileRepository(tmp_path / "data", shard=2)
        await repository.validate()
        jobs = {f"job{number}" for number in range(300)}

        for job in jobs:
            await repository.dump(job, {"name": job})
        assert not await repository.claim("job1", {})

        assert await repository.keys() == jobs
        assert await repository.info_all() == {job: {"name": job} for job in jobs}
        assert len(os.listdir(tmp_path / "data")) == 256
        assert all(path.is_dir() for path in (tmp_path / "data").iterdir())

        await repository.delete_many(jobs)
        assert await repository.keys() == set()

    async def test_what_killed_writers_left_is_swept(self, tmp_path: Path) -> None:
        repository = FileRepository(tmp_path, shard=1)
        await repository.validate()
        litter = tmp_path / "a" / f".pdt-{os.uname().nodename}-0-1-1-1"
        litter.touch()

        await repository.keys()

        assert not litter.exists()

    async def test_a_missing_shelf_is_an_empty_one(self, tmp_path: Path) -> None:
        repository = FileRepository(tmp_path, shard=1)
        (tmp_path / "5").mkdir()
        (tmp_path / "5" / "emma").touch()

        assert await repository.keys() == {"emma"}
        assert not await repository.contains("persuasion")

    async def test_no_directory_at_all_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            await FileRepository(tmp_path / "none", shard=1).keys()

    async def test_spellings_are_found_on_the_shelf(self, tmp_path: Path) -> None:
        repository = FileRepository(tmp_path, ".txt", case_insensitive=True, shard=1)
        await repository.validate()
        (tmp_path / "5" / "emma.TXT").write_text("Emma")

        assert await repository.keys() == {"emma"}
        assert await repository.read_bytes("emma") == b"Emma"

    async def test_directories_are_kept_the_same_way(self, tmp_path: Path) -> None:
        repository = DirectoryRepository(tmp_path, shard=2)
        await repository.validate()

        async with await repository.create("emma") as path:
            (path / "chapter").touch()

        assert os.listdir(tmp_path / "58" / "emma") == ["chapter"]
        assert await repository.keys() == {"emma"}
        await repository.delete("emma")
        assert await repository.keys() == set()

    @pytest.mark.parametrize("shard", [-1, 4, 1.5])
    def test_there_are_not_any_number_of_them(self, tmp_path: Path, shard: int) -> None:
        with pytest.raises(UsageError, match="is not a number of digits"):
            FileRepository(tmp_path, shard=shard)
