"""Many tickers on one pipeline, some of them on other hosts, killed at random moments; and what their jobs tell of it.

Run as a program, this is one ticker: it calls `pdt tick` again and again, each in a process of its own that is forked
once everything is imported, and kills some of them in the middle, until a file appears.

The history of the jobs is one file, to which each appends a line when it starts and when it ends. The order of its
lines is the order in which that happened, on whatever host, whatever its clock says.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import import_module
from pathlib import Path

from tests.processes import environment

PIPELINE = '''
import os
from pathlib import Path

import pdtcli

here = Path(__file__).parent
session = pdtcli.Session()

if os.environ["STORE"] == "s3":
    client = session.resource(pdtcli.s3_client())
    def records(name):
        return pdtcli.YamlMetadataS3Repository(client, os.environ["BUCKET"], f"{name}/")
elif os.environ["STORE"] == "mongo":
    database = session.resource(pdtcli.mongo_database(os.environ["MONGO_URI"], os.environ["DATABASE"]))
    def records(name):
        return pdtcli.MongoMetadataRepository(database, name)
else:
    def records(name):
        return pdtcli.YamlMetadataFileRepository(here / name)

script = f"""
echo "start $PDT_JOB $PDT_ATTEMPT $$" >>{here}/history
cat
sleep 0.2
echo "end $PDT_JOB $PDT_ATTEMPT $$" >>{here}/history
"""

work = pdtcli.ProcessTask(
    "work",
    pdtcli.LocalLinuxManager("tickers"),
    pdtcli.ResourceManager(pdtcli.Resources.parse(os.environ["QUOTA"])),
    pdtcli.Resources.parse(1),
    records("pids"),
    script,
    done=records("done"),
    failed=records("failed"),
    stdin=pdtcli.FileRepository(here / "input"),
    stdout=pdtcli.FileRepository(here / "output"),
)
pipeline = pdtcli.Pipeline([work], session)
'''

BUSY = "still going on"
"""What a tick says that finds another one with its state directory at work."""

_PDT = ("pdtcli.cli.app", "pdtcli.cli.pipeline", "pdtcli.engine", "pdtcli.repository.yaml", "pdtcli.task.process")
IMPORTED = {"files": _PDT, "s3": (*_PDT, "boto3", "pdtcli.repository.s3"), "mongo": (*_PDT, "pdtcli.repository.mongo")}
"""What a ticker imports once for all its ticks."""

KILLED = 0.2
"""What part of the ticks are killed."""


@dataclass
class Field:
    """A pipeline that many tickers work on."""

    directory: Path
    jobs: int
    quota: int
    environ: Mapping[str, str] = field(default_factory=lambda: {"STORE": "files"})

    def __post_init__(self) -> None:
        self.names = {f"job{number}" for number in range(self.jobs)}
        (self.directory / "pipeline.py").write_text(PIPELINE)
        (self.directory / "history").touch()
        (self.directory / "input").mkdir()
        for name in self.names:
            (self.directory / "input" / name).write_text(f"{name}\n")

    @property
    def spec(self) -> str:
        return str(self.directory / "pipeline.py")

    def variables(self, state: str) -> dict[str, str]:
        """What a ticker sees that has this state directory."""
        return environment(**self.environ, QUOTA=str(self.quota), XDG_STATE_HOME=str(self.directory / f"state-{state}"))

    @contextmanager
    def tickers(self, *tickers: Ticker) -> Iterator[list[subprocess.Popen[bytes]]]:
        """Tickers at work, until the end of the block."""
        stop = self.directory / "stop"
        stop.unlink(missing_ok=True)
        with ExitStack() as stack:
            running = []
            for number, ticker in enumerate(tickers):
                program = [sys.executable, "-m", "tests.faults.tickers", self.spec, str(number), str(stop)]
                log = stack.enter_context(open(self.directory / f"log-{number}", "wb"))
                process = subprocess.Popen([*ticker.prefix, *program], env=self.variables(ticker.state), stderr=log)
                stack.callback(process.wait)
                stack.callback(process.terminate if not ticker.prefix else lambda: None)
                running.append(process)
            try:
                yield running
                stop.touch()
                for process in running:
                    process.wait(timeout=60)
            finally:
                stop.touch()

    def complaints(self) -> list[str]:
        """What the tickers wrote, other than that another tick was at work."""
        lines = [line for log in self.directory.glob("log-*") for line in log.read_text().splitlines()]
        return [line for line in lines if BUSY not in line]

    def history(self) -> list[tuple[str, str, str]]:
        """What happened, a job and an attempt, in order."""
        lines = (self.directory / "history").read_text().splitlines()
        return [(event, job, attempt) for event, job, attempt, _ in (line.split() for line in lines)]

    def violations(self) -> list[str]:
        """What the history tells that must not be."""
        found = []
        live: dict[str, str] = {}
        starts: Counter[str] = Counter()
        most = 0
        for event, job, attempt in self.history():
            if event == "start":
                starts[job] += 1
                if job in live:
                    found.append(f"{job} runs twice at the same time")
                live[job] = attempt
                most = max(most, len(live))
            elif live.pop(job, None) != attempt:
                found.append(f"{job} ended an attempt that had not begun")
        found += [f"{job} was started {times} times" for job, times in starts.items() if times > 1]
        if most > self.quota:
            found.append(f"{most} jobs ran at the same time, and the quota is {self.quota}")
        return found

    def litter(self) -> list[str]:
        """Temporary files, job directories, and processes that work in them."""
        hidden = [str(path) for path in self.directory.rglob(".pdt-*")]
        jobs = [str(path) for path in self.directory.glob("state-*/pdt/tickers/*/*") if path.name != ".lock"]
        below = [
            link
            for link in map(_cwd, filter(str.isdigit, os.listdir("/proc")))
            if link.startswith(f"{self.directory}/")
        ]
        return hidden + jobs + below


def _cwd(pid: str) -> str:
    try:
        return os.readlink(f"/proc/{pid}/cwd")
    except OSError:
        return ""


@dataclass(frozen=True)
class Ticker:
    """Where a ticker runs.

    :param state: names its state directory.
    :param namespace: whether it is on a host of its own, as far as a kernel can make one: its own name and process ids.
    :param name: what that host is called; as the machine when None, which containers may be, too.
    """

    state: str = "a"
    namespace: bool = False
    name: str | None = None

    @property
    def prefix(self) -> list[str]:
        if not self.namespace:
            return []
        command = ["unshare", "--uts", "--pid", "--fork", "--mount-proc", "--kill-child"]
        return [*command, "sh", "-c", 'hostname "$0" && exec "$@"', self.name] if self.name else command


@lru_cache(maxsize=1)
def can_unshare() -> bool:
    """Whether this machine lets us make namespaces."""
    try:
        return (
            subprocess.run([*Ticker(namespace=True).prefix, "true"], capture_output=True, check=False).returncode == 0
        )
    except FileNotFoundError:
        return False


def tick(spec: str) -> int:
    """`pdt tick` in a process of its own, forked from this one; its pid."""
    child = os.fork()
    if child == 0:
        code = 70
        try:
            from pdtcli.cli.app import entry

            sys.argv = ["pdt", "-p", spec, "tick"]
            try:
                entry()
            except SystemExit as leaving:
                code = leaving.code if isinstance(leaving.code, int) else 1
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    return child


def main(spec: str, seed: str, stop: str) -> int:
    """Tick until `stop` is there. Whether a tick failed for another reason than that it was killed."""
    for module in IMPORTED[os.environ["STORE"]]:
        import_module(module)
    dice = random.Random(seed)
    usual = 0.2
    wrong = 0
    while not os.path.exists(stop):
        began = time.monotonic()
        doomed = dice.random() < KILLED
        child = tick(spec)
        if doomed:
            time.sleep(dice.uniform(0, usual))
            os.kill(child, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code not in (0, 75, -signal.SIGKILL):
            wrong = 1
        if code == 0:
            usual = 0.7 * usual + 0.3 * (time.monotonic() - began)
    return wrong


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
