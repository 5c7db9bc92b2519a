"""What the pipeline tells of itself, as plain data."""

from __future__ import annotations

from typing import Any

import pytest

from pdtcli.report import Finished, Report, State


@pytest.mark.parametrize(
    ("record", "why"),
    [
        ({"reason": "timeout", "signal": "SIGKILL", "return_code": 137}, "timeout"),
        ({"exception": "ValueError('x')"}, "ValueError('x')"),
        ({"signal": "SIGKILL", "return_code": 137}, "SIGKILL"),
        ({"return_code": 3}, "exit status 3"),
        ({"return_code": 0}, "exit status 0"),
        ({"return_code": None}, "failed"),
        ({}, "failed"),
    ],
)
def test_why_a_job_failed_is_one_phrase(record: dict[str, Any], why: str) -> None:
    assert Finished("task", "job", False, record).why == why


def test_a_success_is_done() -> None:
    assert Finished("task", "job", True, {"return_code": 0}).why == "done"


def test_a_report_in_which_nothing_happened_is_idle() -> None:
    assert Report(live=3, waiting=2, failed_before=1).idle


@pytest.mark.parametrize("report", [Report(launched=1), Report(done=1), Report(failed=1), Report(problems=1)])
def test_a_report_in_which_something_happened_is_not(report: Report) -> None:
    assert not report.idle


def test_a_state_is_its_word() -> None:
    assert [str(state) for state in State] == ["waiting", "ready", "live", "done", "failed"]
