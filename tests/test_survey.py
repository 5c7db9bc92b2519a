"""One look at everything: each repository is listed once, and every job stands in one place."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.lab import Lab

from pdtcli import (
    DirectoryRepository,
    FileRepository,
    InProcessMetadataRepository,
    InProcessSyncTask,
    YamlMetadataFileRepository,
)
from pdtcli.repository.combine import SucceededRepository
from pdtcli.survey import Standing, Survey


class Counted(InProcessMetadataRepository):
    """Counts how often it is listed, and asked for single jobs."""

    listed = asked = 0

    async def keys(self) -> set[str]:
        self.listed += 1
        return await super().keys()

    async def contains(self, job: str, /) -> bool:
        self.asked += 1
        return await super().contains(job)


async def test_a_repository_that_many_tasks_link_is_listed_once() -> None:
    source = Counted({str(number): number for number in range(100)})
    tasks: list[InProcessSyncTask] = []
    for name in ("one", "two", "three"):
        task = InProcessSyncTask(name, Counted(), failed=Counted(), func=lambda job: None)
        task.link("source", source, is_input=True)
        if tasks:
            task.plug(tasks[-1])
        tasks.append(task)

    rows = await Survey().counts(tasks)

    repositories = {link.repo for task in tasks for link in task.links.values() if isinstance(link.repo, Counted)}
    assert {(repository.listed, repository.asked) for repository in repositories} == {(1, 0)}
    assert [(row.ready, row.waiting) for row in rows] == [(100, 0), (0, 100), (0, 100)]


def test_what_has_the_same_keys_is_listed_once_whatever_its_values_are_taken_for(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    records = YamlMetadataFileRepository(tmp_path)
    assert FileRepository(tmp_path / "link", ".yaml").listing == records.listing

    others = [
        FileRepository(tmp_path),
        FileRepository(tmp_path, ".yaml", case_insensitive=True),
        FileRepository(tmp_path, ".yaml", shard=1),
        DirectoryRepository(tmp_path, ".yaml"),
        DirectoryRepository(tmp_path, ".yaml", discard_empty=True),
        InProcessMetadataRepository(),
        InProcessMetadataRepository(),
    ]
    assert len({repository.listing for repository in [records, *others]}) == len(others) + 1


def holding(*jobs: str, **values: object) -> InProcessMetadataRepository:
    """A repository with these jobs."""
    return InProcessMetadataRepository({job: {"success": True} for job in jobs} | values)


async def test_a_task_s_own_ready_does_not_offer_what_is_live(lab: Lab) -> None:
    lab.give("a", "b")
    task = lab.process("shell", "true", ready=lab.input)
    for name in ("input", "shell.pids"):
        lab.path(name).mkdir(exist_ok=True)
    lab.path("shell.pids/a.yaml").touch()

    assert await Survey().ready(task) == {"b"}


@pytest.mark.parametrize(
    ("links", "waiting"),
    [
        ({"input": {"is_input": True}}, set()),
        ({"input": {"is_input": True}, "block": {"inhibits_start": True}}, {"c"}),
        ({"input": {"is_input": True}, "some": {"is_input": True}}, {"e"}),
        ({"succeeded": {"required_for_start": True}}, {"d"}),
    ],
    ids=["alone", "inhibited", "one of two inputs", "failed before"],
)
async def test_what_is_neither_ready_nor_begun_waits(links: dict[str, dict[str, bool]], waiting: set[str]) -> None:
    task = InProcessSyncTask("task", holding("a"), failed=holding("b"))
    records = holding(*"abce", d={"success": False})
    repositories = {
        "input": holding(*"abcde"),
        "block": holding("a", "c"),
        "some": holding(*"abcd"),
        "succeeded": SucceededRepository(records),
    }
    for name, dispositions in links.items():
        task.link(name, repositories[name], **dispositions)

    standing = await Survey().standing(task)

    assert (standing.done, standing.failed, standing.live) == ({"a"}, {"b"}, set())
    assert standing.waiting == waiting
    assert standing.ready == set("cde") - waiting


jobs = st.sets(st.sampled_from("abcdefgh"))


@given(jobs, jobs, jobs, jobs, jobs)
def test_no_job_stands_in_two_places_and_none_is_forgotten(
    known: set[str], ready: set[str], live: set[str], done: set[str], failed: set[str]
) -> None:
    standing = Standing(known, ready, live, done, failed)

    places = [standing.waiting, standing.ready, standing.live, standing.done, standing.failed]
    assert sum(map(len, places)) == len(set.union(*places))
    assert set.union(*places) == known | ready | live | done | failed
