"""A tick takes the last one's word that there is nothing to do, exactly as long as looking would find the same."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.lab import Lab
from tests.processes import until

from pdtcli import (
    AggregateOrRepository,
    DirectoryRepository,
    FileRepository,
    InProcessMetadataRepository,
    Pipeline,
    PipelineHandle,
    Repository,
    Session,
    Task,
)
from pdtcli.memory import FINE, Memory, _file_systems
from pdtcli.survey import Survey, decisive


@pytest.fixture
def here() -> Iterator[Lab]:
    """A directory on a file system whose times are known to be the kernel's."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        yield Lab(Path(directory))


class Looked:
    """A pipeline that counts how often its session was opened: once for each tick that looks."""

    def __init__(self, lab: Lab, *tasks: Task) -> None:
        self.times = 0
        self.lab = lab
        session = Session()

        @session.resource
        async def count() -> AsyncIterator[int]:
            self.times += 1
            yield self.times

        self.handle = PipelineHandle(Pipeline(tasks, session), None)

    def looks(self) -> bool:
        """Whether a tick looks, and does not remember."""
        before = self.times
        self.handle.tick()
        return self.times > before

    def settle(self) -> None:
        """Wait until the clock that stamps files has moved on from the last change."""
        directories = [path for path in self.lab.directory.rglob("*") if path.is_dir()]
        latest = max((os.stat(path).st_ctime_ns for path in directories), default=0)
        until(lambda: time.time_ns() > latest + FINE, "the clock to move on")

    def remember(self) -> None:
        """Ticks until nothing is left to do, and that is known."""
        self.handle.tick()
        self.settle()
        self.handle.tick()
        self.handle.tick()
        assert not self.looks()


def words(lab: Lab, **options: object) -> Looked:
    task = lab.function("words", input=lab.input, func=lambda job: None, **options)
    return Looked(lab, task)


def test_a_tick_after_which_nothing_changed_does_not_look(here: Lab) -> None:
    here.give("a", "b")
    pipeline = words(here)

    pipeline.remember()

    assert here.keys("words.done") == {"a", "b"}


def test_a_directory_that_is_one_tasks_done_and_another_ones_input_is_remembered_too(here: Lab) -> None:
    here.give("a")
    first = here.function("first", input=here.input, func=lambda job: None)
    second = here.function("second", input=here.files("first.done", ".yaml"), func=lambda job: None)
    pipeline = Looked(here, first, second)
    pipeline.handle.tick()

    pipeline.remember()

    assert here.keys("second.done") == {"a"}
    here.path("first.done/link.yaml").symlink_to("/etc/hostname")
    pipeline.handle.tick()
    pipeline.settle()
    pipeline.handle.tick()
    assert pipeline.looks()  # whether a link leads to a file may change at any time


