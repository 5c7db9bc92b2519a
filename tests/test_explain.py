"""Where a job stands and why: status, plan, trace and the verdict on one job."""

from __future__ import annotations

import os
from collections.abc import Iterator
from decimal import Decimal

import pytest
from tests.lab import Lab

from pdtcli import PipelineHandle, ResourceManager, Resources
from pdtcli.report import State


@pytest.fixture
def mixed(lab: Lab) -> Iterator[PipelineHandle]:
    """Two tasks, and a job in every state of the first."""
    lab.give("good", "bad", "live")
    gate = lab.path("gate")
    os.mkfifo(gate)
    script = f"case $PDT_JOB in bad) exit 3;; live) read line <{gate};; esac"
    first = lab.process("first", script, quota=ResourceManager(Resources.parse("3", "1Gi"), name="cores"))
    second = lab.process("second", "true", disabled=True)
    second.plug(first)
    pipeline = lab.pipeline(first, second)
    pipeline.tick()
    while lab.keys("first.done") | lab.keys("first.failed") != {"good", "bad"}:
        pipeline.tick()
    lab.give("new")
    yield pipeline
    pipeline.task("first").cancel(None)


def test_status_counts_every_job_once(mixed: PipelineHandle) -> None:
    first, second = mixed.status()

    assert (first.waiting, first.ready, first.live, first.done, first.failed) == (0, 1, 1, 1, 1)
    assert (second.waiting, second.ready, second.live, second.done, second.failed) == (3, 1, 0, 0, 0)
    assert first.links == {"pids": 1, "done": 1, "failed": 1, "input": 4}
    assert second.disabled


def test_status_tells_failures_from_successes_in_one_repository(lab: Lab) -> None:
    lab.give("good", "bad")
    pipeline = lab.pipeline(lab.process("shell", '[ "$PDT_JOB" = good ]', fails=False))
    pipeline.run()

    row = pipeline.task("shell").status()

    assert (row.done, row.failed) == (1, 1)


@pytest.mark.parametrize(
    ("task", "job", "state", "words"),
    [
        ("first", "good", State.DONE, "first:good is done"),
        ("first", "bad", State.FAILED, "first:bad failed; 'pdt task retry first bad' lets it run again"),
        ("first", "live", State.LIVE, "first:live is live on"),
        ("first", "new", State.READY, "first:new is ready: the next tick starts it"),
        ("first", "other", State.WAITING, "first:other does not start: it is not in input"),
        ("second", "good", State.READY, "second:good is ready, but the task is disabled"),
        ("second", "new", State.WAITING, "second:new does not start: it is not in first_done"),
        ("second", "bad", State.WAITING, "it is not in first_done, and it is in first_failed"),
    ],
)
def test_why_gives_the_state_and_the_reason(
    mixed: PipelineHandle, task: str, job: str, state: State, words: str
) -> None:
    verdict = mixed.task(task).why(job)

    assert verdict.state is state
    assert words in verdict.summary


def test_why_names_the_links_that_hold_a_job_back(mixed: PipelineHandle) -> None:
    verdict = mixed.task("second").why("bad")

    assert {reason.link for reason in verdict.reasons if reason.holds} == {"first_done", "first_failed"}


def test_why_says_that_a_job_failed_before(lab: Lab) -> None:
    lab.give("a")
    first, second = lab.process("first", "false", fails=False), lab.process("second", "true")
    second.plug(first)
    pipeline = lab.pipeline(first, second)
    pipeline.run()

    assert "it is not in first_done (it failed there)" in pipeline.task("second").why("a").summary


def test_why_tells_of_a_full_quota(lab: Lab) -> None:
    lab.give("a", "b")
    quota = ResourceManager(Resources.parse("1", "1Gi"))
    pipeline = lab.pipeline(lab.process("shell", "exec sleep 1000", quota=quota))
    pipeline.tick()

    assert "waits for cpu of its quota" in pipeline.task("shell").why("b").summary
    pipeline.task("shell").cancel(None)


def test_why_tells_of_an_impossible_request(lab: Lab) -> None:
    lab.give("a")
    quota = ResourceManager(Resources.parse("1", "1Gi"))

    verdict = lab.pipeline(lab.process("shell", "true", quota=quota, cpu="2")).task("shell").why("a")

    assert "needs more cpu than the whole quota has" in verdict.summary


def test_a_plan_tells_what_would_start_and_touches_nothing(lab: Lab) -> None:
    lab.give("a", "b", "c")
    quota = ResourceManager(Resources.parse("2", "1Gi"))
    first, second = lab.process("first", "true", quota=quota), lab.process("second", "true", quota=quota)
    second.plug(first)
    pipeline = lab.pipeline(first, second)

    rows = pipeline.plan()

    assert [(row.task, row.job, row.starts) for row in rows if row.task == "first"] == [
        ("first", "a", True),
        ("first", "b", True),
        ("first", "c", False),
    ]
    assert [row.reason for row in rows if row.job == "c"] == ["waits for cpu of its quota", "waits for first_done"]
    assert lab.keys("first.pids") == set()
    assert pipeline.tick().launched == 2
    pipeline.run()


def test_a_trace_follows_a_job_through_the_tasks(mixed: PipelineHandle) -> None:
    rows = mixed.trace(["good", "nowhere"])

    states = {(row.task, row.job): row.state for row in rows if not row.link}
    assert states == {
        ("first", "good"): State.DONE,
        ("second", "good"): State.READY,
        ("first", "nowhere"): State.WAITING,
        ("second", "nowhere"): State.WAITING,
    }
    assert {(row.link, row.present) for row in rows if row.task == "first" and row.job == "good" and row.link} == {
        ("input", True),
        ("pids", False),
        ("done", True),
        ("failed", False),
    }


def test_quotas_tell_limit_use_and_what_is_free(mixed: PipelineHandle) -> None:
    row = next(row for row in mixed.quotas() if (row.quota, row.resource) == ("cores", "cpu"))

    assert (row.limit, row.used, row.free) == (Decimal(3), Decimal(1), Decimal(2))
    assert row.by_task == {"first": Decimal(1)}
