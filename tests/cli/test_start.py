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
        "pdtcli.record",
    }
    assert foreign(modules) - {"typer", "click", "typing_extensions", "annotated_doc", "shellingham"} == set()
    assert not modules & HEAVY


def test_completing_a_command_needs_no_more(pdt: Pdt) -> None:
    modules = imported(pdt, _PDT_COMPLETE="complete_zsh", _TYPER_COMPLETE_ARGS="pdt r")
    assert not modules & HEAVY
    assert not any(name in modules for name in ("pdtcli.cli.repo", "pdtcli.cli.pipeline"))


# A pipeline over plain directories, such as most are.
PLAIN = """
    from pathlib import Path

    from pdtcli import (
        FileRepository, LocalLinuxManager, Pipeline, ProcessTask, ResourceManager, Resources, Session,
        YamlMetadataFileRepository,
    )

    here = Path(__file__).parent
    session = Session()

    @session.resource
    async def localhost():
        yield LocalLinuxManager("plain", local_path=here / "state")

    task = ProcessTask(
        "task",
        localhost,
        ResourceManager(Resources.parse("2", "1Gi")),
        Resources.parse("1", "64Mi"),
        YamlMetadataFileRepository(here / "pids"),
        "true",
        done=YamlMetadataFileRepository(here / "done"),
    )
    task.link("input", FileRepository(here / "input"), is_input=True)
    pipeline = Pipeline([task], session)
"""
# What no pipeline over plain directories needs to find out that there is nothing to do.
LIBRARIES = {
    "boto3",
    "botocore",
    "docker",
    "fsspec",
    "httpx",
    "jinja2",
    "psutil",
    "pydantic",
    "pymongo",
    "rich",
    "yaml",
}


@pytest.fixture
def plain(pdt: Pdt) -> Pdt:
    pdt.write("pipeline.py", PLAIN)
    for name in ("input/a", "done/a.yaml"):
        pdt.write(name, "")
    return pdt


def test_a_listing_of_a_directory_needs_little(plain: Pdt) -> None:
    modules = imported(plain, "repo", "ls", "task.input")
    assert own(modules) == {
        "pdtcli.cli",
        "pdtcli.cli.app",
        "pdtcli.cli.command",
        "pdtcli.cli.complete",
        "pdtcli.cli.context",
        "pdtcli.cli.logs",
        "pdtcli.cli.options",
        "pdtcli.cli.output",
        "pdtcli.cli.repo",
        "pdtcli.cli.root",
        "pdtcli.atomic",
        "pdtcli.errors",
        "pdtcli.expression",
        "pdtcli.facade",
        "pdtcli.host",
        "pdtcli.job",
        "pdtcli.launches",
        "pdtcli.lazy",
        "pdtcli.link",
        "pdtcli.loader",
        "pdtcli.manager",
        "pdtcli.manager.base",
        "pdtcli.manager.local",
        "pdtcli.offload",
        "pdtcli.outcome",
        "pdtcli.paths",
        "pdtcli.pipeline",
        "pdtcli.pump",
        "pdtcli.quota",
        "pdtcli.record",
        "pdtcli.report",
        "pdtcli.repository",
        "pdtcli.repository.base",
        "pdtcli.repository.combine",
        "pdtcli.repository.file_stream",
        "pdtcli.repository.files",
        "pdtcli.repository.flat",
        "pdtcli.repository.names",
        "pdtcli.repository.yaml",
        "pdtcli.session",
        "pdtcli.state",
        "pdtcli.stream",
        "pdtcli.task",
        "pdtcli.task.base",
        "pdtcli.task.claim",
        "pdtcli.task.hearing",
        "pdtcli.task.live",
        "pdtcli.task.prepare",
        "pdtcli.task.process",
        "pdtcli.task.settle",
        "pdtcli.template",
    }
    assert not modules & (LIBRARIES | {"asyncio", "ctypes", "hashlib", "importlib.resources", "socket", "tempfile"})


def test_a_tick_with_nothing_to_do_imports_no_library(plain: Pdt) -> None:
    modules = imported(plain, "tick", "--no-memory")
    assert not modules & (LIBRARIES | {"ctypes"})
    assert foreign(modules) - {"typer", "click", "typing_extensions", "annotated_doc", "shellingham"} == {
        "pdt_pipeline_pipeline"
    }


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
