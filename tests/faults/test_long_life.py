"""What a day of ticks leaves behind in the process that makes them, and on the disk: nothing but the data."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
from tests.processes import environment

FULL = os.environ.get("PDT_FAULTS") == "full"
TICKS, JOBS = (1440, 10_000) if FULL else (60, 240)
PATIENCE = 1800 if FULL else 100


@pytest.mark.timeout(PATIENCE + 20)
def test_nothing_grows(tmp_path: Path, state_home: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.longlife", str(tmp_path), str(TICKS), str(JOBS)],
        env=environment(XDG_STATE_HOME=str(state_home)),
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    if path := os.environ.get("PDT_LONG_LIFE"):  # where to keep what was seen, for those who want to draw it
        Path(path).write_text(done.stdout)
    *samples, last = json.loads(done.stdout)
    warm = samples[len(samples) // 4 :]

    assert len({sample["descriptors"] for sample in warm}) == 1
    assert {sample["temporary"] for sample in samples} == {0}
    assert len({sample["state"] for sample in warm}) == 1
    assert {sample["log"] for sample in samples} == {0}
    # A runner may have told how its job ended, and end itself only after the tick that collected it.
    assert all(sample["zombies"] <= sample["quota"] for sample in samples)
    assert all(sample["directories"] == sample["live"] for sample in samples)
    early, late = warm[: len(warm) // 3], warm[-len(warm) // 3 :]
    assert statistics.median(s["memory"] for s in late) < 1.1 * statistics.median(s["memory"] for s in early)
    assert (last["live"], last["zombies"], last["directories"]) == (0, 0, 0)
    assert last["failed"] == JOBS // 100
