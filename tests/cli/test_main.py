"""How the pipeline is found, what is said of one that does not load, and scripts that are their own command line."""

from __future__ import annotations

import subprocess

import pytest
from tests.cli.harness import BOOKS, Pdt

BY_ITS_NAME = "import sys; sys.argv[0] = 'pdt'; from pdtcli.cli.app import entry; entry()"
"""The command under the name by which shells call it, which a variable of completion is called after."""


@pytest.mark.parametrize(
    "arguments",
    [
        ["-p", "other.py", "repo", "ls", "count.books"],
        ["repo", "--pipeline", "other.py", "ls", "count.books"],
        ["repo", "ls", "-p", "other.py", "count.books"],
        ["repo", "ls", "count.books", "--pipeline=other.py:pipeline"],
        ["-p", "nowhere.py", "repo", "ls", "count.books", "-p", "other.py"],
    ],
)
def test_the_pipeline_may_be_named_anywhere(pdt: Pdt, arguments: list[str]) -> None:
    pdt.write("other.py", BOOKS)
    pdt.write("books/emma.txt", "x")
    assert pdt(*arguments).out == "emma\n"


def test_or_in_the_environment(pdt: Pdt) -> None:
    file = pdt.write("elsewhere/other.py", BOOKS)
    pdt.write("elsewhere/books/emma.txt", "x")
    assert pdt("repo", "ls", "count.books", env={"PDT_PIPELINE": str(file)}).out == "emma\n"


def test_without_a_pipeline_the_mend_is_said(pdt: Pdt) -> None:
    result = pdt("status", expect=2)
    assert "--pipeline" in result.err
    assert result.err.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x = = 1\n", "pipeline.py"),
        ("import math\n", "pipeline"),
        ("def helper():\n    return nonsense\n\npipeline = helper()\n", "nonsense"),
        ("raise SystemExit('no')\n", "pipeline.py"),
        ("pipeline = 3\n", "pipeline"),
    ],
)
def test_a_pipeline_that_does_not_load_is_one_sentence(pdt: Pdt, text: str, told: str) -> None:
    pdt.write("pipeline.py", text)
    result = pdt("status", expect=2)
    assert result.out == ""
    *frames, sentence = result.err.splitlines()
    assert sentence.startswith("pdt: ")
    assert told in sentence
    assert all(line.startswith((" ", "SyntaxError:")) for line in frames)
    assert "pdtcli" not in "".join(frames)


def test_the_frames_of_the_user_are_shown(pdt: Pdt) -> None:
    pdt.write("pipeline.py", "def helper():\n    return nonsense\n\npipeline = helper()\n")
    err = pdt("status", expect=2).err
    assert "in helper" in err
    assert "return nonsense" in err


def test_debug_shows_the_traceback(books: Pdt) -> None:
    err = books("repo", "cat", "count.books", "nobody", "--debug", expect=3).err
    assert err.startswith("Traceback")
    assert err.splitlines()[-1].startswith("pdt: ")


SCRIPT = (
    BOOKS
    + """
    def instrument(app):
        @app.command()
        def hello(name: str = "you"):
            "Greet."
            print("hello", name)

    if __name__ == "__main__":
        import pdtcli
        pdtcli.main(pipeline, instrument)
        print("still here")
"""
)


def script(pdt: Pdt, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [pdt.command[0], "books.py", *arguments],
        cwd=pdt.directory,
        env=pdt.env,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_script_can_be_its_own_command_line(pdt: Pdt) -> None:
    pdt.write("books.py", SCRIPT)
    pdt.write("books/emma.txt", "x")
    assert script(pdt, "repo", "ls", "count.books").stdout == "emma\nstill here\n"
    assert script(pdt, "hello", "--name", "world").stdout == "hello world\nstill here\n"
    assert "Greet." in script(pdt, "--help").stdout
    failed = script(pdt, "repo", "cat", "count.books", "nobody")
    assert (failed.returncode, failed.stdout) == (3, "")


class TestCompletion:
    def complete(self, pdt: Pdt, *words: str) -> list[str]:
        env = {"_PDT_COMPLETE": "complete_bash", "COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)}
        done = subprocess.run(
            [pdt.command[0], "-c", BY_ITS_NAME],
            cwd=pdt.directory,
            env={**pdt.env, **env},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stderr == ""
        return done.stdout.split()

    @pytest.mark.parametrize(
        ("words", "offered"),
        [
            (["ti"], ["tick"]),
            (["repo", ""], ["ls", "cat", "put", "rm", "cp", "info"]),
            (["repo", "ls", "--js"], ["--json"]),
            (["status", "-o", "js"], ["json", "jsonl"]),
            (["task", "why", ""], ["count", "report"]),
            (["repo", "cat", "count.b"], ["count.books"]),
            (["repo", "cat", "count.books", ""], ["emma", "persuasion", "sanditon"]),
            (["repo", "cat", "count.books", "emma", ""], ["persuasion", "sanditon"]),
            (["task", "why", "count", "em"], ["emma"]),
            (["repo", "rm", "rep"], ["report"]),
            (["trace", "sa"], ["sanditon"]),
        ],
    )
    def test_it_offers_commands_options_tasks_repositories_and_jobs(
        self, books: Pdt, words: list[str], offered: list[str]
    ) -> None:
        found = self.complete(books, "pdt", *words)
        assert [word for word in found if not word.startswith("report.")] == offered

    def test_it_is_silent_when_anything_is_wrong(self, books: Pdt) -> None:
        books.write("broken.py", "print('hello')\nraise ValueError\n")
        assert self.complete(books, "pdt", "-p", "broken.py", "task", "why", "") == []
        assert self.complete(books, "pdt", "repo", "cat", "no.such", "") == []

    def test_a_module_that_prints_does_not_get_in_the_way(self, books: Pdt) -> None:
        books.write("loud.py", "print('hello')\n" + "from pipeline import pipeline\n")
        assert self.complete(books, "pdt", "-p", "loud.py", "task", "why", "") == ["count", "report"]

    def test_a_large_repository_is_cut_short(self, books: Pdt) -> None:
        for number in range(500):
            books.write(f"books/n{number:04}.txt", "x")
        assert len(self.complete(books, "pdt", "repo", "cat", "count.books", "n")) == 200

    @pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
    def test_its_script_can_be_shown(self, pdt: Pdt, shell: str) -> None:
        done = subprocess.run(
            [pdt.command[0], "-c", BY_ITS_NAME],
            cwd=pdt.directory,
            env={**pdt.env, "_PDT_COMPLETE": f"source_{shell}"},
            capture_output=True,
            text=True,
            check=True,
        )
        assert f"_PDT_COMPLETE=complete_{shell}" in done.stdout

    def test_that_of_the_shell_in_which_it_runs_is_shown(self, pdt: Pdt) -> None:
        # In whatever the tests were started from, there may be no shell at all.
        script = '"$@" --show-completion; exit $?'
        done = subprocess.run(
            ["bash", "-c", script, "bash", *pdt.command],
            cwd=pdt.directory,
            env=pdt.env,
            capture_output=True,
            text=True,
            check=True,
        )
        assert "_PDT_COMPLETE=complete_bash" in done.stdout
