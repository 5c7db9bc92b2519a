"""How much work there is: twenty minutes of it, one, or next to none, to see whether the bench itself works."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """Numbers of jobs, keys and MiB, and of rounds."""

    full: bool
    """Whether there is so much work that start-up, which counts, weighs no more than it should."""
    rounds: int
    """Of what takes less than a second."""
    long_rounds: int
    """Of what takes several."""
    ticks: tuple[int, ...]
    """Jobs that are all done; the first one is the yardstick for what must not grow."""
    peer_limit: float
    """Seconds after which a peer is stopped: it takes longer, and that is known well enough."""
    listing: tuple[int, ...]
    """Files in a repository."""
    runs: int
    """Process jobs."""
    growth: tuple[int, int]
    """Process jobs in two runs, which must cost the same for each job."""
    gaps: int
    """Process jobs, one after the other."""
    functions: int
    """Jobs in process."""
    burst: int
    """Jobs that are ready at once, of which the quota lets 100 start."""
    value: int
    """MiB of a long value."""
    status: int
    """Jobs of each of ten tasks."""
    s3_keys: int
    s3_objects: int
    s3_value: int
    mongo_keys: int
    mongo_values: int


FULL = Sizes(
    full=True,
    rounds=5,
    long_rounds=3,
    ticks=(1_000, 10_000, 100_000, 1_000_000),
    peer_limit=60.0,
    listing=(1_000, 10_000, 100_000, 1_000_000),
    runs=5_000,
    growth=(1_000, 10_000),
    gaps=200,
    functions=100_000,
    burst=10_000,
    value=4096,
    status=100_000,
    s3_keys=100_000,
    s3_objects=10_000,
    s3_value=2048,
    mongo_keys=1_000_000,
    mongo_values=100_000,
)

QUICK = Sizes(
    full=False,
    rounds=5,
    long_rounds=3,
    ticks=(1_000, 50_000),
    peer_limit=4.0,
    listing=(1_000, 50_000),
    runs=300,
    growth=(200, 1_000),
    gaps=50,
    functions=3_000,
    burst=2_000,
    value=256,
    status=5_000,
    s3_keys=3_000,
    s3_objects=300,
    s3_value=64,
    mongo_keys=50_000,
    mongo_values=5_000,
)

TINY = Sizes(
    full=False,
    rounds=2,
    long_rounds=2,
    ticks=(100, 300),
    peer_limit=20.0,
    listing=(100, 300),
    runs=20,
    growth=(10, 20),
    gaps=10,
    functions=100,
    burst=200,
    value=4,
    status=100,
    s3_keys=50,
    s3_objects=20,
    s3_value=9,
    mongo_keys=200,
    mongo_values=100,
)
