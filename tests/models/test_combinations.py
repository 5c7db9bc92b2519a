"""Every combination of stores is set algebra on them, while jobs come and go, also through the combination itself."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.conformance.backends import Backend, Mirror, opened
from tests.models.model import FULL, histories

from pdtcli import (
    AggregateAndRepository,
    AggregateOrRepository,
    BlockingRepository,
    RelatedItemRepository,
    Repository,
)

JOBS = ["ab", "ba", "a-b", "b-a", "aa", "x" * 63]

EXAMPLES = {"values": 60, "files": 40, "yaml": 40, "mongo": 6, "s3": 4}

Model = list[set[str]]
"""What each of the stores at the leaves holds."""


@dataclass(frozen=True)
class Shape:
    """A combination, or a leaf by its number."""

    kind: str
    parts: tuple[Shape | int, ...]
    flag: bool = False

    def build(self, leaves: list[Repository]) -> Repository:
        one, *more = (leaves[part] if isinstance(part, int) else part.build(leaves) for part in self.parts)
        match self.kind:
            case "and":
                return AggregateAndRepository(one=one, two=more[0])
            case "or":
                return AggregateOrRepository(one=one, two=more[0])
            case "blocking":
                return BlockingRepository(one, more[0], enumerate_unless=self.flag)
            case "filter":
                return one.map(same, begins_with_a, allow_deletes=self.flag)
        return RelatedItemRepository(one, Mirror(one), allow_deletes=self.flag, prefetch_lookup=not self.flag)

    def keys(self, model: Model) -> set[str]:
        one, *more = (model[part] if isinstance(part, int) else part.keys(model) for part in self.parts)
        match self.kind:
            case "and":
                return one & more[0]
            case "or":
                return one | more[0]
            case "blocking":
                return one - more[0]
            case "filter":
                return {job for job in one if job.startswith("a")}
        return {job[::-1] for job in one}

    def delete(self, model: Model, job: str) -> None:
        """What a delete through the combination does to the leaves."""
        match self.kind:
            case "and" | "or":
                reached, name = self.parts, job
            case "blocking":
                reached, name = self.parts[:1], job
            case _ if not self.flag:
                return
            case "filter":
                reached, name = self.parts[:1], job
            case _:
                reached, name = self.parts[:1], job[::-1]
        for part in reached:
            if isinstance(part, int):
                model[part].discard(name)
            else:
                part.delete(model, name)


async def same(info: Any) -> Any:
    return info


async def begins_with_a(job: str) -> bool:
    return job.startswith("a")


def above(parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    two = st.builds(Shape, st.sampled_from(["and", "or", "blocking"]), st.tuples(parts, parts), st.booleans())
    return two | st.builds(Shape, st.sampled_from(["filter", "related"]), st.tuples(parts), st.booleans())


shapes = st.recursive(st.integers(0, 2), above, max_leaves=5).filter(lambda shape: isinstance(shape, Shape))

changes = st.lists(
    st.tuples(st.sampled_from(["put", "delete", "through"]), st.integers(0, 2), st.sampled_from(JOBS)), max_size=8
)


async def follow(backend: Backend, shape: Shape, done: list[tuple[str, int, str]]) -> None:
    leaves = [backend.new() for _ in range(3)]
    for leaf in leaves:
        await leaf.validate()
    combined = shape.build(list(leaves))
    model: Model = [set(), set(), set()]
    for what, number, job in done:
        match what:
            case "put":
                model[number].add(job)
                await backend.put(leaves[number], job, number)
            case "delete":
                model[number].discard(job)
                await leaves[number].delete(job)
            case _:
                shape.delete(model, job)
                await combined.delete(job)
    expected = shape.keys(model)
    assert await combined.keys() == expected
    assert {job async for job in combined} == expected
    names = {*JOBS, *(job[::-1] for job in JOBS)}
    assert {job for job in names if await combined.contains(job)} == expected
    assert await combined.among(sorted(names)) == expected
    assert [await leaf.keys() for leaf in leaves] == model
    assert (await combined.info_all()).keys() == expected


@pytest.mark.timeout(1000 if FULL else 120)
@pytest.mark.parametrize("kind", EXAMPLES)
def test_it_is_set_algebra(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    with asyncio.Runner() as runner:
        store = opened(kind, request, tmp_path)
        backend = runner.run(store.__aenter__())

        @histories(EXAMPLES[kind])
        @given(shapes, changes)
        def check(shape: Shape, done: list[tuple[str, int, str]]) -> None:
            runner.run(follow(backend, shape, done))

        try:
            check()
        finally:
            runner.run(store.__aexit__(None, None, None))
