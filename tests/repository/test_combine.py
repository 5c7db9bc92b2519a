"""Repositories made of repositories, against Python's own sets and dictionaries."""

from __future__ import annotations

import asyncio
import itertools
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdtcli import (
    AggregateAndRepository,
    AggregateOrRepository,
    BlockingRepository,
    FileRepository,
    InProcessBlobRepository,
    InProcessMetadataRepository,
    JobNotFound,
    RelatedItemRepository,
    Repository,
    YamlMetadataFileRepository,
)
from pdtcli.repository.combine import SucceededRepository


def metadata(*jobs: str, **values: Any) -> InProcessMetadataRepository:
    return InProcessMetadataRepository(dict.fromkeys(jobs) | values)


# ---- the algebra of keys

JOBS = "pqrstuvw"
sets = st.sets(st.sampled_from(JOBS))
Pair = tuple[Repository, set[str]]


async def is_early(job: str) -> bool:
    return job < "t"


async def same(info: Any) -> Any:
    return info


def combinations(parts: st.SearchStrategy[Pair]) -> st.SearchStrategy[Pair]:
    """Every kind of combination of two parts, with the set that it must be."""

    def combine(one: Pair, two: Pair, kind: str, flag: bool) -> Pair:
        (a, x), (b, y) = one, two
        match kind:
            case "and":
                return AggregateAndRepository(a=a, b=b), x & y
            case "or":
                return AggregateOrRepository(a=a, b=b), x | y
            case "blocking":
                return BlockingRepository(a, b, enumerate_unless=flag), x - y
            case "filter":
                return a.map(same, is_early), {job for job in x if job < "t"}
            case "map":
                return a.map(same), x
        # Every job's neighbour in the alphabet is its translation.
        following = dict(itertools.pairwise(JOBS))
        related = RelatedItemRepository(a, metadata(**following), prefetch_lookup=flag)
        return related, {job for job, name in following.items() if name in x}

    kinds = st.sampled_from(["and", "or", "blocking", "filter", "map", "related"])
    return st.builds(combine, parts, parts, kinds, st.booleans())


leaves: st.SearchStrategy[Pair] = sets.map(lambda jobs: (metadata(*jobs), jobs))


@given(st.recursive(leaves, combinations, max_leaves=8))
def test_keys_are_set_algebra(pair: Pair) -> None:
    repository, expected = pair

    async def look() -> tuple[set[str], set[str], set[str], set[str]]:
        return (
            await repository.keys(),
            {job async for job in repository},
            {job for job in JOBS if await repository.contains(job)},
            await repository.among(JOBS),
        )

    assert asyncio.run(look()) == (expected,) * 4


async def test_nothing_of_no_parts() -> None:
    for empty in (AggregateAndRepository(), AggregateOrRepository()):
        assert (await empty.keys(), await empty.contains("p")) == (set(), False)


async def test_an_aggregate_gives_the_info_of_every_part() -> None:
    both = AggregateAndRepository(one=metadata(p=1), two=metadata(p=2))
    assert await both.info("p") == {"one": 1, "two": 2}
    assert await both.info_all() == {"p": {"one": 1, "two": 2}}


@pytest.mark.parametrize("kind", [AggregateAndRepository, AggregateOrRepository])
async def test_an_aggregate_deletes_from_every_part(kind: type[AggregateAndRepository]) -> None:
    one, two = metadata("p", "q"), metadata("p")
    await kind(one=one, two=two).delete("p")
    assert (one.data, two.data) == ({"q": None}, {})


async def test_blocking_gives_and_deletes_what_the_source_holds() -> None:
    source, unless = metadata(p=1, q=2), metadata("q")
    left = BlockingRepository(source, unless)
    assert await left.info_all() == {"p": 1}
    await left.delete("q")
    assert (source.data, unless.data) == ({"p": 1}, {"q": None})


