"""Which failures of a registry may pass, how long to wait for that, and what they are called."""

from __future__ import annotations

import os
import random
import ssl

__all__ = ("REPEATED", "passing", "pause", "root_cause")

REPEATED = frozenset({408, 429, 500, 502, 503, 504})
"""Answers that another try may better."""


def root_cause(error: BaseException | None) -> str | None:
    """What the system says of an error of the transport, which the libraries above it call "All attempts failed"."""
    while error is not None:
        if isinstance(error, OSError) and error.strerror and not isinstance(error, ssl.SSLError):
            # asyncio puts words of its own in place of the system's; errors of name look-ups have none of the system's.
            return os.strerror(error.errno) if error.errno is not None and error.errno > 0 else error.strerror
        error = error.__cause__ or error.__context__
    return None


def passing(error: Exception) -> bool:
    """Whether an error of the transport may be gone the next time."""
    text = str(error)
    import httpx

    if isinstance(
        error, (httpx.UnsupportedProtocol, httpx.LocalProtocolError, httpx.TimeoutException, httpx.TooManyRedirects)
    ):
        return False  # a time-out has used up the time there was
    return not any(mark in text for mark in ("[SSL", "SSL:", "Name or service not known", "CERTIFICATE"))


def pause(tries: int, asked: str | None = None) -> float:
    """Seconds to wait before the next try: what the server asked for, or longer each time and never the same."""
    if asked is not None and asked.isdecimal():
        return float(asked)
    return min(0.1 * 2.0**tries, 5.0) * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
