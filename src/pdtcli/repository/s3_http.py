"""A lean HTTP/1.1 client over blocking sockets, for the requests that an S3 store gets by the thousand.

It does what RFC 9112 asks of a client that sends bodies of known length, and no more: no proxies, no redirects, no
compression. `s3_lean` uses it, and only where the configuration asks for nothing else.

Errors are botocore's, so that they are translated, and judged worth another attempt, like those of its own client.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple, Protocol

from .s3_connection import SMALL, Broken, Connection

__all__ = ("Answer", "Body", "Pool")

IDLE = 0.5
"""Seconds after which an idle connection is looked at before it is used again: servers close them after a while."""


class Checksum(Protocol):
    """What compares a body with the checksum that came with it."""

    def update(self, data: bytes, /) -> None: ...

    def compare(self) -> None: ...


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
