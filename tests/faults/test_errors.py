"""A disk that is full, a disk that fails, no descriptor left: at every step of a tick, once or from then on."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest
from tests.faults.sweep import FULL, STAGES, Sweeper

pytestmark = pytest.mark.timeout(3600 if FULL else 300)

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


@pytest.mark.parametrize("stage", ["launch", "reap", "function"] if FULL else ["launch", "reap"])
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("kind", ["files", "named", "s3", "mongo"] if FULL else ["files"])
def test_a_call_that_fails_loses_nothing(
    sweeper_of: Callable[[str], Sweeper], kind: str, stage: str, fault: str
) -> None:
    kinds, how, number = FAULTS[fault]
    sweeper = sweeper_of(kind)
    with sweeper.ready():
        # boto3 opens more than a thousand files before it comes to anything.
        most = 100 if (kind, kinds) == ("s3", "d") else None
        points = sweeper.points(STAGES[stage], kinds, most if FULL else 2)
        result = sweeper.sweep(points, sweeper.fail(STAGES[stage], how, number, kinds))

    print(f"{fault}: {kind} {stage}: {result.steps} steps, {result.points} faults")
    assert result.broken == {}
    assert result.points > 0
