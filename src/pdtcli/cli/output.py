"""The one renderer: commands hand it plain rows, and it makes a table, tab-separated lines or JSON of them.

On a terminal a table; in a pipe lines of tab-separated values without a header, in which a tab, a line break, a control
character or a backslash inside a value is escaped, so that a line is always a row. JSON is what programs should read:
its keys are the columns' and stay. rich is imported for the table only.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from enum import Enum
from itertools import chain, islice
from typing import IO, Any

from ..errors import PdtError
from ..record import Record

__all__ = ("Column", "Output", "escape", "jsonable", "printable")

# Control characters, what turns the direction of writing, and bytes that are not text.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_UNSAFE_OR_BACKSLASH = re.compile(f"{_UNSAFE.pattern[:-1]}\\\\]")
_SHORT = {"\t": r"\t", "\n": r"\n", "\r": r"\r", "\\": r"\\"}
# A rich table of more rows than this takes seconds to lay out.
_TABLE_LIMIT = 2000
_CHUNK = 10_000
_SORTED = 10_000


class Column(Record):
    """One column: the key of its values, its title in a table, and how a table shows it."""

    key: str
    title: str | None = None
    right: bool = False
    style: str | Callable[[Any], str] = ""
    show: Callable[[Any], str] | None = None


class Output:
    """Renders rows to a stream.

    :param form: table, plain, json or jsonl; by default what fits the stream.
    """

    def __init__(self, form: str | None = None, stream: IO[str] | None = None) -> None:
        self.stream = stream if stream is not None else sys.stdout
        self.form = form or ("table" if self.stream.isatty() else "plain")

    @property
    def structured(self) -> bool:
        """Whether it is read by a program, which wants everything in its place and no more."""
        return self.form in ("json", "jsonl")

    def rows(self, rows: Iterable[Any], columns: Sequence[Column]) -> None:
        """Rows, as mappings or as objects with an attribute for each column."""
        rows = list(rows)
        if self.structured:
            self.data([{column.key: _get(row, column.key) for column in columns} for row in rows])
        elif self.form == "plain":
            lines = ("\t".join(escape(_text(_get(row, column.key))) for column in columns) for row in rows)
            self._lines(lines)
        elif len(rows) > _TABLE_LIMIT:
            self._columns(rows, columns)
        elif rows:
            self._table(rows, columns)

    def names(self, parts: Iterable[Iterable[str]]) -> None:
        """Names, one a line and in order; but in a pipe, more than `_SORTED` of them as they come."""
        iterator = chain.from_iterable(parts)
        names = list(islice(iterator, _SORTED)) if self.form == "plain" else list(iterator)
        rest: Iterable[str] = iterator
        if len(names) < _SORTED or self.form != "plain":
            names.sort()
        if self.structured:
            self.data(names)
        else:
            self._lines(chain(names, rest))

    def data(self, value: Any) -> None:
        """JSON: one document, or for jsonl one line for each item of a list."""
        import json

        value = jsonable(value)
        if self.form == "jsonl":
            self._lines(
                json.dumps(item, ensure_ascii=False) for item in (value if isinstance(value, list) else [value])
            )
        else:
            self._lines([json.dumps(value, ensure_ascii=False, indent=2)])

    def line(self, text: str) -> None:
        """One line of plain text."""
        self._lines([printable(text)])

    def _lines(self, lines: Iterable[str]) -> None:
        # In large pieces: a write a line costs more than all the rest, and one huge write notices a closed pipe late.
        iterator = iter(lines)
        while chunk := list(islice(iterator, _CHUNK)):
            chunk.append("")
            try:
                self.stream.write("\n".join(chunk))
            except BrokenPipeError:
                raise
            except OSError as error:
                raise PdtError(f"the output could not be written: {error.strerror}") from error

    def _columns(self, rows: Sequence[Any], columns: Sequence[Column]) -> None:
        cells = [[column.title or column.key for column in columns]]
        cells += [[_shown(column, row) for column in columns] for row in rows]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        self._lines(
            "  ".join(
                cell.rjust(width) if column.right else cell.ljust(width)
                for cell, width, column in zip(line, widths, columns, strict=True)
            ).rstrip()
            for line in cells
        )

    def _table(self, rows: Sequence[Any], columns: Sequence[Column]) -> None:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        for column in columns:
            table.add_column(
                column.title if column.title is not None else column.key,
                justify="right" if column.right else "left",
                overflow="fold",
                no_wrap=column.right,
            )
        for row in rows:
            cells = []
            for column in columns:
                style = column.style if isinstance(column.style, str) else column.style(row)
                cells.append(Text(_shown(column, row), style=style))
            table.add_row(*cells)
        # A table that was asked for in a pipe or a file is as wide as it needs to be.
        width = None if self.stream.isatty() or os.environ.get("COLUMNS") else 10_000
        Console(file=self.stream, width=width, markup=False, highlight=False, emoji=False).print(table)


def escape(text: str) -> str:
    """`text` on one line and without anything a terminal would act on; reversible."""
    return _UNSAFE_OR_BACKSLASH.sub(_escaped, text)


def printable(text: str) -> str:
    """`text` for the eye: as `escape`, but with backslashes as they are."""
    return _UNSAFE.sub(_escaped, text)


def jsonable(value: Any) -> Any:
    """`value` in what JSON has: numbers for decimals, words for states, objects for records, strings for the rest."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str):
        # A byte that is not text must not make invalid UTF-8 of the document.
        return value.encode("utf-8", "backslashreplace").decode() if not value.isprintable() else value
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, Enum):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(map(jsonable, value), key=str)
    if isinstance(value, Record):
        return jsonable(value.as_dict())
    if hasattr(value, "__dataclass_fields__") and not isinstance(value, type):
        return {name: jsonable(getattr(value, name)) for name in value.__dataclass_fields__}
    isoformat = getattr(value, "isoformat", None)
    return isoformat() if callable(isoformat) else str(value)


def _get(row: Any, key: str) -> Any:
    return row[key] if isinstance(row, Mapping) else getattr(row, key)


def _shown(column: Column, row: Any) -> str:
    value = _get(row, column.key)
    text = column.show(value) if column.show is not None else _text(value)
    return printable(text)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    if isinstance(value, Mapping):
        return " ".join(f"{key}={_text(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return " ".join(map(_text, value))
    return str(value)


def _escaped(match: re.Match[str]) -> str:
    character = match.group()
    number = ord(character)
    return _SHORT.get(character) or (f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}")
