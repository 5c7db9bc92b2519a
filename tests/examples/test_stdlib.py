"""The example of the standard library: undisturbed, interrupted, killed, and run by two at once."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path

import pytest
from tests.examples.stdlib import Example, make_library

MODULES = 40
FILES = MODULES + 3
JOBS = 2 * FILES + 1


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_library(tmp_path_factory.mktemp("library"), MODULES)


@pytest.fixture(scope="module")
def undisturbed(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Example:
    """The example after one run that nothing disturbed."""
    example = Example(tmp_path_factory.mktemp("undisturbed"))
    example("./run", str(library))
    return example


@pytest.fixture
def prepared(library: Path, tmp_path: Path) -> Example:
    """The example with the files in place and nothing done yet."""
    example = Example(tmp_path)
    example("python", "prepare.py", str(library))
    return example


def assert_same(example: Example, undisturbed: Example) -> None:
    assert example.outcome() == undisturbed.outcome()
    assert example.overlaps() == []
    assert example.left_over() == []


class TestUndisturbed:
    def test_every_file_goes_through_every_task(self, undisturbed: Example) -> None:
        assert len(list((undisturbed.work / "source").iterdir())) == FILES
        assert undisturbed.ended == JOBS
        assert undisturbed.starts() == JOBS
        assert undisturbed.left_over() == []

    def test_what_does_not_parse_is_a_failed_job_that_says_why(self, undisturbed: Example) -> None:
        assert "SyntaxError" in undisturbed("pdt", "repo", "cat", "parse.failed", "broken")
        assert undisturbed("pdt", "repo", "ls", "parse.source - parse.done") == "broken\n"

    def test_the_table_tells_of_all_of_them(self, undisturbed: Example) -> None:
        table = undisturbed("pdt", "repo", "cat", "summary.table", "stdlib")
        assert f"{FILES}" in next(line for line in table.splitlines() if line.startswith("all "))
        assert "not parsed: 1\n    broken\n" in table

    def test_a_second_run_has_nothing_to_do_and_says_so(self, undisturbed: Example, library: Path) -> None:
        before = undisturbed.outcome()
        assert "pdt: nothing to do\n" in undisturbed("./run", str(library))
        assert undisturbed.outcome() == before
        assert undisturbed.starts() == JOBS

    def test_the_commands_it_suggests_work_where_it_was_called(self, undisturbed: Example, library: Path) -> None:
        said = undisturbed("./run", str(library))
        commands = [line for line in said.partition("Some commands to try:\n")[2].splitlines() if line[:2] == "  "]
        assert len(commands) == 5
        for command in commands:
            assert undisturbed("sh", "-c", command) != ""

    def test_what_is_removed_is_made_again(self, library: Path, undisturbed: Example, prepared: Example) -> None:
        prepared("pdt", "run", expect=1)
        prepared("pdt", "repo", "rm", "-r", "parse.source", "broken")
        prepared("./run", str(library))
        assert prepared.starts() == JOBS + 3
        assert_same(prepared, undisturbed)

    def test_it_does_not_mix_two_libraries(self, undisturbed: Example, tmp_path: Path) -> None:
        assert "remove it to begin anew" in undisturbed("./run", str(tmp_path), expect=1)


def test_the_import_goes_on_where_it_was_killed(library: Path, undisturbed: Example, tmp_path: Path) -> None:
    example = Example(tmp_path)
    for files in (0, FILES // 3, FILES - 1):
        with example.running("python", "prepare.py", str(library)) as process:
            while process.poll() is None and len(list(example.work.glob("source/*.py"))) < files:
                pass
            process.kill()
    example("./run", str(library))
    assert_same(example, undisturbed)


def test_a_summary_of_fewer_files_does_not_last(library: Path, undisturbed: Example, prepared: Example) -> None:
    """As after an import that was killed at its very end, with pdt called by hand."""
    for job in ("broken", "_private"):
        for path in prepared.work.glob(f"source/{job.strip('_')}*.py"):
            path.unlink()
    prepared("pdt", "run", expect=0)
    prepared("./run", str(library))
    assert_same(prepared, undisturbed)


@pytest.mark.parametrize("group", [True, False], ids=["with all its workers", "alone"])
def test_a_run_that_is_killed_again_and_again(
    group: bool, library: Path, undisturbed: Example, prepared: Example
) -> None:
    chance = random.Random(20 + group)
    ended = 0
    for _ in range(4):
        with prepared.running("pdt", "run") as process:
            ended = chance.randint(prepared.ended, min(prepared.ended + JOBS // 3, JOBS - 1))
            prepared.wait_for(ended, process)
            if group:
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()
    prepared("pdt", "run", expect=1)
    assert_same(prepared, undisturbed)


def test_a_run_that_is_interrupted_says_so_and_goes_on(library: Path, undisturbed: Example, prepared: Example) -> None:
    with prepared.running("./run", str(library)) as process:
        prepared.wait_for(JOBS // 3, process)
        os.killpg(process.pid, signal.SIGINT)
        assert process.stdout is not None
        said = process.stdout.read()
    assert process.returncode == 130
    assert "pdt: stopping: " in said
    assert "Traceback" not in said
    prepared("pdt", "run", expect=1)
    assert_same(prepared, undisturbed)


def test_two_runs_at_once_share_the_work(library: Path, undisturbed: Example, prepared: Example) -> None:
    with prepared.running("./run", str(library)) as one, prepared.running("./run", str(library)) as other:
        one.communicate()
        other.communicate()
    assert (one.returncode, other.returncode) == (0, 0)
    assert prepared.starts() == JOBS
    assert_same(prepared, undisturbed)
