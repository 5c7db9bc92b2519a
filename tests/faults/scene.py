"""The pipeline that is put under fault: what `pdt` loads in a world's directory.

Two jobs or more go through a script (`shell`, a process task), then a function in the process of pdt (`sizes`), then
one in a pool of threads (`pool`). Each writes down in the history when it starts and ends, and holds a lock of the
kernel meanwhile, so that an overlap is seen by those who overlap, whatever the clocks say.
"""

from __future__ import annotations

import fcntl
import hashlib
import itertools
import json
import os
import socket
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.faults.machines import MACHINES
from tests.faults.stores import STORES

from pdtcli import (
    ExecutorTask,
    InProcessSyncTask,
    Pipeline,
    ProcessTask,
    ResourceManager,
    Resources,
    Session,
)
from pdtcli.manager.base import ProcessManager

SCRIPT = """\
note() {
    read host </proc/sys/kernel/hostname; read up _ </proc/uptime
    echo "$1 $PDT_TASK $PDT_JOB $PDT_ATTEMPT $host $$ $up $2" >>@.notes/history
}
exec 9>>@.notes/turns.$PDT_TASK.$PDT_JOB
flock -n 9 || note overlap -
note start -
if [ -e @.notes/do.$PDT_JOB ]; then . @.notes/do.$PDT_JOB; fi
text=$(echo "begin $PDT_JOB"; cat; echo "end $PDT_JOB")
echo "$text"
hash=$(echo "$text" | sha256sum)
note end ${hash%% *}
[ "$PDT_JOB" != bad ] || exit 3
"""


def notes_of(directory: Path) -> Path:
    """Where a world's jobs write their history: beside the world, where no fault reaches."""
    return directory.with_name(f"{directory.name}.notes")


def text_of(job: str, given: bytes) -> bytes:
    """What the script writes for a job that was given those bytes."""
    return b"begin %s\n%send %s\n" % (job.encode(), given, job.encode())


def pipeline_of(directory: Path, jobs: str = "jobs", first: str | None = None) -> Pipeline:
    """The pipeline of the world in a directory, as its `world.json` describes it.

    :param jobs: where this machine has the directories of jobs.
    :param first: the job that starts before all others; those in the order of their names when None.
    """
    described: dict[str, Any] = json.loads((directory / "world.json").read_text())
    store = STORES[described["store"]](described["settings"])
    session = Session()
    store.attach(session)

    @session.resource
    async def machine() -> AsyncIterator[ProcessManager]:
        yield MACHINES[described["machine"]](directory).manager(jobs)

    quota = ResourceManager(Resources.parse(described["cpu"], "1Gi", described.get("launches")))
    shell = ProcessTask(
        "shell",
        machine,
        quota,
        Resources.parse("1", "1Mi"),
        store.values("shell.pids"),
        SCRIPT.replace("@", str(directory)),
        window=timedelta(seconds=described.get("window", 60)),
        done=store.values("shell.done"),
        failed=store.values("shell.failed"),
        stdin=store.blobs("input"),
        stdout=store.blobs("shell.out"),
        grace=timedelta(seconds=1),
    )
    sizes: InProcessSyncTask = InProcessSyncTask(
        "sizes", store.values("sizes.done"), failed=store.values("sizes.failed")
    )
    sizes.plug(shell)
    sizes.link("result", store.values("result"), is_output=True)

    @sizes
    async def _(job: str, stdout: Any, result: Any) -> None:
        with turn(directory, "sizes", job) as end:
            text = await stdout.read_bytes(job)
            await result.dump(job, {"size": len(text), "sha256": end(text), "complete": True})

    pool = ExecutorTask("pool", ThreadPoolExecutor(2), store.values("pool.done"), failed=store.values("pool.failed"))
    pool.plug(sizes, output_links=[])

    @pool
    def _(job: str) -> None:
        with turn(directory, "pool", job) as end:
            end(job.encode())

    return Pipeline([shell, sizes, pool], session, priority=lambda _, job: job == first)


_serial = itertools.count()


@contextmanager
def turn(directory: Path, task: str, job: str) -> Iterator[Any]:
    """A block that is one run of a function, written down; it is to call what it is given with the bytes it read."""
    attempt = f"{os.getpid()}-{next(_serial)}"
    notes = notes_of(directory)
    digest = "-"

    def note(event: str) -> None:
        up = time.clock_gettime(time.CLOCK_BOOTTIME)
        line = f"{event} {task} {job} {attempt} {socket.gethostname()} {os.getpid()} {up:.2f} {digest}\n"
        fd = os.open(notes / "history", os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, line.encode())
        finally:
            os.close(fd)

    def read(data: bytes) -> str:
        nonlocal digest
        digest = hashlib.sha256(data).hexdigest()
        return digest

    fd = os.open(notes / f"turns.{task}.{job}", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            note("overlap")
        note("start")
        yield read
        note("end")
    finally:
        os.close(fd)
