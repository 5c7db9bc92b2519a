"""What must be true after all that happened, judged from what the jobs wrote down and what is stored in the end.

The history is written by the jobs themselves, one line an event, appended by one write(2): its order is the order in
which things happened, whatever any clock said. Nothing here asks pdt.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ("Event", "Expected", "Final", "Phase", "Violation", "check", "history_of", "partial")


@dataclass(frozen=True)
class Event:
    """One line: `start`, `end`, or `overlap` from one who found that another attempt at the job was not over."""

    kind: str
    task: str
    job: str
    attempt: str
    host: str = "here"
    pid: int = 0
    at: float = 0.0
    digest: str = "-"


def history_of(text: str) -> list[Event]:
    """The events in the text of a history."""
    events = []
    for line in text.splitlines():
        kind, task, job, attempt, host, pid, at, digest = line.split(" ")
        events.append(Event(kind, task, job, attempt, host, int(pid), float(at), digest))
    return events


@dataclass(frozen=True)
class Phase:
    """A task, as far as the checker needs to know it.

    :ivar name: of the task; its records are in `NAME.done` and `NAME.failed`, its live records in `NAME.pids`.
    :ivar is_process: whether its jobs are processes, which outlive whoever started them. A function dies with the
        process that runs it and may run again, as long as its end was not recorded.
    :ivar after: the task whose success it waits for.
    :ivar output: the repository of what its jobs write, if their digest is that of the value.
    """

    name: str
    is_process: bool
    after: str | None = None
    output: str | None = None


@dataclass(frozen=True)
class Expected:
    """What was asked for.

    :ivar phases: the tasks, in their order.
    :ivar jobs: all jobs that were given.
    :ivar failing: those whose script says that it fails, in the first phase.
    :ivar at_once: how many process jobs the quota allows at a time.
    :ivar killed: those whose script or runner somebody killed, so that they may be recorded as failed without an end.
    :ivar retried: those that a user started anew, so that they may run more than once, one after the other.
    :ivar excused: the functions that may have failed, since what they themselves read or wrote was made to fail.
    """

    phases: tuple[Phase, ...]
    jobs: frozenset[str]
    failing: frozenset[str] = frozenset()
    at_once: int = 1_000_000
    killed: frozenset[str] = frozenset()
    retried: frozenset[str] = frozenset()
    excused: frozenset[str] = frozenset()


@dataclass
class Final:
    """What is stored and running in the end.

    :ivar stored: by repository and job, what is visible.
    :ivar litter: temporary files, directories of jobs, uploads and the like.
    :ivar processes: what runs and belongs to the pipeline.
    :ivar locks: what is locked.
    """

    stored: Mapping[str, Mapping[str, Any]]
    litter: list[str] = field(default_factory=list)
    processes: list[str] = field(default_factory=list)
    locks: list[str] = field(default_factory=list)


@dataclass(frozen=True, order=True)
class Violation:
    """A promise that was not kept.

    :ivar kind: `unfinished`, `both`, `invented`, `twice`, `overlap`, `early`, `wrong`, `partial`, `quota`, `live`,
        `litter`, `process` or `lock`.
    """

    kind: str
    what: str


REQUIRED = {
    "pids": {"host", "boot_id", "attempt", "start_time"},
    "done": {"success", "start_time", "end_time", "duration", "host", "attempt"},
    "failed": {"success", "start_time", "end_time", "duration", "host", "attempt"},
    "result": {"size", "sha256", "complete"},
}


def document(value: Any) -> Any:
    """A stored small value, as a mapping or whatever else it is."""
    import yaml

    if isinstance(value, bytes):
        try:
            return yaml.safe_load(value)
        except yaml.YAMLError:
            return None
    return value


def partial(repository: str, job: str, value: Any) -> str | None:
    """What is missing from a value that was seen, or None when it is whole."""
    required = REQUIRED.get(repository.rpartition(".")[2])
    if required is not None:
        found = document(value)
        missing = required - set(found) if isinstance(found, Mapping) else required
        return f"{repository} {job} without {', '.join(sorted(missing))}" if missing else None
    if repository.endswith(".out"):
        text = bytes(value)
        whole = text.startswith(b"begin %s\n" % job.encode()) and text.endswith(b"\nend %s\n" % job.encode())
        return None if whole else f"{repository} {job} is {text[:80]!r}"
    return None


def check(
    expected: Expected,
    history: list[Event],
    final: Final,
    seen: Iterable[str] = (),
    recorded: Mapping[tuple[str, str], int] | None = None,
) -> list[Violation]:
    """All violations.

    :param seen: partial values that readers met on the way.
    :param recorded: for tasks and jobs whose outcome was known to be stored, how long the history was then.
    """
    found = [Violation("partial", text) for text in seen]
    for phase in expected.phases:
        found += _outcomes(expected, phase, history, final)
        found += _repetitions(expected, phase, history, recorded or {})
        found += _order(expected, phase, history)
    found += _overlaps(history)
    found += _quota(expected, history)
    for repository, values in final.stored.items():
        # The output of a job that was killed is what it wrote so far.
        broken_off = expected.killed if repository.endswith(".out") else frozenset()
        whole = {job: value for job, value in values.items() if job not in broken_off}
        found += [
            Violation("partial", text) for job, value in whole.items() if (text := partial(repository, job, value))
        ]
        if repository.endswith(".pids"):
            found += [Violation("live", f"{repository} {job}") for job in values]
    found += [Violation("litter", each) for each in final.litter]
    found += [Violation("process", each) for each in final.processes]
    found += [Violation("lock", each) for each in final.locks]
    return sorted(set(found))


def _reaches(expected: Expected, phase: Phase, final: Final) -> frozenset[str]:
    """The jobs that a task had to do: those that the one before it did well."""
    if phase.after is None:
        return expected.jobs
    return frozenset(final.stored.get(f"{phase.after}.done", {}))


def _outcomes(expected: Expected, phase: Phase, history: list[Event], final: Final) -> list[Violation]:
    """Every job has one outcome, which is the one that its history tells."""
    found = []
    name = phase.name
    done, failed = final.stored.get(f"{name}.done", {}), final.stored.get(f"{name}.failed", {})
    todo = _reaches(expected, phase, final)
    ends = {(event.job, event.attempt): event.digest for event in history if event.task == name and event.kind == "end"}
    ended = {job for job, _ in ends}
    for job in sorted(todo | set(done) | set(failed)):
        if job in done and job in failed:
            found.append(Violation("both", f"{name} {job} is done and failed"))
        if job not in done and job not in failed:
            found.append(Violation("unfinished", f"{name} {job}"))
            continue
        record = document(done.get(job, failed.get(job)))
        attempt = str(record.get("attempt")) if isinstance(record, Mapping) else "?"
        known = (job, attempt) in ends if phase.is_process else job in ended
        if job in done and not known:
            found.append(Violation("invented", f"{name} {job} is done by {attempt}, which never ended"))
        meant = job in expected.killed or name in expected.excused
        if job in failed and not meant and not (phase.after is None and job in expected.failing and known):
            found.append(Violation("invented", f"{name} {job} failed: {record!r}"))
        if job in done and phase.after is None and job in expected.failing:
            found.append(Violation("invented", f"{name} {job} is done, though it failed"))
        if phase.output is not None and known:
            value = final.stored.get(phase.output, {}).get(job)
            digest = hashlib.sha256(value).hexdigest() if isinstance(value, bytes) else "nothing"
            if digest != ends[job, attempt]:
                found.append(Violation("wrong", f"{phase.output} {job} is not what {attempt} wrote"))
    return found


def _repetitions(
    expected: Expected, phase: Phase, history: list[Event], recorded: Mapping[tuple[str, str], int]
) -> list[Violation]:
    """A process runs once. A function does not run again once its end is stored."""
    found = []
    starts: Counter[str] = Counter()
    for index, event in enumerate(history):
        if event.task != phase.name or event.kind != "start" or event.job in expected.retried:
            continue
        starts[event.job] += 1
        if index >= recorded.get((event.task, event.job), len(history)):
            found.append(Violation("twice", f"{event.task} {event.job} started again after its end was stored"))
    if phase.is_process:
        found += [Violation("twice", f"{phase.name} {job} ran {n} times") for job, n in starts.items() if n > 1]
    return found


def _overlaps(history: list[Event]) -> list[Violation]:
    found = []
    running: dict[tuple[str, str], str] = {}
    for event in history:
        key = (event.task, event.job)
        if event.kind == "overlap":
            found.append(Violation("overlap", f"{event.task} {event.job}: {event.attempt} met another attempt"))
        elif event.kind == "end":
            # Not begun, or begun while another one was at it: then that one ended under its feet.
            if running.get(key) != event.attempt:
                found.append(Violation("overlap", f"{event.task} {event.job}: {event.attempt} ended in another's time"))
            running.pop(key, None)
        else:
            running[key] = event.attempt
    return found


def _order(expected: Expected, phase: Phase, history: list[Event]) -> list[Violation]:
    """No job starts before the task before it has done it, and none at all when it failed there."""
    found = []
    ended: set[str] = set()
    for event in history:
        if event.kind == "end" and event.task == phase.after:
            ended.add(event.job)
        elif event.kind == "start" and event.task == phase.name and phase.after is not None:
            first = phase.after == expected.phases[0].name
            if event.job not in ended or (first and event.job in expected.failing):
                found.append(Violation("early", f"{phase.name} {event.job} started, but {phase.after} had not done it"))
    return found


def _quota(expected: Expected, history: list[Event]) -> list[Violation]:
    processes = {phase.name for phase in expected.phases if phase.is_process}
    running: dict[str, set[tuple[str, str]]] = defaultdict(set)
    most = 0
    for event in history:
        if event.task in processes and event.job not in expected.killed:
            key = (event.task, event.job)
            (running["now"].discard if event.kind == "end" else running["now"].add)(key)
            most = max(most, len(running["now"]))
    return [Violation("quota", f"{most} at once, of {expected.at_once}")] if most > expected.at_once else []
