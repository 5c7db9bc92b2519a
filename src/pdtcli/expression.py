"""Set expressions over repositories, such as `count.books - count.done`, parsed without `eval`.

The operators are those of Python's sets with Python's precedence: `-` binds tightest, then `&`, `^` and `|`, each from
left to right, and parentheses group. A name is TASK.LINK; since a task may itself be called `a-b` or `a.b`, the text
alone does not say where a name ends: the tokenizer is given the known names. It takes the longest one that fits, and
where that leads nowhere, the only way of reading the `-` signs that makes sense.

Parser and evaluator keep their own stacks, so that nesting is limited by memory and not by Python's recursion.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import NamedTuple, NoReturn

from .errors import UnknownRepository, UsageError
from .record import Record

__all__ = ("Expression", "parse")

_APPLY: dict[str, Callable[[set[str], set[str]], set[str]]] = {
    "-": operator.sub,
    "&": operator.and_,
    "^": operator.xor,
    "|": operator.or_,
}
# The higher, the tighter. Python 3.11 language reference, 6.17 "Operator precedence".
_BINDS = {"-": 4, "&": 3, "^": 2, "|": 1}
# What may be one name, or several names with `-` between them.
_RUN = re.compile(r"[^\s&|^()]+")


class _Token(NamedTuple):
    kind: str  # "name", an operator, "(" or ")"
    text: str
    at: int


class Expression(Record):
    """A parsed expression; `program` is its names and operators in postfix order."""

    text: str
    names: frozenset[str]
    program: tuple[_Token, ...]

    def evaluate(self, sets: Mapping[str, set[str]]) -> set[str]:
        """The value of the expression where each name stands for its set in `sets`.

        None of the given sets is changed. An expression that is one name gives the very set it stands for.
        """
        stack: list[set[str]] = []
        for token in self.program:
            if token.kind == "name":
                stack.append(sets[token.text])
            else:
                right = stack.pop()
                stack[-1] = _APPLY[token.kind](stack[-1], right)
        return stack[0]


def parse(text: str, known: Collection[str]) -> Expression:
    """Parse `text`, in which only the names in `known` may occur.

    :raises UsageError: when it is not an expression.
    :raises UnknownRepository: when it names a repository that is not known.
    """
    names = known if isinstance(known, (set, frozenset, dict)) else frozenset(known)
    program: list[_Token] = []
    pending: list[_Token] = []  # operators and opening parentheses that wait for their right side
    operand = True  # whether a name or "(" must come next
    for token in _tokens(text, names):
        if operand:
            if token.kind == "name":
                program.append(token)
                operand = False
            elif token.kind == "(":
                pending.append(token)
            else:
                _fail(text, token.at, f"expected a repository, found {token.text!r}")
        elif token.kind == ")":
            while pending and pending[-1].kind != "(":
                program.append(pending.pop())
            if not pending:
                _fail(text, token.at, "this ')' closes nothing")
            pending.pop()
        elif token.kind in _BINDS:
            while pending and pending[-1].kind != "(" and _BINDS[pending[-1].kind] >= _BINDS[token.kind]:
                program.append(pending.pop())
            pending.append(token)
            operand = True
        else:
            _fail(text, token.at, f"expected an operator (& | - ^), found {token.text!r}")
    if operand:
        _fail(text, len(text), "expected a repository, found the end" if text.strip() else "it is empty")
    while pending:
        if pending[-1].kind == "(":
            _fail(text, pending[-1].at, "this '(' is never closed")
        program.append(pending.pop())
    return Expression(text, frozenset(token.text for token in program if token.kind == "name"), tuple(program))


def _tokens(text: str, known: Collection[str]) -> Iterator[_Token]:
    at = 0
    operand = True
    while at < len(text):
        if text[at].isspace():
            at += 1
        elif run := _RUN.match(text, at):
            for token in _split(text, run.group(), at, known, operand):
                yield token
                operand = token.kind != "name"
            at = run.end()
        else:
            yield _Token(text[at], text[at], at)
            operand = text[at] != ")"
            at += 1


def _split(text: str, run: str, at: int, known: Collection[str], operand: bool) -> list[_Token]:
    """Read `run`, which holds no operator but `-`, as names and minus signs; it begins with a name if `operand`."""
    if operand and run in known:
        return [_Token("name", run, at)]
    if not operand and run[0] != "-":
        _fail(text, at, f"expected an operator (& | - ^), found {run!r}")
    start = 0 if operand else 1
    ends = [i for i, character in enumerate(run) if character == "-"] + [len(run)]
    # For each place where a name may begin: how many readings lead from there to the end, and the end of the longest
    # first name among them. Filled from the right, so that each place is looked at once.
    ways: dict[int, int] = {len(run): 1}
    longest: dict[int, int] = {}
    for begin in sorted({start, *(i + 1 for i in ends[:-1])}, reverse=True):
        if begin == len(run):  # the run ends with a minus sign: its right side is further on
            continue
        for end in ends:
            if end > begin and run[begin:end] in known:
                rest = ways.get(end + 1, 0) if end < len(run) else 1
                if rest:
                    ways[begin] = ways.get(begin, 0) + rest
                    longest[begin] = end
    if start not in ways:
        _unknown(text, run, start, at, ends, known)
    tokens = [] if operand else [_Token("-", "-", at)]
    greedy = True
    begin = start
    while begin < len(run):
        end = longest[begin]
        greedy = greedy and not any(other > end and run[begin:other] in known for other in ends)
        tokens.append(_Token("name", run[begin:end], at + begin))
        if end < len(run):
            tokens.append(_Token("-", "-", at + end))
        begin = end + 1
    if not greedy and ways[start] > 1:
        _fail(text, at, f"{run!r} can be read in more than one way; put spaces around the minus signs")
    return tokens


def _unknown(text: str, run: str, start: int, at: int, ends: list[int], known: Collection[str]) -> NoReturn:
    """Complain of the first part of `run` that is no known name."""
    begin = start
    while True:
        fits = [end for end in ends if end > begin and run[begin:end] in known]
        if not fits or fits[-1] >= len(run) - 1:
            break
        begin = fits[-1] + 1
    if begin < len(run) and run[begin] == "-":
        _fail(text, at + begin, "expected a repository, found '-'")
    import difflib

    name = run[begin:]
    candidates = [name, *(run[begin:end] for end in ends if begin < end < len(run))]
    guesses = [guess for candidate in candidates for guess in difflib.get_close_matches(candidate, known, n=1)]
    mend = f"did you mean {guesses[0]}?" if guesses else "'pdt repo ls' lists them"
    raise UnknownRepository(f"there is no repository {name!r}: {mend}")


def _fail(text: str, at: int, reason: str) -> NoReturn:
    shown = text if len(text) <= 200 else text[:197] + "…"
    raise UsageError(f"the expression {shown!r} is wrong at character {at + 1}: {reason}")
