"""How a job ended: the record that `done` and `failed` hold, and what it means.

The keys of pydatatask's records are kept (`return_code`, `result`, `exception`, `traceback`, `start_time`, `end_time`);
`success`, `duration`, `host`, `attempt` and, where it is not plain, `reason` are there in every record that pdt writes.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from .host import hostname

__all__ = ("fresh_attempt", "function_record", "now", "process_record", "succeeded")

Record = dict[str, Any]


def now() -> datetime:
    """This moment, aware and in UTC."""
    return datetime.now(tz=UTC)


def fresh_attempt() -> str:
    """A name that no other attempt at any job has."""
    return os.urandom(8).hex()


def succeeded(record: Any) -> bool:
    """Whether the record of a job that is present is that of a success.

    Records that another tool or a user's `touch` made count too: what does not speak of a failure is a success.
    """
    if not isinstance(record, Mapping):
        return True
    if "success" in record:
        return bool(record["success"])
    if "return_code" in record:
        return bool(record["return_code"] == 0)
    return bool(record.get("result", "success") == "success")


def _common(success: bool, start: datetime, end: datetime, attempt: str, host: str | None) -> Record:
    end = max(start, end)  # a clock that was set back makes no negative durations
    return {
        "success": success,
        "start_time": start,
        "end_time": end,
        "duration": round((end - start).total_seconds(), 6),
        "host": host if host is not None else hostname(),
        "attempt": attempt,
    }


def process_record(
    return_code: int | None, start: datetime, end: datetime, attempt: str, *, host: str, reason: str | None = None
) -> Record:
    """The record of a process.

    :param return_code: as a shell gives it: the exit status, or 128 plus the signal's number; None when nobody knows.
    :param reason: why, where it is not the process's own doing: `lost`, `timeout`, `cancelled`.
    """
    record: Record = {"return_code": return_code}
    if return_code is not None and return_code > 128:
        try:
            record["signal"] = signal.Signals(return_code - 128).name
        except ValueError:
            pass
    if reason is not None:
        record["reason"] = reason
    return record | _common(return_code == 0 and reason is None, start, end, attempt, host)


def function_record(
    start: datetime,
    end: datetime,
    attempt: str,
    *,
    host: str | None = None,
    exception: str | None = None,
    traceback: list[str] | None = None,
    reason: str | None = None,
) -> Record:
    """The record of a Python function; `exception` and `traceback` as text when it raised."""
    record: Record = {"result": "success" if exception is None else "exception"}
    if exception is not None:
        record["exception"] = exception
        record["traceback"] = traceback or []
    if reason is not None:
        record["reason"] = reason
    return record | _common(exception is None, start, end, attempt, host)
