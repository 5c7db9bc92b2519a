"""Process jobs on this machine.

Everything here is a handful of system calls on small files, so it is done in place, without threads; only the removal
of what a job may have piled up in its directory is offloaded. How an attempt proceeds is described in
`manager/base.py`.
"""

from __future__ import annotations

import os
import shlex
import signal
import stat
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from .. import atomic, host
from .. import job as job_ids
from ..errors import JobNotFound, PdtError
from ..lazy import lazy
from ..paths import absolute
from ..repository.files import FileReader, FileWriter
from ..state import LockFile, secure_below, state_home
from ..stream import ReadStream, WriteStream
from .base import Attempt, JobDirectory, Launch, Phase, Process, ProcessManager, StderrMode

if TYPE_CHECKING:
    import asyncio
else:
    asyncio = lazy("asyncio")

__all__ = ("LocalLinuxManager",)

POLL = 0.05
"""Seconds between two looks at a process that cannot be watched, or is being killed."""

_NULL = "/dev/null"

_children: set[int] = set()
"""Runners that this process started and has not waited for; whichever manager did that may be long closed."""

# What Python ignores or a caller may have changed; a script starts as from a login shell.
_DEFAULT_SIGNALS = signal.valid_signals()
# What is in a directory, in the order in which it is removed. The token before the claim: a runner that comes late
# and finds no claim looks for the token next.
_FILES = ("exe", "stdout", "stderr", "stdin", "env", "token", "run")


@lru_cache(maxsize=1)
def _runner() -> str:
    from importlib.resources import files  # which imports more than all the rest of this

    text = files("pdtcli.manager").joinpath("runner.sh").read_text(encoding="utf-8")
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith("#"))


