"""A proxy that makes a network misbehave: it cuts, delays, truncates, falls silent, or answers in the server's place.

It runs in a thread of its own, so that blocking clients and commands in other processes can go through it too.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import struct
import threading
from collections import deque
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

_CHUNK = 64 * 1024
HTTP = re.compile(rb"(GET|HEAD|PUT|POST|DELETE|PATCH) ")


def response(status: str, body: str = "", **headers: str) -> bytes:
    """An HTTP response, such as ``response("503 Slow Down", "<Error><Code>SlowDown</Code></Error>")``."""
    lines = {"Content-Length": str(len(body.encode())), "Connection": "close", **headers}
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status}\r\n{head}\r\n{body}".encode()


@dataclass(frozen=True)
class Fault:
    """What befalls one exchange: a request, and what it is answered with.

    :param kind: `reset` and `close` end the connection, rudely or politely; `hang` keeps it and lets nothing through;
        `delay` goes on after `seconds`; `answer` gives `data` in place of what the server would have said, which it is
        not even asked.
    :param after: how many bytes still go through.
    :param of: of the `answer` or of the `request`.
    """

    kind: Literal["reset", "close", "hang", "delay", "answer"]
    after: int = 0
    of: Literal["answer", "request"] = "answer"
    seconds: float = 0.0
    data: bytes = b""


@dataclass
class _Plan:
    fault: Fault
    matching: re.Pattern[bytes]
    times: int
    skip: int


class Proxy:
    """A way to a server on this machine; use `proxying`."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._plans: deque[_Plan] = deque()
        self._lock = threading.Lock()
        self.port = 0
        self.connections = 0
        """How many were accepted."""
        self.exchanges = 0
        """How many requests were seen."""
        self.faults = 0
        """How many of them something befell."""
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    # ---- what tests say

    def inject(self, fault: Fault, *, times: int = 1, skip: int = 0, matching: bytes = b"", http: bool = True) -> None:
        """Let `fault` befall the next requests.

        :param times: how many.
        :param skip: how many are spared before.
        :param matching: a regular expression that the beginning of a request has to contain, such as
            ``b"^GET /bucket/"``; any request when empty.
        :param http: whether requests are those of HTTP; else a request is whatever follows an answer.
        """
        pattern = re.compile(matching or (HTTP.pattern if http else b""), re.DOTALL)
        with self._lock:
            self._plans.append(_Plan(fault, pattern, times, skip))

    def calm(self) -> None:
        """Forget the faults that have not happened yet."""
        with self._lock:
            self._plans.clear()

    def cut(self) -> None:
        """Reset every connection that is open."""
        self._run(self._cut())

    def down(self) -> None:
        """Refuse connections, and reset those that are open."""
        self._run(self._close())

    def up(self) -> None:
        """Accept connections again, on the same port."""
        self._run(self._open())

    def stop(self) -> None:
        """End the proxy."""
        self._run(self._close())
        self._run(self._abort_the_rest())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # ---- in the thread

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _open(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        await self._cut()

    async def _cut(self) -> None:
        # A connection that was accepted a moment ago takes a few turns of the loop to become a task.
        for _ in range(8):
            tasks = list(self._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.sleep(0)

    async def _abort_the_rest(self) -> None:
        """Close what was reset before its own task came to close it; the loop knows every transport."""
        transports: Any = getattr(self._loop, "_transports", {})
        for transport in list(transports.values()):
            transport.abort()
        for _ in range(8):
            await asyncio.sleep(0)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = self._loop.create_task(self._serve(reader, writer))
        self._tasks.add(task)

        def over(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            writer.close()  # which a task that is cancelled before its first step leaves undone

        task.add_done_callback(over)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream: asyncio.StreamWriter | None = None
        try:
            upstream_reader, upstream = await asyncio.open_connection("127.0.0.1", self._target)
            await _Exchange(self, (reader, writer), (upstream_reader, upstream)).run()
        except EOFError:
            pass  # it was to end here
        except (OSError, asyncio.CancelledError):
            _reset(writer)
        finally:
            # All of them before the first wait: a cancellation meets whoever waits, and would leave the rest open.
            ends = [each for each in (writer, upstream) if each is not None]
            for each in ends:
                each.close()
            for each in ends:
                with contextlib.suppress(OSError):
                    await each.wait_closed()

    def _fault_for(self, beginning: bytes) -> Fault | None:
        with self._lock:
            self.exchanges += 1
            for plan in self._plans:
                if plan.matching.search(beginning):
                    if plan.skip:
                        plan.skip -= 1
                        continue
                    plan.times -= 1
                    if not plan.times:
                        self._plans.remove(plan)
                    self.faults += 1
                    return plan.fault
        return None


Pair = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Exchange:
    """One connection: what the client says and what the server answers, in turns."""

    def __init__(self, proxy: Proxy, client: Pair, server: Pair) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._fault: Fault | None = None
        self._left = 0
        self._answered = True

    async def run(self) -> None:
        ways = [asyncio.create_task(self._requests()), asyncio.create_task(self._answers())]
        try:
            done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            if ways[1] not in done:  # the client has said all, and may still listen
                await asyncio.wait(ways, timeout=60)
            for way in ways:
                if way.done():
                    way.result()
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _requests(self) -> None:
        while data := await self._client[0].read(_CHUNK):
            if self._answered:  # otherwise it is more of the same request
                self._answered = False
                self._fault = self._proxy._fault_for(data)
                self._left = self._fault.after if self._fault is not None else 0
            fault = self._fault
            if fault is not None and fault.kind == "answer":
                await self._answer(fault.data)
                return
            await self._pass(data, self._server[1], "request")
        if self._server[1].can_write_eof():
            self._server[1].write_eof()

    async def _answers(self) -> None:
        while data := await self._server[0].read(_CHUNK):
            if not data.startswith(b"HTTP/1.1 100"):
                self._answered = True
                await self._pass(data, self._client[1], "answer")
            else:
                await _send(self._client[1], data)

    async def _pass(self, data: bytes, to: asyncio.StreamWriter, of: str) -> None:
        fault = self._fault
        if fault is None or fault.of != of or len(data) < self._left:
            if fault is not None and fault.of == of:
                self._left -= len(data)
            await _send(to, data)
            return
        await _send(to, data[: self._left])
        match fault.kind:
            case "reset":
                _reset(self._client[1])
                raise ConnectionResetError
            case "close":
                self._client[1].write_eof()
                raise ConnectionAbortedError if of == "request" else EOFError
            case "hang":
                await asyncio.Event().wait()
            case "delay":
                await asyncio.sleep(fault.seconds)
        self._fault = None
        await _send(to, data[self._left :])

    async def _answer(self, data: bytes) -> None:
        await _send(self._client[1], data)
        self._client[1].write_eof()
        # Take what the client is still sending: a reset would make it miss the answer.
        while await self._client[0].read(_CHUNK):
            pass
        raise EOFError


async def _send(writer: asyncio.StreamWriter, data: bytes) -> None:
    if data:
        writer.write(data)
        await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Have the connection end with RST: no linger, no farewell."""
    with contextlib.suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@contextmanager
def proxying(port: int) -> Iterator[Proxy]:
    """A proxy to a port of this machine, as long as the block runs."""
    proxy = Proxy(port)
    try:
        proxy.up()
        yield proxy
    finally:
        proxy.stop()
