"""What the Tab key offers: tasks, repositories and jobs of the pipeline, and nothing at all when anything is wrong.

These functions run with the options parsed so far and no command called, while a shell waits; so they ask the least
that answers, swallow every error, and keep what the user's module prints out of the shell's line.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from ..facade import PipelineHandle

__all__ = ("answer", "jobs", "repositories", "targets", "tasks", "words")

MOST = 200


def answer(command: Any, program: str, pipeline: Any) -> None:
    """Answer the shell's question, which stands in the environment, on stdout."""
    with contextlib.suppress(ImportError):
        from typer import _completion_classes

        # Help lines are plain text here, and rendering them as rich markup would import rich at every Tab.
        if hasattr(_completion_classes, "_sanitize_help_text"):
            _completion_classes._sanitize_help_text = lambda text: text
    with contextlib.suppress(Exception, SystemExit):
        command.main([], prog_name=program, obj=pipeline)


def words(choices: Iterable[str]) -> Callable[[str], list[str]]:
    """A completion from a fixed list."""
    choices = tuple(choices)

    def offer(incomplete: str) -> list[str]:
        return [choice for choice in choices if choice.startswith(incomplete)]

    return offer


def tasks(ctx: typer.Context, incomplete: str) -> list[str]:
    """The names of tasks."""
    return _ask(ctx, incomplete, lambda pipeline: [row.name for row in pipeline.tasks()])


def repositories(ctx: typer.Context, incomplete: str) -> list[str]:
    """The names of repositories."""
    return _ask(ctx, incomplete, lambda pipeline: [row.name for row in pipeline.repositories()])


def targets(ctx: typer.Context, incomplete: str) -> list[str]:
    """The names of tasks and of repositories."""
    return [*tasks(ctx, incomplete), *repositories(ctx, incomplete)]


def jobs(ctx: typer.Context, incomplete: str) -> list[str]:
    """The jobs in the repository, or in any repository of the task, that the command names; else in any at all."""
    named = next((ctx.params[key] for key in ("repo", "task", "target") if ctx.params.get(key)), None)
    already = set(ctx.params.get("jobs") or ())

    def fetch(pipeline: PipelineHandle) -> set[str]:
        names = [row.name for row in pipeline.repositories()]
        if named in names:
            names = [named]
        elif named is not None:
            names = [name for name in names if name.startswith(f"{named}.")]
        found: set[str] = set()
        with pipeline:
            for name in names:
                found.update(job for job in pipeline.repo(name).ls() if job.startswith(incomplete))
                if len(found) >= MOST:
                    break
        return found - already

    return _ask(ctx, incomplete, fetch)


def _ask(ctx: typer.Context, incomplete: str, question: Callable[[PipelineHandle], Iterable[str]]) -> list[str]:
    """Put `question` to the pipeline of the command line so far; an error ends it without a sound."""
    levels: list[Any] = [ctx]
    while levels[-1].parent is not None:
        levels.append(levels[-1].parent)
    spec = next((level.params["pipeline"] for level in levels if level.params.get("pipeline")), levels[-1].obj)
    with (
        contextlib.suppress(Exception, SystemExit),
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        from ..facade import open_pipeline

        return sorted(name for name in question(open_pipeline(spec)) if name.startswith(incomplete))[:MOST]
    return []