class LocalLinuxManager(ProcessManager):
    """Runs process jobs on this Linux machine.

    :param app: a name for the pipeline; two pipelines with the same tasks need different ones.
    :param local_path: under which to keep the job directories, as ``local_path/app/TASK/JOB``; by default
        ``$XDG_STATE_HOME/pdt``. It must be on a disk of this machine.
    """

    is_local = True

    def __init__(self, app: str, local_path: str | os.PathLike[str] | None = None) -> None:
        job_ids.check(app)
        self.app = app
        home = state_home() if local_path is None else absolute(local_path)
        self.basedir: Path = home / app
        # What is the user's, and the names of what is ours below it.
        self._root = home.parent if local_path is None else home
        self._below = self.basedir.relative_to(self._root).parts
        self.host = host.hostname()
        self.boot_id = host.boot_id()
        self._locks: dict[str, LockFile] = {}
        self._polls: set[asyncio.Task[None]] = set()
        # Of this process, as it was at the first launch of a cycle: to read it takes longer than to write a file.
        self._environ: dict[str, str] | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.basedir}>"

    async def validate(self, task: str) -> None:
        if not host.sees_itself():
            raise PdtError("/proc is that of another PID namespace: mount it anew, as unshare --mount-proc does")
        self._environ = None
        directory = self.basedir / task
        if directory.exists():  # else nothing ran yet, and looking must not leave traces
            secure_below(self._root, *self._below, task)
            atomic.sweep(directory, [name for name in os.listdir(directory) if name.startswith(atomic.PREFIX)])

    def _path(self, directory: JobDirectory) -> str:
        return f"{self.basedir}/{directory.task}/{directory.job}"

    def locked(self, task: str, job: str) -> AbstractContextManager[bool]:
        lock = self._locks.get(task)
        if lock is None:
            lock = self._locks[task] = LockFile(secure_below(self._root, *self._below, task) / ".lock")
        return lock.holding(job)

    # ---- launch

    async def prepare(self, directory: JobDirectory, launch: Launch) -> None:
        path = self._path(directory)
        try:
            _make_directory(path)
        except FileExistsError:
            await self.discard(directory)
            _make_directory(path)
        _make_directory(f"{path}/cwd")
        atomic.write_new(f"{path}/token", f"{directory.token}\n".encode(), 0o600)
        if launch.environ:
            lines = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in launch.environ.items())
            atomic.write_new(f"{path}/env", lines.encode("utf-8", "surrogateescape"), 0o600)
        atomic.write_new(f"{path}/exe", launch.script, 0o700)

    async def open_input(self, directory: JobDirectory) -> WriteStream:
        return FileWriter(f"{self._path(directory)}/stdin", mode=0o600)

    async def spawn(self, directory: JobDirectory, launch: Launch) -> Process:
        path = self._path(directory)
        if launch.stdin is True:
            stdin = f"{path}/stdin"
        else:
            stdin = launch.stdin or _NULL
        stdout = f"{path}/stdout" if launch.stdout else _NULL
        stderr = {StderrMode.STDOUT: "-", StderrMode.FILE: f"{path}/stderr", StderrMode.DISCARD: _NULL}[launch.stderr]
        arguments = ["sh", "-c", _runner(), "pdt-job", path, directory.token, stdin, stdout, stderr]
        if self._environ is None:
            self._environ = dict(os.environ)
        environ = {
            **self._environ,
            "PDT_TASK": directory.task,
            "PDT_JOB": directory.job,
            "PDT_ATTEMPT": directory.token,
        }
        told, tell = os.pipe()
        try:
            pid = os.posix_spawn(
                "/bin/sh",
                [*arguments, f"{host.current_umask():04o}"],
                environ,
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, told, 0),
                    (os.POSIX_SPAWN_OPEN, 1, _NULL, os.O_WRONLY, 0),
                    (os.POSIX_SPAWN_DUP2, 1, 2),
                ],
                setsid=True,
                setsigmask=[],
                setsigdef=_DEFAULT_SIGNALS,
            )
            _children.add(pid)
            # A child of ours: even if it has ended already, its pid is not anybody else's before it is waited for.
            start = host.process_start(pid)
            if start is not None:
                with suppress(BrokenPipeError):
                    os.write(tell, f"{start}\n".encode())
        finally:
            os.close(told)
            os.close(tell)
        return Process(pid, start or 0)

    # ---- inspect

    async def inspect(self, directory: JobDirectory, hint: Process | None = None) -> Attempt:
        path = self._path(directory)
        token = _read(f"{path}/token").decode("ascii", "replace").strip()
        if not token:
            return Attempt(Phase.OTHER if os.path.isdir(path) else Phase.ABSENT)
        if token != directory.token:
            return Attempt(Phase.OTHER, token)
        return self._look(path, token, hint)

    async def inspect_many(self, attempts: Mapping[JobDirectory, Process | None]) -> dict[JobDirectory, Attempt]:
        for pid in list(_children):
            self._reap_child(pid)
        return {directory: await self.inspect(directory, hint) for directory, hint in attempts.items()}

    def _look(self, path: str, token: str, hint: Process | None) -> Attempt:
        for last_look in (False, True):
            try:
                fd = os.open(f"{path}/run", os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return Attempt(Phase.PREPARED, token, hint)
            try:
                lines = os.read(fd, 4096).decode("ascii", "replace").split("\n")
                modified = os.fstat(fd).st_mtime
            finally:
                os.close(fd)
            # What stands before a newline is complete.
            process = _parse_process(lines[0]) if len(lines) > 1 else None
            if len(lines) > 2 and lines[1].isdigit():
                ended = datetime.fromtimestamp(modified, tz=UTC)
                return Attempt(Phase.ENDED, token, process, int(lines[1]), ended)
            if process is None and hint is None:
                alive = bool(_working_in(path))
            else:
                known = process or hint
                alive = known is not None and host.is_alive(known.pid, known.start)
            if alive:
                return Attempt(Phase.RUNNING, token, process or hint)
            # It may have written its status and gone between the two looks.
            if last_look:
                return Attempt(Phase.LOST, token, process or hint)
        raise AssertionError

    async def forestall(self, directory: JobDirectory) -> bool:
        try:
            atomic.write_new(f"{self._path(directory)}/run", b"", 0o600)
        except FileExistsError:
            return False
        return True

    # ---- collect

    async def open_output(self, directory: JobDirectory, name: str) -> ReadStream:
        try:
            return FileReader(open(f"{self._path(directory)}/{name}", "rb", buffering=0))
        except FileNotFoundError:
            raise JobNotFound(f"{directory.task}:{directory.job} has no {name}") from None

    def local_output(self, directory: JobDirectory, name: str) -> str | None:
        return f"{self._path(directory)}/{name}"

    async def discard(self, directory: JobDirectory) -> None:
        path = self._path(directory)
        try:
            planted = not stat.S_ISDIR(os.lstat(path).st_mode)
        except FileNotFoundError:
            return
        if planted:  # a link, and what it leads to is not ours to remove
            os.unlink(path)
            return
        # The usual directory holds these and an empty cwd; a general walk costs several times as much.
        try:
            present = os.listdir(path)
        except FileNotFoundError:
            return
        try:
            for name in _FILES:
                if name in present:
                    os.unlink(f"{path}/{name}")
            if "cwd" in present:
                os.rmdir(f"{path}/cwd")
            os.rmdir(path)
        except OSError:
            await asyncio.to_thread(atomic.remove_tree, Path(path))

    # ---- processes

    async def is_alive(self, process: Process) -> bool:
        return host.is_alive(process.pid, process.start)

    async def kill_session(self, process: Process, *, grace: float) -> None:
        deadline = asyncio.get_running_loop().time() + grace
        sent = signal.SIGTERM
        asked: list[int] = []
        while members := self._members(process):
            if sent is signal.SIGTERM and (not asked or asked == [process.pid]):
                asked = members
                _signal(asked, sent)
            elif sent is signal.SIGTERM:
                # What sh forks misses a signal until it executes the script. What a script starts on being asked to
                # end, in order to clean up, is not asked in turn.
                _signal([pid for pid in asked if pid in members and host.has_no_handler(pid, sent)], sent)
            if members == [process.pid] and sent is signal.SIGKILL:
                # The script is gone, the runner is writing the status; it has a moment for that.
                for _ in range(int(1 / POLL)):
                    await asyncio.sleep(POLL)
                    if not self._members(process):
                        return
                _signal(members, signal.SIGKILL)
            if sent is signal.SIGTERM and asyncio.get_running_loop().time() >= deadline:
                sent = signal.SIGKILL
            if sent is signal.SIGKILL:
                _signal([pid for pid in members if pid != process.pid], sent)
            self._reap_child(process.pid)
            await asyncio.sleep(POLL)

    def _members(self, process: Process) -> list[int]:
        start = host.process_start(process.pid)
        if start is not None and start != process.start:
            return []  # the pid is somebody else's by now, and so is a session of that number
        return host.session_members(process.pid)

    def _reap_child(self, pid: int) -> None:
        if pid in _children:
            with suppress(ChildProcessError):
                if os.waitpid(pid, os.WNOHANG)[0] == 0:
                    return
            _children.discard(pid)

    def watch(self, process: Process, ended: Callable[[], None]) -> Callable[[], None]:
        loop = asyncio.get_running_loop()
        try:
            fd = os.pidfd_open(process.pid)
        except OSError:  # gone already, or too many open files
            return self._watch_by_polling(process, ended)
        if process.pid not in _children and not host.is_alive(process.pid, process.start):
            os.close(fd)  # the pid is another process's, or the process is a zombie that somebody else reaps
            return self._watch_by_polling(process, ended)

        def stop() -> None:
            nonlocal fd
            if fd >= 0:
                loop.remove_reader(fd)
                os.close(fd)
                fd = -1

        def readable() -> None:
            stop()
            self._reap_child(process.pid)
            ended()

        loop.add_reader(fd, readable)
        return stop

    def _watch_by_polling(self, process: Process, ended: Callable[[], None]) -> Callable[[], None]:
        async def poll() -> None:
            while host.is_alive(process.pid, process.start):
                await asyncio.sleep(POLL)
                self._reap_child(process.pid)
            ended()

        polling = asyncio.get_running_loop().create_task(poll())
        self._polls.add(polling)
        polling.add_done_callback(self._polls.discard)

        def stop() -> None:
            # From within ended() the task is the one that calls, and comes to its end by itself.
            if polling is not asyncio.current_task():
                polling.cancel()

        return stop


def _make_directory(path: str) -> None:
    os.mkdir(path, 0o700)
    if host.current_umask() & 0o700:  # which would shut us out ourselves
        os.chmod(path, 0o700)


def _read(path: str) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return b""
    try:
        return os.read(fd, 4096)
    finally:
        os.close(fd)


def _parse_process(line: str) -> Process | None:
    pid, _, start = line.partition(" ")
    return Process(int(pid), int(start)) if pid.isdigit() and start.isdigit() else None


def _working_in(path: str) -> list[int]:
    """The processes whose current directory is `path` or below: those of a runner that has not told its pid yet."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with suppress(OSError):
                cwd = os.readlink(f"/proc/{entry}/cwd")
                if cwd == path or cwd.startswith(path + "/"):
                    found.append(int(entry))
    return found


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)
