"""A task whose Python function runs in an executor: threads, processes, or what offers the same.

The process that submitted a job holds the job's claim (a lock of the kernel, see `function.py`) until the outcome is
recorded; the worker holds another lock while the function runs, so that it excludes a second attempt even when the
process that submitted the first one was killed.
"""

from __future__ import annotations

import asyncio
import ctypes
import inspect
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from .. import job as job_ids
from ..errors import PdtError, UsageError, is_unreachable, sentence
from ..host import hostname
from ..outcome import fresh_attempt, function_record, now
from ..report import Problem
from ..repository.base import MetadataRepository, Repository
from ..repository.live import ExecutorLiveRepo
from ..state import LockFile
from .base import Start
from .function import FunctionTask, describe

__all__ = ("ExecutorTask",)

QUEUED_PER_WORKER = 4
"""So many jobs are submitted for each worker: enough that none waits for the next, few enough to stop soon."""


class _Function:
    """A function on its way to a worker, by its name.

    Under that name a module often holds the task that the function was decorated with, which pickle would refuse.
    """

    def __init__(self, func: Callable[..., Any]) -> None:
        self.func = func

    def __reduce__(self) -> tuple[Callable[..., _Function], tuple[str, str | None, str]]:
        module, name = self.func.__module__, self.func.__qualname__
        if "<locals>" in name or "<lambda>" in name:
            raise PdtError(f"{name} cannot be sent to another process: define it at the top of a module")
        return (_find_function, (module, getattr(sys.modules.get(module), "__file__", None), name))


def _find_function(module: str, file: str | None, name: str) -> _Function:
    from ..loader import import_again

    found: Any = import_again(module, file)
    for part in name.split("."):
        found = getattr(found, part)
    body: Any = found.func if isinstance(found, FunctionTask) else found
    return _Function(body)


@dataclass(frozen=True, slots=True)
class _Call:
    """All that a worker needs; sent to it by pickle where it is another process."""

    function: _Function
    job: str
    arguments: dict[str, Any]
    lock: LockFile | None
    stays: bool
    """Whether the thread that submits it lasts as long as the process does."""


@dataclass(frozen=True, slots=True)
class _Result:
    start: datetime
    end: datetime
    host: str
    taken: bool = False
    exception: str | None = None
    traceback: Sequence[str] = ()


class _Submitting(threading.local):
    """Set while this thread submits a job, when an executor may fork workers."""

    parent = 0


_submitting = _Submitting()
_imported_in = os.getpid()


def _forked() -> None:
    # A worker is made ready here and not with its first job, since it may never get one.
    parent, _submitting.parent = _submitting.parent, 0
    if parent:
        _settle_in(parent)


os.register_at_fork(after_in_child=_forked)


