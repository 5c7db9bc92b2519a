"""`pdt tick`, `run`, `status` and `trace`: the pipeline as a whole."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import tempfile
import textwrap
import time

import pytest
from tests.cli.harness import BOOKS, Pdt
from tests.processes import until


def settle(pdt: Pdt) -> None:
    """Tick until every book has come through."""
    deadline = time.monotonic() + 60
    while pdt("repo", "ls", "count.books - report.done - report.failed - count.failed").out:
        assert time.monotonic() < deadline
        pdt("tick", expect=None)


class TestTick:
    def test_it_is_silent_when_all_is_well(self, books: Pdt) -> None:
        result = books("tick")
        assert (result.out, result.err) == ("", "")
        assert books("repo", "ls", "count.done").out == "emma\npersuasion\nsanditon\n"

    def test_ticks_end_with_everything_done(self, books: Pdt) -> None:
        settle(books)
        assert books("repo", "cat", "report.stdout", "emma").out == "emma has 4 words\n"
        assert books("repo", "ls", "report.done").out == "emma\npersuasion\nsanditon\n"

    def test_verbose_tells_what_starts_and_ends(self, books: Pdt) -> None:
        lines = books("tick", "-v").err.splitlines()
        assert "pdt: count:emma started" in lines
        assert any(line.startswith("pdt: count:emma done") for line in lines)
        assert len(lines) == len(set(lines))

    def test_a_job_that_fails_is_one_line_and_the_exit_code(self, books: Pdt) -> None:
        books("repo", "put", "count.books", "bomb", input="boom")
        result = books("tick", expect=1)
        assert result.out == ""
        assert result.err == "pdt: count:bomb failed: ValueError('this book explodes')\n"

    def test_what_a_job_says_of_its_failure_does_not_act_on_the_terminal(self, books: Pdt) -> None:
        books.write("rude.py", BOOKS.replace('"this book explodes"', 'chr(27) + "[31m"').replace("ValueError", "Rude"))
        with (books.directory / "rude.py").open("a") as file:
            file.write("class Rude(Exception):\n    __repr__ = Exception.__str__\n")
        books("repo", "put", "count.books", "bomb", input="boom")
        assert books("tick", "-p", "rude.py", expect=1).err == "pdt: count:bomb failed: \\x1b[31m\n"

    def test_a_failure_of_an_earlier_tick_is_not_told_again(self, books: Pdt) -> None:
        books("repo", "put", "count.books", "bomb", input="boom")
        books("tick", expect=1)
        assert books("tick").err == ""

    @pytest.mark.parametrize("command", ["tick", "run"])
    def test_a_store_that_is_away_has_an_exit_code_and_holds_up_nothing_else(self, books: Pdt, command: str) -> None:
        books.write("away.py", textwrap.dedent(BOOKS) + AWAY)
        result = books(command, "-p", "away.py", expect=5)
        assert "pdt: poll: its jobs cannot be listed: the store does not answer" in result.err.splitlines()
        assert books("repo", "ls", "count.done").out == "emma\npersuasion\nsanditon\n"

    def test_a_dry_run_tells_what_would_start(self, books: Pdt) -> None:
        rows = json.loads(books("tick", "--dry-run", "--json").out)
        starts = {(row["task"], row["job"]): row["starts"] for row in rows}
        assert starts["count", "emma"] is True
        assert starts.get(("report", "emma"), False) is False
        assert books("repo", "ls", "count.done").out == ""

    def test_a_second_one_leaves_at_once(self, books: Pdt) -> None:
        books.write("slow.py", SLOW)
        with running(books, "tick", "-p", "slow.py"):
            wait_until(books, "started")
            result = books("tick", "-p", "slow.py", expect=75)
            assert result.err.count("\n") == 1
            assert result.out == ""
            books("tick", "-p", "slow.py", "--wait", "20")


AWAY = """
import pdtcli


class Away(pdtcli.InProcessMetadataRepository):
    async def keys(self):
        raise pdtcli.BackendError("the store does not answer")


