"""`kill -9` before and after every step that a tick or a run makes, over every kind of store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.faults.sweep import FULL, STAGES, Sweeper
from tests.faults.world import WORLDS

pytestmark = pytest.mark.timeout(3600 if FULL else 120)


@pytest.fixture(params=WORLDS)
def sweeper(request: Any, tmp_path: Path, tracer: Path) -> Iterator[Sweeper]:
    """Drives worlds of one kind."""
    sweeper = Sweeper(tmp_path, request.param, request, tracer)
    with sweeper.ready():
        yield sweeper


@pytest.mark.parametrize("how", ["before", "after"])
@pytest.mark.parametrize("stage", STAGES)
def test_a_kill_at_any_step_loses_nothing_and_repeats_nothing(
    sweeper: Sweeper, stage: str, how: str, record_property: Any
) -> None:
    result = sweeper.sweep(sweeper.points(STAGES[stage], "wpn"), sweeper.kill(STAGES[stage], how))

    print(f"kill {how}: {sweeper.kind} {stage}: {result.steps} steps, {result.points} kills")
    assert result.broken == {}
    assert result.points > 5
