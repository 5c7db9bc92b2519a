"""A quota against a model: what several commands and hosts claim under it, in any order, never exceeds it."""

from __future__ import annotations

import asyncio
import os
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pdtcli import ResourceManager, Resources, YamlMetadataFileRepository

FULL = os.environ.get("PDT_FAULTS") == "full"

model = settings(
    max_examples=2000 if FULL else 120,
    derandomize=not FULL,
    database=None,
    suppress_health_check=list(HealthCheck),
)

JOBS = [f"job{number}" for number in range(6)]

amounts = st.decimals(0, 4, places=1)
limits = st.none() | amounts
moves = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from(["claim", "end", "flush", "look"]), st.sampled_from(JOBS)), max_size=25
)


class Host:
    """A command on a host of its own: its own quota object, with the live records that all share."""

    def __init__(self, directory: Path, quota: Resources, request: Resources) -> None:
        self.pids = YamlMetadataFileRepository(directory)
        self.quota = ResourceManager(quota)
        self.request = request
        self.quota.register(self.load, label="task", place=self.pids.place)

    async def load(self) -> Resources:
        return self.request * len(await self.pids.keys())

    async def claim(self, job: str) -> str:
        """As a process task claims a job."""
        async with self.quota.admission():
            if await self.quota.reserve(self.request) is not None:
                return "limited"
            if not await self.pids.claim(job, {}):
                await self.quota.relinquish(self.request)
                return "taken"
            if await self.quota.overdrawn():
                await self.pids.delete(job)
                await self.quota.relinquish(self.request)
                return "overdrawn"
        return "claimed"


@model
@given(cpu=limits, mem=limits, one_cpu=amounts, one_mem=amounts, done=moves)
def test_it_counts_what_is_live(
    tmp_path_factory: pytest.TempPathFactory,
    cpu: Decimal | None,
    mem: Decimal | None,
    one_cpu: Decimal,
    one_mem: Decimal,
    done: list[tuple[int, str, str]],
) -> None:
    directory = tmp_path_factory.mktemp("pids")
    request = Resources(one_cpu, one_mem, 0)
    hosts = [Host(directory, Resources(cpu, mem, None), request) for _ in range(3)]
    live: set[str] = set()

    def fits(number: int) -> bool:
        return (cpu is None or number * one_cpu <= cpu) and (mem is None or number * one_mem <= mem)

    async def play() -> None:
        for who, what, job in done:
            host = hosts[who]
            match what:
                case "claim":
                    answer = await host.claim(job)
                    assert answer == ("limited" if not fits(len(live) + 1) else "taken" if job in live else "claimed")
                    if answer == "claimed":
                        live.add(job)
                case "end":
                    live.discard(job)
                    await host.pids.delete(job)
                case "flush":
                    await host.quota.flush()
                case _:
                    await host.quota.flush()
                    used = await host.quota.usage()
                    assert (used.cpu, used.mem) == (one_cpu * len(live), one_mem * len(live))
            assert await host.pids.keys() == live

    asyncio.run(play())


@model
@given(slots=st.integers(0, 4), schedule=st.lists(st.integers(0, 4), max_size=60))
def test_it_holds_in_any_order_of_the_steps_of_hosts_that_share_no_lock(slots: int, schedule: list[int]) -> None:
    """Each host counts, claims, counts again and gives back or starts, a step at a time, in the order of `schedule`."""
    live: set[int] = set()
    running: set[int] = set()
    counted: dict[int, int] = {}
    state = dict.fromkeys(range(5), "count")
    for host in schedule:
        match state[host]:
            case "count":
                counted[host] = len(live)
                state[host] = "claim" if counted[host] < slots else "count"
            case "claim":
                live.add(host)
                state[host] = "recount"
            case "recount":
                state[host] = "start" if len(live) <= slots else "give back"
            case "give back":
                live.discard(host)
                state[host] = "count"
            case "start":
                running.add(host)
                state[host] = "end"
            case _:
                running.discard(host)
                live.discard(host)
                state[host] = "count"
        assert len(running) <= slots
