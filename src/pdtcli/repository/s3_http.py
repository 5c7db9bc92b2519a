"""A lean HTTP/1.1 client over blocking sockets, for the requests that an S3 store gets by the thousand.

It does what RFC 9112 asks of a client that sends bodies of known length, and no more: no proxies, no redirects, no
compression. `s3_lean` uses it, and only where the configuration asks for nothing else. The time goes to system calls:
a small request is one `send`, its answer one `recv`, and a long body is received in as few calls as it was asked for
in, without the interpreter's lock.

Errors are botocore's, so that they are translated, and judged worth another attempt, like those of its own client.
"""

from __future__ import annotations

import select
import socket
import ssl
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple, Protocol

__all__ = ("Answer", "Body", "Connection", "Pool")

SMALL = 64 * 1024
"""A body that is not longer is sent together with the head of its request, and this much is received at first."""

HEAD = 1024 * 1024
"""No head of an answer is longer."""

IDLE = 0.5
"""Seconds after which an idle connection is looked at before it is used again: servers close them after a while."""


class Broken(ConnectionError):
    """The connection ended in the middle of an answer, or what came is no HTTP."""


class Checksum(Protocol):
    """What compares a body with the checksum that came with it."""

    def update(self, data: bytes, /) -> None: ...

    def compare(self) -> None: ...


