"""`kill -9` before and after every step that a tick or a run makes, over every kind of store."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.faults.sweep import FULL, STAGES, Sweeper
from tests.faults.world import SERVERS, WORLDS

pytestmark = pytest.mark.timeout(3600 if FULL else 300)

ALL: list[tuple[str, str, str, int | None]] = [
    (kind, stage, how, None) for kind in WORLDS for stage in STAGES for how in ("before", "after")
]
SLICE: list[tuple[str, str, str, int | None]] = [
    *(("files", stage, "before", 40) for stage in ("launch", "reap")),
    *(("files", stage, "after", 6) for stage in ("launch", "reap", "run")),
    *(("named", stage, "before", 10) for stage in ("launch", "reap")),
    *((kind, stage, "before", 4) for kind in SERVERS for stage in ("launch", "reap")),
]


@pytest.mark.parametrize(("kind", "stage", "how", "most"), ALL if FULL else SLICE)
def test_a_kill_at_any_step_loses_nothing_and_repeats_nothing(
    sweeper_of: Callable[[str], Sweeper], kind: str, stage: str, how: str, most: int | None
) -> None:
    sweeper = sweeper_of(kind)
    with sweeper.ready():
        points = sweeper.points(STAGES[stage], "wpn", most)
        result = sweeper.sweep(points, sweeper.kill(STAGES[stage], how, ticks=how == "before"))

    print(f"kill {how}: {kind} {stage}: {result.steps} steps, {result.points} kills")
    assert result.broken == {}
    assert result.points >= min(most or 5, 5) - 1
