"""Records are what dataclasses would be, made at less cost."""

from __future__ import annotations

import copy
import pickle

import pytest

from pdtcli.record import Record


class Point(Record):
    x: int
    y: int = 2


class Named(Point):
    name: str = "somewhere"


class Tally(Record, frozen=False):
    count: int = 0


def test_fields_are_given_by_place_or_name() -> None:
    assert Point(1) == Point(x=1, y=2) == Point(1, 2)
    assert (Named(1, name="here").x, Named(1).y, Named(1).name) == (1, 2, "somewhere")


@pytest.mark.parametrize(
    ("values", "names", "told"),
    [
        ((), {}, "Point needs x"),
        ((1, 2, 3), {}, "Point takes 2 values, not 3"),
        ((1,), {"x": 1}, "Point takes no x, or not twice"),
        ((1,), {"z": 1}, "Point takes no z, or not twice"),
    ],
)
def test_wrong_fields_are_refused(values: tuple[int, ...], names: dict[str, int], told: str) -> None:
    with pytest.raises(TypeError, match=told):
        Point(*values, **names)


def test_equal_ones_are_of_one_class_and_value() -> None:
    assert Point(1) != Named(1)
    assert Point(1) != Point(2)
    assert len({Point(1), Point(1, 2), Point(2)}) == 2


def test_it_shows_what_it_holds() -> None:
    assert repr(Point(1)) == "Point(x=1, y=2)"


def test_it_cannot_be_changed_but_replaced() -> None:
    point = Point(1)
    with pytest.raises(AttributeError, match="cannot be changed"):
        point.x = 2  # type: ignore[misc]
    with pytest.raises(AttributeError, match="cannot be changed"):
        del point.x
    assert point.replace(y=5) == Point(1, 5)


def test_one_that_is_not_frozen_counts() -> None:
    tally = Tally()
    tally.count += 1
    assert tally == Tally(1)
    assert Tally() == Tally(0)


def test_it_matches_by_place_and_name() -> None:
    match Point(1, 3):
        case Point(x, y=3):
            assert x == 1
        case _:
            raise AssertionError


def test_it_can_be_copied_and_sent() -> None:
    assert copy.copy(Point(1)) == copy.deepcopy(Point(1)) == pickle.loads(pickle.dumps(Point(1))) == Point(1)
