"""What the README tells a reader to type, typed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
TEXTS = {"moby-dick": "Call me Ishmael.", "emma": "Emma Woodhouse, handsome, clever, and rich,"}


def blocks(language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def commands() -> list[str]:
    """Every command line that calls pdt."""
    return [line for block in blocks("sh") for line in block.splitlines() if line.startswith("pdt ")]


class Words:
    """The README's pipeline in a directory of its own, with two texts."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "words"
        (self.directory / "texts").mkdir(parents=True)
        pipeline = next(block for block in blocks("python") if block.startswith("# pipeline.py\n"))
        (self.directory / "pipeline.py").write_text(pipeline, encoding="utf-8")
        for job, text in TEXTS.items():
            (self.directory / "texts" / f"{job}.txt").write_text(f"{text}\n", encoding="utf-8")
        self.env = {"HOME": str(directory), "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}

    def __call__(self, *command: str, expect: int = 0) -> str:
        done = subprocess.run(
            command, cwd=self.directory, env=self.env, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == expect, done
        return done.stdout

    def shell(self, line: str, expect: int = 0) -> str:
        return self("sh", "-c", line, expect=expect)


@pytest.fixture
def words(tmp_path: Path) -> Words:
    return Words(tmp_path)


def test_the_commands_are_there() -> None:
    assert len(commands()) >= 8
    assert commands()[0].split()[:2] == ["pdt", "run"]


def test_every_command_works_in_the_order_of_the_page(words: Words) -> None:
    for line in commands():
        # Nothing has failed here that could be tried again; the next test has something.
        words.shell(line, expect=3 if line.startswith("pdt task retry ") else 0)
    assert words("pdt", "repo", "cat", "count.stdout", *TEXTS) == "3\n6\n"


def test_what_failed_is_tried_again_as_the_page_says(words: Words) -> None:
    broken = words.directory / "bin" / "wc"
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\nexit 3\n")
    broken.chmod(0o755)
    words("env", f"PATH={broken.parent}:{words.env['PATH']}", "pdt", "run", expect=1)
    assert words("pdt", "repo", "ls", "count.failed") == "emma\nmoby-dick\n"
    words.shell(next(line for line in commands() if "xargs" in line))
    words("pdt", "run")
    assert words("pdt", "repo", "cat", "count.stdout", "moby-dick") == "3\n"


def test_the_line_for_cron_works_without_an_environment_and_in_silence(words: Words) -> None:
    (crontab,) = [line for line in README.splitlines() if line.startswith("*/5 ")]
    line = crontab.split(maxsplit=5)[5].replace("/srv/words/.venv/bin", str(Path(sys.executable).parent))
    line = line.replace("/srv/words", str(words.directory))
    while words.shell("pdt repo ls count.done") != "emma\nmoby-dick\n":
        assert words.shell(f"cd / && exec env -i HOME=$HOME {line} 2>&1") == ""


def test_the_script_works_beside_the_pipeline(words: Words) -> None:
    script = next(block for block in blocks("python") if "open_pipeline(" in block)
    assert words("python", "-c", script) == "emma 6\nmoby-dick 3\n"


def test_the_table_of_exit_codes_is_that_of_the_program() -> None:
    from pdtcli.errors import ExitCode

    assert {int(code) for code in re.findall(r"^\| (\d+) \|", README, re.MULTILINE)} == set(ExitCode)


def test_what_it_links_to_is_there() -> None:
    for page in (Path("README.md"), Path("CONTRIBUTING.md"), *Path("docs").glob("*.md")):
        full = Path(__file__).parents[2] / page
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", full.read_text(encoding="utf-8")):
            assert (full.parent / target).exists(), f"{page} links to {target}"
