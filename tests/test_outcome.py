"""The records of how jobs ended."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pdtcli.host import hostname
from pdtcli.outcome import fresh_attempt, function_record, now, process_record, succeeded

START = datetime(2024, 5, 1, 12, tzinfo=UTC)
END = START + timedelta(seconds=1.5)


def test_a_process_that_did_well() -> None:
    assert process_record(0, START, END, "abc", host="here") == {
        "return_code": 0,
        "success": True,
        "start_time": START,
        "end_time": END,
        "duration": 1.5,
        "host": "here",
        "attempt": "abc",
    }


def test_a_process_that_was_killed() -> None:
    record = process_record(137, START, END, "abc", host="here")
    assert (record["success"], record["return_code"], record["signal"]) == (False, 137, "SIGKILL")


def test_an_exit_status_that_is_no_signal() -> None:
    assert "signal" not in process_record(255, START, END, "abc", host="here")


def test_a_process_that_got_lost() -> None:
    record = process_record(None, START, END, "abc", host="here", reason="lost")
    assert (record["success"], record["return_code"], record["reason"]) == (False, None, "lost")


def test_a_process_that_was_cancelled_did_not_succeed_whatever_its_status() -> None:
    assert not process_record(0, START, END, "abc", host="here", reason="cancelled")["success"]


def test_a_function_that_returned() -> None:
    record = function_record(START, END, "abc")
    assert (record["result"], record["success"], record["host"]) == ("success", True, hostname())


def test_a_function_that_raised() -> None:
    record = function_record(START, END, "abc", exception="ValueError('x')", traceback=["line"])
    assert (record["result"], record["exception"], record["traceback"]) == ("exception", "ValueError('x')", ["line"])
    assert not record["success"]


def test_a_clock_that_was_set_back_makes_no_negative_durations() -> None:
    record = process_record(0, END, START, "abc", host="here")
    assert (record["duration"], record["end_time"]) == (0.0, END)


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"success": True}, True),
        ({"success": False, "return_code": 0}, False),
        ({"return_code": 0}, True),
        ({"return_code": 1}, False),
        ({"return_code": None}, False),
        ({"result": "success"}, True),
        ({"result": "exception"}, False),
        ({}, True),
        (None, True),
        ("done by hand", True),
    ],
)
def test_records_of_other_tools_tell_their_outcome(record: Any, expected: bool) -> None:
    assert succeeded(record) is expected


def test_times_are_aware_and_utc() -> None:
    assert now().tzinfo is UTC


def test_attempts_have_names_of_their_own() -> None:
    assert len({fresh_attempt() for _ in range(1000)}) == 1000