poll = pdtcli.InProcessSyncTask("poll", pdtcli.InProcessMetadataRepository(), func=lambda job: None)
poll.link("news", Away(), is_input=True)
pipeline = pdtcli.Pipeline([count, report, poll], session)
"""

SLOW = """
    import time
    from pathlib import Path
    from pdtcli import InProcessSyncTask, Pipeline, Session, YamlMetadataFileRepository

    here = Path(__file__).parent
    slow = InProcessSyncTask("slow", YamlMetadataFileRepository(here / "slow-done"))
    slow.link("items", YamlMetadataFileRepository(here / "items"), is_input=True)
    (here / "items" / "one.yaml").write_text("{}") if (here / "items").mkdir(exist_ok=True) is None else None

    @slow
    def _(job):
        (here / "started").touch()
        time.sleep(1)

    pipeline = Pipeline([slow], Session())
"""


def running(pdt: Pdt, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*pdt.command, *arguments],
        cwd=pdt.directory,
        env=pdt.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_until(pdt: Pdt, file: str) -> None:
    deadline = time.monotonic() + 20
    while not (pdt.directory / file).exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class TestRun:
    def test_it_does_all_there_is_to_do_and_sums_up(self, books: Pdt) -> None:
        result = books("run")
        assert result.out == ""
        assert result.err.startswith("pdt: 6 done in ")
        assert result.err.count("\n") == 1

    def test_a_second_run_says_that_there_is_nothing_to_do(self, books: Pdt) -> None:
        books("run")
        assert books("run").err == "pdt: nothing to do\n"

    def test_verbose_is_a_line_for_each_job_that_ends(self, books: Pdt) -> None:
        lines = books("run", "-v").err.splitlines()
        assert sum(": count:" in line or ": report:" in line for line in lines) == 6
        assert all(" done" in line for line in lines)

    def test_what_fails_is_told_with_the_mend_now_and_later(self, books: Pdt) -> None:
        books("repo", "put", "count.books", "bomb", input="boom")
        result = books("run", expect=1)
        assert "pdt: count:bomb failed: ValueError('this book explodes')\n" in result.err
        assert result.err.endswith("failed: count 1; run them again with 'pdt task retry count --all'\n")
        again = books("run", expect=1)
        assert again.err == (
            "pdt: nothing to do\npdt: failed earlier: count 1; run them again with 'pdt task retry count --all'\n"
        )

    def test_a_script_that_fails_is_told_with_its_exit_status(self, books: Pdt) -> None:
        result = books("run", env={"CODE": "3"}, expect=1)
        assert "pdt: report:emma failed: exit status 3\n" in result.err

    def test_the_report_is_json_on_demand(self, books: Pdt) -> None:
        report = json.loads(books("run", "--json").out)
        assert (report["launched"], report["done"], report["failed"]) == (6, 6, 0)

    def test_quiet_is_quiet(self, books: Pdt) -> None:
        books("repo", "put", "count.books", "bomb", input="boom")
        result = books("run", "-q", expect=1)
        assert (result.out, result.err) == ("", "")

    def test_it_gives_up_in_time(self, books: Pdt) -> None:
        result = books("run", "--timeout", "1", env={"NAP": "30"}, expect=1)
        assert "1 s" in result.err
        books("task", "cancel", "report", "--all")

    def test_a_dry_run_tells_what_would_start(self, books: Pdt) -> None:
        assert "count\temma\tyes\t" in books("run", "-n").out
        assert books("repo", "ls", "count.done").out == ""

    def test_on_a_terminal_there_are_bars(self, books: Pdt) -> None:
        result = books.on_terminal("run", columns=120)
        assert result.code == 0
        assert "━" in result.out
        assert "3/3" in result.out
        assert "6 done in" in result.out
        assert "━" not in books.on_terminal("run", "--no-progress").out

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_an_interrupt_leaves_what_runs_alone(self, books: Pdt, number: int) -> None:
        books.env["NAP"] = "1.5"
        with running(books, "run") as process:
            wait_for_live(books)
            process.send_signal(number)
            _, told = process.communicate(timeout=20)
        assert process.returncode == 130
        assert "run on" in told
        del books.env["NAP"]
        books("run")
        assert books("repo", "ls", "report.done").out == "emma\npersuasion\nsanditon\n"

    def test_an_interrupt_cancels_on_demand(self, books: Pdt) -> None:
        books.env["NAP"] = "30"
        with running(books, "run", "--cancel") as process:
            wait_for_live(books)
            process.send_signal(signal.SIGINT)
            _, told = process.communicate(timeout=30)
        assert process.returncode == 130
        assert "cancel" in told
        assert books("repo", "ls", "report.pids").out == ""


def wait_for_live(pdt: Pdt) -> None:
    deadline = time.monotonic() + 20
    while len(list((pdt.directory / "report" / "pids").glob("*.yaml"))) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(0.3)


class TestTrace:
    def test_a_line_for_each_link_of_each_job(self, books: Pdt) -> None:
        books("task", "run", "count", "emma", "--sync")
        rows = [line.split("\t") for line in books("trace", "emma", "sanditon").out.splitlines()]
        assert ["emma", "count", "done", "books"] in [row[:4] for row in rows]
        assert ["sanditon", "count", "ready", "books"] in [row[:4] for row in rows]

    def test_on_a_terminal_a_line_for_each_task(self, books: Pdt) -> None:
        books("task", "run", "count", "emma", "--sync")
        out = books.on_terminal("trace", "emma").out
        assert "✓ done" in out
        assert "○ ready" in out


class TestLog:
    def test_it_is_appended_and_private(self, books: Pdt) -> None:
        for _ in range(2):
            books("tick", "--log-file", "tick.log")
        file = books.directory / "tick.log"
        assert "INFO pdtcli.cli: count:emma done" in file.read_text()
        assert stat.S_IMODE(os.stat(file).st_mode) == 0o600

    def test_it_can_be_json(self, books: Pdt) -> None:
        books("run", "--log-file", "run.log", "--log-format", "json", "-vv")
        records = [json.loads(line) for line in (books.directory / "run.log").read_text().splitlines()]
        ended = [record for record in records if record.get("event") == "done"]
        assert {(record["task"], record["job"]) for record in ended} == {
            (task, job) for task in ("count", "report") for job in ("emma", "persuasion", "sanditon")
        }

    def test_without_a_file_json_goes_to_stderr(self, books: Pdt) -> None:
        lines = books("tick", "-v", "--log-format", "json").err.splitlines()
        assert {"time", "level", "logger", "message"} <= set(json.loads(lines[0]))

    def test_a_file_that_cannot_be_written_is_an_error(self, books: Pdt) -> None:
        result = books("tick", "--log-file", "no/such/place", expect=1)
        assert result.err == "pdt: no/such/place: No such file or directory\n"
        assert books("repo", "ls", "count.done").out == ""


TELLING = """
    import sys
    from pathlib import Path

    from pdtcli import FileRepository, InProcessSyncTask, Pipeline, Session, YamlMetadataFileRepository

    here = Path("{directory}")
    session = Session()

    @session.resource
    async def tell():
        print("looked", file=sys.stderr)
        yield None

    task = InProcessSyncTask("task", YamlMetadataFileRepository(here / "done"), func=lambda job: None)
    task.link("input", FileRepository(here / "input"), is_input=True)
    pipeline = Pipeline([task], session)
"""


def test_the_command_remembers_unless_it_is_told_not_to(pdt: Pdt) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:  # a file system whose times are the kernel's
        pdt.write("pipeline.py", TELLING.format(directory=directory))
        pdt("repo", "put", "task.input", "a", input="x")
        until(lambda: pdt("tick").err == "", "a tick that remembers")

        assert pdt("tick", "--no-memory").err == "looked\n"
        assert pdt("tick", env={"PDT_NO_MEMORY": "1"}).err == "looked\n"
        assert pdt("tick", env={"PDT_NO_MEMORY": ""}).err == ""
        assert pdt("status").err == "looked\n"
