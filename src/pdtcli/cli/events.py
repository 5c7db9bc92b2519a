"""Observers of a cycle: one that puts what happens into the log, and one that counts it.

Both do next to nothing per event, since a run may see thousands of them a second.
"""

from __future__ import annotations

import logging
from collections import Counter

from ..errors import ExitCode
from ..report import Event, Finished, Launched, Observer, Report, Surveyed

__all__ = ("EventLog", "Tally", "both", "duration", "exit_code", "summary")

LONGEST_REASON = 100

_log = logging.getLogger("pdtcli.cli")


class EventLog:
    """Logs what happens: a job that failed as a warning, what went well for `-v`. Problems the pipeline logs itself.

    :param launched: the level for a job's start; in a long run it is detail, in a tick news.
    :param most: after so many failures of one task, further ones are told as what goes well is: where everything fails
        for one reason, the first few lines say it, and ten thousand more hide it.
    """

    def __init__(self, launched: int = logging.INFO, most: int | None = None) -> None:
        self.launched = launched
        self.most = most
        self.failed: Counter[str] = Counter()

    def __call__(self, event: Event) -> None:
        match event:
            case Launched(task, job):
                self._tell(self.launched, "launched", task, job, f"{task}:{job} started")
            case Finished(task, job, True):
                self._tell(logging.INFO, "done", task, job, f"{task}:{job} done{_took(event)}")
            case Finished(task, job):
                self.failed[task] += 1
                shown = self.most is None or self.failed[task] <= self.most
                level = logging.WARNING if shown else logging.INFO
                self._tell(level, "failed", task, job, f"{task}:{job} failed: {_brief(event.why)}")
                if self.most is not None and self.failed[task] == self.most + 1:
                    _log.warning("%s has more jobs that fail; -v shows them all", task)

    def _tell(self, level: int, event: str, task: str | None, job: str | None, text: str) -> None:
        if _log.isEnabledFor(level):
            _log.log(level, "%s", text, extra={"pdt": {"event": event, "task": task, "job": job}})


class Tally:
    """Counts what a run finished, and remembers what failed before it began."""

    def __init__(self) -> None:
        self.failed: Counter[str] = Counter()
        self.failed_before: dict[str, int] = {}
        self._surveyed = False

    def __call__(self, event: Event) -> None:
        match event:
            case Finished(task, _, False):
                self.failed[task] += 1
            case Surveyed(counts) if not self._surveyed:
                self._surveyed = True
                self.failed_before = {count.task: count.failed for count in counts if count.failed}


def both(*observers: Observer) -> Observer:
    """One observer that tells several."""

    def observe(event: Event) -> None:
        for observer in observers:
            observer(event)

    return observe


def exit_code(report: Report, *, failed: int) -> ExitCode:
    """How the command ends that did what `report` tells, with `failed` jobs."""
    if report.interrupted:
        return ExitCode.INTERRUPTED
    if report.unreachable:
        return ExitCode.BACKEND
    return ExitCode.FAILED if failed or report.problems else ExitCode.DONE


def summary(report: Report, tally: Tally) -> list[str]:
    """What a run did, in one or two lines."""
    parts = []
    if report.done:
        parts.append(f"{report.done} done")
    if report.failed:
        parts.append(f"{report.failed} failed")
    if report.problems:
        parts.append(_plural(report.problems, "problem"))
    ended = report.done + report.failed
    if ended:
        rate = f", {ended / report.seconds:.3g} a second" if report.seconds >= 1 else ""
        first = f"{', '.join(parts)} in {duration(report.seconds)}{rate}"
    elif report.launched:
        first = ", ".join([f"{report.launched} started", *parts])
    else:
        first = ", ".join(parts) or "nothing to do"
    left = [f"{number} {word}" for number, word in ((report.live, "live"), (report.ready, "ready")) if number]
    if report.waiting:
        left.append(f"{report.waiting} waiting")
    lines = [f"{first}; left: {', '.join(left)}" if left else first]
    failed = tally.failed + Counter(tally.failed_before)
    if failed:
        names = ", ".join(f"{task} {number}" for task, number in sorted(failed.items()))
        before = "" if tally.failed else " earlier"
        task = sorted(failed)[0] if len(failed) == 1 else "TASK"
        lines.append(f"failed{before}: {names}; run them again with 'pdt task retry {task} --all'")
    elif report.failed_before:
        lines.append(f"{report.failed_before} failed earlier; run them again with 'pdt task retry TASK --all'")
    return lines


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 10:
        return f"{seconds:.2g} s" if seconds >= 0.1 else f"{seconds * 1000:.0f} ms"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min"


def _brief(why: str) -> str:
    """The beginning of what may be long; the record has all of it."""
    why = " ".join(why.split())
    return why if len(why) <= LONGEST_REASON else f"{why[: LONGEST_REASON - 1]}…"


def _took(event: Finished) -> str:
    seconds = event.record.get("duration")
    return f" ({duration(seconds)})" if isinstance(seconds, (int, float)) else ""


def _plural(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
