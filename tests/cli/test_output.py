"""The renderer: one set of rows in every form."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdtcli.cli.output import Column, Output, escape, jsonable
from pdtcli.report import State

ROWS: list[dict[str, Any]] = [
    {"name": "a", "state": State.DONE, "size": Decimal("1.50"), "parts": ["x", "y"], "ok": True},
    {"name": "b\tb\n", "state": None, "size": Decimal("2048"), "parts": [], "ok": False},
]
COLUMNS = [Column(key) for key in ROWS[0]]


def render(form: str | None, rows: Iterable[Any] = ROWS) -> str:
    stream = io.StringIO()
    Output(form, stream).rows(rows, COLUMNS)
    return stream.getvalue()


def test_a_pipe_gets_lines_of_tab_separated_values() -> None:
    assert render(None) == "a\tdone\t1.5\tx y\tyes\n" + "b\\tb\\n\t\t2048\t\tno\n"


def test_json_is_one_document() -> None:
    assert json.loads(render("json")) == [
        {"name": "a", "state": "done", "size": 1.5, "parts": ["x", "y"], "ok": True},
        {"name": "b\tb\n", "state": None, "size": 2048, "parts": [], "ok": False},
    ]


def test_json_lines_are_one_document_each() -> None:
    assert [json.loads(line) for line in render("jsonl").splitlines()] == json.loads(render("json"))


def test_nothing_is_an_empty_document_or_no_line() -> None:
    assert (render("json", []), render("jsonl", []), render("plain", []), render("table", [])) == ("[]\n", "", "", "")


def test_a_table_has_a_header_and_no_control_characters() -> None:
    lines = render("table").splitlines()
    assert lines[0].split() == ["name", "state", "size", "parts", "ok"]
    assert lines[2].startswith("b\\tb\\n")


def test_a_long_table_is_laid_out_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    short = [line.rstrip() for line in render("table").splitlines()]
    monkeypatch.setattr("pdtcli.cli.output._TABLE_LIMIT", 1)
    assert render("table").splitlines() == short


def test_markup_is_text() -> None:
    assert "[red]" in render("table", [{**ROWS[0], "name": "[red]"}])


def test_colour_can_be_forced_and_forbidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[" in render("table")
    assert "\x1b[" not in render("plain")
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[3" not in render("table")


def test_a_column_may_be_shown_otherwise_in_a_table_only() -> None:
    column = Column("size", right=True, show=lambda value: f"<{value}>")
    forms = []
    for form in ("table", "plain"):
        stream = io.StringIO()
        Output(form, stream).rows(ROWS[:1], [column])
        forms.append(stream.getvalue().split())
    assert forms == [["size", "<1.50>"], ["1.5"]]


def test_names_come_sorted_one_a_line() -> None:
    stream = io.StringIO()
    Output("plain", stream).names([["b", "a"], ["c"]])
    assert stream.getvalue() == "a\nb\nc\n"


@given(st.text(st.characters()) | st.text(alphabet="\t\n\\tn\x1b"))
def test_an_escaped_value_is_one_field_and_can_be_read_back(text: str) -> None:
    escaped = escape(text)
    assert not set(escaped) & set("\t\n\r\x00\x1b\x85\u2028")
    assert re.sub(r"\\(x..|u....|.)", unescaped, escaped) == text


def unescaped(match: re.Match[str]) -> str:
    code = match.group(1)
    return {"t": "\t", "n": "\n", "r": "\r", "\\": "\\"}.get(code) or chr(int(code[1:], 16))


@given(st.text(st.characters()))
def test_any_text_can_be_written_as_utf8(text: str) -> None:
    escape(text).encode()
    json.dumps(jsonable(text), ensure_ascii=False).encode()


def test_records_are_objects() -> None:
    @dataclass
    class Point:
        x: Decimal
        tags: frozenset[str]

    assert jsonable({"p": Point(Decimal(3), frozenset({"b", "a"}))}) == {"p": {"x": 3, "tags": ["a", "b"]}}


class TestNames:
    def told(self, form: str, *parts: list[str]) -> str:
        stream = io.StringIO()
        Output(form, stream).names(parts)
        return stream.getvalue()

    @pytest.mark.parametrize("form", ["plain", "table"])
    def test_they_are_in_order(self, form: str) -> None:
        assert self.told(form, ["emma", "persuasion"], ["anne"]) == "anne\nemma\npersuasion\n"

    def test_very_many_come_in_a_pipe_as_they_are_found(self) -> None:
        names = [f"job{number}" for number in range(30_000, 0, -1)]
        assert self.told("plain", names[:20_000], names[20_000:]).split() == names

    @pytest.mark.parametrize("form", ["table", "jsonl"])
    def test_elsewhere_they_are_in_order_however_many(self, form: str) -> None:
        names = [f"job{number}" for number in range(30_000, 0, -1)]
        assert self.told(form, names).replace('"', "").split() == sorted(names)
