"""Every way pdt can fail, and the one place that turns a failure into a sentence and an exit code.

PdtError                    1   something failed
├── UsageError              2   wrong usage
│   ├── LoadError           2   a pipeline that does not load
│   ├── Unsupported         2   this repository or task cannot do that
│   ├── InvalidValue        2   a value that cannot be stored (broken YAML, not UTF-8)
│   └── InvalidJobId        2   also a KeyError
├── NotFound                3   also a LookupError
│   ├── UnknownTask
│   ├── UnknownRepository
│   └── JobNotFound             also a KeyError
├── NotReady                4   a launch that the links do not allow
├── BackendError            5   a store or manager that could not be reached
└── LockHeld               75   another tick is at it (EX_TEMPFAIL of sysexits.h)
"""

from __future__ import annotations

from enum import IntEnum

__all__ = (
    "BackendError",
    "ExitCode",
    "InvalidJobId",
    "InvalidValue",
    "JobNotFound",
    "LoadError",
    "LockHeld",
    "NotFound",
    "NotReady",
    "PdtError",
    "UnknownRepository",
    "UnknownTask",
    "Unsupported",
    "UsageError",
    "exit_code",
    "is_unreachable",
    "sentence",
)


class ExitCode(IntEnum):
    """What the process tells its parent."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    NOT_READY = 4
    BACKEND = 5
    LOCKED = 75
    INTERRUPTED = 130


class PdtError(Exception):
    """A failure with a sentence for its user: the thing, the reason and the mend."""

    exit_code = ExitCode.FAILED

    def __str__(self) -> str:
        # KeyError, a base of some subclasses, would quote the sentence.
        return str(self.args[0]) if self.args else type(self).__name__


class UsageError(PdtError):
    """The command, or the call, asks for something that makes no sense."""

    exit_code = ExitCode.USAGE


class LoadError(UsageError):
    """The pipeline could not be loaded from its specification."""


class Unsupported(UsageError):
    """This kind of repository, task or manager cannot do what it was asked."""


class InvalidValue(UsageError):
    """A value that its repository cannot hold."""


class InvalidJobId(UsageError, KeyError):
    """A string that is not a job identifier."""


class NotFound(PdtError, LookupError):
    """Something that was named does not exist."""

    exit_code = ExitCode.NOT_FOUND


class UnknownTask(NotFound):
    """No task of that name in the pipeline."""


class UnknownRepository(NotFound):
    """No repository of that name in the pipeline."""


class JobNotFound(NotFound, KeyError):
    """The repository does not hold that job."""


class NotReady(PdtError):
    """A job may not start now."""

    exit_code = ExitCode.NOT_READY


class BackendError(PdtError):
    """A store or a manager could not be reached, or gave up."""

    exit_code = ExitCode.BACKEND


class LockHeld(PdtError):
    """Another process is doing the same work."""

    exit_code = ExitCode.LOCKED


def exit_code(error: BaseException) -> int:
    """The exit code that an error ends the process with."""
    if isinstance(error, PdtError):
        return error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return ExitCode.INTERRUPTED
    if isinstance(error, BrokenPipeError):
        return ExitCode.DONE
    if isinstance(error, (ConnectionError, TimeoutError)):
        return ExitCode.BACKEND
    return ExitCode.FAILED


def is_unreachable(error: BaseException) -> bool:
    """Whether an error means that a store or a manager could not be reached, or gave up."""
    return exit_code(error) == ExitCode.BACKEND


def sentence(error: BaseException) -> str:
    """An error as one line for its user, without a traceback."""
    if isinstance(error, PdtError):
        text = str(error)
    elif isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename is not None else error.strerror
    else:
        text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return " ".join(text.split())
