"""`pdt check`: what is wrong with a pipeline that loads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.harness import BOOKS, Pdt

PIPELINE = """
    from pdtcli import (
        FileRepository, InProcessMetadataRepository, LocalLinuxManager, Pipeline, ProcessTask, ResourceManager,
        Resources, YamlMetadataFileRepository,
    )

    def task(name, template, cpu="1", **options):
        return ProcessTask(
            name,
            LocalLinuxManager("check"),
            ResourceManager(Resources.parse("2")),
            Resources.parse(cpu),
            options.pop("pids", YamlMetadataFileRepository(f"{name}.pids")),
            template,
            **{"done": YamlMetadataFileRepository(f"{name}.done"), **options},
        )

    input = FileRepository("input")
"""


def findings(pdt: Pdt, code: str) -> list[str]:
    """What is found in a pipeline; `code` ends with the expression for its tasks."""
    *lines, tasks = code.strip().splitlines()
    pdt.write("pipeline.py", PIPELINE)
    with open(pdt.directory / "pipeline.py", "a") as file:
        file.write("\n".join([*(line.strip() for line in lines), f"pipeline = Pipeline({tasks.strip()})", ""]))
    found = json.loads(pdt("check", "--json", expect=None).out)
    return [f"{row['task']}: {row['message']}" for row in found]


class TestNothingIsWrong:
    def test_with_the_example_of_the_tests(self, pdt: Pdt) -> None:
        pdt.write("pipeline.py", BOOKS.replace("{{ words.count }}", "{{ words.count | shquote }}"))

        result = pdt("check")

        assert (result.out, result.err) == ("", "")

    @pytest.mark.parametrize("path", sorted((Path(__file__).parents[2] / "examples").glob("*/pipeline.py")))
    def test_with_an_example(self, pdt: Pdt, path: Path) -> None:
        assert pdt("-p", str(path), "check").out == ""

    def test_and_nothing_is_opened_or_made(self, pdt: Pdt) -> None:
        assert findings(pdt, "a = task('a', 'true')\na.link('input', input, is_input=True)\n[a]") == []
        assert sorted(path.name for path in pdt.directory.iterdir() if path.name != "__pycache__") == ["pipeline.py"]


class TestItFinds:
    def test_a_value_that_is_not_quoted(self, pdt: Pdt) -> None:
        code = "a = task('a', 'true\\ncat {{ input }}')\na.link('input', input, is_input=True)\n[a]"
        problem = "does not go through shquote: write {{ … | shquote }}, without quotes around it"

        assert findings(pdt, code) == [f"a: in line 2 of the template a value {problem}"]

    def test_but_not_in_a_script_of_another_language(self, pdt: Pdt) -> None:
        code = (
            "a = task('a', '#!/usr/bin/env python3\\nprint({{ input }})')\na.link('input', input, is_input=True)\n[a]"
        )

        assert findings(pdt, code) == []

    def test_what_is_not_linked(self, pdt: Pdt) -> None:
        code = "a = task('a', 'cat {{ inputt | shquote }}')\na.link('input', input, is_input=True)\n[a]"

        assert findings(pdt, code) == ["a: the template uses inputt, and the task has no link of that name"]

    def test_an_error_in_a_template(self, pdt: Pdt) -> None:
        code = "a = task('a', 'cat {{ input | nosuch }}')\na.link('input', input, is_input=True)\n[a]"

        assert findings(pdt, code) == ["a: the template has an error in line 1: No filter named 'nosuch'."]

    def test_a_request_above_the_quota(self, pdt: Pdt) -> None:
        code = "a = task('a', 'true', cpu='3')\na.link('input', input, is_input=True)\n[a]"

        assert findings(pdt, code) == [
            "a: one job needs more cpu than its whole quota has, so that none can ever start"
        ]

    def test_a_task_without_input(self, pdt: Pdt) -> None:
        assert findings(pdt, "[task('a', 'true')]") == [
            "a: nothing is required for its start, so that no job is ever ready: link an input"
        ]

    def test_what_is_required_and_inhibits(self, pdt: Pdt) -> None:
        code = """
            a = task('a', 'true')
            a.link('input', input, is_input=True)
            a.link('not', FileRepository('input'), inhibits_start=True)
            [a]
        """

        assert findings(pdt, code) == ["a: input is required for its start, and as not the same repository inhibits it"]

    def test_a_task_that_never_stops_starting(self, pdt: Pdt) -> None:
        code = "a = task('a', 'true', done=None)\na.link('input', input, is_input=True)\n[a]"

        assert findings(pdt, code) == [
            "a: nothing keeps a job that has ended from starting again: give it a done repository"
        ]

    def test_what_is_kept_in_memory(self, pdt: Pdt) -> None:
        code = """
            a = task('a', 'true', done=InProcessMetadataRepository())
            a.link('input', input, is_input=True)
            [a]
        """

        assert findings(pdt, code) == ["a: done is kept in memory, so that the next command does not see it"]

    def test_status_that_two_tasks_share(self, pdt: Pdt) -> None:
        code = """
            a = task('a', 'true')
            b = task('b', 'true', pids=YamlMetadataFileRepository('a.pids'))
            a.link('input', input, is_input=True)
            b.link('input', input, is_input=True)
            [a, b]
        """

        assert findings(pdt, code) == ["b: pids is the same repository as a.pids: jobs of the two would be mixed up"]


class TestFindingsAreTold:
    def test_one_on_a_line_and_the_exit_code_is_1(self, pdt: Pdt) -> None:
        findings(pdt, "[task('a', 'true'), task('b', 'true')]")

        result = pdt("check", expect=1)

        assert [line.split("\t")[0] for line in result.out.splitlines()] == ["a", "b"]

    def test_as_a_table_on_a_terminal(self, pdt: Pdt) -> None:
        findings(pdt, "[task('a', 'true')]")

        result = pdt.on_terminal("check")

        assert result.code == 1
        assert "FINDING" in result.out.upper()

    def test_that_there_is_none_on_a_terminal(self, pdt: Pdt) -> None:
        findings(pdt, "a = task('a', 'true')\na.link('input', input, is_input=True)\n[a]")

        assert "nothing is wrong" in pdt.on_terminal("check").out
