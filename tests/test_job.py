"""What a job may be called."""

from __future__ import annotations

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdtcli import InvalidJobId
from pdtcli.job import check, is_valid, split_valid

GOOD = ["a", "7", "a-b", "a.b", "a_b", "A--__..Z", "0" * 63, "CON", "a" + "-" * 61 + "z"]
BAD = {
    "nothing": "",
    "64 characters": "a" * 64,
    "a dot": ".",
    "two dots": "..",
    "a path out": "../x",
    "a path in": "a/b",
    "an option": "-rf",
    "hidden": ".a",
    "a dot at the end": "a.",
    "a dash at the end": "a-",
    "an underscore first": "_a",
    "a newline at the end": "a\n",
    "a newline inside": "a\nb",
    "NUL": "a\0",
    "a space": "a b",
    "a shell's word": "$(id)",
    "a quote": "a'b",
    "Cyrillic that looks Latin": "\u0430bc",
    "digits of another script": "1\u0662",
    "the Kelvin sign": "\u212a",
    "full width": "\uff41",
    "a letter with an accent": "\u00e9",
    "half a character": "\udce9",
}


@pytest.mark.parametrize("job", GOOD)
def test_a_job_id(job: str) -> None:
    assert check(job) is job


@pytest.mark.parametrize("job", BAD.values(), ids=BAD)
def test_no_job_id(job: str) -> None:
    with pytest.raises(InvalidJobId, match="is not a valid job id"):
        check(job)


@pytest.mark.parametrize("job", [None, 7, b"a", ["a"]])
def test_only_strings_are_job_ids(job: object) -> None:
    assert not is_valid(job)


def test_the_error_is_a_key_error_that_is_not_quoted() -> None:
    with pytest.raises(KeyError) as caught:
        check("../etc")
    assert str(caught.value).startswith("'../etc' is not a valid job id: it takes 1 to 63 of")


def test_the_error_shows_only_the_beginning_of_a_long_name() -> None:
    with pytest.raises(InvalidJobId) as caught:
        check("x" * 10_000)
    assert len(str(caught.value)) < 250


@given(st.text(alphabet=string.ascii_letters + string.digits + "-_./ é\n", max_size=70))
def test_it_is_the_grammar_of_a_kubernetes_label_value(name: str) -> None:
    grammar = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])")
    assert is_valid(name) == (grammar.fullmatch(name) is not None and len(name) <= 63)


def test_names_are_parted_into_good_and_bad() -> None:
    assert split_valid(["a", "..", "b", "b c"]) == ({"a", "b"}, ["..", "b c"])
