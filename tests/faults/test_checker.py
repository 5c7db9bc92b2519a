"""The checker is checked: histories with one planted violation each, and none in the history of a good run."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from tests.faults.checker import Event, Expected, Final, Phase, check, history_of, partial

PHASES = (Phase("shell", True, output="shell.out"), Phase("sizes", False, after="shell"))
EXPECTED = Expected(PHASES, frozenset({"a", "b", "bad"}), failing=frozenset({"bad"}), at_once=2)


def record(attempt: str, success: bool = True) -> dict[str, Any]:
    times = {"start_time": "2026-01-01", "end_time": "2026-01-01", "duration": 0.0}
    return {"success": success, "attempt": attempt, "host": "here", **times}


def text(job: str) -> bytes:
    return b"begin %s\nend %s\n" % (job.encode(), job.encode())


class Run:
    """A run of three jobs that went well, to be spoilt."""

    def __init__(self) -> None:
        self.expected = EXPECTED
        self.history: list[Event] = []
        for job in ("a", "b", "bad"):
            self.add("shell", job, f"s-{job}", text(job))
        for job in ("a", "b"):
            self.add("sizes", job, f"f-{job}", text(job))
        self.stored: dict[str, dict[str, Any]] = {
            "shell.pids": {},
            "shell.done": {"a": record("s-a"), "b": record("s-b")},
            "shell.failed": {"bad": record("s-bad", False)},
            "shell.out": {job: text(job) for job in ("a", "b", "bad")},
            "sizes.done": {"a": record("x"), "b": record("y")},
            "sizes.failed": {},
            "result": {job: {"size": 1, "sha256": "", "complete": True} for job in ("a", "b")},
        }
        self.final = Final(self.stored)
        self.seen: list[str] = []
        self.recorded: dict[tuple[str, str], int] = {}

    def add(self, task: str, job: str, attempt: str, data: bytes) -> None:
        digest = hashlib.sha256(data).hexdigest()
        self.history += [Event("start", task, job, attempt), Event("end", task, job, attempt, digest=digest)]

    def violations(self) -> set[str]:
        return {found.kind for found in check(self.expected, self.history, self.final, self.seen, self.recorded)}


def test_a_good_run_has_no_violations() -> None:
    assert Run().violations() == set()


def test_a_function_that_was_killed_may_run_again() -> None:
    run = Run()
    run.history.insert(-4, Event("start", "sizes", "a", "killed"))
    assert run.violations() == set()


def test_a_job_whose_runner_was_killed_may_fail_without_an_end() -> None:
    run = Run()
    run.expected = replace(EXPECTED, killed=frozenset({"a"}))
    del run.history[1]
    del run.stored["shell.done"]["a"], run.stored["shell.out"]["a"], run.stored["sizes.done"]["a"]
    run.history = [event for event in run.history if (event.task, event.job) != ("sizes", "a")]
    run.stored["shell.failed"]["a"] = {**record("s-a", False), "reason": "lost"}
    assert run.violations() == set()


def forget_outcome(run: Run) -> None:
    del run.stored["sizes.done"]["a"]


def lose_job(run: Run) -> None:
    run.expected = replace(EXPECTED, jobs=EXPECTED.jobs | {"c"})


def record_both(run: Run) -> None:
    run.stored["shell.failed"]["a"] = record("s-a", False)


def record_without_run(run: Run) -> None:
    run.stored["shell.done"]["a"] = record("s-z")


def fail_without_reason(run: Run) -> None:
    run.stored["shell.failed"]["a"] = run.stored["shell.done"].pop("a")


def succeed_instead(run: Run) -> None:
    run.stored["shell.done"]["bad"] = run.stored["shell.failed"].pop("bad")


def run_again(run: Run) -> None:
    run.add("shell", "a", "s-a2", text("a"))


def run_function_again(run: Run) -> None:
    run.recorded["sizes", "a"] = len(run.history)
    run.add("sizes", "a", "f-a2", text("a"))


def meet(run: Run) -> None:
    run.history.insert(1, Event("overlap", "shell", "a", "s-a2"))


def interleave(run: Run) -> None:
    run.history.insert(-4, Event("start", "sizes", "a", "f-0"))
    run.history.insert(-2, replace(run.history[-3], attempt="f-0"))


def start_early(run: Run) -> None:
    run.history.insert(0, Event("start", "sizes", "b", "f-0"))


def start_after_failure(run: Run) -> None:
    run.history.append(Event("start", "sizes", "bad", "f-0"))


def swap_output(run: Run) -> None:
    run.stored["shell.out"]["a"] = b"begin a\nother\nend a\n"


def cut_output(run: Run) -> None:
    run.stored["shell.out"]["a"] = b"begin a\n"


def cut_record(run: Run) -> None:
    run.stored["sizes.done"]["a"] = b"success: true\nresu"


def meet_half(run: Run) -> None:
    run.seen.append("result a")


def exceed_quota(run: Run) -> None:
    run.history.insert(0, Event("start", "shell", "b", "s-b"))
    run.history.insert(0, Event("start", "shell", "bad", "s-bad"))


def leave(where: str, what: str) -> Callable[[Run], None]:
    return lambda run: getattr(run.final, where).append(what)


def leave_live(run: Run) -> None:
    run.stored["shell.pids"]["a"] = {"host": "", "boot_id": "", "attempt": "", "start_time": ""}


@pytest.mark.parametrize(
    ("spoil", "kind"),
    [
        (forget_outcome, "unfinished"),
        (lose_job, "unfinished"),
        (record_both, "both"),
        (record_without_run, "invented"),
        (fail_without_reason, "invented"),
        (succeed_instead, "invented"),
        (run_again, "twice"),
        (run_function_again, "twice"),
        (meet, "overlap"),
        (interleave, "overlap"),
        (start_early, "early"),
        (start_after_failure, "early"),
        (swap_output, "wrong"),
        (cut_output, "partial"),
        (cut_record, "partial"),
        (meet_half, "partial"),
        (exceed_quota, "quota"),
        (leave_live, "live"),
        (leave("litter", ".pdt-x"), "litter"),
        (leave("processes", "sh"), "process"),
        (leave("locks", ".lock"), "lock"),
    ],
)
def test_what_is_planted_is_found(spoil: Callable[[Run], None], kind: str) -> None:
    run = Run()
    spoil(run)
    assert kind in run.violations()


def test_a_history_is_read_as_it_was_written() -> None:
    assert history_of("end shell a x here 7 1.50 abc\n") == [Event("end", "shell", "a", "x", "here", 7, 1.5, "abc")]


@pytest.mark.parametrize("value", [b"", b"host: x\n", b"{ this is: [ no", {"host": "x"}])
def test_half_a_record_is_partial(value: Any) -> None:
    assert partial("shell.pids", "a", value) is not None


def test_inputs_are_nobodys_business() -> None:
    assert partial("input", "a", b"whatever") is None
