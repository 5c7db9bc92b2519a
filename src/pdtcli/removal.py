"""Deleting jobs, and all that depends on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .errors import NotReady
from .graph import Node, affected_jobs
from .pipeline import Pipeline
from .report import Removal
from .repository.base import DerivedRepository, Repository
from .task.base import Task

__all__ = ("remove",)


async def remove(
    pipeline: Pipeline, node: Node, jobs: Sequence[str] | None, *, recursive: bool, dry_run: bool
) -> list[Removal]:
    """Delete `jobs` (all when None) from a repository or a task's repositories; see `PipelineHandle.remove`."""
    doomed = await _doomed(pipeline, node, jobs, recursive)
    await _refuse_live(pipeline, doomed)
    names = _names(pipeline)
    removals = []
    for repository in _in_order(pipeline, doomed):
        present = sorted(doomed[repository])
        if not dry_run:
            await repository.delete_many(present)
        removals += [Removal(names.get(repository, repr(repository)), job) for job in present]
    return removals


async def _doomed(
    pipeline: Pipeline, node: Node, jobs: Sequence[str] | None, recursive: bool
) -> dict[Repository, set[str]]:
    """What is there of what is to be deleted, by repository, nearest first."""
    graph = pipeline.graph()
    nodes = list(graph.dependants(node, recursive)) if recursive or isinstance(node, Task) else [node]
    wanted: Mapping[Node, set[str]] = {}
    if jobs is not None:
        wanted = await affected_jobs(graph, node, jobs) if recursive else {one: set(jobs) for one in nodes}
    doomed: dict[Repository, set[str]] = {}
    for candidate in nodes:
        # What is derived holds nothing of its own; it is deleted from only when it is what the user named.
        if isinstance(candidate, Repository) and (candidate is node or not isinstance(candidate, DerivedRepository)):
            present = await candidate.keys() if jobs is None else await candidate.among(wanted.get(candidate, set()))
            if present:
                doomed[candidate] = present
    return doomed


async def _refuse_live(pipeline: Pipeline, doomed: Mapping[Repository, set[str]]) -> None:
    for task in pipeline.tasks.values():
        if task.live is not None and (live := doomed.get(task.live)):
            example = sorted(live)[0]
            others = f" and {len(live) - 1} more are" if len(live) > 1 else " is"
            raise NotReady(f"{task.name}:{example}{others} live: 'pdt task cancel {task.name} {example}' stops it")


def _in_order(pipeline: Pipeline, doomed: Mapping[Repository, set[str]]) -> list[Repository]:
    """Data before the records of what was done: as long as the records stand, no tick makes the data anew."""
    records = {
        repository
        for task in pipeline.tasks.values()
        for repository in (task.done, task.failed)
        if repository is not None
    }
    return sorted(doomed, key=lambda repository: repository in records)


def _names(pipeline: Pipeline) -> dict[Repository, str]:
    names: dict[Repository, str] = {}
    for task in pipeline.tasks.values():
        for name, link in task.links.items():
            names.setdefault(link.repo, f"{task.name}.{name}")
    return names
