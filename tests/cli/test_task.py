"""`pdt task` and `pdt quota`: looking into tasks, and working by hand."""

from __future__ import annotations

import json
import subprocess
import time

import pytest
from tests.cli.harness import Pdt


def status(pdt: Pdt, task: str) -> dict[str, int]:
    counts = json.loads(pdt("status", task, "--json").out)[0]
    return {state: counts[state] for state in ("waiting", "ready", "live", "done", "failed")}


def wait_for(pdt: Pdt, *expression: str, jobs: str) -> None:
    deadline = time.monotonic() + 20
    while pdt("repo", "ls", *expression).out != jobs:
        assert time.monotonic() < deadline, expression
        time.sleep(0.05)


def test_the_tasks_are_listed(books: Pdt) -> None:
    rows = [line.split("\t") for line in books("task", "ls").out.splitlines()]
    assert [row[0] for row in rows] == ["count", "report"]
    assert json.loads(books("task", "ls", "--json").out)[0]["name"] == "count"


def test_the_status_in_a_pipe_is_a_line_a_number(books: Pdt) -> None:
    lines = books("task", "status", "count").out.splitlines()
    assert {"count\tready\t3", "count\tlive\t0", "count\tcount.books\t3", "count\tcount.done\t0"} <= set(lines)
    assert all(line.startswith("count\t") for line in lines)


def test_the_status_on_a_terminal_is_a_line_a_task_and_below_it_its_repositories(books: Pdt) -> None:
    lines = books.on_terminal("status").out.splitlines()
    assert "waiting" in lines[0]
    names = [next(iter(line.replace("\x1b[1m", "").replace("\x1b[2m", "").split()), "") for line in lines[1:]]
    assert names.index("count") < names.index("count.books") < names.index("report") < names.index("report.words")


def test_an_unknown_task_is_named(books: Pdt) -> None:
    for arguments in (
        ["status", "cuont"],
        ["why", "cuont", "emma"],
        ["run", "cuont", "emma"],
        ["retry", "cuont", "--all"],
    ):
        result = books("task", *arguments, expect=3)
        assert result.out == ""
        assert "cuont" in result.err
        assert result.err.count("\n") == 1


class TestRun:
    def test_by_hand_and_in_this_process(self, books: Pdt) -> None:
        books("task", "run", "count", "emma", "--sync")
        assert books("repo", "ls", "count.done").out == "emma\n"

    def test_a_job_that_is_not_ready_is_refused_with_the_reason(self, books: Pdt) -> None:
        result = books("task", "run", "report", "emma", expect=4)
        assert result.err.startswith("pdt: ")
        assert "emma" in result.err
        assert status(books, "report")["live"] == 0

    def test_it_can_be_forced(self, books: Pdt) -> None:
        books("task", "run", "count", "emma", "--sync")
        books("task", "run", "count", "emma", "--sync", expect=4)
        books("task", "run", "count", "emma", "--sync", "--force")

    def test_a_job_that_fails_is_told_and_is_the_exit_code(self, books: Pdt) -> None:
        books("repo", "put", "count.books", "bomb", input="boom")
        result = books("task", "run", "count", "bomb", "--sync", expect=1)
        assert "count:bomb failed: ValueError('this book explodes')" in result.err

    def test_without_records(self, books: Pdt) -> None:
        books("task", "run", "count", "emma", "--sync", "--no-meta")
        assert books("repo", "ls", "count.words").out == "emma\n"
        assert books("repo", "ls", "count.done").out == ""

    def test_a_dry_run_starts_nothing(self, books: Pdt) -> None:
        assert books("task", "run", "count", "emma", "-n").out == "count\temma\tstart\n"
        assert status(books, "count")["ready"] == 3


def test_why_names_the_link_that_holds_a_job_back(books: Pdt) -> None:
    lines = books("task", "why", "report", "emma").out.splitlines()
    assert "emma" in lines[0]
    rows = {line.split("\t")[0]: line.split("\t")[1:] for line in lines[1:]}
    assert rows["words"][1:3] == ["no", "yes"]
    verdict = json.loads(books("task", "why", "report", "emma", "--json").out)
    assert verdict["state"] == "waiting"


class TestLive:
    """A report that takes its time."""

    @pytest.fixture
    def live(self, books: Pdt) -> Pdt:
        books("repo", "rm", "count.books", "persuasion", "sanditon")
        books("task", "run", "count", "emma", "--sync")
        books("task", "run", "report", "emma", env={"NAP": "30"})
        assert status(books, "report")["live"] == 1
        return books

    def test_its_output_can_be_seen(self, live: Pdt) -> None:
        deadline = time.monotonic() + 10
        while live("task", "logs", "report", "emma").out != "emma has 4 words\n":
            assert time.monotonic() < deadline
        assert live("task", "logs", "report", "emma", "--stderr").out == "warning\n"
        live("task", "cancel", "report", "emma")

    def test_it_can_be_cancelled(self, live: Pdt) -> None:
        assert live("task", "cancel", "report", "--all", "--dry-run").out == "report\temma\n"
        assert status(live, "report")["live"] == 1
        assert live("task", "cancel", "report", "--all").out == "report\temma\n"
        live("tick", expect=None)
        counts = status(live, "report")
        assert (counts["live"], counts["failed"]) == (0, 1)

    def test_its_output_can_be_followed_to_its_end(self, books: Pdt) -> None:
        books("task", "run", "count", "emma", "--sync")
        books("task", "run", "report", "emma", env={"NAP": "1"})
        started = time.monotonic()
        assert books("task", "logs", "-f", "report", "emma").out == "emma has 4 words\n"
        assert time.monotonic() - started > 0.3

    def test_a_follower_that_is_interrupted_ends_with_130(self, live: Pdt) -> None:
        with subprocess.Popen(
            # Whoever runs the tests in the background has them ignore the signal, and what they start.
            ["env", "--default-signal=INT", *live.command, "task", "logs", "-f", "report", "emma"],
            cwd=live.directory,
            env=live.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.readline() == "emma has 4 words\n"
            process.send_signal(2)
            assert process.stderr.read() == "pdt: interrupted\n"
        assert process.returncode == 130
        live("task", "cancel", "report", "emma")


def test_the_log_of_a_job_that_never_ran(books: Pdt) -> None:
    result = books("task", "logs", "report", "emma", expect=3)
    assert result.err.count("\n") == 1


def test_a_failed_job_runs_again_after_a_retry(books: Pdt) -> None:
    books("repo", "put", "count.books", "bomb", input="boom")
    books("run", expect=1)
    books("repo", "put", "count.books", "bomb", input="defused")
    books("run", expect=1)
    assert books("task", "retry", "count", "--all", "--dry-run").out == "count\tbomb\n"
    assert books("task", "retry", "count", "bomb").out == "count\tbomb\n"
    books("run")
    assert status(books, "count") == {"waiting": 0, "ready": 0, "live": 0, "done": 4, "failed": 0}


def test_the_quotas_are_shown(books: Pdt) -> None:
    rows = json.loads(books("quota", "show", "--json").out)
    limits = {row["resource"]: (row["limit"], row["used"], row["free"]) for row in rows}
    assert (2, 0, 2) in limits.values()
    assert (1 << 30, 0, 1 << 30) in limits.values()
    assert "1Gi" in books.on_terminal("quota", "show").out
    assert str(1 << 30) in books("quota", "show").out
