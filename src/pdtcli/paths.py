"""Where relative paths in a pipeline start: at the directory of the pipeline's file, wherever pdt is called from.

The loader sets the anchor while it runs the user's module; elsewhere it is the current directory. A path is made
absolute when its repository is made, since scripts run in directories of their own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

__all__ = ("absolute", "anchored_at")

_anchor: ContextVar[str | None] = ContextVar("pdtcli_anchor", default=None)


def absolute(path: str | os.PathLike[str]) -> Path:
    """`path` as an absolute path, with a leading ``~`` expanded and symbolic links left as they are."""
    expanded = os.path.expanduser(path)
    return Path(os.path.abspath(os.path.join(_anchor.get() or os.getcwd(), expanded)))


@contextmanager
def anchored_at(directory: str | os.PathLike[str]) -> Iterator[None]:
    """A block in which relative paths start at `directory`."""
    token = _anchor.set(os.fspath(directory))
    try:
        yield
    finally:
        _anchor.reset(token)
