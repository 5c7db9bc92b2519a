"""Failures as sentences and exit codes."""

from __future__ import annotations

import errno
import pickle

import pytest

from pdtcli import errors
from pdtcli.errors import ExitCode, PdtError, exit_code, sentence

CODES = [
    (errors.PdtError("x"), 1),
    (errors.UsageError("x"), 2),
    (errors.LoadError("x"), 2),
    (errors.Unsupported("x"), 2),
    (errors.InvalidValue("x"), 2),
    (errors.InvalidJobId("x"), 2),
    (errors.UnknownTask("x"), 3),
    (errors.UnknownRepository("x"), 3),
    (errors.JobNotFound("x"), 3),
    (errors.NotReady("x"), 4),
    (errors.BackendError("x"), 5),
    (errors.LockHeld("x"), 75),
    (ConnectionRefusedError(), 5),
    (TimeoutError(), 5),
    (BrokenPipeError(), 0),
    (KeyboardInterrupt(), 130),
    (ValueError(), 1),
]


@pytest.mark.parametrize(("error", "code"), CODES, ids=lambda value: type(value).__name__)
def test_every_failure_has_its_exit_code(error: BaseException, code: int) -> None:
    assert exit_code(error) == code


def test_a_missing_job_is_a_key_error_and_a_lookup_error() -> None:
    assert isinstance(errors.JobNotFound("x"), KeyError)
    assert isinstance(errors.UnknownTask("x"), LookupError)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (PdtError("one thing\n  failed"), "one thing failed"),
        (errors.JobNotFound("it isn't here"), "it isn't here"),
        (PdtError(), "PdtError"),
        (OSError(errno.ENOSPC, "No space left on device", "/data/x"), "/data/x: No space left on device"),
        (OSError(errno.EIO, "Input/output error"), "Input/output error"),
        (ValueError("bad\nvalue"), "ValueError: bad value"),
        (RuntimeError(), "RuntimeError"),
    ],
)
def test_an_error_is_one_line(error: BaseException, text: str) -> None:
    assert sentence(error) == text


@pytest.mark.parametrize("name", [name for name in errors.__all__ if name[0].isupper() and name != "ExitCode"])
def test_errors_travel_between_processes(name: str) -> None:
    there = pickle.loads(pickle.dumps(getattr(errors, name)("what, why and what to do")))
    assert (type(there).__name__, str(there)) == (name, "what, why and what to do")


def test_exit_codes_are_numbers() -> None:
    assert int(ExitCode.LOCKED) == 75
