"""Start-up: what is imported when, the help pages, and what typer makes of the arguments."""

from __future__ import annotations

import subprocess
import sys

import pytest
from tests.cli.harness import Pdt

COMMANDS = [
    (),
    *(("repo", *rest) for rest in ((), ("ls",), ("cat",), ("put",), ("rm",), ("info",))),
    *(("task", *rest) for rest in ((), ("ls",), ("status",), ("run",), ("why",), ("logs",), ("cancel",), ("retry",))),
    *(("quota", *rest) for rest in ((), ("show",))),
    ("tick",),
    ("run",),
    ("status",),
    ("trace",),
    ("check",),
]

# Whatever the command does in the end, these modules are not for the way there.
HEAVY = {"asyncio", "jinja2", "logging", "multiprocessing", "psutil", "pydantic", "rich", "yaml"}


def imported(pdt: Pdt, *arguments: str, **env: str) -> set[str]:
    """The modules that a command has imported at its end."""
    program = (
        "import atexit, sys\n"
        "atexit.register(lambda: print('\\n'.join(sys.modules), file=sys.stderr))\n"
        "sys.argv[0] = 'pdt'\n"
        "from pdtcli.cli.app import entry\n"
        "entry()\n"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", program, *arguments],
        cwd=pdt.directory,
        env={**pdt.env, "PYTHONPATH": ":".join([pdt.env["PYTHONPATH"], *sys.path[1:]]), **env},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return set(done.stderr.split())


def own(modules: set[str]) -> set[str]:
    return {name for name in modules if name.startswith("pdtcli.")}


def foreign(modules: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in modules} - sys.stdlib_module_names - {"pdtcli", "__main__"}


def test_the_version_needs_nothing(pdt: Pdt) -> None:
    modules = imported(pdt, "--version")
    assert own(modules) == {"pdtcli.cli", "pdtcli.cli.app"}
    assert foreign(modules) == set()


@pytest.mark.parametrize("arguments", [["--help"], ["-v", "--help"], ["-p", "x", "--version"]])
def test_the_program_itself_needs_typer_only(pdt: Pdt, arguments: list[str]) -> None:
    modules = imported(pdt, *arguments)
    assert own(modules) == {
        "pdtcli.cli",
        "pdtcli.cli.app",
        "pdtcli.cli.command",
        "pdtcli.cli.complete",
        "pdtcli.cli.options",
        "pdtcli.cli.root",
        "pdtcli.errors",
    }
    assert foreign(modules) - {"typer", "click", "typing_extensions", "annotated_doc", "shellingham"} == set()
    assert not modules & HEAVY


def test_completing_a_command_needs_no_more(pdt: Pdt) -> None:
    modules = imported(pdt, _PDT_COMPLETE="complete_zsh", _TYPER_COMPLETE_ARGS="pdt r")
    assert not modules & HEAVY
    assert not any(name in modules for name in ("pdtcli.cli.repo", "pdtcli.cli.pipeline"))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_page_ends_with_an_example(pdt: Pdt, command: tuple[str, ...]) -> None:
    page = pdt(*command, "--help").out
    lines = page.splitlines()
    assert lines[0].startswith(" ".join(["Usage: pdt", *command]))
    example = lines[lines.index("Example:") + 1 :]
    assert example
    assert all(line.startswith("  ") for line in example)
    assert any("pdt " in line for line in example)
    assert "Common options:" in lines
    assert all(len(line) <= 80 for line in lines)


def test_help_is_also_dash_h(pdt: Pdt) -> None:
    assert pdt("repo", "ls", "-h").out == pdt("repo", "ls", "--help").out


def test_no_command_shows_the_help(pdt: Pdt) -> None:
    result = pdt(expect=2)
    assert result.err.startswith("Usage: pdt")
    assert result.out == ""


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["rep"], ["no such command 'rep'", "Did you mean 'repo'?", "(see 'pdt --help')"]),
        (["repo", "ls", "--jsn"], ["--jsn", "--json", "(see 'pdt repo ls --help')"]),
        (["repo", "cat"], ["missing argument 'REPO'", "(see 'pdt repo cat --help')"]),
        (["repo", "cat", "a.b"], ["missing argument 'JOB'", "(see 'pdt repo cat --help')"]),
        (["tick", "--wait", "x"], ["'--wait'", "'x' is not a", "(see 'pdt tick --help')"]),
        (["tick", "--wait", "-1"], ["'--wait'", "-1", "(see 'pdt tick --help')"]),
        (["tick", "now"], ["unexpected extra argument", "now", "(see 'pdt tick --help')"]),
        (["status", "-o", "xml"], ["--output takes table, plain, json or jsonl, not 'xml'"]),
        (["status", "--json", "-o", "plain"], ["--json and --output plain exclude each other"]),
        (["status", "--log-format", "xml"], ["--log-format takes text or json, not 'xml'"]),
        (["repo", "rm", "a.b"], ["name the jobs, or give --all for all of them"]),
        (["repo", "rm", "a.b", "j", "--all"], ["name jobs or give --all, not both"]),
        (["task", "retry", "a"], ["name the jobs, or give --all for all of them"]),
        (["task", "cancel", "a"], ["name the jobs, or give --all for all of them"]),
    ],
)
def test_a_wrong_command_line_is_one_sentence(pdt: Pdt, arguments: list[str], told: list[str]) -> None:
    result = pdt(*arguments, expect=2)
    assert result.out == ""
    assert result.err.startswith("pdt: ")
    assert result.err.count("\n") == 1
    assert all(part in result.err for part in told)


@pytest.mark.parametrize("job", ["../etc/passwd", "", "-x", "a b", "x" * 64, "a/b", "ä"])
@pytest.mark.parametrize("command", [["repo", "cat", "a.b"], ["repo", "put", "a.b"], ["task", "why", "a"], ["trace"]])
def test_an_invalid_job_is_refused_before_anything_is_loaded(pdt: Pdt, command: list[str], job: str) -> None:
    result = pdt(*command, "--", job, expect=2)
    assert "is not a valid job id" in result.err
    assert result.err.count("\n") == 1
