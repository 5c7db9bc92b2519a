"""A world: a directory with a pipeline, its data, its jobs' history, and the processes of pdt that drive it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import pytest
from tests.faults.checker import Event, Expected, Final, Phase, Violation, check, document, history_of, partial
from tests.faults.machines import MACHINES, MARK, Machine
from tests.faults.scene import notes_of, text_of
from tests.faults.stores import STORES, Store
from tests.processes import ROOT, environment, until

PHASES = (
    Phase("shell", is_process=True, output="shell.out"),
    Phase("sizes", is_process=False, after="shell"),
    Phase("pool", is_process=False, after="sizes"),
)
REPOSITORIES = (
    "shell.pids", "shell.done", "shell.failed", "shell.out",
    "sizes.done", "sizes.failed", "result", "pool.done", "pool.failed",
)  # fmt: skip
JOBS = ("good", "bad")
OTHER = "other.py"
"""The same pipeline by another name, of which another tick may go on at the same time; it starts with another job."""

ELSEWHERE = "elsewhere.py"
"""The same on another machine, which has the data and the jobs' history, but not the jobs' directories."""

OTHER_MACHINE = ("unshare", "--uts", "sh", "-c", 'hostname elsewhere && exec "$@"', "sh")
"""What runs a command on what it takes for another machine; for root."""


@dataclass(frozen=True)
class Ended:
    """A command that has ended: its exit code, negative for a signal, and what it said."""

    code: int
    output: str
    steps: int = -1
    fate: str = ""


class Zygote:
    """Runs commands of pdt quickly; see `zygote.py`. Of one thread at a time."""

    def __init__(self, tracer: Path | None, sources: Path | None = None, before: tuple[str, ...] = ()) -> None:
        self.tracer = tracer
        self._process = subprocess.Popen(
            [*before, sys.executable, "-m", "tests.faults.zygote"],
            env=pdt_environment(sources),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )

    def _ask(self, line: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(line, file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        assert answer, "the zygote is gone"
        found: dict[str, Any] = json.loads(answer)
        return found

    def run(
        self,
        world: World,
        *arguments: str,
        trace: list[object] | None = None,
        paused: Callable[[], None] | None = None,
        limit: int = 0,
        **environ: str,
    ) -> Ended:
        """Run `pdt ARGUMENTS` in a world.

        :param trace: KINDS, ACTION, STEP and so on of the tracer.
        :param paused: what to do while the command is held at the step.
        :param limit: seconds after which it is killed, by SIGALRM; none when 0.
        """
        request: dict[str, Any] = {
            "arguments": arguments,
            "directory": str(world.directory),
            "environ": {**world.environ, **environ},
            "limit": limit,
            "output": str(notes_of(world.directory) / f"said.{uuid.uuid4().hex[:8]}"),
        }
        if trace is not None:
            request |= {"tracer": str(self.tracer), "trace": [world.steps, f"{world.directory}/", *trace]}
        answer = self._ask(json.dumps(request, default=str))
        while "paused" in answer:
            try:
                if paused is not None:
                    paused()
            finally:
                answer = self._ask("go on")
        Path(request["output"]).unlink(missing_ok=True)
        if "refused" in answer:
            pytest.skip("processes cannot be traced here (ptrace is refused)")
        return Ended(**answer)

    def close(self) -> None:
        self._process.communicate()


def pdt_environment(sources: Path | None = None) -> dict[str, str]:
    """The environment of processes of pdt, whose code is in `sources`, or in this tree."""
    variables = environment(PYTHONDONTWRITEBYTECODE="1")
    if sources is not None:
        variables["PYTHONPATH"] = f"{sources}:{ROOT}"
    return variables


@dataclass
class World:
    """See above.

    :ivar jobs: what was given to the pipeline.
    :ivar at_end: what has to be done before the jobs come to their ends.
    :ivar killed: the jobs whose script or runner somebody ends, so that they fail and leave what they wrote so far.
    :ivar sources: the code of pdt, when it is not this tree's.
    :ivar kind: of the machine, a key of `MACHINES`.
    """

    directory: Path
    store: Store
    jobs: tuple[str, ...] = JOBS
    cpu: int = 10
    options: dict[str, Any] = field(default_factory=dict)
    sources: Path | None = None
    kind: str = "local"
    seen: set[str] = field(default_factory=set)
    recorded: dict[tuple[str, str], int] = field(default_factory=dict)
    killed: frozenset[str] = frozenset()
    at_end: list[Callable[[], None]] = field(default_factory=list)

    @classmethod
    def make(cls, directory: Path, store: Store, jobs: tuple[str, ...] = JOBS, **options: Any) -> Self:
        """A new one, whose pipeline has something to do."""
        cpu = options.pop("cpu", 10)
        sources = options.pop("sources", None)
        kind = options.pop("machine", "local")
        directory.mkdir(parents=True)
        (directory / "data").mkdir()
        notes_of(directory).mkdir()
        described = {"store": store.kind, "settings": store.settings, "machine": kind, "cpu": str(cpu)}
        described |= options
        (directory / "world.json").write_text(json.dumps(described))
        (directory / "pipeline.py").write_text(
            "from pathlib import Path\n\nfrom tests.faults.scene import pipeline_of\n\n"
            "pipeline = pipeline_of(Path(__file__).parent)\n"
        )
        text = (directory / "pipeline.py").read_text()
        (directory / OTHER).write_text(text.replace(".parent)", f".parent, first={jobs[0]!r})"))
        (directory / ELSEWHERE).write_text(text.replace(".parent)", f".parent, 'jobs-elsewhere', {jobs[0]!r})"))
        world = cls(directory, store, jobs, cpu, options, sources, kind)
        world.give(*jobs)
        return world

    def give(self, *jobs: str) -> None:
        """Put inputs in their place."""
        self.jobs = tuple(dict.fromkeys((*self.jobs, *jobs)))
        for job in jobs:
            self.store.put("input", job, b"input of %s\n" % job.encode())

    @property
    def steps(self) -> Path:
        """Where the steps of the last command that was traced are written down."""
        return notes_of(self.directory) / "steps"

    @property
    def environ(self) -> dict[str, str]:
        return {**self.store.environ, "XDG_STATE_HOME": str(self.directory / "xdg"), MARK: str(self.directory)}

    def instruct(self, job: str, script: str) -> None:
        """Have the script of a job do something else in its middle."""
        (notes_of(self.directory) / f"do.{job}").write_text(script)

    def hold(self, job: str) -> Path:
        """Have the script of a job wait until the file that is returned is gone."""
        gate = notes_of(self.directory) / f"hold.{job}"
        gate.touch()
        self.instruct(job, f"while [ -e {gate} ]; do sleep 0.01; done\n")
        return gate

    # ---- commands, each in a cold process

    def popen(self, *arguments: str, before: tuple[str, ...] = (), **variables: str) -> subprocess.Popen[str]:
        """Start `pdt ARGUMENTS`.

        :param before: a command that runs it, such as ``("unshare", "-m")``.
        """
        return subprocess.Popen(
            [*before, sys.executable, "-m", "pdtcli", *arguments],
            env={**pdt_environment(self.sources), **self.environ, **variables},
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def pdt(self, *arguments: str, before: tuple[str, ...] = (), **variables: str) -> Ended:
        """Run `pdt ARGUMENTS`."""
        with self.popen(*arguments, before=before, **variables) as process:
            try:
                output, _ = process.communicate(timeout=100)
            finally:
                process.kill()
        return Ended(process.returncode, output)

    # ---- what is there

    def history(self) -> list[Event]:
        path = notes_of(self.directory) / "history"
        return history_of(path.read_text()) if path.exists() else []

    def look(self) -> None:
        """Look at everything that is visible now, and remember what is not whole, and what is recorded."""
        length = len(self.history())
        for repository in REPOSITORIES:
            values = self.store.visible(repository)
            for job, value in values.items():
                broken_off = repository.endswith(".out") and job in self.killed
                if not broken_off and (text := partial(repository, job, value)):
                    self.seen.add(text)
            task, _, kind = repository.partition(".")
            if kind in ("done", "failed"):
                for job in values:
                    self.recorded.setdefault((task, job), length)

    def record(self, repository: str, job: str) -> Any:
        """A stored small value; None when there is none."""
        return document(self.store.visible(repository).get(job))

    @property
    def machine(self) -> Machine:
        """Where its jobs run."""
        return MACHINES[self.kind](self.directory)

    def processes(self) -> list[int]:
        """What runs and belongs to this world: scripts, runners, pdt itself."""
        return self.machine.processes()

    def end_processes(self) -> None:
        """Kill all that runs, as a loss of power does."""
        while pids := self.processes():
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass

    def settle(self) -> None:
        """Wait until no script runs."""
        until(lambda: not self.processes(), f"the scripts in {self.directory}")

    def final(self) -> Final:
        """All that the checker wants to know."""
        litter = self.machine.litter()
        litter += [str(path) for path in self.directory.glob("xdg*/**/.pdt-*")]
        return Final(
            {name: self.store.visible(name) for name in REPOSITORIES},
            litter=self.store.litter() + litter,
            processes=list(map(str, self.processes())),
            locks=list(self._locks()),
        )

    def _locks(self) -> Iterator[str]:
        files = [path for path in self.directory.rglob("*") if path.is_file()]
        inodes = {path.stat().st_ino: str(path) for path in files}
        for line in Path("/proc/locks").read_text().splitlines():
            inode = int(line.split("->")[-1].split()[-3].split(":")[-1])
            if inode in inodes:
                yield inodes[inode]

    def expected(self, **changes: Any) -> Expected:
        """What this world's pipeline is to do."""
        failing = frozenset({"bad"} & set(self.jobs))
        return Expected(
            PHASES, frozenset(self.jobs), **{"failing": failing, "at_once": self.cpu, "killed": self.killed, **changes}
        )

    def violations(self, **changes: Any) -> list[Violation]:
        """What is wrong in the end; see `Expected` for what may be different."""
        return check(self.expected(**changes), self.history(), self.final(), self.seen, self.recorded)

    def finish(self, pdt: Callable[..., Ended], *, ticks: bool = False, patience: int = 12) -> Ended:
        """Have all that is left to do done, by a run or by ticks; what the last tick said.

        :param pdt: runs `pdt` with the arguments that it is given.
        """
        if not ticks:
            pdt("run", "--no-progress", "--timeout", "30")
            self.look()
        while ticks and patience:
            patience -= 1
            self.settle()
            pdt("tick")
            self.look()
            if not self.processes() and self._is_done():
                break
        return pdt("tick")  # has nothing to do

    def _is_done(self) -> bool:
        done = set(self.store.visible("pool.done")) | set(self.store.visible("pool.failed"))
        failed = set(self.store.visible("shell.failed")) | set(self.store.visible("sizes.failed"))
        return done | failed >= set(self.jobs) and not self.store.visible("shell.pids")

    def discard(self) -> None:
        """Remove the directory, and end what should not run any more."""
        self.end_processes()
        self.store.close()
        shutil.rmtree(self.directory, ignore_errors=True)
        shutil.rmtree(notes_of(self.directory), ignore_errors=True)


