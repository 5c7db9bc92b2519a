"""Deleting jobs: from one repository, from a task, and from all that depends on them."""

from __future__ import annotations

import os

import pytest
from tests.lab import Lab

from pdtcli import InProcessMetadataRepository, NotReady, PipelineHandle, Repository


def chain(lab: Lab, names: Repository | None = None) -> PipelineHandle:
    """Two tasks, the second under other names if `names` translates; everything done."""
    first = lab.process("first", "echo $PDT_JOB", stdout=lab.files("one"))
    second = lab.process("second", "echo two", stdout=lab.files("two"), input=names)
    second.plug(first, translator=names)
    pipeline = lab.pipeline(first, second)
    pipeline.run()
    return pipeline


def test_from_a_repository_alone(lab: Lab) -> None:
    lab.give("a", "b")
    pipeline = chain(lab)

    removed = pipeline.remove("first.stdout", ["a", "never-there"])

    assert [(row.repository, row.job) for row in removed] == [("first.stdout", "a")]
    assert lab.keys("one") == {"b"}
    assert lab.keys("first.done") == {"a", "b"}


def test_from_all_that_a_task_fills(lab: Lab) -> None:
    lab.give("a", "b")
    pipeline = chain(lab)

    removed = pipeline.remove("first", ["a"])

    assert {row.repository for row in removed} == {"first.stdout", "first.done"}
    assert lab.keys("first.done") == lab.keys("one") == {"b"}
    assert lab.keys("input") == {"a", "b"}
    assert lab.keys("second.done") == {"a", "b"}


def test_with_all_that_depends_on_them(lab: Lab) -> None:
    lab.give("a", "b")
    pipeline = chain(lab)

    pipeline.remove("first.input", ["a"], recursive=True)

    for name in ("input", "one", "first.done", "two", "second.done"):
        assert lab.keys(name) == {"b"}, name


def test_the_job_is_then_done_anew(lab: Lab) -> None:
    lab.give("a", "b")
    pipeline = chain(lab)

    pipeline.remove("first", ["a"], recursive=True)
    report = pipeline.run()

    assert (report.launched, report.done) == (2, 2)


def test_under_the_names_that_a_translation_gives(lab: Lab) -> None:
    lab.give("a", "b")
    names = InProcessMetadataRepository({"x1": "a", "x2": "b", "x3": "a"})
    pipeline = chain(lab, names)
    assert lab.keys("two") == {"x1", "x2", "x3"}

    pipeline.remove("first", ["a"], recursive=True)

    assert lab.keys("one") == {"b"}
    assert lab.keys("two") == lab.keys("second.done") == {"x2"}


def test_all_jobs(lab: Lab) -> None:
    lab.give("a", "b")
    pipeline = chain(lab)

    pipeline.remove("second", None)

    assert lab.keys("two") == lab.keys("second.done") == set()
    assert lab.keys("one") == {"a", "b"}


def test_a_dry_run_tells_the_same_and_deletes_nothing(lab: Lab) -> None:
    lab.give("a", "b")
    pipeline = chain(lab)

    told = pipeline.remove("first", ["a"], recursive=True, dry_run=True)

    assert lab.keys("one") == lab.keys("first.done") == lab.keys("two") == {"a", "b"}
    assert told == pipeline.remove("first", ["a"], recursive=True)


def test_the_records_go_last(lab: Lab) -> None:
    lab.give("a")
    pipeline = chain(lab)

    repositories = [row.repository for row in pipeline.remove("first", ["a"], recursive=True)]

    assert {"first.done", "second.done"} == set(repositories[-2:])


@pytest.mark.parametrize("target", ["first", "first.pids", "first.input"])
def test_a_live_job_is_not_deleted_and_neither_is_anything_else(lab: Lab, target: str) -> None:
    lab.give("a", "b")
    os.mkfifo(lab.path("gate"))
    first = lab.process("first", f"read line <{lab.path('gate')}", stdout=lab.files("one"))
    pipeline = lab.pipeline(first)
    pipeline.tick()

    with pytest.raises(NotReady, match=r"first:a and 1 more are live: 'pdt task cancel first a' stops it"):
        pipeline.remove(target, None, recursive=target == "first.input")

    assert lab.keys("first.pids") == lab.keys("input") == {"a", "b"}
    pipeline.task("first").cancel(None)
