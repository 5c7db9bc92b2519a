"""What the tests of faults have in common."""

from __future__ import annotations

import platform
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.faults.sweep import WORKERS, Sweeper
from tests.faults.world import Zygote, zygote

SOURCE = Path(__file__).with_name("tracer.c")


@pytest.fixture(scope="session")
def tracer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program of `tracer.c`; the test is skipped where it cannot be made."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("there is no C compiler: 'make setup' installs gcc, or says why it cannot")
    if platform.machine() != "x86_64":
        pytest.skip(f"the tracer knows the registers of x86-64 only, not of {platform.machine()}")
    program = tmp_path_factory.mktemp("tracer") / "tracer"
    made = subprocess.run([compiler, "-O1", "-o", str(program), str(SOURCE)], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"the tracer cannot be compiled; on Debian, install gcc and libc6-dev: {made.stderr}")
    return program


@pytest.fixture(scope="session")
def zygotes(tracer: Path) -> Iterator[list[Zygote]]:
    """As many as a sweep takes."""
    with ExitStack() as stack:
        yield [stack.enter_context(zygote(tracer)) for _ in range(WORKERS)]


@pytest.fixture
def sweeper_of(request: Any, tmp_path: Path, tracer: Path, zygotes: list[Zygote]) -> Callable[[str], Sweeper]:
    """Makes what drives worlds of a kind."""
    return lambda kind: Sweeper(tmp_path, kind, request, tracer, zygotes=zygotes)