def test_the_report_is_that_of_the_tick_that_looked(here: Lab) -> None:
    here.give("a", "b")
    task = here.function("words", input=here.input, func=lambda job: 1 // (job == "a"))
    task.link("more", here.metadata("more"), required_for_start=True)
    (here.path("more")).mkdir()
    (here.path("more") / "a.yaml").touch()
    (here.path("words.failed")).mkdir()
    (here.path("words.failed") / "c.yaml").touch()
    pipeline = Looked(here, task)
    pipeline.remember()

    remembered, looked = pipeline.handle.tick(), pipeline.handle.tick(memory=False)

    assert (remembered.waiting, remembered.failed_before) == (looked.waiting, looked.failed_before) == (1, 1)


@pytest.mark.parametrize(
    "change",
    [
        lambda lab: lab.give("c"),
        lambda lab: (lab.path("input") / "a").unlink(),
        lambda lab: (lab.path("words.done") / "a.yaml").unlink(),
        lambda lab: (lab.path("words.done") / "a.yaml").rename(lab.path("words.failed") / "a.yaml"),
        lambda lab: lab.path("input").touch(),
        lambda lab: (lab.path("input").rename(lab.path("old")), shutil.copytree(lab.path("old"), lab.path("input"))),
        lambda lab: os.chmod(lab.path("input"), 0o700),
    ],
    ids=["new", "gone", "undone", "moved", "touched", "replaced", "mode"],
)
def test_a_tick_looks_after_a_change(here: Lab, change: Callable[[Lab], object]) -> None:
    here.give("a", "b")
    pipeline = words(here)
    pipeline.remember()

    change(here)

    assert pipeline.looks()


def test_a_tick_looks_when_the_pipeline_is_another(here: Lab) -> None:
    here.give("a")
    words(here).remember()

    assert words(here, disabled=True).looks()


def test_a_tick_looks_when_it_is_told_to(here: Lab) -> None:
    here.give("a")
    pipeline = words(here)
    pipeline.remember()

    before = pipeline.times
    pipeline.handle.tick(memory=False)

    assert pipeline.times == before + 1


@pytest.mark.parametrize(
    "plant",
    [
        lambda lab: os.symlink("/etc/hostname", lab.path("input") / "link"),
        lambda lab: os.symlink("/nowhere", lab.path("input") / "link"),
        lambda lab: (lab.path("input") / ".pdt-elsewhere-0-1-1-1").touch(),
        lambda lab: (lab.path("input") / "no job").touch(),
        lambda lab: os.utime(lab.path("input"), ns=(0, time.time_ns() + 10**12)),
    ],
    ids=["link", "dangling", "temporary", "warning", "future"],
)
def test_what_changes_without_a_trace_is_not_remembered(here: Lab, plant: Callable[[Lab], object]) -> None:
    here.give("a")
    pipeline = words(here)
    pipeline.remember()

    plant(here)
    pipeline.settle()

    assert [pipeline.looks() for _ in range(3)] == [True] * 3


class Own(FileRepository):
    """A user's class, which may do anything."""


def mapped(lab: Lab) -> Repository:
    async def same(value: object) -> object:
        return value

    return lab.input.map(same)


@pytest.mark.parametrize(
    "source",
    [
        mapped,
        lambda lab: Own(lab.path("input")),
        lambda lab: InProcessMetadataRepository({}),
        lambda lab: DirectoryRepository(lab.path("input"), discard_empty=True),
        lambda lab: AggregateOrRepository(files=lab.input, memory=InProcessMetadataRepository({})),
        lambda lab: FileRepository("/proc/sys/kernel"),
    ],
    ids=["map", "subclass", "memory", "discard_empty", "part", "proc"],
)
def test_what_names_do_not_decide_is_not_remembered(here: Lab, source: Callable[[Lab], Repository]) -> None:
    here.give("a")
    task = here.function("words", func=lambda job: None, disabled=True)
    task.link("source", source(here), is_input=True)
    task.link("more", here.metadata("more"), required_for_start=True)
    pipeline = Looked(here, task)
    pipeline.handle.tick()
    pipeline.settle()

    assert [pipeline.looks() for _ in range(3)] == [True] * 3


def test_records_that_decide_are_read_each_time(here: Lab) -> None:
    here.give("a")
    first = here.function("first", input=here.input, func=lambda job: 1 // 0, failed=None)
    second = here.function("second", func=lambda job: None)
    second.plug(first)
    pipeline = Looked(here, first, second)
    pipeline.handle.tick()
    pipeline.settle()
    assert [pipeline.looks() for _ in range(2)] == [True] * 2

    with (here.path("first.done") / "a.yaml").open("w") as record:  # in place, without a trace in the directory
        record.write("success: true\n")
    pipeline.handle.tick()

    assert here.keys("second.done") == {"a"}


def test_while_something_is_live_every_tick_looks(here: Lab) -> None:
    here.give("a")
    task = here.process("shell", "true")
    here.path("shell.pids").mkdir()
    (here.path("shell.pids") / "a.yaml").write_text("host: another\n")
    pipeline = here.pipeline(task)
    pipeline.tick()
    Looked(here).settle()

    assert [pipeline.tick().live for _ in range(3)] == [1, 1, 1]


def test_only_file_systems_of_this_kernel_count() -> None:
    assert _file_systems()[os.stat("/proc").st_dev] == "proc"


def test_repositories_that_decide_are_those_that_are_listed(here: Lab) -> None:
    first = here.process("first", "true", stdout=here.files("out"))
    second = here.function("second", failed=None, func=lambda job: None)
    second.plug(first)
    third = here.process("third", "true", done=None, fails=False, stdout=here.files("third.out"))

    async def listed(task: Task) -> set[Repository]:
        for repository in here.pipeline(task).pipeline.repositories():
            await repository.validate()
        survey = Survey()
        await survey.standing(task)
        return {repository for repository in survey.listed if not repository.bases}

    for task in (first, second, third):
        decide = {base for repository in decisive(task) for base in _leaves(repository)}
        assert asyncio.run(listed(task)) == decide


def _leaves(repository: Repository) -> set[Repository]:
    return {leaf for base in repository.bases for leaf in _leaves(base)} if repository.bases else {repository}


CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["input", "one.done", "one.failed", "one.pids", "two.done", "more"]),
        st.sampled_from(["a", "b", "c"]),
        st.sampled_from(["put", "remove", "link", "target", "quiet", "quiet"]),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=25, deadline=None)
@given(CHANGES)
def test_what_is_remembered_is_what_looking_finds(changes: list[tuple[str, str, str]]) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        lab = Lab(Path(directory))
        one = lab.process("one", "true", disabled=True)
        one.link("more", lab.metadata("more"), inhibits_start=True)
        two = lab.function("two", func=lambda job: None, disabled=True)
        two.plug(one)
        pipeline = PipelineHandle(Pipeline([one, two], lab.session), None)
        ticks = Looked(lab)
        pipeline.tick(memory=False)
        for name, job, change in changes:
            path = lab.path(name) / (job if name == "input" else f"{job}.yaml")
            if change == "put":
                path.write_text("{host: another}\n")
            elif change == "remove":
                path.unlink(missing_ok=True)
            elif change == "link" and not os.path.lexists(path):
                path.symlink_to(lab.path("target"))
            elif change == "target":
                lab.path("target").touch()
            else:
                ticks.settle()
            memory = Memory(pipeline.pipeline.tasks.values(), "test")
            remembered = memory.recall()
            looked = pipeline.tick(memory=False)
            if remembered is None:
                memory.keep(looked)
            else:
                looked.seconds = 0.0
                assert remembered == looked