class Connection:
    """One connection, with one exchange at a time.

    :param address: host and port.
    :param context: of TLS; None for plain HTTP.
    :param timeouts: seconds to connect, and in which nothing arrives; None for no limit.
    :param keepalive: whether the kernel looks after connections on which nothing happens.
    """

    def __init__(
        self,
        address: tuple[str, int],
        context: ssl.SSLContext | None,
        timeouts: tuple[float | None, float | None],
        keepalive: bool,
    ) -> None:
        connect, read = timeouts
        raw = socket.create_connection(address, connect)
        try:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if keepalive:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            self.secure = context is not None
            if context is not None:
                raw = context.wrap_socket(raw, server_hostname=address[0])
                raw.settimeout(read)
            else:
                # The kernel minds the time: that saves a call before each of those that could block.
                raw.settimeout(None)
                seconds = read or 0.0
                limit = struct.pack("@ll", int(seconds), int(seconds % 1 * 1e6))
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        except BaseException:
            raw.close()
            raise
        self._socket = raw
        self._rest = b""
        self._is_cut = False
        self.used = 0.0

    def close(self) -> None:
        """End it."""
        self._socket.close()

    def __del__(self) -> None:
        # The answer to a request whose sender was cancelled meanwhile reaches nobody who could close it.
        if hasattr(self, "_socket"):
            self._socket.close()

    @property
    def is_clean(self) -> bool:
        """Whether nothing of the exchange is left that the next one could take for its own."""
        return not self._rest and not self._is_cut

    def is_stale(self) -> bool:
        """Whether the server has closed it, or said something that it was not asked."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(0))

    def send(self, head: bytes, body: bytearray | bytes) -> None:
        """Send a request.

        What the server answers before it has all of the body, and then hangs up, is still to be read.
        """
        try:
            if len(body) <= SMALL:
                self._socket.sendall(head + body)
            else:
                self._socket.sendall(head)
                self._socket.sendall(body)
        except BlockingIOError:
            raise TimeoutError("the server takes no more") from None
        except (BrokenPipeError, ConnectionResetError):
            self._is_cut = True

    def receive(self, n: int) -> bytes:
        """Up to `n` bytes, some at least; none when the server has closed the connection."""
        if self._rest:
            data, self._rest = self._rest[:n], self._rest[n:]
            return data
        try:
            return self._socket.recv(n)
        except BlockingIOError:
            raise TimeoutError("nothing came") from None

    def receive_all(self, n: int) -> bytes:
        """`n` bytes, or as many as came before the connection ended.

        :raises TimeoutError: when nothing came for too long.
        """
        if self._rest or self.secure:
            pieces = []
            while n and (data := self.receive(n)):
                pieces.append(data)
                n -= len(data)
                if n and not self.secure:
                    pieces.append(self.receive_all(n))
                    break
            return b"".join(pieces)
        try:
            data = self._socket.recv(n, socket.MSG_WAITALL)
        except BlockingIOError:
            raise TimeoutError("nothing came") from None
        if 0 < len(data) < n:  # the time was up, or the connection ended, in the middle
            data += self.receive_all(n - len(data))
        return data

    def receive_into(self, view: memoryview) -> int:
        """Fill a piece of memory, or as much of it as comes before the connection ends; how much."""
        start = min(len(self._rest), len(view))
        view[:start], self._rest = self._rest[:start], self._rest[start:]
        while start < len(view):
            try:
                n = self._socket.recv_into(view[start:], 0, 0 if self.secure else socket.MSG_WAITALL)
            except BlockingIOError:
                raise TimeoutError("nothing came") from None
            if not n:
                break
            start += n
        return start

    def put_back(self, data: bytes) -> None:
        """Have some bytes received again."""
        self._rest = data + self._rest

    def receive_line(self) -> bytes:
        """Up to the end of a line, which is not part of it."""
        line = b""
        while b"\n" not in line:
            data = self.receive(SMALL)
            if not data or len(line) > SMALL:
                raise Broken("the answer broke off, or is no HTTP")
            line += data
        line, _, rest = line.partition(b"\n")
        self.put_back(rest)
        return line.rstrip(b"\r")

    def receive_head(self) -> tuple[int, bool, dict[str, str]]:
        """The status of an answer, whether the connection may stay, and the headers by their names in small letters."""
        while True:
            data = self.receive(SMALL)
            while b"\r\n\r\n" not in data:
                more = self.receive(SMALL)
                if not more or len(data) > HEAD:
                    raise Broken("the server closed the connection" if not data else "the answer broke off")
                data += more
            head, _, self._rest = data.partition(b"\r\n\r\n")
            lines = head.decode("latin-1").split("\r\n")
            version, _, rest = lines[0].partition(" ")
            status = rest[:3]
            if not version.startswith("HTTP/1.") or not status.isdigit():
                raise Broken("what came is no HTTP")
            if status[0] != "1":  # otherwise it is on its way
                break
        headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        option = headers.get("connection", "").lower()
        return int(status), option != "close" and (version != "HTTP/1.0" or option == "keep-alive"), headers


class Body:
    """The body of an answer; the connection is given back at its end.

    :param length: in bytes; None when it is told chunk by chunk, or by the end of the connection.
    """

    def __init__(
        self, pool: Pool, connection: Connection, length: int | None, chunked: bool, stays: bool, url: str
    ) -> None:
        self._pool = pool
        self._connection: Connection | None = connection
        self._length = length
        self._left = length if length is not None else 0
        self._chunked = chunked
        self._stays = stays and (chunked or length is not None)
        self._url = url
        self.checksum: Checksum | None = None
        if length == 0:
            self._finish()

    def read(self, n: int | None = None) -> bytes:
        """Up to `n` bytes, fewer only at the end or before an error, or all; none at the end."""
        if self._connection is None:
            return b""
        try:
            if n is None:
                pieces = []
                while data := self._some(self._left or SMALL):
                    pieces.append(data)
                data = b"".join(pieces)
            else:
                data = self._some(n)
        except OSError as error:
            self.close()
            raise translated(error, self._url) from error
        return data

    def readinto(self, view: memoryview) -> int:
        """Fill a piece of memory, less only at the end or before an error; how much."""
        if self._length is None or self.checksum is not None or self._connection is None:
            data = self.read(len(view))
            view[: len(data)] = data
            return len(data)
        try:
            n = self._connection.receive_into(view[: self._left])
            if not n and len(view):
                raise Broken("the body broke off")
        except OSError as error:
            self.close()
            raise translated(error, self._url) from error
        self._left -= n
        if not self._left:
            self._finish()
        return n

    def _some(self, n: int) -> bytes:
        connection = self._connection
        if connection is None:
            return b""
        if self._length is not None:
            data = connection.receive_all(min(n, self._left))
            if not data:
                raise Broken("the body broke off")
        elif self._chunked:
            if not self._left:
                self._left = int(connection.receive_line().partition(b";")[0], 16)
                if not self._left:
                    while connection.receive_line():
                        pass  # trailers
                    self._finish()
                    return b""
            data = connection.receive_all(min(n, self._left))
            if len(data) == self._left:
                connection.receive_line()
            elif not data:
                raise Broken("the body broke off")
        else:
            data = connection.receive(n)
            if not data:
                self._finish()
            return data
        self._left -= len(data)
        if self.checksum is not None:
            self.checksum.update(data)
        if self._length is not None and not self._left:
            self._finish()
        return data

    def _finish(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            if self._stays:
                self._pool.give_back(connection)
            else:
                connection.close()
        if self.checksum is not None:
            self.checksum.compare()

    def close(self) -> None:
        """Do without the rest."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


