"""A copy of examples/stdlib, a small library for it to work on, and how to tell what came out of it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

EXAMPLE = Path(__file__).parents[2] / "examples" / "stdlib"


class Example:
    """The example in a directory of its own, with the command of the environment that the tests run in."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "example"
        self.work = self.directory / "work"
        self.directory.mkdir()
        for name in ("pipeline.py", "prepare.py", "run"):
            shutil.copy(EXAMPLE / name, self.directory)
        self.env = {
            "HOME": str(directory),
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
            "LC_ALL": "C.UTF-8",
        }

    def __call__(self, *command: str, expect: int = 0) -> str:
        """Run a command in the example's directory; what it wrote to stdout and stderr."""
        done = subprocess.run(
            command, cwd=self.directory, env=self.env, capture_output=True, text=True, timeout=110, check=False
        )
        assert done.returncode == expect, done
        return done.stdout + done.stderr

    @contextmanager
    def running(self, *command: str) -> Iterator[subprocess.Popen[str]]:
        """A command in a process group of its own, none of which is left at the end."""
        process = subprocess.Popen(
            command,
            cwd=self.directory,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            with process:
                yield process
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    # ---- what came out

    @property
    def ended(self) -> int:
        """How many jobs have ended."""
        outcomes = [*self.work.glob("*/done/*.yaml"), *self.work.glob("*/failed/*.yaml")]
        return len(outcomes)

    def wait_for(self, ended: int, process: subprocess.Popen[str]) -> None:
        """Wait until so many jobs have ended, or the process has."""
        while self.ended < ended and process.poll() is None:
            time.sleep(0.002)

    def outcome(self) -> dict[str, object]:
        """All values, and of the records, which tell times, whether they are of a success."""
        found: dict[str, object] = {}
        for path in sorted(self.work.rglob("*")):
            name = path.relative_to(self.work)
            if path.is_dir() or name.parts[0] in ("journal", "state"):
                continue
            if name.parent.name in ("done", "failed"):
                found[str(name)] = yaml.safe_load(path.read_text())["success"]
            else:
                found[str(name)] = path.read_bytes()
        return found

    def left_over(self) -> list[str]:
        """What only a job that runs, or a value that is being written, has a right to."""
        return [
            str(path) for pattern in ("state/*/*/[!.]*", "*/live/*", "**/.pdt-*") for path in self.work.glob(pattern)
        ]

    def overlaps(self) -> list[str]:
        """The jobs that began while an earlier attempt at them still ran, by what the jobs wrote down themselves.

        The journal is appended to, so that its order is that of time. An attempt that was killed has no end; one that
        comes to its end after another has begun ran beside it.
        """
        found = []
        for path in sorted(self.work.glob("journal/*.log")):
            attempts: dict[str, list[tuple[str, str]]] = {}
            for line in path.read_text().splitlines():
                what, job, process, _ = line.split()
                events = attempts.setdefault(job, [])
                if what == "end":
                    began = len(events) - 1 - events[::-1].index(("start", process))
                    found += [f"{path.stem}:{job} {process}" for event, _ in events[began + 1 :] if event == "start"]
                events.append((what, process))
        return found

    def starts(self) -> int:
        """How many attempts at jobs have begun."""
        return sum(
            line.startswith("start ")
            for path in self.work.glob("journal/*.log")
            for line in path.read_text().splitlines()
        )


def make_library(directory: Path, modules: int) -> Path:
    """Some of the standard library's smaller files, one that does not parse, and names that are no jobs as they are."""
    source = Path(os.__file__).parent
    files = sorted(path for path in source.glob("*/*.py") if 0 < path.stat().st_size < 5000)
    for path in files[:modules]:
        target = directory / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    (directory / "broken.py").write_text("print 'this is Python 2'\n")
    (directory / "_private.py").write_text("import os\n")
    (directory / ("long" * 20 + ".py")).write_text("def f(): pass\n")
    (directory / "site-packages").mkdir()
    (directory / "site-packages" / "other.py").touch()
    return directory
