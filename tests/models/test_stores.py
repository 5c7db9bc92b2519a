"""Every kind of store does what a dictionary does, step by step, with readers at every moment."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from tests.conformance.backends import opened
from tests.models.model import FULL, Step, follow, histories, steps

EXAMPLES = {
    "memory": 60,
    "files": 60,
    "fsspec-local": 30,
    "fsspec-memory": 30,
    "s3": 6,
    "gridfs": 6,
    "values": 60,
    "yaml": 60,
    "yaml-s3": 6,
    "mongo": 15,
}
"""How many histories each kind is put through; ten times as many in the full run."""

CLAIMS = {"values", "yaml", "yaml-s3", "mongo"}


@pytest.mark.timeout(1000 if FULL else 120)
@pytest.mark.parametrize("kind", EXAMPLES)
def test_it_is_a_dictionary(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    with asyncio.Runner() as runner:
        store = opened(kind, request, tmp_path)
        backend = runner.run(store.__aenter__())

        @histories(EXAMPLES[kind])
        @given(steps)
        def check(done: list[Step]) -> None:
            runner.run(follow(backend, done, claims=kind in CLAIMS))

        try:
            check()
        finally:
            runner.run(store.__aexit__(None, None, None))
