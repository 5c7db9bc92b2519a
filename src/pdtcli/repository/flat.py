"""Flat records as YAML text, without PyYAML: a fast path of `yaml.dump`, and of nothing else.

Every job writes some three records, a live record twice and an outcome, each a mapping of a few names to short strings,
numbers and times. PyYAML takes 130 µs for one, which was a third of all that a launch costs; this takes 10. It writes
only what it is sure of, byte for byte as PyYAML would, and leaves everything else to PyYAML: the tests hold the two
against each other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from math import isfinite
from typing import Any

__all__ = ("dump",)

MOST = 2**63
"""Larger numbers are left to PyYAML, and so are longer keys."""

LONGEST_KEY = 64

# Strings that YAML 1.1 reads as strings when they stand there plainly, and that no line is folded in.
_PLAIN = re.compile(
    r"(?!(?:y|n|yes|no|true|false|on|off|null)$)[a-z_/][a-z0-9_./+~-]{0,999}"  # a word, a path, a name
    r"|(?!0[bx])[0-9]{1,40}[a-z][0-9a-z]{0,40}"  # a hexadecimal token; digits alone would be a number
    r"|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}",  # a UUID
    re.ASCII | re.IGNORECASE,
)


def _text(value: str) -> str | None:
    return value if _PLAIN.fullmatch(value) is not None else None


def _bool(value: bool) -> str:
    return "true" if value else "false"


def _int(value: int) -> str | None:
    return str(value) if -MOST < value < MOST else None


def _float(value: float) -> str | None:
    if not isfinite(value):
        return None
    text = repr(value)
    return text.replace("e", ".0e") if "e" in text and "." not in text else text  # YAML 1.1 wants the point


def _none(value: None) -> str:
    return "null"


def _time(value: datetime) -> str | None:
    return value.isoformat() if value.tzinfo is None or value.tzinfo is UTC else None


# By the very type: what a subclass of it stands for is PyYAML's to decide.
_SCALARS: Mapping[type, Callable[[Any], str | None]] = {
    str: _text,
    bool: _bool,
    int: _int,
    float: _float,
    type(None): _none,
    datetime: _time,
}


@lru_cache(maxsize=512)
def _is_key(key: str) -> bool:
    return len(key) <= LONGEST_KEY and _PLAIN.fullmatch(key) is not None


def dump(value: Any) -> bytes | None:
    """A mapping of names to scalars as YAML; None for whatever is not that, or is not sure to come out right."""
    if type(value) is not dict or not value:
        return None
    lines = []
    for key, item in value.items():
        write = _SCALARS.get(type(item))
        if write is None or type(key) is not str or not _is_key(key):
            return None
        text = write(item)
        if text is None:
            return None
        lines.append(f"{key}: {text}\n")
    return "".join(lines).encode("ascii")
