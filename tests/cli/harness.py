"""The real command in a process of its own, on pipelines written where the test runs."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import textwrap
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# The words of each book are counted by a function, and a shell script makes a report of the counts.
BOOKS = """
    from pathlib import Path

    from pdtcli import (
        FileRepository, InProcessSyncTask, LocalLinuxManager, Pipeline, ProcessTask, ResourceManager, Resources,
        Session, YamlMetadataFileRepository,
    )

    here = Path(__file__).parent
    session = Session()

    @session.resource
    async def localhost():
        yield LocalLinuxManager("books", local_path=here / "state")

    count = InProcessSyncTask(
        "count",
        YamlMetadataFileRepository(here / "count" / "done"),
        failed=YamlMetadataFileRepository(here / "count" / "failed"),
    )
    count.link("books", FileRepository(here / "books", extension=".txt"), is_input=True)
    count.link("words", YamlMetadataFileRepository(here / "words"), is_output=True)

    @count
    async def _(job, books, words):
        async with await books.open(job, "r") as stream:
            text = await stream.read()
        if "boom" in text:
            raise ValueError("this book explodes")
        await words.dump(job, {"count": len(text.split())})

    report = ProcessTask(
        "report",
        localhost,
        ResourceManager(Resources.parse("2", "1Gi")),
        Resources.parse("1", "64Mi"),
        YamlMetadataFileRepository(here / "report" / "pids"),
        "echo {{ job }} has {{ words.count }} words; echo warning >&2; sleep ${NAP:-0}; exit ${CODE:-0}",
        stdout=FileRepository(here / "reports", extension=".txt"),
        stderr=FileRepository(here / "report" / "stderr"),
        done=YamlMetadataFileRepository(here / "report" / "done"),
        failed=YamlMetadataFileRepository(here / "report" / "failed"),
    )
    report.plug(count)

    pipeline = Pipeline([count, report], session)
"""


@dataclass(frozen=True)
class Result:
    """What a command left behind."""

    code: int
    out: str
    err: str


class Pdt:
    """`pdt` in a directory, without a terminal."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.command = [sys.executable, "-m", "pdtcli"]
        self.env = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("PDT_", "COLUMNS", "PYTHON"))},
            "PYTHONPATH": str(Path(__file__).parents[2] / "src"),
            "XDG_STATE_HOME": str(directory / "xdg"),
        }

    def __call__(
        self, *arguments: str, input: str | bytes = "", env: Mapping[str, str] | None = None, expect: int | None = 0
    ) -> Result:
        """Run it; unless `expect` is None, its exit code must be that."""
        done = subprocess.run(
            [*self.command, *arguments],
            cwd=self.directory,
            env={**self.env, **(env or {})},
            input=input.encode() if isinstance(input, str) else input,
            capture_output=True,
            timeout=60,
            check=False,
        )
        result = Result(done.returncode, done.stdout.decode(), done.stderr.decode())
        assert expect is None or result.code == expect, result
        return result

    def on_terminal(self, *arguments: str, type: Sequence[tuple[str, str]] = (), columns: int = 100) -> Result:
        """Run it on a terminal of its own; `type` are pairs of what to wait for and what to type then."""
        child, terminal = pty.fork()
        if child == 0:
            os.chdir(self.directory)
            os.execve(
                self.command[0],
                [*self.command, *arguments],
                {**self.env, "TERM": "xterm-256color", "COLUMNS": str(columns)},
            )
        pending = list(type)
        seen = b""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if select.select([terminal], [], [], 0.1)[0]:
                try:
                    data = os.read(terminal, 65536)
                except OSError:  # the other side is closed
                    break
                seen += data
            if pending and pending[0][0].encode() in seen:
                os.write(terminal, pending.pop(0)[1].encode())
        _, status = os.waitpid(child, 0)
        os.close(terminal)
        return Result(os.waitstatus_to_exitcode(status), seen.decode().replace("\r\n", "\n"), "")

    def write(self, name: str, text: str) -> Path:
        """Write a file below the directory."""
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return path