async def test_only_successes_succeed() -> None:
    done = metadata(good={"success": True}, bad={"success": False}, old={"return_code": 1}, touched=None)
    succeeded = SucceededRepository(done)
    assert await succeeded.keys() == {"good", "touched"}
    assert [await succeeded.contains(job) for job in ("good", "bad", "none")] == [True, False, False]
    both = AggregateAndRepository(done=succeeded, input=metadata("good", "bad", "new"))
    assert await both.keys() == {"good"}


async def test_a_record_that_cannot_be_read_is_no_success_and_hides_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "good.yaml").write_text("success: true\n")
    (tmp_path / "broken.yaml").write_text("success: [")
    succeeded = SucceededRepository(YamlMetadataFileRepository(tmp_path))
    for _ in range(2):
        assert await succeeded.keys() == {"good"}
        assert not await succeeded.contains("broken")
    [record] = caplog.records
    assert record.getMessage().startswith(f"{tmp_path}/broken.yaml is not valid YAML: ")


async def test_a_record_of_success_is_not_the_view_s_to_delete() -> None:
    done = metadata(good={"success": True})
    await SucceededRepository(done).delete("good")
    assert await done.contains("good")


# ---- map


async def double(info: Any) -> Any:
    return info * 2


async def test_a_map_changes_what_templates_see() -> None:
    mapped = metadata(p=1, q=2).map(double)
    assert (await mapped.info("p"), await mapped.info_all()) == (2, {"p": 2, "q": 4})


async def test_a_filter_hides_jobs() -> None:
    mapped = metadata(p=1, t=2).map(double, is_early)
    assert (await mapped.info_all(), await mapped.info_many(["p", "t", "x"])) == ({"p": 2}, {"p": 2})


@pytest.mark.parametrize("allowed", [False, True])
async def test_a_delete_goes_through_a_map_only_where_that_is_allowed(allowed: bool) -> None:
    base = metadata("p")
    await base.map(double, allow_deletes=allowed).delete("p")
    assert await base.contains("p") is not allowed


# ---- related items


class Chapters:
    """The values are by book, the jobs are chapters, and a repository tells the book of each chapter."""

    def __init__(self, *, prefetch: bool, deletes: bool = False) -> None:
        self.books = metadata(emma=1815, sanditon=1817)
        self.book_of = metadata(
            **{"emma-1": "emma", "emma-2": "emma", "sanditon-1": "sanditon", "persuasion-1": "persuasion"}
        )
        self.related = RelatedItemRepository(self.books, self.book_of, deletes, prefetch)


either = pytest.mark.parametrize("prefetch", [True, False], ids=["prefetched", "looked up one by one"])


@either
async def test_related_items_are_known_by_the_names_that_are_translated(prefetch: bool) -> None:
    related = Chapters(prefetch=prefetch).related
    assert await related.keys() == {"emma-1", "emma-2", "sanditon-1"}
    assert await related.contains("emma-2")
    assert not await related.contains("persuasion-1")
    assert not await related.contains("emma")


@either
async def test_related_items_have_the_info_of_the_base(prefetch: bool) -> None:
    related = Chapters(prefetch=prefetch).related
    assert await related.info("emma-2") == 1815
    assert await related.info_all() == {"emma-1": 1815, "emma-2": 1815, "sanditon-1": 1817}


@either
async def test_without_a_translation_there_is_no_info(prefetch: bool) -> None:
    with pytest.raises(JobNotFound, match="does not say what watsons-1 is related to"):
        await Chapters(prefetch=prefetch).related.info("watsons-1")


@either
@pytest.mark.parametrize("nothing", [None, {}])
async def test_an_empty_translation_is_none(prefetch: bool, nothing: Any) -> None:
    chapters = Chapters(prefetch=prefetch)
    chapters.book_of.data["emma-1"] = nothing
    assert await chapters.related.keys() == {"emma-2", "sanditon-1"}
    assert not await chapters.related.contains("emma-1")


@either
async def test_a_number_is_a_name_too(prefetch: bool) -> None:
    related = RelatedItemRepository(metadata(**{"7": "seven"}), metadata(p=7), prefetch_lookup=prefetch)
    assert (await related.keys(), await related.info("p")) == ({"p"}, "seven")


