"""The set expressions against Python's own sets, and what they say about mistakes."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdtcli.errors import UnknownRepository, UsageError
from pdtcli.expression import parse

NAMES = ["a.x", "b.y", "c-d.z", "e.f.g", "h_i.j"]

sets = st.fixed_dictionaries({name: st.sets(st.sampled_from("pqrstuvw")) for name in NAMES})


def operands(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    joined = st.tuples(inner, st.sampled_from("&|-^"), inner).map(" ".join)
    return joined | joined.map("({})".format) | inner.map("( {} )".format)


expressions = st.recursive(st.sampled_from(NAMES), operands, max_leaves=20)


def by_python(text: str, values: dict[str, set[str]]) -> set[str]:
    for index, name in enumerate(NAMES):
        text = text.replace(name, f"_{index}")
    result = eval(text, {f"_{index}": values[name] for index, name in enumerate(NAMES)})
    assert isinstance(result, set)
    return result


@given(expressions, sets)
def test_it_agrees_with_python(text: str, values: dict[str, set[str]]) -> None:
    before = {name: set(value) for name, value in values.items()}
    assert parse(text, NAMES).evaluate(values) == by_python(text, values)
    assert values == before


@given(expressions, sets)
def test_spaces_do_not_matter_where_only_one_reading_makes_sense(text: str, values: dict[str, set[str]]) -> None:
    assert parse(text.replace(" ", ""), NAMES).evaluate(values) == parse(text, NAMES).evaluate(values)


@given(st.text(alphabet="abx.y-&|^() ", max_size=30))
def test_any_text_parses_or_is_refused_in_a_sentence(text: str) -> None:
    with contextlib.suppress(UsageError, UnknownRepository):
        assert parse(text, ["a.x", "b.y", "a-b.x"]).names <= {"a.x", "b.y", "a-b.x"}


def test_the_names_are_those_that_occur() -> None:
    assert parse("a.x & (b.y | a.x)", NAMES).names == {"a.x", "b.y"}


def test_one_name_is_the_set_itself() -> None:
    jobs = {"one"}
    assert parse(" a.x ", NAMES).evaluate({"a.x": jobs}) is jobs


@pytest.mark.parametrize(
    ("text", "known", "read"),
    [
        ("a-b.x", ["a-b.x", "b.x"], ["a-b.x"]),
        ("a.x-b.y", ["a.x", "b.y"], ["a.x", "b.y"]),
        ("a.x-b.y", ["a.x", "b.y", "a.x-b"], ["a.x", "b.y"]),
        ("a.x-b.y", ["a.x", "b.y", "a.x-b.y"], ["a.x-b.y"]),
        ("a.x-b-c.y", ["a.x", "b-c.y"], ["a.x", "b-c.y"]),
        ("a.x -b.y", ["a.x", "b.y"], ["a.x", "b.y"]),
        ("a.x- b.y", ["a.x", "b.y"], ["a.x", "b.y"]),
        ("(a.x)-b.y", ["a.x", "b.y"], ["a.x", "b.y"]),
        ("a.x-(b.y)", ["a.x", "b.y"], ["a.x", "b.y"]),
    ],
)
def test_a_minus_sign_is_part_of_a_name_or_an_operator(text: str, known: list[str], read: list[str]) -> None:
    assert [token.text for token in parse(text, known).program if token.kind == "name"] == read


def test_a_run_with_two_readings_is_refused() -> None:
    # The longest first name, a.x-b-c, leads nowhere; a.x - b-c-d.y and a.x-b - c-d.y would both make sense.
    with pytest.raises(UsageError, match="more than one way"):
        parse("a.x-b-c-d.y", ["a.x-b-c", "a.x", "b-c-d.y", "a.x-b", "c-d.y"])


@pytest.mark.parametrize(
    ("text", "at", "reason"),
    [
        ("", 1, "empty"),
        ("a.x -", 6, "found the end"),
        ("a.x b.y", 5, "expected an operator"),
        ("a.x (b.y)", 5, "expected an operator"),
        ("& a.x", 1, "found '&'"),
        ("a.x - & b.y", 7, "found '&'"),
        ("(a.x", 1, "never closed"),
        ("a.x)", 4, "closes nothing"),
        ("()", 2, "found ')'"),
        ("a.x--b.y", 5, "found '-'"),
    ],
)
def test_a_mistake_is_shown_where_it_is(text: str, at: int, reason: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text, NAMES)
    assert repr(text) in str(caught.value)
    assert f"character {at}:" in str(caught.value)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("text", "name", "guess"),
    [
        ("a.xx", "a.xx", "a.x"),
        ("a.x - b.yy", "b.yy", "b.y"),
        ("a.x-b.yy", "b.yy", "b.y"),
        ("c-d.zz", "c-d.zz", "c-d.z"),
    ],
)
def test_an_unknown_name_comes_with_a_guess(text: str, name: str, guess: str) -> None:
    with pytest.raises(UnknownRepository, match=f"'{name}': did you mean {guess}\\?"):
        parse(text, NAMES)


def test_deep_nesting_is_just_long() -> None:
    depth = 100_000
    assert parse("(" * depth + "a.x" + ")" * depth, NAMES).evaluate({"a.x": {"j"}}) == {"j"}
    with pytest.raises(UsageError, match="never closed"):
        parse("(" * depth + "a.x", NAMES)


def test_a_long_chain_without_spaces_is_read_in_reasonable_time() -> None:
    names = ["a.x", "a.x-a", "x-a.x"]
    text = "-".join(["a.x"] * 500)
    assert parse(text, names).evaluate({"a.x": {"j"}}) == set()
