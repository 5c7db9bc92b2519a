"""The log of package and command: sentences on stderr, and on demand a file, as text or as one JSON object a line.

Everything that is worth telling goes through the logger `pdtcli`, warnings of the core as well as the events of a run,
so that `-v`, `-q` and `--log-file` act on all of it alike. A record's `extra={"pdt": {...}}` adds fields to its JSON.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING, TextIO

from .output import printable

if TYPE_CHECKING:
    from .options import Settings

__all__ = ("setup",)

_TIME = "%Y-%m-%dT%H:%M:%SZ"


def setup(settings: Settings) -> None:
    """Send the package's log where the options say.

    :raises OSError: when the log file cannot be opened.
    """
    logger = logging.getLogger("pdtcli")
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    level = {0: logging.WARNING, 1: logging.INFO}.get(settings.verbose, logging.DEBUG)
    as_json = settings.log_format == "json"
    talk = _Stderr(logging.CRITICAL if settings.quiet else level)
    talk.setFormatter(_Json() if as_json and settings.log_file is None else _Sentence(settings.debug))
    logger.addHandler(talk)
    if settings.log_file is not None:
        # Not FileHandler: it cannot say who may read what may well tell of someone's data.
        number = os.open(settings.log_file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        keep = _Line(os.fdopen(number, "w", encoding="utf-8", errors="backslashreplace"))
        keep.setLevel(min(level, logging.INFO))
        keep.setFormatter(_Json() if as_json else _Text())
        logger.addHandler(keep)
    logger.setLevel(min(handler.level for handler in logger.handlers))
    logger.propagate = False


class _Stderr(logging.Handler):
    """Writes to what stderr is at that moment: a live display puts itself in its place while it is shown."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(self.format(record) + "\n")
            sys.stderr.flush()
        except (OSError, ValueError):
            pass  # nobody listens, which must not stop the work


class _Line(logging.StreamHandler[TextIO]):
    def handleError(self, record: logging.LogRecord) -> None:
        """A full disk must not stop the work, nor fill stderr."""


class _Sentence(logging.Formatter):
    """`pdt: what happened`, on one line."""

    def __init__(self, debug: bool) -> None:
        super().__init__()
        self.debug = debug

    def format(self, record: logging.LogRecord) -> str:
        # What a job says of its failure comes from its data, and must not act on the terminal.
        text = f"pdt: {printable(' '.join(record.getMessage().split()))}"
        if record.exc_info and record.exc_info[1] is not None:
            if self.debug:
                return f"{text}\n{self.formatException(record.exc_info)}"
            from ..errors import sentence

            text = f"{text}: {sentence(record.exc_info[1])}"
        return text


class _Text(logging.Formatter):
    """`TIME LEVEL LOGGER: what happened`, with tracebacks below."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s", datefmt=_TIME)

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        return _utc(record)


class _Json(logging.Formatter):
    """One object a line: time, level, logger, message, and the record's own fields."""

    def format(self, record: logging.LogRecord) -> str:
        import json

        fields: dict[str, object] = {
            "time": _utc(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "pdt", {}),
        }
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return json.dumps(fields, ensure_ascii=False, default=str)


def _utc(record: logging.LogRecord) -> str:
    import time

    whole, milliseconds = time.gmtime(record.created), int(record.msecs)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', whole)}.{milliseconds:03}Z"