@either
@pytest.mark.parametrize("name", ["../x", "a b", ["x"], ""])
async def test_a_translation_that_is_no_job_id_is_nowhere(prefetch: bool, name: Any) -> None:
    related = RelatedItemRepository(metadata("x"), metadata(p=name), prefetch_lookup=prefetch)
    assert (await related.keys(), await related.contains("p")) == (set(), False)


@either
async def test_deletes_reach_the_base_only_where_that_is_allowed(prefetch: bool) -> None:
    for allowed in (False, True):
        chapters = Chapters(prefetch=prefetch, deletes=allowed)
        await chapters.related.delete("emma-1")
        await chapters.related.delete("watsons-1")
        assert await chapters.books.contains("emma") is not allowed
        assert await chapters.book_of.contains("emma-1")


@either
async def test_a_translation_that_came_later_is_found(prefetch: bool) -> None:
    chapters = Chapters(prefetch=prefetch)
    await chapters.related.keys()
    chapters.book_of.data["emma-3"] = "emma"
    assert await chapters.related.contains("emma-3")
    assert "emma-3" in await chapters.related.keys()


async def test_a_listing_loads_the_translations_anew() -> None:
    chapters = Chapters(prefetch=True)
    await chapters.related.keys()
    chapters.book_of.data["emma-1"] = "sanditon"
    del chapters.book_of.data["emma-2"]
    assert await chapters.related.keys() == {"emma-1", "sanditon-1"}
    assert await chapters.related.info("emma-1") == 1817


@either
async def test_it_opens_what_the_base_opens(prefetch: bool) -> None:
    blobs = InProcessBlobRepository({"emma": b"handsome, clever, and rich"})
    related: Any = RelatedItemRepository(blobs, metadata(**{"emma-1": "emma"}), prefetch_lookup=prefetch)
    async with await related.open("emma-1", "r") as reader:
        assert await reader.read(8) == "handsome"
    async with await related.open("emma-1", "wb") as writer:
        await writer.write(b"new")
    assert blobs.data == {"emma": b"new"}


async def test_it_can_do_what_the_base_can(tmp_path: Path) -> None:
    base = YamlMetadataFileRepository(tmp_path)
    related: Any = RelatedItemRepository(base, metadata(**{"emma-1": "emma"}))
    await related.dump("emma-1", {"words": 1})
    assert await related.read_bytes("emma-1") == b"words: 1\n"
    assert await related.local_file("emma-1") == f"{tmp_path}/emma.yaml"
    assert not await related.claim("emma-1", {})
    assert (related.basedir, related.extension) == (tmp_path, ".yaml")


async def test_it_can_do_nothing_that_the_base_cannot() -> None:
    related: Any = Chapters(prefetch=True).related
    with pytest.raises(AttributeError, match="no attribute 'open'"):
        await related.open("emma-1")


async def test_what_it_opens_has_a_translation() -> None:
    related: Any = RelatedItemRepository(InProcessBlobRepository(), metadata())
    with pytest.raises(JobNotFound, match="does not say what emma-1 is related to"):
        await related.open("emma-1", "w")
    with pytest.raises(KeyError, match="is not a valid job id"):
        await related.open("../x", "w")


async def test_it_travels_to_other_processes(tmp_path: Path) -> None:
    (tmp_path / "emma").touch()
    related = RelatedItemRepository(FileRepository(tmp_path), metadata(**{"emma-1": "emma"}))
    assert await pickle.loads(pickle.dumps(related)).keys() == {"emma-1"}


def test_combinations_show_what_they_are_made_of() -> None:
    one, two = metadata(), metadata()
    assert repr(AggregateAndRepository(one=one, two=two)) == "<AggregateAndRepository one two>"
    assert repr(BlockingRepository(one, two)) == f"<BlockingRepository {one} unless {two}>"
    assert repr(RelatedItemRepository(one, two)) == f"<RelatedItemRepository {one} by {two}>"
    assert repr(one.map(same)) == f"<MapRepository of {one}>"
