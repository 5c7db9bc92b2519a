"""What every row needs: a directory to work in, the tools, the sizes, an environment that is nobody's own."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from . import work
from .contest import Contest, Contestant, Failed, Run, hold, run
from .result import Result
from .sizes import Sizes
from .tools import Tools


@dataclass
class Stage:
    """Where contests are held.

    :ivar directory: an existing one, for everything that is made.
    :ivar left_out: peers that did not take part somewhere although they are installed, and why.
    """

    tools: Tools
    sizes: Sizes
    directory: Path
    left_out: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.home = self.directory / "home"
        (self.home / ".parallel").mkdir(parents=True)
        (self.home / ".parallel" / "will-cite").touch()  # keeps GNU parallel from asking for it
        self.env = {
            "PATH": os.pathsep.join((str(self.tools.pdt.parent), os.environ.get("PATH", os.defpath))),
            "HOME": str(self.home),
            "TMPDIR": str(self.home),
            "LC_ALL": "C.UTF-8",
            "PYTHONUTF8": "1",
        }

    def say(self, text: str) -> None:
        """Tell whoever waits for the end how far things are."""
        print(text, file=sys.stderr, flush=True)

    def room(self, name: str) -> Path:
        """A directory of this name, without anything in it."""
        work.empty(self.directory / name)
        return self.directory / name

    def pdt(self, *arguments: str) -> list[str]:
        """A command line of pdt."""
        return [str(self.tools.pdt), *arguments]

    def contest(
        self,
        title: str,
        contestants: Sequence[Contestant | None],
        rounds: int,
        warm: bool = False,
        apart: bool | None = None,
    ) -> Contest:
        """Hold a contest; those that are None are not installed.

        :param apart: whether start-up does not count; by default only where there is so little work that nothing else
            would be seen.
        """
        self.say(f"  {title}: {', '.join(one.name for one in contestants if one is not None)}")
        there = [one for one in contestants if one is not None]
        return hold(there, rounds, self._turn, self._failed, warm, not self.sizes.full if apart is None else apart)

    def peer(self, tool: str, make: Callable[[], Contestant]) -> Contestant | None:
        """A contestant, if its tool is installed."""
        return make() if tool in self.tools else None

    def _turn(self, contestant: Contestant) -> Run:
        return run(contestant, self.directory, self.env)

    def _failed(self, contestant: Contestant, error: Failed) -> None:
        self.leave_out(f"{contestant.name}: {error}")

    def leave_out(self, reason: str) -> None:
        """Something does not take part; told at once, and again at the end."""
        self.say(f"    {reason}")
        if reason not in self.left_out:
            self.left_out.append(reason)


Measure = Callable[[Stage], "list[Result]"]
