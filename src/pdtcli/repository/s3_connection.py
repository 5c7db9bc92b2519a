"""One connection of the lean HTTP/1.1 client in `s3_http`: what a blocking socket sends and receives.

The time goes to system calls: a small request is one `send`, its answer one `recv`, and a long body is received in as
few calls as it was asked for in, without the interpreter's lock.
"""

from __future__ import annotations

import select
import socket
import ssl
import struct

__all__ = ("Broken", "Connection")

SMALL = 64 * 1024
"""A body that is not longer is sent together with the head of its request, and this much is received at first."""

HEAD = 1024 * 1024
"""No head of an answer is longer."""


class Broken(ConnectionError):
    """The connection ended in the middle of an answer, or what came is no HTTP."""


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
