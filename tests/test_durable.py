"""What `--fsync` waits for, as the system calls of the real command show it, and what a loss of power may leave."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from tests.lab import Lab, tick_until_idle
from tests.processes import environment, until

PIPELINE = """
    from pathlib import Path
    from pdtcli import DirectoryRepository, Pipeline
    from tests.lab import Lab

    lab = Lab(Path(__file__).parent)
    out = lab.files("out")
    shell = lab.process("shell", "echo out; [ $PDT_JOB != bad ]", stdout=out)
    total = lab.function("total")
    total.plug(shell)
    total.link("copy", lab.files("copy"), is_output=True)
    total.link("tree", DirectoryRepository(lab.path("tree")), is_output=True)

    @total
    async def _(job, stdout, copy, tree):
        await copy.write_bytes(job, await stdout.read_bytes(job))
        async with await tree.create(job) as path:
            (path / "below").mkdir()
            (path / "below" / "part").write_text("x")
            (path / "link").symlink_to("/nowhere")

    pipeline = Pipeline([shell, total], lab.session)
"""

CALL = re.compile(r"\d+ +(?P<call>\w+)\((?P<arguments>.*)\) += (?:0|\d+<.*>)$")
UNFINISHED = " <unfinished ...>"
RESUMED = re.compile(r" *<\.\.\. \w+ resumed>")
PATH = re.compile(r'<([^>]*)>|"([^"]*)"')


def traced(lab: Lab, *command: str) -> list[list[str]]:
    """The calls that wait for the disk, name a file and unlink one, each with its paths, as a command makes them."""
    log = lab.path("strace")
    trace = ["strace", "-f", "-y", "-s", "4096", "-o", str(log), "-e", "trace=fsync,fdatasync,rename,linkat,unlink"]
    done = subprocess.run(
        [*trace, sys.executable, "-m", "pdtcli", *command],
        cwd=lab.directory,
        env=environment(XDG_STATE_HOME=str(lab.path("xdg"))),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        check=False,
    )
    assert done.stderr == b"" or b"bad failed" in done.stderr, done.stderr.decode()
    calls = []
    for line in whole_calls(log.read_text().splitlines()):
        if (match := CALL.match(line)) is not None:
            paths = [os.path.relpath("".join(found), lab.directory) for found in PATH.findall(match["arguments"])]
            if match["call"] == "linkat":  # of a file without a name
                paths = [paths[0], paths[-1]]
            calls.append([match["call"], *paths])
    return calls


def whole_calls(lines: list[str]) -> Iterator[str]:
    """The lines of a log, with a call that another thread's interrupt as one line, where it ends."""
    begun: dict[str, str] = {}
    for line in lines:
        thread, _, text = line.partition(" ")
        if text.endswith(UNFINISHED):
            begun[thread] = text.removesuffix(UNFINISHED)
        elif (resumed := RESUMED.match(text)) is not None:
            yield f"{thread} {begun.pop(thread)}{text[resumed.end() :]}"
        else:
            yield line


@pytest.fixture
def given(lab: Lab) -> Lab:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    lab.path("pipeline.py").write_text(re.sub("^    ", "", PIPELINE, flags=re.M))
    lab.give("good", "bad")
    return lab


def steps(calls: list[list[str]], target: str) -> tuple[int, int, int]:
    """When the data of `target` was on the disk, when it got its name, and when the name was on the disk."""
    named = next(at for at, call in enumerate(calls) if call[0] in ("rename", "linkat") and call[2] == target)
    synced = calls.index(["fsync", calls[named][1]])
    kept = calls.index(["fsync", str(Path(target).parent)], named)
    return synced, named, kept


@pytest.mark.parametrize("setting", ["run --fsync", "tick --fsync", "Pipeline(fsync=True)"])
def test_a_record_is_on_the_disk_before_anything_is_removed(given: Lab, setting: str) -> None:
    if setting.startswith("Pipeline"):
        path = given.path("pipeline.py")
        path.write_text(path.read_text().replace("lab.session)", "lab.session, fsync=True)"))
        calls = traced(given, "run")
    elif setting.startswith("tick"):
        traced(given, *setting.split())
        until(lambda: all((given.state / f"shell/{job}/run").read_text().count("\n") == 2 for job in ("good", "bad")))
        calls = traced(given, *setting.split())
    else:
        calls = traced(given, *setting.split())

    for job, outcome in (("good", "done"), ("bad", "failed")):
        out, record = steps(calls, f"out/{job}"), steps(calls, f"shell.{outcome}/{job}.yaml")
        discarded = calls.index(["unlink", f"state/lab/shell/{job}/run"])
        released = calls.index(["unlink", f"shell.pids/{job}.yaml"], record[2])
        assert sorted([*out, *record, discarded, released]) == [*out, *record, discarded, released]
    copy, total = steps(calls, "copy/good"), steps(calls, "total.done/good.yaml")
    assert sorted([*copy, *total]) == [*copy, *total]


def test_without_it_nothing_waits_for_the_disk(given: Lab) -> None:
    calls = traced(given, "run")

    assert given.keys("shell.done") == given.keys("total.done") == {"good"}
    assert not [call for call in calls if call[0] not in ("rename", "linkat", "unlink")]


def test_a_directory_is_on_the_disk_with_all_that_is_in_it(given: Lab) -> None:
    calls = traced(given, "run", "--fsync")

    _, named, _ = steps(calls, "tree/good")
    temporary = calls[named][1]
    before = [call[1] for call in calls[:named] if call[0] == "fsync" and call[1].startswith(temporary)]
    assert before == [f"{temporary}/below/part", f"{temporary}/below", temporary]


def test_an_outcome_outweighs_an_exit_status_that_a_loss_of_power_took_back(lab: Lab) -> None:
    lab.give("a")
    pipeline = lab.pipeline(lab.process("shell", "true"))
    tick_until_idle(pipeline)
    done = lab.record("shell.done", "a")
    live = {"host": done["host"], "boot_id": "earlier", "attempt": done["attempt"], "start_time": done["start_time"]}
    lab.path("shell.pids/a.yaml").write_text(yaml.safe_dump({**live, "pid": 1, "process_start": 1}))
    directory = lab.state / "shell" / "a"
    directory.mkdir(mode=0o700)
    (directory / "token").write_text(f"{done['attempt']}\n")
    (directory / "run").write_text("")

    pipeline.tick()

    assert lab.record("shell.done", "a") == done
    assert lab.keys("shell.failed") == lab.keys("shell.pids") == set()
    assert lab.litter() == []
