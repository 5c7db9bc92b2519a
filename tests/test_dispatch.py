"""Which job starts next: by priority, within quotas, each job once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from tests.lab import Lab

from pdtcli import InProcessMetadataRepository, ResourceManager, Resources, Task
from pdtcli.dispatch import IN_PROCESS_SLOTS, MAX_REFUSALS, Dispatcher
from pdtcli.report import Event, Problem
from pdtcli.task.base import Start


class Fake(Task):
    """A task whose jobs take what the test says, and run until the test ends them."""

    def __init__(self, name: str, room: Callable[[str], bool] = lambda job: True, **attributes: object) -> None:
        super().__init__(name)
        self.room = room
        self.started: list[str] = []
        self.gate: asyncio.Event | None = None
        vars(self).update(attributes)

    async def update(self) -> bool:
        return False

    async def launch(self, job: str) -> None:
        await self.start(job, force=True)

    async def start(self, job: str, *, force: bool = False) -> Start:
        if not self.room(job):
            return Start.LIMITED
        self.started.append(f"{self.name}:{job}")
        if self.gate is not None:
            await self.gate.wait()
        return Start.STARTED


def dispatcher(*tasks: Task, priority: Callable[[str, str], int] | None = None) -> Dispatcher:
    return Dispatcher(tasks, priority, lambda task, job, ran: None)


async def test_among_equals_later_tasks_come_first_and_then_jobs_by_name() -> None:
    order: list[str] = []
    first, last = Fake("first", started=order), Fake("last", started=order)
    both = dispatcher(first, last)
    both.offer(first, ["b", "a"])
    both.offer(last, ["d", "c"])

    await both.fill()

    assert order == ["last:c", "last:d", "first:a", "first:b"]


async def test_a_higher_priority_comes_first_across_tasks() -> None:
    order: list[str] = []
    first, last = Fake("first", started=order), Fake("last", started=order)
    both = dispatcher(first, last, priority=lambda task, job: {"a": 1, "b": 5, "c": 3, "d": -1}[job])
    both.offer(first, ["a", "b"])
    both.offer(last, ["c", "d"])

    await both.fill()

    assert order == ["first:b", "last:c", "first:a", "last:d"]


async def test_a_job_that_does_not_fit_holds_back_lower_priorities_on_its_quota_alone() -> None:
    order: list[str] = []
    tight, other = ResourceManager(), ResourceManager()
    big = Fake("big", lambda job: False, started=order, resource_manager=tight)
    small = Fake("small", started=order, resource_manager=tight)
    apart = Fake("apart", started=order, resource_manager=other)
    chosen = dispatcher(big, small, apart, priority=lambda task, job: {"big": 2, "small": 1, "apart": 0}[task])
    for task in (big, small, apart):
        chosen.offer(task, ["a"])

    await chosen.fill()

    assert order == ["apart:a"]
    assert chosen.queued == 2


async def test_room_lets_the_highest_priority_try_again_first() -> None:
    order: list[str] = []
    quota = ResourceManager()
    full = [True]
    high = Fake("high", lambda job: not full[0], started=order, resource_manager=quota)
    low = Fake("low", lambda job: not full[0], started=order, resource_manager=quota)
    both = dispatcher(high, low, priority=lambda task, job: 1 if task == "high" else 0)
    both.offer(high, ["a"])
    both.offer(low, ["a"])
    await both.fill()
    full[0] = False

    both.release(low)
    await both.fill()

    assert order == ["high:a", "low:a"]


async def test_a_job_of_the_same_priority_that_fits_need_not_wait_for_one_that_does_not() -> None:
    order: list[str] = []
    quota = ResourceManager()
    big = Fake("big", lambda job: False, started=order, resource_manager=quota)
    small = Fake("small", started=order, resource_manager=quota)
    both = dispatcher(big, small)
    both.offer(big, ["a"])
    both.offer(small, ["a"])

    await both.fill()

    assert order == ["small:a"]


async def test_a_job_that_runs_here_is_not_queued_again() -> None:
    task = Fake("task", in_process=True, gate=asyncio.Event())
    one = dispatcher(task)
    one.add(task, "a")
    await one.fill()

    one.add(task, "a")
    one.offer(task, ["a"])

    assert (one.queued, one.running) == (0, 1)
    await one.abandon()


async def test_jobs_that_run_here_take_turns() -> None:
    task = Fake("task", in_process=True, gate=asyncio.Event())
    one = dispatcher(task)
    one.offer(task, [f"job{number}" for number in range(2 * IN_PROCESS_SLOTS)])

    await one.fill()
    one.release_all()
    await one.fill()

    assert one.running == one.queued == IN_PROCESS_SLOTS
    await one.abandon()


async def test_a_disabled_task_starts_nothing() -> None:
    task = Fake("task", disabled=True)
    one = dispatcher(task)
    one.offer(task, ["a"])

    await one.fill()

    assert task.started == []


async def test_a_job_that_cannot_be_started_does_not_stop_the_others() -> None:
    def room(job: str) -> bool:
        if job == "b":
            raise OSError("no")
        return True

    task = Fake("task", room)
    one = dispatcher(task)
    one.offer(task, ["a", "b", "c"])

    await one.fill()

    assert task.started == ["task:a", "task:c"]


async def test_a_task_none_of_whose_jobs_can_be_started_is_left_alone_after_a_while() -> None:
    events: list[Event] = []

    def room(job: str) -> bool:
        raise OSError("the disk is full")

    task = Fake("task", room)
    task.observer = events.append
    one = dispatcher(task)
    one.offer(task, [f"job{number}" for number in range(1000)])

    await one.fill()

    assert one.queued == 0
    assert len(events) == MAX_REFUSALS + 1
    assert isinstance(last := events[-1], Problem)
    assert last.job is None


async def test_a_request_that_exceeds_the_whole_quota_is_told_once(lab: Lab) -> None:
    events: list[Event] = []
    task = Fake(
        "task",
        resource_manager=ResourceManager(Resources.parse("2", "1Gi")),
        job_resources=Resources.parse("3", "1Mi"),
    )
    task.observer = events.append
    one = dispatcher(task)

    one.offer(task, ["a", "b"])
    one.offer(task, ["a", "b"])
    one.add(task, "c")
    await one.fill()

    assert task.started == []
    assert [event.message for event in events if isinstance(event, Problem)] == [
        "one job needs more cpu than its whole quota has, so that none can ever start"
    ]


@pytest.mark.parametrize("slots", [1, 3])
async def test_no_more_jobs_start_than_there_is_room_for(slots: int) -> None:
    task = Fake("task", resource_manager=ResourceManager())
    task.room = lambda job: len(task.started) < slots
    task.link("in", InProcessMetadataRepository(), is_input=True)
    one = dispatcher(task)
    one.offer(task, [f"job{number}" for number in range(10)])

    await one.fill()

    assert len(task.started) == slots
    assert one.queued == 10 - slots
