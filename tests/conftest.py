"""What every test stands on: a state directory of its own, so that no test meets another's locks; steady properties."""

from __future__ import annotations

from pathlib import Path

import hypothesis
import pytest
from tests.lab import Lab

# A verdict must not depend on how busy the machine is, nor on which examples this run happened to draw.
hypothesis.settings.register_profile(
    "steady", deadline=None, derandomize=True, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("steady")

pytest_plugins = ["tests.servers.fixtures"]


@pytest.fixture(autouse=True)
def state_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this test's locks and job directories are."""
    path = tmp_path_factory.mktemp("state")
    monkeypatch.setenv("XDG_STATE_HOME", str(path))
    return path


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """A directory for a pipeline of process tasks."""
    return Lab(tmp_path)
