"""Quotas: how much CPU and memory the live jobs may use, and how many may be launched within a window.

Quantities follow Kubernetes ("Quantity" in its API reference): `100m` CPUs, `1.5`, `4Gi` bytes, `2e3`, `512M`. They are
exact decimals, never floats. What is in use is not remembered but counted from the live records, so that a limit holds
across commands; the one that may launch holds the quota's lock while it counts and claims, and counts once more after
the claim, since the lock does not reach other hosts.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from decimal import MAX_PREC, Context, Decimal
from enum import Enum, auto
from typing import TYPE_CHECKING

from .errors import UsageError
from .launches import Launches

if TYPE_CHECKING:
    from .state import LockFile

__all__ = ("ResourceManager", "ResourceType", "Resources", "parse_quantity")

Quantity = str | float | int | Decimal

WINDOW = 60.0
"""Seconds for which a launch counts against the launch rate, where a task does not say otherwise."""

_QUANTITY = re.compile(r"([+-]?(?:\d+(?:\.\d*)?|\.\d+))(?:[eE]([+-]?\d{1,3})|([A-Za-z]{1,2}))?")
_DECIMAL_SUFFIXES = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_EXACT = Context(prec=MAX_PREC)
_BINARY_SUFFIXES = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}


def parse_quantity(quantity: Quantity) -> Decimal:
    """The exact value of a quantity in Kubernetes notation; a number is taken as it is written.

    :raises UsageError: when it is none.
    """
    text = str(quantity).strip() if not isinstance(quantity, bool) else repr(quantity)
    match = _QUANTITY.fullmatch(text) if text.isascii() else None
    if match is None:
        raise UsageError(f"{text!r} is not a quantity: write a number such as 1.5, 100m, 512M or 4Gi")
    number, exponent, suffix = match.groups()
    value = Decimal(number)
    if exponent is not None:
        return value.scaleb(int(exponent), _EXACT)
    if suffix is None:
        return value
    if suffix in _DECIMAL_SUFFIXES:
        return value.scaleb(_DECIMAL_SUFFIXES[suffix], _EXACT)
    if suffix in _BINARY_SUFFIXES:
        return _EXACT.multiply(value, 1 << _BINARY_SUFFIXES[suffix])
    units = " ".join((*_DECIMAL_SUFFIXES, *_BINARY_SUFFIXES))
    raise UsageError(f"{text!r} has an unknown unit {suffix!r}: the units are {units}")


class ResourceType(Enum):
    """A kind of resource."""

    CPU = auto()
    MEM = auto()
    RATE = auto()

    @property
    def word(self) -> str:
        """What a user calls it."""
        return {"CPU": "cpu", "MEM": "memory", "RATE": "launch rate"}[self.name]


@dataclass(slots=True)
class Resources:
    """An amount of resources, either used or allowed: CPUs, bytes of memory, launches within a window.

    None stands for "not given": nothing where an amount is used, no limit where it is allowed. Resources can be added,
    subtracted and multiplied by a number.
    """

    cpu: Decimal | None = Decimal(0)
    mem: Decimal | None = Decimal(0)
    launches: int | None = 1

    @staticmethod
    def parse(cpu: Quantity | None = None, mem: Quantity | None = None, launches: Quantity | None = None) -> Resources:
        """Resources from quantities, such as ``Resources.parse("500m", "2Gi")``.

        :raises UsageError: when one of them is not a quantity, or is negative, or there is half a launch.
        """
        values = [None if value is None else parse_quantity(value) for value in (cpu, mem, launches)]
        for value in values:
            if value is not None and value < 0:
                raise UsageError(f"a resource cannot be negative: {value}")
        if values[2] is not None and values[2] % 1:
            raise UsageError(f"a number of launches must be whole: {launches}")
        return Resources(values[0], values[1], None if values[2] is None else int(values[2]))

    def __add__(self, other: Resources) -> Resources:
        return Resources(
            (self.cpu or Decimal(0)) + (other.cpu or Decimal(0)),
            (self.mem or Decimal(0)) + (other.mem or Decimal(0)),
            (self.launches or 0) + (other.launches or 0),
        )

    def __mul__(self, times: int) -> Resources:
        return Resources(
            (self.cpu or Decimal(0)) * times, (self.mem or Decimal(0)) * times, (self.launches or 0) * times
        )

    def __sub__(self, other: Resources) -> Resources:
        return self + other * -1

    def excess(self, limit: Resources) -> ResourceType | None:
        """The first kind of which this is more than `limit` allows, or None."""
        if limit.cpu is not None and (self.cpu or 0) > limit.cpu:
            return ResourceType.CPU
        if limit.mem is not None and (self.mem or 0) > limit.mem:
            return ResourceType.MEM
        if limit.launches is not None and (self.launches or 0) > limit.launches:
            return ResourceType.RATE
        return None


Getter = Callable[[], Awaitable[Resources]]


@dataclass(frozen=True, slots=True)
class _Client:
    """Who uses a quota: how to count its use, its name, and where its live records are (None: in this process)."""

    load: Getter
    label: str
    place: str | None


class ResourceManager:
    """A quota over the live jobs of all tasks that were given this object.

    :param quota: the limits; what is None in it is unlimited.
    :param name: what to call it in `pdt quota show`.
    """

    def __init__(self, quota: Resources | None = None, *, name: str | None = None) -> None:
        self.quota = quota if quota is not None else Resources(None, None, None)
        self.name = name
        self._clients: list[_Client] = []
        self._used: Resources | None = None
        self._launches = Launches()
        self._mutex: tuple[asyncio.AbstractEventLoop, asyncio.Lock] | None = None
        self._lock_file: LockFile | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name or self.quota}>"

    def register(self, load: Getter, *, label: str = "", place: str | None = None) -> None:
        """Count a user of the quota in.

        :param load: an async function that counts what is in use by it now, from its live records.
        :param label: the name of the task.
        :param place: where its live records are kept, when other processes see them too (`Repository.place`).
        """
        self._clients.append(_Client(load, label, place))

    @property
    def unlimited(self) -> bool:
        """Whether nothing is limited, so that nothing needs to be counted."""
        return self.quota.cpu is None and self.quota.mem is None and self.quota.launches is None

    def impossible(self, request: Resources) -> ResourceType | None:
        """The kind of which `request` alone exceeds the whole quota, so that it can never be granted, or None."""
        return request.excess(self.quota)

    async def flush(self) -> None:
        """Forget what is in use; the next question counts it anew."""
        async with self._exclusive_here():
            self._used = None

    async def usage(self) -> Resources:
        """What is in use now."""
        async with self._exclusive_here():
            used = await self._count_live()
            if self.quota.launches is not None and self._shared_lock() is not None:
                self._launches.load()
            return replace(used, launches=max(used.launches or 0, self._launches.count))

    async def usage_by_client(self) -> dict[str, Resources]:
        """What is in use now, by the label of who uses it."""
        return {client.label: await client.load() for client in self._clients}

    def is_full_for(self, request: Resources) -> bool:
        """Whether `request` did not fit when last counted, less what was given back here since.

        Spares whoever starts jobs until none fits the last count of all live records, which would tell the same. What
        other processes gave back since is found with the next count: after `flush`, or with the next job that fits.
        """
        if self._used is None or self.quota.launches is not None or self.unlimited:
            return False
        return (self._used + request).excess(self.quota) is not None

    async def reserve(self, request: Resources, *, window: float = WINDOW) -> ResourceType | None:
        """Take `request` and return None, or take nothing and return the kind that would exceed its limit.

        :param window: for how many seconds a launch counts against the launch rate.
        """
        if self.unlimited:
            return None
        async with self._exclusive_here():
            target = await self._count_live() + request
            launches = 0
            if self.quota.launches is not None:
                launches = max(target.launches or 0, self._launches.count + (request.launches or 0))
            if (excess := Resources(target.cpu, target.mem, launches).excess(self.quota)) is None:
                self._used = target
                if self.quota.launches is not None:
                    self._launches.add(window)
            return excess

    async def overdrawn(self) -> bool:
        """Whether more is in use than the quota allows, counted anew; for who has just claimed a job.

        The lock of `admission` ends at this machine. But of several hosts that claim at the same time the last one
        finds all other claims here, so that the limit holds if each gives its claim back that finds too many, and
        starts nothing before it has looked.
        """
        if self._shared_lock() is None:
            return False  # nobody else has live records under this quota
        async with self._exclusive_here():
            self._used = None
            return (await self._count_live()).excess(self.quota) is not None

    async def relinquish(self, request: Resources, *, launched: bool = True) -> None:
        """Give `request` back.

        :param launched: false when what it was reserved for did not happen, so that no launch counts.
        """
        if self.unlimited:
            return
        async with self._exclusive_here():
            if self._used is not None:
                self._used -= request
            if not launched and self.quota.launches is not None:
                self._launches.take_back()

    @asynccontextmanager
    async def admission(self) -> AsyncIterator[None]:
        """A block in which no other process on this machine counts and claims: what `reserve` finds in it is the truth.

        The claim (the live record) must be written before the block ends, since it is what the others count.
        """
        lock = self._shared_lock()
        if lock is None:
            yield
            return
        # One at a time in this process as well, or the second one here would find the lock its own.
        if not lock.acquire("admission"):
            while not lock.acquire("admission"):  # noqa: ASYNC110 - held for the microseconds of a few claims
                await asyncio.sleep(0.001)
        try:
            await self.flush()
            if self.quota.launches is not None:
                self._launches.load()
            yield
            self._launches.save()
        finally:
            lock.release("admission")

    def _shared_lock(self) -> LockFile | None:
        if self.unlimited:
            return None
        if self._lock_file is None:
            places = sorted({client.place for client in self._clients if client.place is not None})
            if not places:
                return None
            from .state import lock_file

            self._lock_file = lock_file("quota", "\n".join(places))
            self._launches.path = self._lock_file.path.with_suffix(".launches")
        return self._lock_file

    def _exclusive_here(self) -> asyncio.Lock:
        # Each cycle has an event loop of its own, and a lock belongs to the loop that first waited on it.
        loop = asyncio.get_running_loop()
        if self._mutex is None or self._mutex[0] is not loop:
            self._mutex = (loop, asyncio.Lock())
        return self._mutex[1]

    async def _count_live(self) -> Resources:
        if self._used is None:
            used = Resources(launches=0)
            for client in self._clients:
                used += await client.load()
            self._used = used
        return self._used
