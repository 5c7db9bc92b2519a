"""`pdt repo`: values in, values out, and what is in between."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from tests.cli.harness import Pdt


def test_without_an_expression_the_repositories_are_listed(books: Pdt) -> None:
    rows = {row[0]: row[1:] for row in (line.split("\t") for line in books("repo", "ls").out.splitlines())}
    assert {"count.books", "count.words", "count.done", "count.failed", "report.pids", "report.stdout"} <= set(rows)
    kind, _role, where = rows["count.books"]
    assert kind == "FileRepository"
    assert str(books.directory / "books") in where


def test_the_jobs_of_a_repository_are_names_one_a_line(books: Pdt) -> None:
    assert books("repo", "ls", "count.books").out == "emma\npersuasion\nsanditon\n"


def test_the_names_are_json_on_demand(books: Pdt) -> None:
    assert json.loads(books("repo", "ls", "count.books", "--json").out) == ["emma", "persuasion", "sanditon"]
    assert books("repo", "ls", "count.books", "-o", "jsonl").out == '"emma"\n"persuasion"\n"sanditon"\n'


def test_an_expression_may_be_one_argument_or_many(books: Pdt) -> None:
    books("repo", "put", "count.words", "emma", input="{count: 3}")
    for arguments in (["count.books - count.words"], ["count.books", "-", "count.words"], ["count.books-count.words"]):
        assert books("repo", "ls", *arguments).out == "persuasion\nsanditon\n"


def test_a_pipe_needs_no_rich(books: Pdt) -> None:
    done = subprocess.run(
        [*books.command[:1], "-X", "importtime", *books.command[1:], "repo", "ls", "count.books"],
        cwd=books.directory,
        env=books.env,
        capture_output=True,
        text=True,
        check=True,
    )
    modules = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not {name for name in modules if name.partition(".")[0] in ("rich", "pydantic", "jinja2")}


def test_a_terminal_gets_a_table(books: Pdt) -> None:
    lines = books.on_terminal("repo", "ls", columns=200).out.splitlines()
    assert "name" in lines[0]
    assert "\x1b[" in lines[0]
    assert any("count.books" in line for line in lines[1:])


def test_an_unknown_repository_comes_with_a_guess(books: Pdt) -> None:
    for arguments in (["ls", "count.book"], ["cat", "count.book", "emma"], ["rm", "count.book", "emma"]):
        result = books("repo", *arguments, expect=3)
        assert result.out == ""
        assert result.err.startswith("pdt: ")
        assert "count.books" in result.err


def test_a_wrong_expression_shows_where(books: Pdt) -> None:
    result = books("repo", "ls", "count.books - - count.done", expect=2)
    assert "character 15" in result.err
    assert result.err.count("\n") == 1


@pytest.mark.parametrize("size", [0, 1, 1 << 20])
def test_what_is_put_comes_back_byte_for_byte(books: Pdt, size: int) -> None:
    value = os.urandom(size)
    command = [*books.command, "repo"]
    subprocess.run([*command, "put", "count.books", "new"], cwd=books.directory, env=books.env, input=value, check=True)
    done = subprocess.run(
        [*command, "cat", "count.books", "new"], cwd=books.directory, env=books.env, stdout=subprocess.PIPE, check=True
    )
    assert done.stdout == value


def test_put_reads_a_file_or_stdin(books: Pdt) -> None:
    file = books.write("somewhere/else.txt", "from a file")
    books("repo", "put", "count.books", "a", str(file))
    books("repo", "put", "count.books", "b", "-", input="from a pipe")
    assert books("repo", "cat", "count.books", "a", "b").out == "from a filefrom a pipe"


def test_put_tells_what_it_would_replace(books: Pdt) -> None:
    for job, action in (("emma", "replace"), ("new", "create")):
        assert books("repo", "put", "count.books", job, "--dry-run", input="x").out == f"count.books\t{job}\t{action}\n"
    assert books("repo", "ls", "count.books").out == "emma\npersuasion\nsanditon\n"
    assert books("repo", "cat", "count.books", "emma").out == "handsome clever and rich"


def test_broken_yaml_changes_nothing(books: Pdt) -> None:
    books("repo", "put", "count.words", "emma", input="count: 3\n")
    result = books("repo", "put", "count.words", "emma", input="count: [3\n", expect=2)
    assert result.err.startswith("pdt: ")
    assert result.err.count("\n") == 1
    assert json.loads(books("repo", "info", "count.words", "emma", "--json").out) == {"count": 3}


def test_a_file_that_is_not_there_changes_nothing(books: Pdt) -> None:
    result = books("repo", "put", "count.books", "emma", "nowhere.txt", expect=1)
    assert result.err == "pdt: nowhere.txt: No such file or directory\n"
    assert books("repo", "cat", "count.books", "emma").out == "handsome clever and rich"


def test_put_says_on_a_terminal_what_it_waits_for(books: Pdt) -> None:
    result = books.on_terminal("repo", "put", "count.books", "typed", type=[("Ctrl-D", "a line\n\x04")])
    assert result.code == 0
    assert books("repo", "cat", "count.books", "typed").out == "a line\n"


def test_cat_of_a_job_that_is_not_there(books: Pdt) -> None:
    result = books("repo", "cat", "count.books", "emma", "nobody", expect=3)
    assert result.out == "handsome clever and rich"
    assert "nobody" in result.err
    assert result.err.count("\n") == 1


def test_a_reader_that_leaves_early_is_no_error(books: Pdt) -> None:
    (books.directory / "books" / "large.txt").write_bytes(bytes(4 << 20))
    with subprocess.Popen(
        [*books.command, "repo", "cat", "count.books", "large"],
        cwd=books.directory,
        env=books.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(1) == b"\0"
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_a_closed_output_is_no_error_and_a_full_one_is(books: Pdt) -> None:
    def shell(redirection: str) -> tuple[int, str]:
        done = subprocess.run(
            ["sh", "-c", f'"$@" {redirection}', "sh", *books.command, "repo", "ls", "count.books"],
            cwd=books.directory,
            env=books.env,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        return done.returncode, done.stderr

    assert shell(">&-") == (0, "")
    assert shell("</dev/null >&- 2>&-") == (0, "")
    assert shell(">/dev/full") == (1, "pdt: the output could not be written: No space left on device\n")


def test_info_is_what_a_template_sees(books: Pdt) -> None:
    assert books("repo", "info", "count.books", "emma").out == f"{books.directory}/books/emma.txt\n"
    books("repo", "put", "count.words", "emma", input="{count: 3, tags: [a, b]}")
    assert json.loads(books("repo", "info", "count.words", "emma").out) == {"count": 3, "tags": ["a", "b"]}


class TestRemoval:
    def test_the_named_jobs_are_deleted_and_told(self, books: Pdt) -> None:
        assert books("repo", "rm", "count.books", "emma").out == "count.books\temma\n"
        assert not Path(books.directory / "books" / "emma.txt").exists()

    def test_a_dry_run_deletes_nothing(self, books: Pdt) -> None:
        assert books("repo", "rm", "count.books", "--all", "-n").out.splitlines() == [
            "count.books\temma",
            "count.books\tpersuasion",
            "count.books\tsanditon",
        ]
        assert len(os.listdir(books.directory / "books")) == 3

    def test_recursively_what_depends_on_it_goes_too(self, books: Pdt) -> None:
        books("run")
        removed = {line.split("\t")[0] for line in books("repo", "rm", "-r", "count.books", "emma").out.splitlines()}
        assert {"count.books", "count.words", "count.done", "report.stdout", "report.done"} <= removed
        assert books("repo", "ls", "report.done").out == "persuasion\nsanditon\n"

    def test_a_pipe_is_not_asked(self, books: Pdt) -> None:
        assert len(books("repo", "rm", "count.books", "--all").out.splitlines()) == 3

    @pytest.mark.parametrize(("answer", "code", "left"), [("\n", 1, 3), ("n\n", 1, 3), ("y\n", 0, 0)])
    def test_a_terminal_is_asked_before_more_than_was_named_goes(
        self, books: Pdt, answer: str, code: int, left: int
    ) -> None:
        result = books.on_terminal("repo", "rm", "count.books", "--all", type=[("[y/N]", answer)])
        assert "delete 3 values" in result.out
        assert result.code == code
        assert len(os.listdir(books.directory / "books")) == left

    def test_yes_spares_the_question(self, books: Pdt) -> None:
        assert "[y/N]" not in books.on_terminal("repo", "rm", "count.books", "--all", "--yes").out
        assert os.listdir(books.directory / "books") == []


class TestCp:
    def test_copies_and_tells_how_much(self, books: Pdt) -> None:
        assert books("repo", "cp", "count.books", "report.stdout", "emma").out == "emma\t24\n"
        assert books("repo", "cat", "report.stdout", "emma").out == books("repo", "cat", "count.books", "emma").out

    def test_a_dry_run_tells_what_would_be_copied(self, books: Pdt) -> None:
        result = books("repo", "cp", "count.books", "report.stdout", "--all", "-n", "--json")
        assert [row["job"] for row in json.loads(result.out)] == ["emma", "persuasion", "sanditon"]
        assert books("repo", "ls", "report.stdout").out == ""

    def test_wants_jobs_or_all(self, books: Pdt) -> None:
        assert "name the jobs" in books("repo", "cp", "count.books", "report.stdout", expect=2).err
