"""Which launches still count against a launch rate.

A job may be over, and its live record gone, long before its launch stops to count. So launches are written down apart,
beside the lock of the quota they count against, and only by the holder of that lock; a quota whose live records are in
this process keeps them in memory. Losing the file is no harm beyond a rate that is too high for one window.
"""

from __future__ import annotations

import time
from pathlib import Path

from . import atomic

__all__ = ("Launches",)


class Launches:
    """The recent launches under one quota.

    :param path: where they are written down; in memory only when None.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        # When each was, by the clock of the machine, and for how many seconds it counts.
        self._made: list[tuple[float, float]] = []
        self._changed = False

    def load(self) -> None:
        """Read what others have written down."""
        if self.path is None:
            return
        try:
            lines = self.path.read_text("ascii").splitlines()
            self._made = [(float(when), float(window)) for when, _, window in (line.partition(" ") for line in lines)]
        except FileNotFoundError:
            self._made = []
        except ValueError:
            self._made = []  # damaged: see above
        self._changed = False

    def save(self) -> None:
        """Write down what was added since `load`."""
        if self.path is None or not self._changed:
            return
        self._expire()
        atomic.replace(self.path, "".join(f"{when!r} {window!r}\n" for when, window in self._made).encode(), 0o600)
        self._changed = False

    def add(self, window: float) -> None:
        """A launch now, which counts for `window` seconds."""
        self._made.append((time.time(), window))
        self._changed = True

    def take_back(self) -> None:
        """The launch that was added last did not happen."""
        if self._made:
            self._made.pop()
            self._changed = True

    @property
    def count(self) -> int:
        """How many count now."""
        self._expire()
        return len(self._made)

    def _expire(self) -> None:
        now = time.time()
        # One of the future was written before the clock was set back, and nobody knows when it was.
        self._made = [(when, window) for when, window in self._made if when <= now < when + window]
