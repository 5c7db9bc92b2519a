"""Whether what a template puts into a shell script is one word of it, whatever it is: the lint of `{{ … }}`.

A value may hold spaces, quotes, `$(…)` and newlines. It is safe where it went through `shquote` and stands outside of
quotes, comments and here-documents; as it is, in a here-document whose delimiter is quoted; and anywhere if it cannot
hold anything but letters, digits and ``-_.``, as the id of a job. What this module knows of the shell is how it quotes
(POSIX.1-2024, XCU 2.2 "Quoting" and 2.7.4 "Here-Document"); it looks for mistakes, and proves nothing to an adversary.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import nodes

__all__ = ("is_shell", "unsafe")

_SHELLS = re.compile(r"#!\s*(?:\S*/)?(?:env\s+(?:-\S+\s+)*)?(?:\S*/)?(?:ba|da|k|z|a)?sh(?:\s|$)")
_MARK = "\ufffc"
_HERE = re.compile(rf"<<(-?)[ \t]*(?:'([^'\n{_MARK}]+)'|\"([^\"\n{_MARK}]+)\"|\\([A-Za-z_]\w*)|([A-Za-z_]\w*))")
_PLAIN_FILTERS = {"length", "count", "int", "float"}
_LOOP = {"index", "index0", "revindex", "revindex0", "first", "last", "length", "depth", "depth0"}


class _Place(Enum):
    """Where in a script something stands."""

    CODE = auto()
    QUOTES = auto()
    COMMENT = auto()
    DOCUMENT = auto()
    """A here-document in which nothing is expanded."""
    EXPANDED = auto()
    """Any other here-document."""


class _Value(Enum):
    """What is known of a value."""

    HARMLESS = auto()
    QUOTED = auto()
    ANY = auto()


@dataclass(frozen=True, slots=True)
class _Use:
    line: int
    value: _Value


def is_shell(text: str) -> bool:
    """Whether a script is run by a shell, going by its first line."""
    return not text.startswith("#!") or _SHELLS.match(text) is not None


def unsafe(tree: nodes.Template, safe: frozenset[str]) -> Iterator[tuple[int, str]]:
    """The places in a template where a value is not sure to be one word, by line, and what is wrong with each.

    :param tree: the parsed template of a shell script.
    :param safe: the variables whose values need no quotes.
    """
    text, uses = _flatten(tree, safe)
    for use, place in zip(uses, _places(text), strict=True):
        if use.value is _Value.HARMLESS or place is _Place.DOCUMENT:
            continue
        if place is _Place.EXPANDED:
            yield use.line, "stands in a here-document that the shell expands: quote its delimiter, as in <<'END'"
        elif place is _Place.COMMENT:
            yield use.line, "stands in a comment, which ends at a newline in the value: leave it out"
        elif place is _Place.QUOTES and use.value is _Value.QUOTED:
            yield use.line, "goes through shquote but stands in quotes, which undoes it: leave the quotes out"
        elif place is _Place.QUOTES or use.value is _Value.ANY:
            yield use.line, "does not go through shquote: write {{ … | shquote }}, without quotes around it"


# ---- the template


def _flatten(tree: nodes.Template, safe: frozenset[str]) -> tuple[str, list[_Use]]:
    """The text of a template with a mark for each expression, and the expressions."""
    from jinja2 import nodes

    macros = {"caller"} | {macro.name for macro in tree.find_all(nodes.Macro)}
    parts: list[str] = []
    uses: list[_Use] = []

    def judge(node: nodes.Node) -> _Value:
        match node:
            case nodes.Const() | nodes.Compare() | nodes.Test() | nodes.Not():
                return _Value.ANY if isinstance(getattr(node, "value", None), str) else _Value.HARMLESS
            case nodes.Name() if node.name in safe:
                return _Value.HARMLESS
            case nodes.Getattr(node=nodes.Name(name="loop"), attr=attribute) if attribute in _LOOP:
                return _Value.HARMLESS
            case nodes.Call(node=nodes.Name(name=name)) if name in macros:
                return _Value.HARMLESS  # what it writes is looked at where it is defined
            case nodes.Filter(name="shquote"):
                return _Value.QUOTED
            case nodes.Filter(name=name) if name in _PLAIN_FILTERS:
                return _Value.HARMLESS
            case nodes.CondExpr(expr1=one, expr2=other):
                found = {judge(branch) for branch in (one, other) if branch is not None} - {_Value.HARMLESS}
                return _Value.ANY if len(found) > 1 else found.pop() if found else _Value.HARMLESS
        return _Value.ANY

    def walk(node: nodes.Node, quoted: bool) -> None:
        if isinstance(node, nodes.TemplateData):
            parts.append(node.data.replace(_MARK, " "))
        elif isinstance(node, nodes.Expr):
            parts.append(_MARK)
            uses.append(_Use(node.lineno, _Value.QUOTED if quoted else judge(node)))
        elif isinstance(node, nodes.Output):
            for part in node.nodes:
                walk(part, quoted)
        elif isinstance(node, nodes.FilterBlock):
            if node.filter.name == "shquote":
                parts.append(_MARK)
                uses.append(_Use(node.lineno, _Value.QUOTED))
            else:
                walk_all(node.body, quoted)
        elif not isinstance(node, nodes.AssignBlock):  # its text goes into a variable
            for name in ("body", "elif_", "else_"):
                walk_all(getattr(node, name, None) or [], quoted)

    def walk_all(found: list[nodes.Node], quoted: bool) -> None:
        for node in found:
            walk(node, quoted)

    walk_all(list(tree.body), False)
    return "".join(parts), uses


# ---- the shell


def _places(text: str) -> Iterator[_Place]:
    """Where each mark in a script stands."""
    nesting = [""]  # what closes the innermost construct: a quote, a parenthesis, a backtick
    documents: list[tuple[str, bool, bool]] = []  # delimiter, whether quoted, whether tabs are stripped
    at = 0
    while at < len(text):
        char, inner = text[at], nesting[-1]
        if char == _MARK:
            yield _Place.QUOTES if inner in ("'", '"') else _Place.CODE
        elif inner == "'":
            if char == "'":
                nesting.pop()
        elif char == "\\":
            at += 1
            if text.startswith(_MARK, at):
                yield _Place.QUOTES
        elif inner and text.startswith(inner, at):
            nesting.pop()
            at += len(inner) - 1
        elif char == '"' or char == "`":
            nesting.append(char)
        elif text.startswith("$((", at):
            nesting.append("))")
            at += 2
        elif text.startswith("$(", at):
            nesting.append(")")
            at += 1
        elif inner != '"':
            if char == "'":
                nesting.append(char)
            elif char == "(" and inner in (")", "))"):
                nesting.append(")")
            elif char == "#" and (at == 0 or text[at - 1] in " \t\n;&|("):
                end = _end_of_line(text, at)
                yield from [_Place.COMMENT] * text.count(_MARK, at, end)
                at = end - 1
            elif text.startswith("<<<", at):
                at += 2
            elif inner != "))" and (match := _HERE.match(text, at)) is not None:
                delimiter = next(word for word in match.groups()[1:] if word is not None)
                documents.append((delimiter, match[5] is None, bool(match[1])))
                at = match.end() - 1
            elif char == "\n":
                for delimiter, quoted, stripped in documents:
                    begin = at + 1
                    at = _end_of_document(text, begin, delimiter, stripped)
                    yield from [_Place.DOCUMENT if quoted else _Place.EXPANDED] * text.count(_MARK, begin, at)
                documents.clear()
        at += 1


def _end_of_line(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end


def _end_of_document(text: str, at: int, delimiter: str, stripped: bool) -> int:
    """Where the line with the delimiter ends."""
    while at < len(text):
        end = _end_of_line(text, at)
        line = text[at:end].lstrip("\t") if stripped else text[at:end]
        if line == delimiter:
            return end
        at = end + 1
    return len(text)
