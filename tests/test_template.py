"""Templates: strict about names, lazy about values."""

from __future__ import annotations

import asyncio
import shlex
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pdtcli import BackendError, LoadError
from pdtcli.paths import anchored_at
from pdtcli.template import Lazy, TemplateError, locate, read_template, render


class Meter:
    """A value that is expensive to make; counts how often it was."""

    def __init__(self, value: Any) -> None:
        self.value = value
        self.made = 0

    async def make(self) -> Any:
        self.made += 1
        return self.value


async def test_values_are_filled_in() -> None:
    assert await render("{{ job }}: {{ info.size + 1 }}", {"job": "a", "info": {"size": 1}}) == "a: 2"


@pytest.mark.parametrize("text", ["", "true\n", "echo ${HOME} {a,b} }} %}", "one\r\ntwo\rthree"])
async def test_a_text_without_expressions_is_as_the_library_has_it(text: str) -> None:
    assert await render(text, {}) == await render("{{ '' }}" + text, {})


async def test_an_awaitable_is_awaited_once_however_often_it_is_used() -> None:
    meter = Meter("x")
    assert await render("{{ v }}{{ v }}{% for _ in 'ab' %}{{ v }}{% endfor %}", {"v": Lazy(meter.make)}) == "xxxx"
    assert meter.made == 1


async def test_what_is_not_used_is_never_made() -> None:
    meter = Meter("x")
    assert await render("plain", {"v": Lazy(meter.make)}) == "plain"
    assert meter.made == 0


async def test_a_coroutine_that_is_not_used_makes_no_noise() -> None:
    meter = Meter("x")
    assert await render("plain", {"v": meter.make()}) == "plain"
    assert meter.made == 0


async def test_a_coroutine_that_is_not_reached_makes_no_noise() -> None:
    async def broken() -> str:
        raise BackendError("the store is away")

    with pytest.raises(BackendError, match="the store is away"):
        await render("{{ a }}{{ b }}", {"a": broken(), "b": Meter("x").make()})


async def test_a_name_that_is_not_there_is_an_error_that_tells_what_is() -> None:
    with pytest.raises(TemplateError, match=r"'jbo' is undefined \(there are: input, job\)"):
        await render("{{ jbo }}", {"job": "a", "input": "b"})


@pytest.mark.parametrize("text", ["{{ v.missing }}", "{{ v['missing'] }}", "{{ w | shquote }}", "{{ w | to_json }}"])
async def test_nothing_undefined_becomes_the_empty_string(text: str) -> None:
    with pytest.raises(TemplateError, match="uses what is not there"):
        await render(text, {"v": {}})


async def test_a_default_may_be_given() -> None:
    assert await render("{{ v.missing | default('x') }}", {"v": {}}) == "x"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("one\n{{ two", "the template has an error in line 2: "),
        ("{% if x %}", "the template has an error in line 1: "),
        ("{{ 1 | nonsense }}", "the template has an error in line 1: No filter named 'nonsense'"),
        ("{{ 1 / 0 }}", "the template cannot be filled in: ZeroDivisionError: division by zero"),
        ("{{ 'a' + 1 }}", "the template cannot be filled in: TypeError: "),
        ("{{ job.nonsense() }}", "the template uses what is not there: 'str object' has no attribute 'nonsense'"),
        ("{{ [1] | batch }}", "the template cannot be filled in: TypeError: "),
    ],
)
async def test_an_error_is_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(TemplateError) as caught:
        await render(text, {"job": "a"})
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)


async def test_the_text_s_last_newline_and_what_looks_like_html_are_kept() -> None:
    assert await render("{{ v }}\n", {"v": "a < b & c"}) == "a < b & c\n"


@settings(max_examples=40)
@given(st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30))
def test_a_quoted_value_is_one_word_of_the_shell(value: str) -> None:
    text = asyncio.run(render("{{ v | shquote }}", {"v": value}))
    assert shlex.split(text) == [value]


def test_a_quoted_value_reaches_a_real_shell_unchanged() -> None:
    value = 'a\'b "c" $(id) `id` \\ \n *'
    script = asyncio.run(render("printf %s {{ v | shquote }}", {"v": value}))
    assert subprocess.run(["sh", "-c", script], capture_output=True, check=True, text=True).stdout == value


async def test_json() -> None:
    when = datetime(2024, 5, 1, tzinfo=UTC)
    assert await render("{{ v | to_json }}", {"v": {"é": [1, when]}}) == '{"é": [1, "2024-05-01 00:00:00+00:00"]}'


@pytest.mark.parametrize("value", [{"a": [1, 2], "b": None}, [1, "x"], "x", 5, None, {}, True])
async def test_yaml(value: Any) -> None:
    text = await render("{{ v | to_yaml }}", {"v": value})
    assert yaml.safe_load(text) == value
    assert not text.endswith("\n")


safe = st.text(alphabet="ab\n $'\"\\<>&éü\t", max_size=40)


@given(safe)
def test_text_without_expressions_stays_as_it_is(text: str) -> None:
    assert asyncio.run(render(text, {})) == text


@given(safe, safe)
def test_what_a_value_holds_is_never_a_template_itself(before: str, value: str) -> None:
    assert asyncio.run(render(before + "{{ v }}", {"v": value + "{{ 1 }}"})) == before + value + "{{ 1 }}"


# ---- text or path


def test_several_lines_are_the_template_itself() -> None:
    assert read_template("echo\n/etc/hostname\n") == "echo\n/etc/hostname\n"


def test_one_line_that_names_no_file_is_the_template_itself() -> None:
    assert read_template("echo {{ job }}") == "echo {{ job }}"


def test_one_line_that_names_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "job.sh").write_text("echo\n")
    assert read_template(str(tmp_path / "job.sh")) == "echo\n"


def test_a_path_is_read(tmp_path: Path) -> None:
    (tmp_path / "job.sh").write_text("echo\n")
    assert read_template(tmp_path / "job.sh") == "echo\n"


def test_a_path_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"the template .*/job\.sh cannot be read: .*No such file"):
        read_template(tmp_path / "job.sh")


def test_a_file_that_is_not_text_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "job.sh").write_bytes(b"\xff\xfe\xfd")
    with pytest.raises(LoadError, match="cannot be read"):
        read_template(tmp_path / "job.sh")


@pytest.mark.parametrize("text", ["", "x" * 100_000, "a\0b", "echo " + "x" * 1000])
def test_odd_text_is_text(text: str) -> None:
    assert read_template(text) == text


async def test_a_relative_path_starts_where_the_pipeline_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "job.sh").write_text("echo\n")
    with anchored_at(tmp_path):
        template = locate("job.sh")
    monkeypatch.chdir("/")
    assert read_template(template) == "echo\n"
