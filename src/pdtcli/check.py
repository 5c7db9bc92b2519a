"""What is wrong with a pipeline although it loads: found without opening it, so without a word to any server.

A finding is a mistake for sure, or as good as; what may be meant is not one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .errors import PdtError, sentence
from .pipeline import Pipeline
from .report import Finding
from .repository.base import Repository
from .repository.memory import InProcessBlobRepository, InProcessMetadataRepository
from .task.base import Task
from .task.process import ProcessTask
from .template import parse_template, read_template

__all__ = ("check",)

IDS = frozenset({"job", "task"})
"""The variables of a template whose values the grammar of ids keeps harmless."""


def check(pipeline: Pipeline) -> list[Finding]:
    """Everything that is wrong with a pipeline, in the order of its tasks."""
    tasks = list(pipeline.tasks.values())
    return [
        Finding(task.name, message)
        for task in tasks
        for messages in (_template(task), _start(task), _memory(task), _sharing(task, tasks))
        for message in messages
    ]


def _template(task: Task) -> Iterator[str]:
    if not isinstance(task, ProcessTask):
        return
    try:
        text = read_template(task.template)
        tree, names = parse_template(text)
    except PdtError as error:
        yield sentence(error)
        return
    for name in sorted(names - IDS - task.links.keys()):
        yield f"the template uses {name}, and the task has no link of that name"
    from . import quoting

    if quoting.is_shell(text):
        for line, problem in quoting.unsafe(tree, IDS):
            yield f"in line {line} of the template a value {problem}"


def _start(task: Task) -> Iterator[str]:
    kind = task.impossible()
    if kind is not None:
        yield f"one job needs more {kind.word} than its whole quota has, so that none can ever start"
    if task.has_own_ready:
        return
    if not task.required_for_start:
        yield "nothing is required for its start, so that no job is ever ready: link an input"
    for name, repository in task.required_for_start.items():
        for other, inhibitor in task.inhibits_start.items():
            if _same(repository, inhibitor):
                yield f"{name} is required for its start, and as {other} the same repository inhibits it"
    if not task.remembers:
        yield "nothing keeps a job that has ended from starting again: give it a done repository"


def _memory(task: Task) -> Iterator[str]:
    for name, link in task.links.items():
        if any(isinstance(leaf, InProcessMetadataRepository | InProcessBlobRepository) for leaf in _leaves(link.repo)):
            yield f"{name} is kept in memory, so that the next command does not see it"


def _sharing(task: Task, tasks: Iterable[Task]) -> Iterator[str]:
    for name, link in task.links.items():
        if not link.is_status:
            continue
        for other in tasks:
            for theirs, foreign in other.links.items():
                if foreign.is_status and (other.name, theirs) < (task.name, name) and _same(link.repo, foreign.repo):
                    yield f"{name} is the same repository as {other.name}.{theirs}: jobs of the two would be mixed up"


def _same(one: Repository, other: Repository) -> bool:
    return one is other or (one.place is not None and one.place == other.place)


def _leaves(repository: Repository) -> Iterator[Repository]:
    if not repository.bases:
        yield repository
    for base in repository.bases:
        yield from _leaves(base)