def needs_namespaces() -> None:
    """Skip the test where the kernel gives us none."""
    made = subprocess.run(["unshare", "--mount", "--uts", "--pid", "--fork", "true"], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"no namespaces can be made here: {made.stderr}")


# ---- the table of worlds


def files(directory: Path, _: Any) -> Store:
    return STORES["files"]({"directory": str(directory / "data")})


def named(directory: Path, request: Any) -> Store:
    """Files where no file is without a name, as on NFS."""
    store = files(directory, request)
    store.environ["PDT_NO_TMPFILE"] = "1"
    return store


def s3(_: Path, request: Any) -> Store:
    server = request.getfixturevalue("s3_server")
    bucket = f"faults-{uuid.uuid4().hex[:12]}"
    settings = {"endpoint": server.endpoint, "direct": server.endpoint, "bucket": bucket}
    store = STORES["s3"](settings)
    store.client.create_bucket(Bucket=bucket)  # type: ignore[attr-defined]
    return store


def mongo(_: Path, request: Any) -> Store:
    server = request.getfixturevalue("mongo_server")
    name = f"faults-{uuid.uuid4().hex[:12]}"
    return STORES["mongo"]({"uri": server.uri, "direct": server.uri, "database": name})


SERVERS = {"s3": "s3_server", "mongo": "mongo_server"}
"""The fixtures of the servers that worlds need. To be asked for in the main thread: a server ends with its thread."""

WORLDS: Mapping[str, Callable[[Path, Any], Store]] = {"files": files, "named": named, "s3": s3, "mongo": mongo}
"""What the sweeps go over: how to get a fresh store, from a directory and pytest's `request`."""


@contextmanager
def zygote(tracer: Path | None, sources: Path | None = None, before: tuple[str, ...] = ()) -> Iterator[Zygote]:
    """A zygote, as long as the block runs; `before` is a command that runs it."""
    process = Zygote(tracer, sources, before)
    try:
        yield process
    finally:
        process.close()


__all__ = ("JOBS", "WORLDS", "Ended", "World", "Zygote", "text_of", "zygote")
