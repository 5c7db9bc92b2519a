"""Job identifiers: the one module that says what a job may be called.

The grammar is that of a Kubernetes label value (1 to 63 characters, see "Labels and Selectors" in its manual), because
such a string is also a safe file name, an S3 key part, an OCI tag and a MongoDB `_id`. Everything that builds a path, a
URL or a command from a job passes it through `check` first.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import Any

from .errors import InvalidJobId

__all__ = ("MAX_LENGTH", "all_valid", "check", "is_valid", "split_valid")

MAX_LENGTH = 63
# Spelled out, not \w: that would let Unicode letters and digits through.
GRAMMAR = r"[A-Za-z0-9](?:[A-Za-z0-9_.\-]{0,61}[A-Za-z0-9])?"
_match = re.compile(GRAMMAR).fullmatch

ENTIRE = r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,62}+(?<![_.\-])"
"""The same where no character of it can follow: a third of the time, since there is no way back to be tried."""

_match_lines = re.compile(rf"(?:{ENTIRE}\n)*+").fullmatch


def is_valid(job: object) -> bool:
    """Whether `job` is a string that may name a job."""
    return isinstance(job, str) and _match(job) is not None


def check(job: str) -> str:
    """Return `job` when it may name a job.

    :raises InvalidJobId: otherwise, with a sentence that shows the offending name.
    """
    if is_valid(job):
        return job
    shown = repr(job) if len(str(job)) <= 80 else repr(str(job)[:77]) + "…"
    raise InvalidJobId(
        f"{shown} is not a valid job id: it takes 1 to {MAX_LENGTH} of A-Z a-z 0-9 - _ . "
        "and starts and ends with a letter or digit"
    )


def split_valid(names: Iterable[str]) -> tuple[set[str], list[str]]:
    """Part `names` into valid job ids and the rest."""
    good: set[str] = set()
    bad: list[str] = []
    for name in names:
        if _match(name) is not None:
            good.add(name)
        else:
            bad.append(name)
    return good, bad


def all_valid(names: Collection[Any]) -> bool:
    """Whether all of these are strings that may name jobs; a fifth of the time of asking for each."""
    try:
        lines = "\n".join([*names, ""])
    except TypeError:
        return False
    return lines.count("\n") == len(names) and _match_lines(lines) is not None
