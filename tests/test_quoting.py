"""What a template puts into a shell script without protection."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdtcli.quoting import is_shell, unsafe
from pdtcli.template import parse_template, render


def found(text: str) -> list[str]:
    """The findings in a template: the line, and the first words."""
    tree, _ = parse_template(text)
    return [f"{line} {problem.split(':')[0]}" for line, problem in unsafe(tree, frozenset({"job", "task"}))]


SAFE = [
    "cat {{ x | shquote }}",
    "cat <{{ x | shquote }} >out",
    "cat {{ x | trim | shquote }}",
    "echo {{ job }} '{{ job }}' \"{{ task }}\" # {{ job }}",
    "echo {{ x | length }} {{ 3 }} {{ loop.index }}",
    'echo "$(cat {{ x | shquote }})" "`cat {{ x | shquote }}`"',
    "echo $(( (1 + 2) * 3 )) $(( 1 << n )) {{ x | shquote }}",
    "n=$(( 1<<n ))\necho {{ x | shquote }}",
    "cat <<'END'\n{{ x }}\nEND\necho {{ x | shquote }}",
    'cat <<"END"\n{{ x | to_yaml }}\nEND',
    "cat <<\\END\n{{ x }}\nEND",
    "cat <<-'END'\n\t{{ x }}\n\tEND\ncat {{ x | shquote }}",
    "cat <<'ONE' - <<'TWO'\n{{ x }}\nONE\n{{ x }}\nTWO\n",
    "{% if x %}cat {{ x | shquote }}{% else %}true{% endif %}",
    "{% for y in x %}cat {{ y | shquote }}\n{% endfor %}",
    "cat {{ x | shquote if x else 0 }}",
    "{% macro put(y) %}cat {{ y | shquote }}{% endmacro %}{{ put(x) }}",
    "{% filter shquote %}{{ x }}{% endfilter %}",
    "{% set y %}{{ x }}{% endset %}cat {{ y | shquote }}",
    "echo it\\'s {{ x | shquote }}",
    "cat <<<{{ x | shquote }}",
]

UNSAFE = {
    "cat {{ x }}": ["1 does not go through shquote"],
    "true\n\ncat {{ x.path }}": ["3 does not go through shquote"],
    "cat '{{ x }}'": ["1 does not go through shquote"],
    'cat "{{ x }}"': ["1 does not go through shquote"],
    "cat {{ x | shquote | upper }}": ["1 does not go through shquote"],
    "cat {{ 'a b' }}": ["1 does not go through shquote"],
    "cat {{ x or y }}": ["1 does not go through shquote"],
    "cat {{ x | shquote if x else y }}": ["1 does not go through shquote"],
    "cat '{{ x | shquote }}'": ["1 goes through shquote but stands in quotes, which undoes it"],
    'cat "{{ x | shquote }}"': ["1 goes through shquote but stands in quotes, which undoes it"],
    "# {{ x | shquote }}": ["1 stands in a comment, which ends at a newline in the value"],
    "cat <<END\n{{ x | shquote }}\nEND": ["2 stands in a here-document that the shell expands"],
    "cat <<'END'\n{{ x }}\nEND\ncat {{ x }}": ["4 does not go through shquote"],
    "{% macro put(y) %}cat {{ y }}{% endmacro %}{{ put(x) }}": ["1 does not go through shquote"],
    "{% for y in x %}cat {{ y }}\n{% endfor %}": ["1 does not go through shquote"],
    'echo \\"{{ x }}\\"': ["1 does not go through shquote"],
}


@pytest.mark.parametrize("text", SAFE)
def test_nothing_is_found(text: str) -> None:
    assert found(text) == []


@pytest.mark.parametrize(("text", "findings"), UNSAFE.items())
def test_found(text: str, findings: list[str]) -> None:
    assert found(text) == findings


@pytest.mark.parametrize(
    ("first", "shell"),
    [
        ("echo", True),
        ("#!/bin/sh\n", True),
        ("#! /bin/bash -e\n", True),
        ("#!/usr/bin/env bash\n", True),
        ("#!/usr/bin/env -S dash -u\n", True),
        ("#!/usr/bin/env python3\n", False),
        ("#!/usr/bin/fish\n", False),
        ("#!/opt/sh/python\n", False),
    ],
)
def test_whether_a_shell_runs_it(first: str, shell: bool) -> None:
    assert is_shell(first) is shell


@given(value=st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=20))
async def test_a_value_that_goes_through_shquote_is_one_word(value: str) -> None:
    script = await render("printf %s {{ x | shquote }}", {"x": value})

    done = subprocess.run(["sh", "-c", script], capture_output=True, check=True)

    assert done.stdout.decode() == value


@given(text=st.text(st.sampled_from("{}%|'\"`$()<-#\\\nEND xshquote"), max_size=60))
def test_any_text_is_read_without_an_error(text: str) -> None:
    tree, _ = parse_template("{% raw %}" + text.replace("{%", "") + "{% endraw %}{{ x }}")

    assert len(list(unsafe(tree, frozenset()))) <= 1
