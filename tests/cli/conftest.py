"""A directory with the `pdt` command in it, empty or with a pipeline."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.cli.harness import BOOKS, Pdt


@pytest.fixture
def pdt(tmp_path: Path) -> Pdt:
    """`pdt` in an empty directory."""
    return Pdt(tmp_path)


@pytest.fixture
def books(pdt: Pdt) -> Pdt:
    """`pdt` where pipeline.py counts the words of three books."""
    pdt.write("pipeline.py", BOOKS)
    for name, text in (("emma", "handsome clever and rich"), ("persuasion", "sir walter"), ("sanditon", "a")):
        pdt.write(f"books/{name}.txt", text)
    return pdt
