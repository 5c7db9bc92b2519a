"""A pipeline as such: opening and closing, what it is made of, and the calls that drive it."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.lab import Events, Lab

from pdtcli import (
    InProcessMetadataRepository,
    InProcessSyncTask,
    LoadError,
    PdtError,
    Pipeline,
    ResourceManager,
    Session,
    UnknownTask,
    UsageError,
)


def empty(name: str) -> InProcessSyncTask:
    return InProcessSyncTask(name, InProcessMetadataRepository(), func=lambda job: None)


def test_tasks_keep_their_order_and_are_found_by_name() -> None:
    first, second = empty("first"), empty("second")

    pipeline = Pipeline([first, second])

    assert list(pipeline.tasks) == ["first", "second"]
    assert pipeline.task("second") is second
    with pytest.raises(UnknownTask, match="there is no task 'third': the tasks are first, second"):
        pipeline.task("third")


def test_two_tasks_of_one_name_are_refused() -> None:
    with pytest.raises(LoadError, match="two tasks of the name task"):
        Pipeline([empty("task"), empty("task")])


@pytest.mark.parametrize("name", ["", "a/b", "-a", "a b", "x" * 64, "é"])
def test_a_task_s_name_has_the_grammar_of_a_job(name: str) -> None:
    with pytest.raises(UsageError, match="cannot be the name of a task"):
        empty(name)


def test_quotas_of_tasks_are_found_once(lab: Lab) -> None:
    other = ResourceManager()

    pipeline = Pipeline([lab.process("a", "true"), lab.process("b", "true")], lab.session, [other, lab.quota])

    assert pipeline.resources == [other, lab.quota]


async def test_opening_makes_the_directories_that_repositories_need(lab: Lab) -> None:
    async with lab.pipeline(lab.process("shell", "true", stdout=lab.files("out"))).pipeline:
        made = {path.name for path in lab.directory.iterdir()}

    assert {"input", "out", "shell.pids", "shell.done", "shell.failed"} <= made


async def test_a_pipeline_that_cannot_be_opened_leaves_its_session_closed(tmp_path: Path) -> None:
    session = Session()

    @session.resource
    async def thing() -> AsyncIterator[int]:
        yield 1

    task = empty("task")
    task.func = None
    pipeline = Pipeline([task], session)

    with pytest.raises(UsageError, match="no function"):
        await pipeline.open()

    assert not session.is_open
    await pipeline.close()


async def test_a_pipeline_is_driven_by_one_call_at_a_time() -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()
    task = empty("task")
    task.link("source", InProcessMetadataRepository({"a": 1}), is_input=True)

    @task
    async def _(job: str) -> None:
        begun.set()
        await go_on.wait()

    async with Pipeline([task]) as pipeline:
        running = asyncio.create_task(pipeline.run())
        await begun.wait()
        with pytest.raises(PdtError, match="being driven already"):
            await pipeline.tick()
        go_on.set()
        report = await running

    assert report.done == 1


async def test_a_closed_pipeline_cannot_be_driven() -> None:
    with pytest.raises(PdtError, match="not open"):
        await Pipeline([empty("task")]).tick()


async def test_update_tells_whether_there_is_more_to_do(lab: Lab) -> None:
    lab.give("a")
    task = lab.function("task", input=lab.input, func=lambda job: None)

    async with lab.pipeline(task).pipeline as pipeline:
        assert await pipeline.update()
        assert not await pipeline.update()


async def test_stop_ends_a_run_from_within(lab: Lab) -> None:
    task = lab.function("task", input=lab.input)
    pipeline = lab.pipeline(task).pipeline

    @task
    async def _(job: str) -> None:
        pipeline.stop()

    lab.give("a")
    async with pipeline:
        report = await pipeline.run(forever=True)

    assert report.interrupted
    assert report.done == 1


async def test_settings_hold_for_the_launches_that_follow(lab: Lab) -> None:
    lab.give("a", "b")
    task = lab.process("shell", "true")

    async with lab.pipeline(task).pipeline as pipeline:
        pipeline.settings(synchronous=True, metadata=False)
        await task.launch("a")
        assert lab.keys("shell.done") == lab.keys("shell.pids") == set()
        pipeline.settings(synchronous=True)
        await task.launch("b")

    assert lab.keys("shell.done") == {"b"}


async def test_a_cancelled_run_cancels_its_functions_and_leaves_no_trace(lab: Lab) -> None:
    begun = asyncio.Event()
    cancelled = []
    task = lab.function("task", input=lab.input)

    @task
    async def _(job: str) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(job)
            raise

    lab.give("a")
    async with lab.pipeline(task).pipeline as pipeline:
        running = asyncio.create_task(pipeline.run())
        await begun.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    assert cancelled == ["a"]
    assert lab.keys("task.done") == lab.keys("task.failed") == set()


async def test_the_same_problem_is_told_once_in_a_run(lab: Lab) -> None:
    lab.give("a")
    events = Events()
    bad, other = lab.process("bad", "{{ missing }}"), lab.process("other", "true")
    pipeline = lab.pipeline(bad, other).pipeline
    pipeline.observer = events

    async with pipeline:
        await pipeline.run()
        await pipeline.run()

    assert len([problem for problem in events.problems if problem.startswith("bad:a")]) == 1


async def test_nothing_is_left_open(lab: Lab) -> None:
    import os

    lab.give("a", "b")
    before = len(os.listdir("/proc/self/fd"))

    for _ in range(3):
        async with lab.pipeline(lab.process("shell", "true")).pipeline as pipeline:
            await pipeline.run()
        await asyncio.sleep(0)
    del pipeline
    gc.collect()

    assert len(os.listdir("/proc/self/fd")) <= before


class TestPlug:
    def test_links_outputs_by_their_names_and_status_by_the_task_s(self, lab: Lab) -> None:
        first = lab.process("first", "true", stdout=lab.files("out"))
        second = lab.process("second", "true")

        second.plug(first)

        assert second.links["stdout"].is_input
        assert second.links["stdout"].required_for_start
        assert second.links["first_done"].required_for_start
        assert not second.links["first_done"].is_input
        assert second.links["first_failed"].inhibits_start
        assert second.links["first_pids"].inhibits_start

    def test_keeps_the_links_that_the_task_has(self, lab: Lab) -> None:
        first = lab.process("first", "true", stdout=lab.files("one"))
        second = lab.process("second", "true", stdout=lab.files("two"))

        second.plug(first)

        assert second.output["stdout"] is second.stdout
        assert second.input["first_stdout"] is first.stdout

    def test_takes_only_the_outputs_that_are_named(self, lab: Lab) -> None:
        first = lab.process("first", "true", stdout=lab.files("out"), stderr=lab.files("err"))
        second = lab.process("second", "true")

        second.plug(first, output_links=["stderr"])

        assert set(second.input) == {"input", "stderr"}

    def test_leaves_the_status_aside_without_meta(self, lab: Lab) -> None:
        first = lab.process("first", "true", stdout=lab.files("out"))
        second = lab.process("second", "true")

        second.plug(first, meta=False)

        assert set(second.links) - {"pids", "done", "failed", "input"} == {"stdout"}

    def test_of_one_name_a_link_is_a_valid_name(self, lab: Lab) -> None:
        with pytest.raises(UsageError, match="cannot be the name of a link"):
            lab.process("shell", "true").link("a/b", lab.input)
