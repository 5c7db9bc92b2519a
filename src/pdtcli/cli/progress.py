"""The live display of a run on a terminal: one bar per task, drawn on stderr.

An event only changes a few integers; a thread of rich draws them some times a second, whatever the number of events. A
survey sets the counts right, the events between two surveys move jobs from one to the next.
"""

from __future__ import annotations

import time
from collections import deque
from types import TracebackType
from typing import TYPE_CHECKING

from ..report import Counts, Event, Finished, Launched, State, Stopping, Surveyed
from .events import duration

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

__all__ = ("Display",)

FRAMES_PER_SECOND = 8
# Seconds over which the rate is measured: long enough to be steady, short enough to follow a change.
WINDOW = 15.0


class _Bar:
    """The counts of one task, and how fast its jobs end."""

    __slots__ = ("disabled", "done", "ended", "failed", "live", "ready", "samples", "task", "waiting")

    def __init__(self, task: str, now: float) -> None:
        self.task = task
        self.disabled = False
        self.waiting = self.ready = self.live = self.done = self.failed = 0
        self.ended = 0  # in this run
        self.samples: deque[tuple[float, int]] = deque([(now, 0)])

    @property
    def total(self) -> int:
        return self.waiting + self.ready + self.live + self.done + self.failed

    def survey(self, counts: Counts) -> None:
        self.disabled = counts.disabled
        self.waiting, self.ready, self.live = counts.waiting, counts.ready, counts.live
        self.done, self.failed = counts.done, counts.failed

    def launch(self) -> None:
        self.live += 1
        if self.ready:
            self.ready -= 1
        elif self.waiting:
            self.waiting -= 1

    def finish(self, success: bool) -> None:
        self.ended += 1
        if self.live:
            self.live -= 1
        if success:
            self.done += 1
        else:
            self.failed += 1

    def pace(self, now: float) -> str:
        """Jobs a second of late, and how long the rest will take at that."""
        samples = self.samples
        if not self.live and self.ended == samples[-1][1]:
            samples.clear()  # a pause says nothing about the pace
        samples.append((now, self.ended))
        while len(samples) > 2 and samples[1][0] <= now - WINDOW:
            samples.popleft()
        then, ended = samples[0]
        left = self.waiting + self.ready + self.live
        if self.disabled and left:
            return "disabled"
        if not left or self.ended == ended or now <= then:
            return ""
        rate = (self.ended - ended) / (now - then)
        return f"{rate:.3g}/s  {duration(max(1, round(left / rate)))} left"


class Display:
    """An observer and a context manager: between enter and exit, what it observes is on the screen."""

    def __init__(self) -> None:
        self.bars: dict[str, _Bar] = {}
        self.started = time.monotonic()
        self.stopping = False

    def __enter__(self) -> Display:
        import sys

        from rich.console import Console
        from rich.live import Live

        self._console = Console(stderr=True, highlight=False)
        self._live = Live(
            console=self._console,
            get_renderable=self._render,
            refresh_per_second=FRAMES_PER_SECOND,
            # What the user's functions print would tear the picture where both go to the same screen.
            redirect_stdout=sys.stdout.isatty(),
            redirect_stderr=True,
            vertical_overflow="ellipsis",
        )
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def __call__(self, event: Event) -> None:
        match event:
            case Launched(task):
                self._bar(task).launch()
            case Finished(task, _, success):
                self._bar(task).finish(success)
            case Surveyed(counts):
                # In the pipeline's order, whichever task was heard of first.
                self.bars = {count.task: self._bar(count.task) for count in counts}
                for count in counts:
                    self.bars[count.task].survey(count)
            case Stopping():
                self.stopping = True

    def _bar(self, task: str) -> _Bar:
        bar = self.bars.get(task)
        if bar is None:
            bar = self.bars[task] = _Bar(task, time.monotonic())
        return bar

    def _render(self) -> Table:
        from rich.table import Table
        from rich.text import Text

        now = time.monotonic()
        grid = Table.grid(padding=(0, 1))
        for justify in ("left", "left", "right", "left", "left", "left", "left"):
            grid.add_column(justify=justify, no_wrap=True)
        width = max(10, min(40, self._console.width - 70))
        # The events come in another thread, and a dict that grows must not be walked through.
        for bar in list(self.bars.values()):
            grid.add_row(
                Text(bar.task, style="bold"),
                _drawn(bar, width),
                Text(f"{bar.done + bar.failed}/{bar.total}"),
                _counted(State.FAILED, bar.failed),
                _counted(State.LIVE, bar.live),
                _counted(State.WAITING, bar.waiting + bar.ready),
                Text(bar.pace(now), style="dim"),
            )
        elapsed = round(now - self.started)
        words = [*([duration(elapsed)] if elapsed else []), *(["stopping"] if self.stopping else [])]
        if words:
            grid.add_row(Text(""), Text(", ".join(words), style="dim"))
        return grid


def _counted(state: State, number: int) -> Text:
    from rich.text import Text

    return Text(f"{state.symbol} {number}" if number else "", style=state.style)


def _drawn(bar: _Bar, width: int) -> Text:
    """The bar itself: done, failed and live in their colours, the rest dim."""
    from rich.text import Text

    text = Text()
    total = bar.total
    used = 0
    counted = 0
    for number, style in (
        (bar.done, State.DONE.style),
        (bar.failed, State.FAILED.style),
        (bar.live, State.LIVE.style),
    ):
        # Cut at the running sum, so that the roundings of the parts do not add up.
        counted += number
        end = width * counted // total if total else 0
        text.append("━" * (end - used), style=style)
        used = end
    text.append("━" * (width - used), style="bright_black")
    return text
