"""What a row of the bench comes to: a contest, and the bounds that it has to keep, computed and never typed."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass, field

from .contest import Contest, Spread

TIMES = "\N{MULTIPLICATION SIGN}"

SENSES = {"≤": operator.le, "≥": operator.ge, "<": operator.lt}


@dataclass(frozen=True)
class Bound:
    """Something that must be reached.

    :ivar text: what, in words, without the limit.
    :ivar sense: a key of `SENSES`.
    :ivar unit: of the value and the limit; `TIMES` for ratios.
    :ivar at_most: the value is only known to be lower than this, since a rival was stopped before it was done.
    """

    text: str
    value: Spread
    sense: str
    limit: float
    unit: str = TIMES
    at_most: bool = False

    @property
    def reached(self) -> bool:
        return bool(SENSES[self.sense](self.value.middle, self.limit))


@dataclass(frozen=True)
class Curve:
    """Where the figures of a contest go in a picture: one point for each contestant.

    :ivar chart: a name of `report.CHARTS`.
    :ivar size: the number of jobs or keys.
    """

    chart: str
    size: int


@dataclass(frozen=True)
class Result:
    """One row.

    :ivar unit: what the work is counted in, for rates: "jobs", "keys", "MiB"; empty where a rate says nothing.
    :ivar units: how much of it there was.
    :ivar yardstick: the contestant that the table compares all others with; else all are compared with the first, the
        other way round.
    :ivar notes: what one has to know to judge the figures.
    """

    family: str
    title: str
    contest: Contest
    bounds: list[Bound]
    unit: str = ""
    units: float = 1.0
    notes: list[str] = field(default_factory=list)
    yardstick: str | None = None
    curves: list[Curve] = field(default_factory=list)


def faster(contest: Contest, name: str, rivals: Mapping[str, str] | list[str], limit: float = 1.0) -> list[Bound]:
    """That `name` takes less time for each unit of work than each of its rivals that took part."""
    return [
        Bound(f"against {rival}", contest.ratio(name, rival), "≤", limit, at_most=not contest[rival].complete)
        for rival in rivals
        if name in contest and rival in contest
    ]


def within(contest: Contest, name: str, other: str, limit: float, text: str = "", more: float = 0.0) -> list[Bound]:
    """That `name` takes at most `limit` times as long as `other` and `more` seconds."""
    if name not in contest or other not in contest:
        return []
    return [Bound(text or f"time of {other}", contest.ratio(name, other, more), "≤", limit)]


def memory(contest: Contest, name: str, limit: float) -> list[Bound]:
    """That the largest process of `name` has at most `limit` MiB."""
    if name not in contest:
        return []
    peaks = Spread.of([run.peak / 2**20 for run in contest[name].runs])
    return [Bound("peak memory", peaks, "≤", limit, "MiB")]
