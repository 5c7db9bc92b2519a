"""From blocking code into an event loop and back: one loop for a cycle, prompt about Ctrl-C, at home in a notebook."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

__all__ = ("Portal", "interruptible")

T = TypeVar("T")

ECHO = 0.25
"""Seconds within which further signals are the first one again: a terminal's Ctrl-C reaches the whole process group,
and workers that were forked from this process hand theirs on to it."""


class Portal:
    """An event loop that runs while somebody waits for it, in the caller's thread.

    Where that one runs a loop of its own already, as that of a notebook does, a thread aside is used.

    :param interrupted: called in the loop when Ctrl-C ends the wait for the thread aside.
    """

    def __init__(self, interrupted: Callable[[], None]) -> None:
        self._interrupted = interrupted
        self._aside: ThreadPoolExecutor | None = None
        if asyncio._get_running_loop() is not None:
            from concurrent.futures import ThreadPoolExecutor

            self._aside = ThreadPoolExecutor(1, "pdt")
        self._runner = asyncio.Runner()

    def run(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run something to its end; what it raises is raised here."""

        async def awaited() -> T:
            return await work()

        def there() -> T:
            self._runner.get_loop()  # fails where no descriptor is left, before there is a coroutine that nobody awaits
            return self._runner.run(awaited())

        with _prompt_interrupts():
            return self._here(there)

    def close(self) -> None:
        """Cancel what is left, and close the loop."""
        try:
            self._here(self._runner.close)
        finally:
            if self._aside is not None:
                self._aside.shutdown()

    def _here(self, function: Callable[[], T]) -> T:
        if self._aside is None:
            return function()
        future = self._aside.submit(function)
        try:
            return future.result()
        except KeyboardInterrupt:
            self._runner.get_loop().call_soon_threadsafe(self._interrupted)
            future.exception()  # once it has come to its end
            raise


async def interruptible(work: Callable[[], Awaitable[T]], stop: Callable[[], None]) -> T:
    """Do something that the first SIGINT or SIGTERM asks to end, by calling `stop`, and the second one breaks off.

    :raises KeyboardInterrupt: for the second signal.
    """
    loop = asyncio.get_running_loop()
    asked: float | None = None
    task = asyncio.ensure_future(work())

    def on_signal() -> None:
        nonlocal asked
        if asked is None:
            asked = loop.time()
            stop()
        elif loop.time() - asked > ECHO:
            task.cancel()

    with ExitStack() as stack:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                stack.enter_context(_handling(loop, number, on_signal))
        try:
            return await task
        except asyncio.CancelledError:
            if asked is not None:
                raise KeyboardInterrupt from None
            raise


@contextmanager
def _prompt_interrupts() -> Iterator[None]:
    """A block in which Ctrl-C raises KeyboardInterrupt at once, wherever it would.

    What asyncio installs in place of Python's own handler lets the loop cancel its work, and so has no effect while a
    call reads standard input or writes to a full pipe.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    ):
        yield
        return
    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def _handling(loop: asyncio.AbstractEventLoop, number: signal.Signals, handler: Callable[[], None]) -> Iterator[None]:
    """A block in which the loop handles a signal; afterwards it is handled as before."""
    before: Callable[[int, FrameType | None], Any] | int | None = signal.getsignal(number)
    loop.add_signal_handler(number, handler)
    try:
        yield
    finally:
        loop.remove_signal_handler(number)
        signal.signal(number, before if before is not None else signal.SIG_DFL)
