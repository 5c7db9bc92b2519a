"""A dictionary as the model of a repository, and the operations that both are put through.

Every operation on the real one runs beside readers of the same job, which must see the value before or the value after
it, whole. After each step the two are compared in every way in which a repository can be asked.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from tests.conformance.backends import Backend

from pdtcli import BlobRepository, InvalidJobId, JobNotFound, MetadataRepository

FULL = os.environ.get("PDT_FAULTS") == "full"


def histories(examples: int) -> settings:
    """How hypothesis makes histories up: the same ones each time, or ten times as many others in the full run."""
    return settings(
        max_examples=examples * (10 if FULL else 1),
        derandomize=not FULL,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


JOBS = ["a", "A", "7", "a.txt", "a.yaml", "a..b", "a--_.b", "CON", "x" * 63]
"""Names in the corners of what is allowed."""

NO_JOBS = [
    "",
    "x" * 64,
    "-rf",
    "a-",
    ".",
    "..",
    "../a",
    "a/b",
    "/a",
    ".pdt-a",
    "a\0",
    "a\0b",
    "a\n",
    "\na",
    " a",
    "a b",
    "~",
    "*",
    "$(a)",
    "%61",
    "a?",
    "a#b",
    "аbc",  # noqa: RUF001 - a Cyrillic letter
    "ａ",  # noqa: RUF001 - a full-width one
    "ﬁ",
    "a\u0301",
    "a\u200b",
    "\u202ea",
    "İ",
    "٣",
    "\ud800",
]
"""Names that are none, among them what a path, an option, a pattern or a URL could be made of."""


@dataclass(frozen=True)
class Step:
    """One operation; `value` is a number for what the store can hold."""

    what: str
    job: str
    value: int = 0


steps = st.lists(
    st.one_of(
        st.builds(Step, st.just("put"), st.sampled_from(JOBS), st.integers(0, 5)),
        st.builds(Step, st.just("put"), st.sampled_from(JOBS[:3]), st.integers(0, 5)),
        st.builds(Step, st.sampled_from(["delete", "claim"]), st.sampled_from(JOBS[:4]), st.integers(0, 5)),
        st.builds(Step, st.sampled_from(["put", "delete", "claim", "read"]), st.sampled_from(NO_JOBS)),
    ),
    min_size=1,
    max_size=12,
)


async def read(repository: Any, job: str) -> Any:
    """The value of a job, or None."""
    if isinstance(repository, MetadataRepository):
        return await repository.info(job) or None
    try:
        return await repository.read_bytes(job)
    except JobNotFound:
        return None


async def follow(backend: Backend, done: list[Step], *, claims: bool) -> None:
    """Put a new repository and its model through the steps."""
    repository = backend.new()
    await repository.validate()
    model: dict[str, Any] = {}
    for step in done:
        if step.job in NO_JOBS:
            await refuse(backend, repository, step)
        elif step.what != "claim" or claims:
            await one(backend, repository, model, step)
        await compare(repository, model)


async def one(backend: Backend, repository: Any, model: dict[str, Any], step: Step) -> None:
    """One operation, with readers beside it."""
    before = model.get(step.job)
    match step.what:
        case "put":
            model[step.job] = backend.value(step.value)
            operation = backend.put(repository, step.job, step.value)
        case "delete":
            model.pop(step.job, None)
            operation = repository.delete(step.job)
        case _:
            model.setdefault(step.job, backend.value(step.value))
            operation = repository.claim(step.job, backend.value(step.value))
    answer, *seen = await asyncio.gather(operation, *(read(repository, step.job) for _ in range(3)))
    assert [value for value in seen if value not in (before, model.get(step.job))] == []
    if step.what == "claim":
        assert answer is (before is None)


async def refuse(backend: Backend, repository: Any, step: Step) -> None:
    """What is no job is refused, and is not there."""
    assert not await repository.contains(step.job)
    assert await repository.among([step.job]) == set()
    operation: Awaitable[object]
    match step.what:
        case "put":
            operation = backend.put(repository, step.job, 0)
        case "delete":
            operation = repository.delete(step.job)
        case "claim" if isinstance(repository, MetadataRepository):
            operation = repository.claim(step.job, backend.value(0))
        case _ if isinstance(repository, BlobRepository):
            operation = repository.read_bytes(step.job)
        case _:
            operation = repository.delete_many(["a", step.job])
    with pytest.raises(InvalidJobId):
        await operation


async def compare(repository: Any, model: dict[str, Any]) -> None:
    """The two agree, however they are asked."""
    assert await repository.keys() == model.keys()
    assert {job async for job in repository} == model.keys()
    assert {job for job in JOBS if await repository.contains(job)} == model.keys()
    assert await repository.among(JOBS[:4]) == model.keys() & set(JOBS[:4])
    assert {job: await read(repository, job) for job in model} == model
    if isinstance(repository, MetadataRepository):
        assert await repository.info_all() == model
