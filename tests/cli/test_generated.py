"""The man pages and completion scripts: up to date, complete, and at work in real shells."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.cli.harness import Pdt

ROOT = Path(__file__).parents[2]
COMPLETIONS = ROOT / "completions"
PAGES = sorted((ROOT / "man").glob("*.1"))


def tree(directory: Path) -> dict[str, str]:
    """The generated files below a directory."""
    paths = [*(directory / "completions").iterdir(), *(directory / "man").iterdir()]
    return {str(path.relative_to(directory)): path.read_text("utf-8") for path in paths}


def test_the_files_are_what_the_command_line_declares(tmp_path: Path) -> None:
    # Neither the terminal nor the language may make a difference.
    env = {**os.environ, "COLUMNS": "40", "LC_ALL": "C", "TZ": "Asia/Tokyo", "PYTHONPATH": str(ROOT / "src")}
    subprocess.run([sys.executable, ROOT / "tools" / "generate", tmp_path], env=env, check=True, timeout=60)
    assert tree(ROOT) == tree(tmp_path), "call `make generate`"


def test_the_wheel_installs_them() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert project["tool"]["hatch"]["build"]["targets"]["wheel"]["shared-data"] == {
        "completions/pdt.bash": "share/bash-completion/completions/pdt",
        "completions/_pdt": "share/zsh/site-functions/_pdt",
        "completions/pdt.fish": "share/fish/vendor_completions.d/pdt.fish",
        "man": "share/man/man1",
    }


# ---- man pages ------------------------------------------------------------------------------------------------------


def commands(context: Any) -> Iterator[Any]:
    """The contexts of a command and of all below it."""
    yield context
    if hasattr(context.command, "list_commands"):
        for name in context.command.list_commands(context):
            _, command, _ = context.command.resolve_command(context, [name])
            yield from commands(command.make_context(name, [], parent=context, resilient_parsing=True))


def plain(roff: str) -> str:
    """The text of a page without fonts and escapes."""
    for escape, text in ((r"\fB", ""), (r"\fI", ""), (r"\fR", ""), (r"\-", "-"), (r"\(aq", "'"), (r"\&", "")):
        roff = roff.replace(escape, text)
    return roff


def test_every_option_of_every_command_has_its_place() -> None:
    from typer.main import get_command

    from pdtcli.cli.app import build

    for context in commands(get_command(build()).make_context("pdt", [], resilient_parsing=True)):
        path = context.command_path.split(" ")
        page = plain((ROOT / "man" / f"{'-'.join(path[:2])}.1").read_text("utf-8"))
        common = page[page.index("\n.SH COMMON OPTIONS") : page.index("\n.SH EXIT STATUS")]
        # A command of a group has a subsection of its own.
        own = page[page.index(f"\n.SS {' '.join(path)} ") :] if len(path) > 2 else page
        own = own[: own.index("\n.S", 1)] if len(path) > 2 else own
        entries = [line for line in f"{own}{common}".splitlines() if line.startswith("-")]
        terms = {word.rstrip(",") for line in entries for word in line.split()}
        for param in context.command.get_params(context):
            if param.param_type_name == "option":
                assert set(param.opts) <= terms, (path, param.opts)
            else:
                assert f"\n{param.metavar}\n" in own, (path, param.metavar)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_has_its_sections_in_the_usual_order(page: Path) -> None:
    found = [line[4:] for line in page.read_text("ascii").splitlines() if line.startswith(".SH ")]
    usual = ["NAME", "SYNOPSIS", "DESCRIPTION", "COMMANDS", "ARGUMENTS", "OPTIONS", "COMMON OPTIONS"]
    usual += ["EXIT STATUS", "ENVIRONMENT", "FILES", "EXAMPLES", "SEE ALSO"]
    assert found == [title for title in usual if title in found]
    assert set(usual) - set(found) <= {"COMMANDS", "ARGUMENTS", "OPTIONS"}


def test_what_is_typed_can_be_copied_from_a_page() -> None:
    text = (ROOT / "man" / "pdt-repo.1").read_text("ascii")
    assert r"pdt repo ls \(aqcount.books \- count.done\(aq | wc \-l" in text.splitlines()


@pytest.mark.parametrize("tool", [["mandoc", "-T", "lint", "-W", "warning"], ["groff", "-man", "-Tutf8", "-ww", "-z"]])
def test_formatters_find_no_fault(tool: list[str]) -> None:
    if shutil.which(tool[0]) is None:
        pytest.skip(f"{tool[0]} is not installed")
    done = subprocess.run([*tool, *PAGES], capture_output=True, text=True, check=False, timeout=60)
    faults = [line for line in (done.stdout + done.stderr).splitlines() if "missing date" not in line]
    assert faults == []


# ---- completion -----------------------------------------------------------------------------------------------------


@pytest.fixture
def shell(books: Pdt) -> Pdt:
    """`pdt` on the PATH of a shell, in a directory with a pipeline."""
    program = books.write("bin/pdt", f'#!/bin/sh\nexec "{sys.executable}" -m pdtcli "$@"\n')
    program.chmod(0o755)
    books.env["PATH"] = f"{program.parent}:{books.env['PATH']}"
    return books


def require(shell: str) -> str:
    """The path of a shell, without which the test is skipped."""
    path = shutil.which(shell)
    if path is None:
        pytest.skip(f"{shell} is not installed")
    return path


def run(shell: Pdt, *command: str) -> str:
    """What a shell prints."""
    done = subprocess.run(
        command, cwd=shell.directory, env=shell.env, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


# The words of a command line as bash breaks them, the last one incomplete, and what is offered.
BASH = [
    ("pdt qu", "quota"),
    ("pdt repo rm count.done --dr", "--dry-run"),
    ("pdt repo cat count.", "count.books count.done count.failed count.words"),
    ("pdt task why rep", "report"),
    ("pdt task why count ''", "emma persuasion sanditon"),
    ("pdt --pipeline = pipeline.py : pipeline trace em", "emma"),
    ("pdt status --output = js", "json jsonl"),
    ("./bin/pdt repo cat count.books emma per", "persuasion"),
    ("pdt repo put count.books emma pipel", ""),  # bash then offers files
    ("pdt -p nowhere.py task why ''", ""),
]


def test_bash_completes(shell: Pdt) -> None:
    script = [f"set -u; source {COMPLETIONS}/pdt.bash"]
    for number, (words, _) in enumerate(BASH):
        # All at once, since each starts an interpreter.
        script += [
            f"{{ COMP_WORDS=({words}) COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))",
            '_pdt_completion "$COMP_WORDS" "${COMP_WORDS[COMP_CWORD]}"',
            f"echo ${{COMPREPLY[*]}}; }} >offer-{number:02} &",
        ]
    script += ["wait", "cat offer-*"]
    offers = run(shell, require("bash"), "--norc", "-c", "\n".join(script)).splitlines()
    assert list(zip([words for words, _ in BASH], offers, strict=True)) == BASH


def test_bash_is_told_of_it(shell: Pdt) -> None:
    told = run(shell, require("bash"), "--norc", "-c", f"source {COMPLETIONS}/pdt.bash; complete -p pdt")
    assert told == "complete -o default -F _pdt_completion pdt\n"


def test_zsh_completes(shell: Pdt) -> None:
    shell.command = [require("zsh"), "-f", "-i"]
    shell.env["PS1"] = "READY> "
    session = shell.on_terminal(
        type=[
            ("READY> ", f"fpath=({COMPLETIONS} $fpath); autoload -Uz compinit; compinit -u -D; print SET''TLED\n"),
            ("SETTLED", "pdt repo cat count.b\t"),
            ("ooks", "sand\t"),
            ("iton", "\x15pdt repo put count.books emma pipel\t"),
            ("ine.py", "\x15exit\n"),
        ]
    )
    assert session.code == 0


FISH = [
    ("pdt qu", ["quota\tLook at the limits on what runs at once."]),
    ("pdt repo cat count.books em", ["emma"]),
    ("pdt task why rep", ["report"]),
    ("pdt status --output=js", ["--output=json", "--output=jsonl"]),
    ("pdt repo put count.books emma pipel", ["pipeline.py"]),
]


def test_fish_completes(shell: Pdt) -> None:
    script = [f"source {COMPLETIONS}/pdt.fish", *(f"complete -C '{line}'; echo ---" for line, _ in FISH)]
    offers = run(shell, require("fish"), "--no-config", "-c", "\n".join(script))
    assert [offer.splitlines() for offer in offers.split("---\n")[:-1]] == [offer for _, offer in FISH]
