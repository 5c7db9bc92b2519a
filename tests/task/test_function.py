"""What becomes of a function in this process that raises, or is cancelled."""

from __future__ import annotations

import asyncio

import pytest
from tests.lab import Events, Lab


def cancelled_elsewhere() -> asyncio.Task[None]:
    """Something to await that somebody else has cancelled."""
    task = asyncio.create_task(asyncio.sleep(60))
    task.cancel()
    return task


class TestRaising:
    @pytest.mark.parametrize(
        "raises", [ValueError("no good"), SystemExit(3), asyncio.CancelledError("dropped")], ids=repr
    )
    @pytest.mark.parametrize("command", ["tick", "run"])
    def test_is_recorded_with_its_traceback(self, lab: Lab, raises: BaseException, command: str) -> None:
        task = lab.function("task", input=lab.input)

        @task
        async def _(job: str) -> None:
            def deep_inside() -> None:
                raise type(raises)(*raises.args)

            if job == "bad":
                deep_inside()

        lab.give("bad", "good")
        pipeline = lab.pipeline(task)
        report = pipeline.tick() if command == "tick" else pipeline.run()

        record = lab.record("task.failed", "bad")
        assert (report.done, report.failed, report.problems) == (1, 1, 0)
        assert (record["result"], record["success"], record["exception"]) == ("exception", False, repr(raises))
        assert "deep_inside" in "".join(record["traceback"])
        assert "pdtcli" not in "".join(record["traceback"])
        assert lab.keys("task.done") == {"good"}

    def test_is_recorded_when_what_it_awaits_was_cancelled(self, lab: Lab) -> None:
        task = lab.function("task", input=lab.input)

        @task
        async def _(job: str) -> None:
            await cancelled_elsewhere()

        lab.give("a")
        report = lab.pipeline(task).run()

        assert report.failed == 1
        assert lab.record("task.failed", "a")["exception"] == "CancelledError()"


@pytest.mark.parametrize("command", ["tick", "run"])
def test_one_that_cancels_its_own_task_is_told_of_and_not_run_again_at_once(lab: Lab, command: str) -> None:
    runs: list[str] = []
    events = Events()
    task = lab.function("task", input=lab.input)

    @task
    async def _(job: str) -> None:
        runs.append(job)
        if job == "bad":
            current = asyncio.current_task()
            assert current is not None
            current.cancel()
            await asyncio.sleep(60)

    lab.give("bad", "good")
    pipeline = lab.pipeline(task)
    report = pipeline.tick(observer=events) if command == "tick" else pipeline.run(observer=events)

    assert sorted(runs) == ["bad", "good"]
    assert (report.done, report.failed, report.problems) == (1, 0, 1)
    assert events.problems == ["task:bad has cancelled the asyncio task it runs in: it is not recorded"]
    assert lab.keys("task.failed") == set()
