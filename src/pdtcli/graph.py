"""Who depends on whom: the directed graph of a pipeline's tasks and repositories.

An edge leads from a repository to the tasks that what it holds may start or keep from starting, from a task to the
repositories it fills, and from a repository to those derived from it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping

from .link import Link
from .repository.base import Repository
from .repository.combine import RelatedItemRepository
from .task.base import Task

__all__ = ("Graph", "Node", "affected_jobs")

Node = Repository | Task


class Graph:
    """The graph; nodes keep the order in which the tasks name them.

    :param tasks: the tasks of the pipeline.
    """

    def __init__(self, tasks: Iterable[Task]) -> None:
        self._successors: dict[Node, dict[Node, None]] = {}
        for task in tasks:
            self._node(task)
            for link in task.links.values():
                self._add_link(task, link)
            if task.has_own_ready:
                self._add_repository(task.ready)
                self._edge(task.ready, task)

    def _node(self, node: Node) -> dict[Node, None]:
        return self._successors.setdefault(node, {})

    def _edge(self, source: Node, target: Node) -> None:
        self._node(source)[target] = None
        self._node(target)

    def _add_link(self, task: Task, link: Link) -> None:
        self._add_repository(link.repo)
        reads = link.is_input or link.required_for_start or link.inhibits_start
        if reads:
            self._edge(link.repo, task)
        if link.is_output or link.is_status or not reads:
            self._edge(task, link.repo)

    def _add_repository(self, repository: Repository) -> None:
        if repository in self._successors:
            return
        self._node(repository)
        for base in repository.bases:
            self._add_repository(base)
            self._edge(base, repository)

    @property
    def nodes(self) -> tuple[Node, ...]:
        """All tasks and repositories."""
        return tuple(self._successors)

    @property
    def edges(self) -> Iterator[tuple[Node, Node]]:
        """All pairs of a node and one that depends on it."""
        return ((source, target) for source, targets in self._successors.items() for target in targets)

    def successors(self, node: Node) -> tuple[Node, ...]:
        """What depends on `node` directly."""
        return tuple(self._successors.get(node, ()))

    def readers(self, node: Node) -> set[Task]:
        """The tasks that read what a task or repository stores, directly or through repositories derived from it."""
        found: set[Task] = set()
        for successor in self.successors(node):
            if isinstance(successor, Task):
                found.add(successor)
            else:
                found |= self.readers(successor)
        return found

    def sources(self) -> set[str]:
        """The directories that bring work from outside: what tasks read and none fills."""
        filled = {node for task in self.nodes if isinstance(task, Task) for node in self.successors(task)}
        sources = (node for node in self.nodes if isinstance(node, Repository) and node not in filled)
        return {path for node in sources for path in node.watched_paths}

    def dependants(self, node: Node, recursive: bool) -> Iterator[Node]:
        """`node` itself and what depends on it, nearest first.

        :param recursive: whether to follow the edges to their end, or only one step.
        """
        if not recursive:
            yield node
            yield from self.successors(node)
            return
        seen: dict[Node, None] = {node: None}
        queue: deque[Node] = deque([node])
        while queue:
            current = queue.popleft()
            yield current
            for successor in self.successors(current):
                if successor not in seen:
                    seen[successor] = None
                    queue.append(successor)


async def affected_jobs(graph: Graph, start: Node, jobs: Iterable[str]) -> Mapping[Node, set[str]]:
    """Under which names `jobs` of `start` are known to everything that depends on it, nearest first.

    The names change where a repository translates them.
    """
    affected: dict[Node, set[str]] = {start: set(jobs)}
    queue: deque[Node] = deque([start])
    while queue:
        current = queue.popleft()
        for successor in graph.successors(current):
            names = affected[current]
            if isinstance(successor, RelatedItemRepository):
                translations = await successor.translations()
                if current is successor.base_repository:
                    names = {job for job, name in translations.items() if name in names}
            known = affected.setdefault(successor, set())
            if not names <= known:
                known |= names
                queue.append(successor)
    return affected
