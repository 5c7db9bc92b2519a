"""What the pipeline tells of itself: events while it works, and rows that answer a question.

Plain data without behaviour, so that the command line, a notebook and a log can each render the same facts their own
way. Nothing here imports more of the package than what a record is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from enum import Enum
from types import MappingProxyType
from typing import Any

from .record import Record

__all__ = (
    "Counts",
    "Event",
    "Finding",
    "Finished",
    "Launched",
    "Observer",
    "PlanRow",
    "Problem",
    "QuotaRow",
    "Reason",
    "Removal",
    "Report",
    "RepositoryRow",
    "State",
    "Stopping",
    "Surveyed",
    "TaskRow",
    "TraceRow",
    "Verdict",
)


class State(Enum):
    """Where a job stands in a task: its name, the symbol and the style a renderer may show it with."""

    WAITING = ("waiting", "·", "dim")
    READY = ("ready", "○", "cyan")
    LIVE = ("live", "▶", "yellow")
    DONE = ("done", "✓", "green")
    FAILED = ("failed", "✗", "red")

    def __init__(self, word: str, symbol: str, style: str) -> None:
        self.word = word
        self.symbol = symbol
        self.style = style

    def __str__(self) -> str:
        return self.word


# ---- events -------------------------------------------------------------------------------------------------------


class Launched(Record):
    """A job was started."""

    task: str
    job: str


class Finished(Record):
    """A job ended and was collected; `record` is what its `done` or `failed` repository now holds."""

    task: str
    job: str
    success: bool
    record: Mapping[str, Any]

    @property
    def why(self) -> str:
        """One phrase on how the job ended, such as `exit status 3`, `SIGKILL`, `lost` or `ValueError('x')`."""
        record = self.record
        if self.success:
            return "done"
        if record.get("reason"):
            return str(record["reason"])
        if record.get("exception"):
            return str(record["exception"])
        if record.get("signal"):
            return str(record["signal"])
        if record.get("return_code") is not None:
            return f"exit status {record['return_code']}"
        return "failed"


class Problem(Record):
    """A task or a job could not be worked on; the rest of the cycle went on.

    :ivar unreachable: whether that was because a store or a manager could not be reached.
    """

    task: str | None
    job: str | None
    message: str
    unreachable: bool = False

    def __str__(self) -> str:
        if self.job is not None:
            return f"{self.task}:{self.job} {self.message}"
        return f"{self.task}: {self.message}" if self.task is not None else self.message


class Counts(Record):
    """How many jobs of a task stand where, and how many each linked repository holds."""

    task: str
    disabled: bool = False
    waiting: int = 0
    ready: int = 0
    live: int = 0
    done: int = 0
    failed: int = 0
    links: Mapping[str, int] = MappingProxyType({})


class Surveyed(Record):
    """All repositories were listed; the counts are the truth until the next event."""

    counts: Sequence[Counts]


class Stopping(Record):
    """A run was asked to stop, and launches nothing more.

    :ivar live: how many jobs run on by themselves, or are being cancelled.
    :ivar here: how many run inside this process, which waits for their end.
    """

    live: int
    cancel: bool
    here: int = 0


Event = Launched | Finished | Problem | Surveyed | Stopping
Observer = Callable[[Event], None]


class Report(Record, frozen=False):
    """What one tick or run did.

    :ivar unreachable: how many of the problems were that a store or a manager could not be reached.
    """

    launched: int = 0
    done: int = 0
    failed: int = 0
    problems: int = 0
    unreachable: int = 0
    live: int = 0
    waiting: int = 0
    ready: int = 0
    failed_before: int = 0
    interrupted: bool = False
    seconds: float = 0.0

    @property
    def idle(self) -> bool:
        """Whether there was nothing to do."""
        return not (self.launched or self.done or self.failed or self.problems)


# ---- rows ---------------------------------------------------------------------------------------------------------


class RepositoryRow(Record):
    """One repository as a task links it: `name` is TASK.LINK, `where` its repr without the brackets."""

    name: str
    kind: str
    role: str
    where: str


class TaskRow(Record):
    """One task."""

    name: str
    kind: str
    disabled: bool
    inputs: Sequence[str]
    outputs: Sequence[str]


class Reason(Record):
    """What one link says about a job: `holds` is true where it alone keeps the job from starting."""

    link: str
    rule: str
    present: bool
    holds: bool
    detail: str = ""


class Verdict(Record):
    """Where a job stands in a task, in one sentence and link by link."""

    task: str
    job: str
    state: State
    summary: str
    reasons: Sequence[Reason]


class PlanRow(Record):
    """What a cycle would do with one job: start it, or leave it for `reason`."""

    task: str
    job: str
    starts: bool
    reason: str


class Finding(Record):
    """One thing that is wrong with a task, as `check` found."""

    task: str
    message: str


class QuotaRow(Record):
    """One resource of one quota; `limit` and `free` are None where it is unlimited. CPUs, bytes, launches."""

    quota: str
    resource: str
    limit: Decimal | None
    used: Decimal
    free: Decimal | None
    by_task: Mapping[str, Decimal]


class Removal(Record):
    """One key that was, or would be, deleted."""

    repository: str
    job: str


class TraceRow(Record):
    """One link of one task, and which of the traced jobs it holds."""

    task: str
    link: str
    role: str
    job: str
    present: bool
    state: State | None
