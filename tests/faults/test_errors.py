"""A disk that is full, a disk that fails, no descriptor left: at every step of a tick, once or from then on."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.faults.sweep import FULL, STAGES, Sweeper

pytestmark = pytest.mark.timeout(3600 if FULL else 120)

# What fails, at which kinds of steps (see `tracer.c`), and how long.
FAULTS = {
    "ENOSPC once": ("w", "errno", errno.ENOSPC),
    "ENOSPC from then on": ("w", "errno-on", errno.ENOSPC),
    "ENOSPC in the middle of a write": ("w", "half", errno.ENOSPC),
    "EIO once": ("wr", "errno", errno.EIO),
    "EIO from then on": ("wr", "errno-on", errno.EIO),
    "EMFILE once": ("d", "errno", errno.EMFILE),
    "EMFILE from then on": ("d", "errno-on", errno.EMFILE),
}


@pytest.fixture
def sweeper(request: Any, tmp_path: Path, tracer: Path) -> Iterator[Sweeper]:
    """Drives worlds on files."""
    sweeper = Sweeper(tmp_path, "files", request, tracer)
    with sweeper.ready():
        yield sweeper


@pytest.mark.parametrize("stage", ["launch", "reap", "function"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_call_that_fails_loses_nothing(sweeper: Sweeper, stage: str, fault: str) -> None:
    kinds, how, number = FAULTS[fault]

    result = sweeper.sweep(sweeper.points(STAGES[stage], kinds), sweeper.fail(STAGES[stage], how, number, kinds))

    print(f"{fault}: {stage}: {result.steps} steps, {result.points} faults")
    assert result.broken == {}
