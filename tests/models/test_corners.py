"""Names and values from the nastiest corners."""

from __future__ import annotations

import os
import re
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.lab import Lab
from tests.models.model import JOBS, NO_JOBS

from pdtcli import InProcessMetadataRepository, InProcessSyncTask, PdtError, UsageError
from pdtcli.expression import parse
from pdtcli.quota import parse_quantity
from pdtcli.repository.yaml import load

FULL = os.environ.get("PDT_FAULTS") == "full"
fuzz = settings(max_examples=5000 if FULL else 150, derandomize=not FULL, database=None)

VALUES = [
    "",
    " ",
    "-rf",
    "--",
    "..",
    "~",
    "*",
    "a b",
    "'",
    '"',
    "\\",
    "\n",
    "a\nb\n\n",
    "\r\n",
    "\t",
    "$HOME",
    "$(touch hacked)",
    "`touch hacked`",
    "; touch hacked #",
    "{{ job }}",
    "{% raw %}",
    "%s%n",
    "!!python/object:os.system",
    "null",
    "2001-01-01",
    "\u202ea",
    "а",  # noqa: RUF001 - a Cyrillic letter
    "\x01\x1b[2J",
    "x" * 100_000,
]


@pytest.mark.parametrize("name", NO_JOBS)
def test_what_is_no_job_is_no_name_of_a_task_or_a_link(name: str) -> None:
    with pytest.raises(UsageError) as of_task:
        InProcessSyncTask(name, InProcessMetadataRepository(), func=lambda job: None)
    task = InProcessSyncTask("task", InProcessMetadataRepository(), func=lambda job: None)
    with pytest.raises(UsageError) as of_link:
        task.link(name, InProcessMetadataRepository())
    assert all("\n" not in str(error.value) for error in (of_task, of_link))


@pytest.mark.parametrize("name", JOBS)
def test_what_is_a_job_is_a_name_of_both(name: str) -> None:
    task = InProcessSyncTask(name, InProcessMetadataRepository(), func=lambda job: None)
    task.link(name, InProcessMetadataRepository())
    assert parse(f"{name}.{name}", [f"{name}.{name}"]).names == {f"{name}.{name}"}


def test_values_reach_a_job_as_they_are(lab: Lab) -> None:
    """By its environment, and by its script."""
    lab.give("a")
    facts = lab.metadata("facts")
    lab.path("facts").mkdir()
    lab.path("facts/a.yaml").write_text(yaml.safe_dump(VALUES))
    task = lab.process(
        "shell",
        "env -0; {% for value in facts %}printf '%s\\0' {{ value | shquote }}\n{% endfor %}",
        stdout=lab.files("out"),
        environ={f"VALUE_{number}": value for number, value in enumerate(VALUES)},
    )
    task.link("facts", facts, is_input=True)

    lab.pipeline(task).run()

    *written, last = (lab.path("out") / "a").read_bytes().decode().split("\0")
    assert (written[-len(VALUES) :], last) == (VALUES, "")
    pairs = (entry.partition("=") for entry in written[: -len(VALUES)])
    environment = {name: value for name, _, value in pairs if name.startswith("VALUE_")}
    assert environment == {f"VALUE_{number}": value for number, value in enumerate(VALUES)}
    assert not list(lab.directory.rglob("hacked"))


@pytest.mark.parametrize("names", [{"A\0": "x"}, {"A": "x\0"}, {"": "x"}, {"A=B": "x"}, {"1A": "x"}, {"A\n": "x"}])
def test_what_cannot_be_in_an_environment_is_refused(lab: Lab, names: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="environment variable"):
        lab.process("shell", "true", environ=names)


nasty = st.text(st.sampled_from("ab-.&|^() \0\n\t٣²\uff41\u200b\ud800'\"{}[]:,#!%@`*>?~01eEkKi+"), max_size=30)


def refused(call: Any, text: str) -> None:
    """A call takes the text, or refuses it in one sentence."""
    try:
        call(text)
        return
    except PdtError as error:
        said = str(error)
    assert re.fullmatch(r"[^\n]+", said)


@fuzz
@given(nasty)
def test_any_text_is_an_expression_or_refused(text: str) -> None:
    refused(lambda text: parse(text, ["a.b", "b.a", "a-b.a"]), text)


@fuzz
@given(nasty)
def test_any_text_is_a_quantity_or_refused(text: str) -> None:
    refused(parse_quantity, text)


@fuzz
@given(nasty)
def test_any_text_is_yaml_or_refused(text: str) -> None:
    refused(lambda text: load(text.encode("utf-8", "surrogatepass"), "this"), text)