class Answer(NamedTuple):
    """What a request was answered with; `body` is to be read to its end, or closed."""

    status: int
    headers: dict[str, str]
    body: Body


class Pool:
    """Connections to one server, used again, the last one first.

    :param url: of the server, as errors name it.
    :param connect: makes a connection.
    """

    def __init__(self, url: str, connect: Callable[[], Connection], size: int) -> None:
        self._url = url
        self._connect = connect
        self._size = size
        self._idle: list[Connection] = []
        self._closed = False

    def exchange(self, head: bytes, body: bytearray | bytes = b"", *, bodiless: bool = False) -> Answer:
        """Send a request and receive the head of its answer, in this thread.

        :param bodiless: whether it is a HEAD.
        :raises botocore.exceptions.BotoCoreError: when there is no answer.
        """
        try:
            connection = self._take()
        except OSError as error:
            raise unreachable(error, self._url) from error
        try:
            connection.send(head, body)
            status, stays, headers = connection.receive_head()
            chunked = headers.get("transfer-encoding", "").lower() == "chunked"
            told = headers.get("content-length")
            length = int(told) if told is not None and not chunked else None
            if bodiless or status in (204, 304):
                length, chunked = 0, False
            return Answer(status, headers, Body(self, connection, length, chunked, stays, self._url))
        except (OSError, ValueError) as error:
            connection.close()
            raise translated(error, self._url) from error
        except BaseException:
            connection.close()
            raise

    def _take(self) -> Connection:
        while self._idle:
            try:
                connection = self._idle.pop()
            except IndexError:  # another thread was faster
                break
            if time.monotonic() - connection.used < IDLE or not connection.is_stale():
                return connection
            connection.close()
        return self._connect()

    def give_back(self, connection: Connection) -> None:
        """Keep a connection that is at the end of an answer."""
        connection.used = time.monotonic()
        if not connection.is_clean or len(self._idle) >= self._size:
            connection.close()
            return
        self._idle.append(connection)
        if self._closed:  # looked at last, since another thread may be closing everything
            self.close()

    def close(self) -> None:
        """Close the connections that are idle now, and the others when they are given back."""
        self._closed = True
        with suppress(IndexError):
            while True:
                self._idle.pop().close()


def unreachable(error: OSError, url: str) -> Any:
    """Why there is no connection, in botocore's words."""
    from botocore import exceptions as botocore

    if isinstance(error, ssl.SSLError):
        return botocore.SSLError(endpoint_url=url, error=error)
    if isinstance(error, TimeoutError):
        return botocore.ConnectTimeoutError(endpoint_url=url, error=error)
    return botocore.EndpointConnectionError(endpoint_url=url, error=error)


def translated(error: Exception, url: str) -> Any:
    """Why an exchange failed, in botocore's words."""
    from botocore import exceptions as botocore

    if isinstance(error, TimeoutError):
        return botocore.ReadTimeoutError(endpoint_url=url, error=error)
    return botocore.ConnectionClosedError(endpoint_url=url, error=error, request=None)
