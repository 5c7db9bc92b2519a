"""Calls to an S3 client from an event loop.

A boto3 client blocks, and may be shared between threads. Each client gets one pool of threads, as many as it keeps
connections, that all repositories on it share: more would only queue for a connection. The threads are daemons, so
that a server that hangs never holds up the end of a program; what they leave unfinished is not visible in the bucket.
"""

from __future__ import annotations

import asyncio
import itertools
import queue
import threading
import weakref
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeVar

from . import s3_lean
from .s3_errors import is_bare, translate

__all__ = ("Bucket", "Threads", "attempts", "threads_of")

T = TypeVar("T")
I = TypeVar("I")  # noqa: E741 - an item

AT_ONCE = 32
"""So many small calls a thread makes before it comes back to the event loop."""


class Threads:
    """A bounded pool of daemon threads, started as they are needed, that several event loops may use.

    :param size: how many threads there may be.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._queue: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._lock = threading.Lock()
        self._started = 0

    def submit(self, function: Callable[[], T]) -> asyncio.Future[T]:
        """Have a blocking function called; a call that is cancelled before its turn is not made."""
        call = _Call(function)
        self._queue.put(call)
        if not self._idle.acquire(blocking=False):
            with self._lock:
                if self._started < self.size:
                    self._started += 1
                    threading.Thread(target=_serve, args=(self._queue, self._idle), name="pdt-s3", daemon=True).start()
        return call.future

    async def settle(self, function: Callable[[], T]) -> T:
        """Call what changes something: a cancellation is passed on only when the call has ended.

        So nothing is changed behind the back of whoever goes on after it. A second cancellation breaks off.
        """
        future = self.submit(function)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            if not future.done():
                await asyncio.wait([future])
            raise

    async def each(self, function: Callable[[I], T], items: Iterable[I], at_once: int = AT_ONCE) -> list[T]:
        """Call a function for every item, in all threads, in no particular order; the results.

        The first error ends it, and is raised.
        """
        source = list(items)
        step = max(1, min(at_once, -(-len(source) // self.size)))
        starts = iter(range(0, len(source), step))
        results: list[T] = []

        def some(start: int) -> list[T]:
            return [function(item) for item in itertools.islice(source, start, start + step)]

        async def work() -> None:
            for start in starts:
                results.extend(await self.submit(partial(some, start)))

        workers = [asyncio.ensure_future(work()) for _ in range(min(self.size, -(-len(source) // step)))]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
        return results

    def close(self) -> None:
        """Let the threads end when they have nothing to do."""
        self._queue.put(None)


class _Call:
    """A function, and where its result goes."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self.function = function
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Any] = self.loop.create_future()

    def make(self) -> None:
        if self.future.cancelled():
            return
        result, error = None, None
        try:
            result = self.function()
        except BaseException as raised:  # whoever waits for it is told, whatever it is
            error = raised
        try:
            self.loop.call_soon_threadsafe(self._finish, result, error)
        except RuntimeError:
            pass  # the event loop is closed: nobody waits any more

    def _finish(self, result: Any, error: BaseException | None) -> None:
        if self.future.done():
            return
        if error is not None:
            self.future.set_exception(error)
        else:
            self.future.set_result(result)


def _serve(calls: queue.SimpleQueue[_Call | None], idle: threading.Semaphore) -> None:
    # Not a method: a thread must not keep its pool, and with it the client, alive.
    while True:
        try:
            call = calls.get_nowait()
        except queue.Empty:
            idle.release()
            call = calls.get()
        if call is None:
            calls.put(None)  # for the next thread
            return
        call.make()
        del call


_threads: weakref.WeakKeyDictionary[Any, Threads] = weakref.WeakKeyDictionary()
_threads_lock = threading.Lock()


def threads_of(client: Any) -> Threads:
    """The threads for a client's calls."""
    with _threads_lock:
        threads = _threads.get(client)
        if threads is None:
            threads = _threads[client] = Threads(max(1, client.meta.config.max_pool_connections or 10))
            weakref.finalize(client, threads.close)
        return threads


def attempts(client: Any) -> int:
    """How often the client tries a request, the first time included."""
    retries = client.meta.config.retries or {}
    return int(retries.get("total_max_attempts") or retries.get("max_attempts", 4) + 1)


class Bucket:
    """One bucket as seen by one client; every error is translated.

    :param client: a boto3 S3 client.
    :param name: of the bucket.
    """

    def __init__(self, client: Any, name: str) -> None:
        self.client = client
        self.name = name
        self.threads = threads_of(client)

    def uri(self, key: str) -> str:
        """An object as people write it."""
        return f"s3://{self.name}/{key}"

    def do(self, operation: str, /, **parameters: Any) -> Any:
        """Make a call in this thread.

        :param operation: a method of the client, such as ``get_object``, or one of `s3_place`: `NAMES`, `FIRST`.
        :raises PdtError: for whatever goes wrong; `s3_errors` has the kinds.
        """
        try:
            return s3_lean.call(self.client, self.name, operation, parameters)
        except Exception as error:
            raise self.explain(error, parameters.get("Key")) from error

    def explain(self, error: Exception, key: str | None = None) -> Exception:
        """An error of the client, translated; blocks when the server has to be asked for the reason."""
        if is_bare(error):
            try:
                self.client.list_objects_v2(Bucket=self.name, MaxKeys=1)
            except Exception as better:
                error = better
        return translate(error, self.uri(key or "").rstrip("/"), self.client)

    async def call(self, operation: str, /, **parameters: Any) -> Any:
        """Make a call that only reads."""
        return await self.threads.submit(partial(self.do, operation, **parameters))

    def put(self, key: str, body: bytearray, mimetype: str, **conditions: Any) -> None:
        """Store an object, in this thread.

        :param body: no `bytes`, which the client would not send before the server has said that they are welcome
            (``Expect: 100-continue``): that takes a round trip, and a second where the server does not know it.
        """
        self.do("put_object", Key=key, Body=body, ContentType=mimetype, **conditions)

    async def settle(self, operation: str, /, **parameters: Any) -> Any:
        """Make a call that changes something; see `Threads.settle`."""
        return await self.threads.settle(partial(self.do, operation, **parameters))
