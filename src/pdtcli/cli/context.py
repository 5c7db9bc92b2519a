"""What a command's function gets: the settings in effect, the pipeline, the output, and a way to talk.

Making a `Cli` acts on the common options, the log among them, so that it is in place before the user's module runs.
The modules of commands import this one, also when a command is only completed, and so it imports what it needs later.
"""

from __future__ import annotations

import sys
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..facade import PipelineHandle
    from .options import Settings
    from .output import Output

__all__ = ("Cli",)


class Cli:
    """One invocation of one command."""

    def __init__(self, settings: Settings) -> None:
        from . import logs

        self.settings = settings
        logs.setup(settings)

    def open(self) -> PipelineHandle:
        """Load the pipeline; each call on it is a cycle of its own, unless a `with` block makes several calls one."""
        from ..facade import open_pipeline

        return open_pipeline(self.settings.pipeline)

    @cached_property
    def out(self) -> Output:
        """Where data goes."""
        from .output import Output

        return Output(self.settings.format)

    def say(self, text: str) -> None:
        """Talk: one line on stderr, unless --quiet."""
        if not self.settings.quiet:
            try:
                # One write a line, so that the lines of processes that share a terminal stay whole.
                sys.stderr.write(f"pdt: {text}\n")
                sys.stderr.flush()
            except (OSError, ValueError):
                pass  # nobody listens, which must not change the outcome

    def ask(self, question: str) -> bool:
        """Put a yes-or-no question on the terminal; no is the default, and the answer to a closed input."""
        screen = sys.stderr if sys.stderr.isatty() else sys.stdout
        screen.write(f"pdt: {question} [y/N] ")
        screen.flush()
        return sys.stdin.readline().strip().lower() in ("y", "yes")

    @property
    def interactive(self) -> bool:
        """Whether there is someone to ask."""
        return sys.stdin.isatty() and (sys.stderr.isatty() or sys.stdout.isatty())
