"""The application: a static table of commands, so that `--help` and completion import none of them.

A line of the table is the command's name, the module that holds it and its line of help. A module with commands under
one name has an `app` that is the whole group; the others are looked up by their name in their module's `app`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from . import options
from .command import Group, Later

__all__ = ("COMMANDS", "application")

COMMANDS = {
    "repo": ("repo", "List, read, write and delete values."),
    "task": ("task", "Look into tasks, and run, stop and retry their jobs by hand."),
    "quota": ("quota", "Look at the limits on what runs at once."),
    "tick": ("pipeline", "One cycle: collect what has ended, start what is ready."),
    "run": ("pipeline", "Cycles until nothing is left to do."),
    "status": ("pipeline", "How many jobs stand where, task by task."),
    "check": ("check", "Tell what is wrong with the pipeline."),
    "trace": ("pipeline", "A job's way through the tasks."),
}
GROUPS = ("repo", "task", "quota")

EXAMPLE = """\
pdt status
pdt run
pdt repo ls 'count.books - count.done'"""


def _version(value: bool) -> None:
    if value:
        from .. import __version__

        typer.echo(f"pdt {__version__}")
        raise typer.Exit


def application() -> typer.Typer:
    """A new application with every command of the table."""
    app = typer.Typer(
        cls=Group,
        name="pdt",
        help="Drive data-centric pipelines whose whole state is plain data: which jobs are in which repositories.",
        epilog=EXAMPLE,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(options.extend(_root))
    for name, (module, line) in COMMANDS.items():
        app.command(name, cls=Later, help=line)(_loader(name, module))
    return app


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and leave.")
    ] = False,
    **_: Any,
) -> None:
    """Takes the options that stand before the command; `options.gather` reads them from the context."""


def _loader(name: str, module: str) -> Callable[[], Any]:
    def load() -> Any:
        import importlib

        from typer.main import get_command

        command: Any = get_command(importlib.import_module(f".{module}", __package__).app)
        return command if name in GROUPS else command.commands[name]

    return load
