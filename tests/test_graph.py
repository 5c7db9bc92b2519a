"""Who depends on whom, and under which names jobs are known there."""

from __future__ import annotations

from pdtcli import (
    BlockingRepository,
    InProcessMetadataRepository,
    InProcessSyncTask,
    MetadataRepository,
    RelatedItemRepository,
    Task,
)
from pdtcli.graph import Graph, Node, affected_jobs


async def nothing() -> None:
    """The body of tasks that never run."""


def repository(*jobs: str) -> InProcessMetadataRepository:
    return InProcessMetadataRepository(dict.fromkeys(jobs))


def a_task(name: str, done: MetadataRepository) -> Task:
    return InProcessSyncTask(name, done, func=nothing)


class Books:
    """books → count → counts → sort → sorted, with a list of banned books."""

    def __init__(self) -> None:
        self.books, self.counts, self.sorted = repository(), repository(), repository()
        self.banned = repository()
        self.count_done, self.sort_done = repository(), repository()
        self.count = a_task("count", self.count_done)
        self.count.link("books", self.books, is_input=True)
        self.count.link("banned", self.banned, inhibits_start=True)
        self.count.link("counts", self.counts, is_output=True)
        self.sort = a_task("sort", self.sort_done)
        self.sort.plug(self.count)
        self.sort.link("sorted", self.sorted, is_output=True)
        self.graph = Graph([self.count, self.sort])


def test_an_input_leads_to_its_task_and_a_task_to_its_outputs() -> None:
    b = Books()
    edges = set(b.graph.edges)
    assert {(b.books, b.count), (b.count, b.counts), (b.counts, b.sort), (b.sort, b.sorted)} <= edges
    assert (b.counts, b.count) not in edges


def test_what_inhibits_a_start_leads_to_the_task_and_does_not_depend_on_it() -> None:
    b = Books()
    assert b.graph.successors(b.banned) == (b.count,)
    assert (b.count, b.banned) not in set(b.graph.edges)


def test_the_record_of_a_task_both_depends_on_it_and_keeps_it_from_starting() -> None:
    b = Books()
    assert {(b.count, b.count_done), (b.count_done, b.count)} <= set(b.graph.edges)


def test_the_direct_dependants_come_with_the_node_itself() -> None:
    b = Books()
    assert list(b.graph.dependants(b.books, recursive=False)) == [b.books, b.count]


def test_all_dependants_come_nearest_first_and_once() -> None:
    b = Books()
    found = list(b.graph.dependants(b.books, recursive=True))
    assert found[:2] == [b.books, b.count]
    assert len(found) == len(set(found))
    assert {b.counts, b.count_done, b.sort, b.sorted, b.sort_done} <= set(found)
    assert b.banned not in found
    assert found.index(b.counts) < found.index(b.sort) < found.index(b.sorted)


def test_the_readers_of_a_task_are_those_of_what_it_stores_and_of_what_is_made_of_that() -> None:
    b = Books()
    assert b.graph.readers(b.count) == {b.count, b.sort}
    assert b.graph.readers(b.banned) == {b.count}


def test_what_nothing_depends_on_stands_alone() -> None:
    b = Books()
    assert list(b.graph.dependants(b.sorted, recursive=True)) == [b.sorted]


def test_a_repository_that_no_task_links_has_no_dependants() -> None:
    assert list(Books().graph.dependants(stranger := repository(), recursive=True)) == [stranger]


def test_a_derived_repository_depends_on_what_it_is_made_of() -> None:
    source, unless = repository(), repository()
    ready = BlockingRepository(source, unless)
    task = InProcessSyncTask("task", repository(), ready=ready, func=nothing)
    edges = set(Graph([task]).edges)
    assert {(source, ready), (unless, ready), (ready, task)} <= edges


def test_nodes_keep_the_order_of_the_tasks() -> None:
    b = Books()
    assert [node for node in b.graph.nodes if isinstance(node, Task)] == [b.count, b.sort]


async def test_jobs_keep_their_names_where_nothing_translates() -> None:
    b = Books()
    affected = await affected_jobs(b.graph, b.books, ["emma"])
    assert set(affected) == set(b.graph.dependants(b.books, recursive=True))
    assert set(map(frozenset, affected.values())) == {frozenset({"emma"})}


class Chapters:
    """Chapters are counted with their book's settings: job `emma-1` reads the settings of `emma`."""

    def __init__(self) -> None:
        self.settings = repository("emma", "sanditon")
        self.book_of = InProcessMetadataRepository({"emma-1": "emma", "emma-2": "emma", "sanditon-1": "sanditon"})
        self.related = RelatedItemRepository(self.settings, self.book_of)
        self.counts = repository()
        self.done = repository()
        self.count = a_task("count", self.done)
        self.count.link("settings", self.related, is_input=True)
        self.count.link("counts", self.counts, is_output=True)
        self.graph = Graph([self.count])

    async def names(self, start: Node, *jobs: str) -> dict[Node, set[str]]:
        return dict(await affected_jobs(self.graph, start, jobs))


async def test_names_are_translated_on_the_way_from_the_base() -> None:
    c = Chapters()
    names = await c.names(c.settings, "emma")
    assert names[c.settings] == {"emma"}
    assert names[c.counts] == names[c.related] == names[c.done] == {"emma-1", "emma-2"}


async def test_names_are_kept_on_the_way_from_the_translator() -> None:
    c = Chapters()
    assert (await c.names(c.book_of, "emma-2"))[c.counts] == {"emma-2"}


async def test_a_job_that_nothing_is_related_to_affects_nothing_else() -> None:
    c = Chapters()
    names = await c.names(c.settings, "persuasion")
    assert {node: jobs for node, jobs in names.items() if jobs} == {c.settings: {"persuasion"}}


async def test_a_job_reached_under_two_names_is_affected_under_both() -> None:
    c = Chapters()
    c.count.link("own", c.settings, is_input=True)
    c.graph = Graph([c.count])
    assert (await c.names(c.settings, "emma"))[c.counts] == {"emma", "emma-1", "emma-2"}