def _settle_in(parent: int) -> None:
    """Make a worker process one that ends with its parent and leaves Ctrl-C to it.

    A worker whose parent was killed would wait for work for ever and keep the locks that it inherited (hence
    PR_SET_PDEATHSIG of prctl(2)); one that was forked from an event loop would pass its signals on to the parent's
    loop, through the descriptor they share.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)  # it was killed a moment ago
    if threading.current_thread() is threading.main_thread():
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@lru_cache(maxsize=1)
def _settle_in_once(worker: int) -> None:
    """The same for a worker that was not forked from us, with its first job."""
    import multiprocessing

    if worker == _imported_in and multiprocessing.parent_process() is not None:
        _settle_in(os.getppid())


def _execute(call: _Call) -> _Result:
    if call.stays:
        _settle_in_once(os.getpid())
    start = now()
    with call.lock.holding(call.job) if call.lock is not None else nullcontext(True) as got:
        if not got:
            return _Result(start, start, hostname(), taken=True)
        try:
            result = call.function.func(**call.arguments)
            if inspect.isawaitable(result):
                asyncio.run(_await(result))
        except (Exception, SystemExit) as error:
            exception, trace = describe(error)
            return _Result(start, now(), hostname(), exception=exception, traceback=trace)
        return _Result(start, now(), hostname())


async def _await(awaitable: Any) -> Any:
    return await awaitable


class ExecutorTask(FunctionTask):
    """A task whose function runs in a `concurrent.futures.Executor`: threads, processes, or what offers the same.

    For an executor of processes the function must be at the top of a module, and the linked repositories it takes must
    be picklable; those in memory are not shared with it. Used as a decorator like `InProcessSyncTask`. What this
    process submitted only this process can collect, so that a tick waits for it.

    :param executor: where to run; shutting it down is its owner's business.
    :param done: where to record how jobs ended. Linked as `done`: status, inhibits start, required for output.
    :param ready: holds the jobs that may start, in place of what the links say.
    :param func: the function, when the task is not used as a decorator.
    :param failed: where to record failures, in place of `done`. Linked as `failed`: status, inhibits start and output.
    :param limit: how many jobs to have submitted at a time; by default a few per worker.
    """

    signals_ends = True
    here_only = True

    def __init__(
        self,
        name: str,
        executor: Executor,
        done: MetadataRepository,
        ready: Repository | None = None,
        func: Callable[..., Any] | None = None,
        *,
        failed: MetadataRepository | None = None,
        disabled: bool = False,
        limit: int | None = None,
    ) -> None:
        super().__init__(name, done, ready, func, failed, disabled)
        self.executor = executor
        workers = getattr(executor, "_max_workers", None) or os.cpu_count() or 1
        self.limit = QUEUED_PER_WORKER * workers if limit is None else max(1, limit)
        self._futures: dict[str, Future[_Result]] = {}
        self._forced: set[str] = set()
        self.live: ExecutorLiveRepo = ExecutorLiveRepo(self)
        self.link("live", self.live, is_status=True, inhibits_output=True, inhibits_start=True)

    async def validate(self) -> None:
        """:raises UsageError: when there is no function, it takes what is not linked, or cannot be sent to a worker."""
        await super().validate()
        # Without importing what only those who use it have imported.
        processes = sys.modules.get("concurrent.futures.process")
        if processes is not None and isinstance(self.executor, processes.ProcessPoolExecutor) and self.func is not None:
            try:
                _Function(self.func).__reduce__()
            except PdtError as error:
                raise UsageError(f"the function of the task {self.name}: {error}") from None

    def submitted(self) -> list[str]:
        """The jobs that were submitted and not collected yet."""
        return list(self._futures)

    @property
    def here(self) -> int:
        return len(self._futures)

    async def launch(self, job: str) -> None:
        await self.start(job, force=True)

    async def start(self, job: str, *, force: bool = False) -> Start:
        job_ids.check(job)
        arguments = self._arguments(job)
        func = self.func
        if job in self._futures or func is None:
            return Start.TAKEN
        if len(self._futures) >= self.limit:
            return Start.LIMITED
        assert self.func is not None
        # Held until the job is recorded, against other processes that have it in their lists. The worker takes another
        # one, which outlives this process should it be killed.
        if self._lock is not None and not self._lock.acquire(_claim(job)):
            return Start.TAKEN
        try:
            if not force and not await self.may_start(job):
                self._release(job)
                return Start.TAKEN
            # What Linux takes for the parent of a process is a thread.
            stays = threading.current_thread() is threading.main_thread()
            call = _Call(_Function(func), job, arguments, self._lock, stays)
            _submitting.parent = os.getpid() if stays else 0
            future = self.executor.submit(_execute, call)
        except BaseException:
            self._release(job)
            raise
        finally:
            _submitting.parent = 0
        self._futures[job] = future
        if force:
            self._forced.add(job)
        self.tell_launched(job)
        if self.synchronous:
            await asyncio.wait([asyncio.wrap_future(future)])
            await self._settle(job)
        elif self.ended is not None:
            loop = asyncio.get_running_loop()
            future.add_done_callback(lambda _: self._signal(loop, job))
        return Start.STARTED

    def _release(self, job: str) -> None:
        if self._lock is not None:
            self._lock.release(_claim(job))

    def _signal(self, loop: asyncio.AbstractEventLoop, job: str) -> None:
        # Called in a thread of the executor.
        def tell() -> None:
            if self.ended is not None:
                self.ended(job)

        try:
            loop.call_soon_threadsafe(tell)
        except RuntimeError:
            pass  # the loop is closed: nobody waits any more

    async def collect(self, job: str) -> None:
        try:
            await self._settle(job)
        except (PdtError, OSError) as error:
            self.emit(Problem(self.name, job, f"cannot be recorded: {sentence(error)}", is_unreachable(error)))

    async def _settle(self, job: str) -> None:
        future = self._futures.get(job)
        if future is None or not future.done():
            return
        del self._futures[job]
        forced = job in self._forced
        self._forced.discard(job)
        try:
            outcome = self._outcome(future)
            if outcome is not None:
                await self.record(job, outcome, forced=forced)
        finally:
            self._release(job)
        if outcome is not None:
            self.tell_finished(job, outcome)

    def _outcome(self, future: Future[_Result]) -> dict[str, Any] | None:
        """The record of a call that has ended; None when it did not run, so that the job is ready again."""
        try:
            result = future.result()
        except CancelledError:
            return None
        except BaseException as error:  # the worker died, or the call could not be sent to it
            moment = now()
            if isinstance(error, BrokenExecutor) and self.stopping:
                return None  # whoever stops the whole process group ends the workers as well
            reason = "lost" if isinstance(error, BrokenExecutor) else None
            return function_record(moment, moment, fresh_attempt(), exception=repr(error), reason=reason)
        if result.taken:
            return None
        return function_record(
            result.start,
            result.end,
            fresh_attempt(),
            host=result.host,
            exception=result.exception,
            traceback=list(result.traceback),
        )

    async def update(self) -> bool:
        any_live = bool(self._futures)
        for job in [job for job, future in self._futures.items() if future.done()]:
            await self.collect(job)
        return any_live

    async def cancel(self, job: str) -> bool:
        """Take a job back that has not begun; one that runs cannot be stopped."""
        future = self._futures.get(job)
        return future is not None and future.cancel()


def _claim(job: str) -> str:
    return f"claim:{job}"
