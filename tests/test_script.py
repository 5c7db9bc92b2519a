"""The functions for scripts, with the names and formats that pydatatask gave them."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import pytest
from tests.lab import Lab
from tests.processes import python

import pdtcli
from pdtcli import NotReady, Pipeline


@pytest.fixture
def pipeline(lab: Lab) -> Pipeline:
    """Two tasks and three inputs, one of which fails."""
    lab.give("a", "b", "bad")
    first = lab.process("first", '[ "$PDT_JOB" != bad ] && echo "$PDT_JOB"', stdout=lab.files("out"))
    second = lab.process("second", "true")
    second.plug(first)
    return lab.pipeline(first, second).pipeline


async def test_run_and_print_status(pipeline: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    async with pipeline:
        await pdtcli.run(pipeline)
        await pdtcli.print_status(pipeline)

    assert capsys.readouterr().out == textwrap.dedent("""\
        first
        first.input 3
        first.pids 0
        first.done 2
        first.failed 1
        first.stdout 3

        second
        second.input 3
        second.stdout 3
        second.pids 0
        second.done 2
        second.failed 0

    """)


async def test_print_status_of_all_repositories(pipeline: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    async with pipeline:
        await pdtcli.print_status(pipeline, all_repos=True)

    assert "second.first_done 0\n" in capsys.readouterr().out


async def test_print_trace(pipeline: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    async with pipeline:
        await pdtcli.run(pipeline)
        await pdtcli.print_trace(pipeline, False, ["b", "bad", "nowhere"])

    out = capsys.readouterr().out
    assert "first\nfirst.input b bad\n" in out
    assert "first.done b\nfirst.failed bad\n" in out
    assert out.endswith("\n\n")


async def test_update_is_one_cycle(pipeline: Pipeline, lab: Lab) -> None:
    async with pipeline:
        await pdtcli.update(pipeline)

        assert lab.keys("first.pids") == {"a", "b", "bad"}
        await pdtcli.run(pipeline)


async def test_launch_by_hand(pipeline: Pipeline, lab: Lab) -> None:
    async with pipeline:
        await pdtcli.launch(pipeline, "first", "a", sync=True)
        with pytest.raises(NotReady):
            await pdtcli.launch(pipeline, "first", "a", sync=True)
        await pdtcli.launch(pipeline, "first", "a", sync=True, force=True)
        await pdtcli.launch(pipeline, "first", "b", sync=True, meta=False)

    assert lab.keys("first.done") == {"a"}
    assert lab.keys("out") == {"a", "b"}


async def test_a_time_limit(lab: Lab) -> None:
    lab.give("a")
    task = lab.process("slow", "exec sleep 1000")

    async with lab.pipeline(task).pipeline as pipeline:
        with pytest.raises(TimeoutError):
            await pdtcli.run(pipeline, timeout=0.2)
        await task.cancel("a")


async def test_list_cat_and_delete(pipeline: Pipeline, lab: Lab, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    async with pipeline:
        await pdtcli.run(pipeline)
        await pdtcli.list_data(pipeline, ["first.input", "-", "first.done"])
        await pdtcli.cat_data(pipeline, "first.stdout", "b")
        sys.stdout.flush()
        assert capfdbinary.readouterr().out.split() == [b"bad", b"b"]

        await pdtcli.delete_data(pipeline, "first", True, ["a"])
        await pdtcli.delete_data(pipeline, "second.done", False, ["__all__"])

    out = capfdbinary.readouterr().out.decode().splitlines()
    assert "a first.stdout" in out
    assert out[-1] == "b second.done"
    assert lab.keys("second.done") == set()


def test_inject_data_from_standard_input(tmp_path: Path) -> None:
    script = """
        import asyncio, io, sys
        from pathlib import Path
        import pdtcli
        from tests.lab import Lab
        lab = Lab(Path(sys.argv[1]))
        async def main():
            async with lab.pipeline(lab.process("shell", "true")).pipeline as pipeline:
                await pdtcli.inject_data(pipeline, "shell.input", "a")
        sys.stdin = io.TextIOWrapper(io.BytesIO(b"injected"))
        asyncio.run(main())
    """

    python(script, tmp_path)

    assert (tmp_path / "input" / "a").read_bytes() == b"injected"


def test_a_script_that_ends_with_main_is_a_command_line(tmp_path: Path) -> None:
    script = """
        import sys
        from pathlib import Path
        import pdtcli
        from tests.lab import Lab
        lab = Lab(Path(sys.argv[1]))
        sys.argv[1:] = sys.argv[2:]
        def instrument(app):
            @app.command()
            def hello():
                print("hello from a script")
        pdtcli.main(lab.pipeline(lab.process("shell", "true")).pipeline, instrument)
    """

    assert python(script, tmp_path, "task", "ls").split()[0] == "shell"
    assert python(script, tmp_path, "hello") == "hello from a script\n"
