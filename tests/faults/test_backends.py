"""A server that goes away, hangs, answers by half, or cannot say that it has done what it was asked: at any request."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.faults.checker import Violation
from tests.faults.stores import Store
from tests.faults.sweep import FULL, LIMIT, STAGES, Stage, Sweeper, complaints
from tests.faults.world import SERVERS, WORLDS, Ended, Zygote
from tests.servers.proxy import Fault, Proxy

pytestmark = pytest.mark.timeout(3600 if FULL else 300)

PATIENCE = 1.0
"""Seconds that an operation may take, as the pipeline has it."""

SLICE = (3, 12)
"""The requests that are spoilt in `make test`."""

# What befalls a request, and how many of those that follow.
FAULTS: dict[str, tuple[Fault, int]] = {
    "not delivered": (Fault("reset", of="request"), 1),
    "done but not answered": (Fault("reset"), 1),
    "answered by half": (Fault("close", after=30), 1),
    "answered late": (Fault("delay", seconds=0.5), 1),
    "hangs": (Fault("hang"), 1),
    "dead from then on": (Fault("reset", of="request"), 1_000_000),
    "silent from then on": (Fault("hang"), 1_000_000),
}


class ProxiedSweeper(Sweeper):
    """Worlds whose pdt reaches the server through a proxy of their own, and whose checker does not."""

    def __init__(
        self, place: Path, kind: str, request: Any, proxy_to: Callable[[int], Proxy], zygotes: list[Zygote]
    ) -> None:
        super().__init__(place, kind, request, None, zygotes=zygotes)
        self._proxy_to = proxy_to
        self._proxies: dict[int, Proxy] = {}

    def store(self, directory: Path) -> Store:
        store = WORLDS[self.kind](directory, self.request)
        key = "endpoint" if "endpoint" in store.settings else "uri"
        port = int(store.settings[key].rstrip("/").rpartition(":")[2])
        proxy = self._proxy_to(port)
        store.settings |= {key: store.settings[key].replace(f":{port}", f":{proxy.port}"), "patience": PATIENCE}
        self._proxies[id(store)] = proxy
        return store

    def spoil(self, stage: Stage, fault: Fault, times: int) -> Callable[[int], tuple[Ended, list[Violation] | str]]:
        """An attempt in which the request of that number, and so many after it, meet a fault."""

        def attempt(point: int) -> tuple[Ended, list[Violation] | str]:
            with self.world(stage) as (world, runner):
                proxy = self._proxies[id(world.store)]
                before = proxy.exchanges, proxy.faults
                proxy.inject(fault, times=times, skip=point - 1, http=self.kind == "s3")
                began = time.monotonic()
                ended = runner.run(world, *stage.command)
                took = time.monotonic() - began
                fate = "reached" if proxy.faults > before[1] else "done"
                ended = Ended(ended.code, ended.output, proxy.exchanges - before[0], fate)
                proxy.calm()
                proxy.cut()
                world.look()
                last = world.finish(partial(runner.run, world))
                if took > 60:
                    return ended, f"it took {took:.0f} s"
                return ended, complaints(world, ended, last, "failed", excused=frozenset({"sizes"}))

        return attempt


@pytest.fixture(params=list(SERVERS))
def sweeper(
    request: Any, tmp_path: Path, proxy_to: Callable[[int], Proxy], zygotes: list[Zygote]
) -> Iterator[ProxiedSweeper]:
    """Drives worlds of one kind, through proxies."""
    sweeper = ProxiedSweeper(tmp_path, request.param, request, proxy_to, zygotes)
    with sweeper.ready():
        yield sweeper


@pytest.mark.parametrize("stage", ["launch", "reap"] if FULL else ["reap"])
@pytest.mark.parametrize("fault", FAULTS if FULL else ["done but not answered", "hangs", "dead from then on"])
def test_a_request_that_fails_loses_nothing(sweeper: ProxiedSweeper, stage: str, fault: str) -> None:
    result = sweeper.sweep(range(1, LIMIT) if FULL else SLICE, sweeper.spoil(STAGES[stage], *FAULTS[fault]))

    print(f"{fault}: {sweeper.kind} {stage}: {result.steps} requests, {result.points} faults")
    assert result.broken == {}
    assert result.points > 0
