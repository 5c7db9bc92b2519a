"""The options every command takes, and the decorator that attaches them.

They are declared once, here, and stand on the program, on each group and on each command, so that `pdt -p x repo ls`
and `pdt repo ls -p x` are the same. What was given nearest to the command wins; `-v` adds up. The function of a command
never sees them: it gets a `Cli`, which has already acted on them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from ..errors import UsageError
from ..record import Record
from . import complete
from .command import COMMON, Command, Group, Later

__all__ = (
    "All",
    "DryRun",
    "Job",
    "Jobs",
    "RepositoryName",
    "Settings",
    "TaskName",
    "Tasks",
    "command",
    "extend",
    "gather",
    "group",
    "named",
)

FORMATS = ("table", "plain", "json", "jsonl")
LOG_FORMATS = ("text", "json")


class Settings(Record):
    """The common options, as the user gave them."""

    pipeline: Any = None
    format: str | None = None
    verbose: int = 0
    quiet: bool = False
    debug: bool = False
    log_file: str | None = None
    log_format: str = "text"


def _common(*names: str, **attributes: Any) -> Any:
    return typer.Option(*names, rich_help_panel=COMMON, show_default=False, **attributes)


def _shared() -> list[inspect.Parameter]:
    options: dict[str, tuple[Any, Any]] = {
        "pipeline": (
            Annotated[
                str | None,
                _common(
                    "--pipeline",
                    "-p",
                    metavar="SPEC",
                    help="FILE.py[:NAME] or MODULE[:NAME]; else $PDT_PIPELINE, else pipeline.py here or in a parent "
                    "directory.",
                ),
            ],
            None,
        ),
        "json": (Annotated[bool, _common("--json", help="The same as -o json.")], False),
        "output": (
            Annotated[
                str | None,
                _common(
                    "--output",
                    "-o",
                    metavar="FORMAT",
                    autocompletion=complete.words(FORMATS),
                    help="table (on a terminal), plain (else; tab-separated), json or jsonl.",
                ),
            ],
            None,
        ),
        "verbose": (
            Annotated[int, _common("--verbose", "-v", count=True, help="Tell what is done; -vv for every detail.")],
            0,
        ),
        "quiet": (Annotated[bool, _common("--quiet", "-q", help="Say nothing but what ends the command.")], False),
        "debug": (Annotated[bool, _common("--debug", help="Show the traceback of an error.")], False),
        "log_file": (
            Annotated[str | None, _common("--log-file", metavar="FILE", help="Append the log to this file.")],
            None,
        ),
        "log_format": (
            Annotated[
                str | None,
                _common(
                    "--log-format",
                    metavar="FORMAT",
                    autocompletion=complete.words(LOG_FORMATS),
                    help="text or json, for the log file, or for stderr without one.",
                ),
            ],
            None,
        ),
    }
    return [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, (annotation, default) in options.items()
    ]


_SHARED = _shared()


def gather(context: typer.Context) -> Settings:
    """The common options as they stand on the command and on the groups above it."""
    levels: list[Any] = [context]
    while levels[-1].parent is not None:
        levels.append(levels[-1].parent)
    given = [level.params for level in reversed(levels)]

    def last(name: str) -> Any:
        return next((params[name] for params in reversed(given) if params.get(name)), None)

    form, log_format = last("output"), last("log_format")
    if form is not None and form not in FORMATS:
        raise UsageError(f"--output takes table, plain, json or jsonl, not {form!r}")
    if log_format is not None and log_format not in LOG_FORMATS:
        raise UsageError(f"--log-format takes text or json, not {log_format!r}")
    if last("json"):
        if form not in (None, "json"):
            raise UsageError(f"--json and --output {form} exclude each other")
        form = "json"
    return Settings(
        pipeline=last("pipeline") or levels[-1].obj,
        format=form,
        verbose=sum(params.get("verbose") or 0 for params in given),
        quiet=bool(last("quiet")),
        debug=bool(last("debug")),
        log_file=last("log_file"),
        log_format=log_format or "text",
    )


def group(line: str, *, example: str = "") -> typer.Typer:
    """An application for commands under one name."""
    app = typer.Typer(
        cls=Group,
        help=line,
        epilog=inspect.cleandoc(example),
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        no_args_is_help=True,
    )

    def options(**_: Any) -> None:
        """Takes the common options; `gather` reads them from the context."""

    app.callback()(extend(options))
    return app


def extend(function: Callable[..., None]) -> Callable[..., None]:
    """Make a group's callback take the common options after its own."""
    own = [
        parameter
        for parameter in inspect.signature(function, eval_str=True).parameters.values()
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD
    ]

    def callback(**values: Any) -> None:
        function(**{parameter.name: values[parameter.name] for parameter in own})

    _sign(callback, [*own, *_SHARED])
    return callback


def command(
    app: typer.Typer, name: str, *, example: str
) -> Callable[[Callable[..., int | None]], Callable[..., int | None]]:
    """Make a function a command of `app`.

    The function takes a `Cli` and then its own parameters, declared as Typer wants them, and returns the exit code,
    None for 0. Its docstring is the help page and `example` the lines that end it.
    """

    def decorate(function: Callable[..., int | None]) -> Callable[..., int | None]:
        page = inspect.getdoc(function) or ""
        # Typer would cut the line for the list of commands in the middle of a sentence.
        line = " ".join(page.partition("\n\n")[0].split())

        def load() -> Any:
            app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
            described = app.command(name, cls=Command, help=page, short_help=line, epilog=inspect.cleandoc(example))
            described(_runner(function))
            return typer.main.get_command(app)

        # What Typer makes of a command's parameters takes a millisecond, which only the one that is called needs.
        app.command(name, cls=Later, help=line, short_help=line)(load)
        return function

    return decorate


def _runner(function: Callable[..., int | None]) -> Callable[..., Any]:
    """A command's function as Typer is to call it: with the common options, which become the `Cli`."""
    # Keyword-only, so that an option may stand before an argument that has no default.
    own = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for parameter in list(inspect.signature(function, eval_str=True).parameters.values())[1:]
    ]

    def run(context: typer.Context, **values: Any) -> int:
        from .context import Cli

        cli = Cli(gather(context))
        return function(cli, **{parameter.name: values[parameter.name] for parameter in own}) or 0

    context = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
    _sign(run, [context, *own, *_SHARED])
    return run


def _sign(function: Callable[..., Any], parameters: list[inspect.Parameter]) -> None:
    """Give `function` the signature that Typer is to read."""
    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    function.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}


def _job(value: str | None) -> str | None:
    from ..job import check

    return check(value) if value is not None else None


def _jobs(value: list[str] | None) -> list[str] | None:
    for job in value or ():
        _job(job)
    return value


def named(jobs: list[str] | None, everything: bool) -> list[str] | None:
    """The jobs to act on, None for all of them; the user must have said the one or the other."""
    if jobs and everything:
        raise UsageError("name jobs or give --all, not both")
    if not jobs and not everything:
        raise UsageError("name the jobs, or give --all for all of them")
    return jobs or None


# ---- the arguments and options that several commands share --------------------------------------------------------

TaskName = Annotated[str, typer.Argument(metavar="TASK", help="A task.", autocompletion=complete.tasks)]
Tasks = Annotated[
    list[str] | None, typer.Argument(metavar="TASK", help="Tasks; all without any.", autocompletion=complete.tasks)
]
RepositoryName = Annotated[
    str, typer.Argument(metavar="REPO", help="A repository, as TASK.LINK.", autocompletion=complete.repositories)
]
Job = Annotated[str, typer.Argument(metavar="JOB", help="A job.", callback=_job, autocompletion=complete.jobs)]
Jobs = Annotated[
    list[str] | None, typer.Argument(metavar="JOB", help="Jobs.", callback=_jobs, autocompletion=complete.jobs)
]
All = Annotated[bool, typer.Option("--all", help="All of them, instead of naming jobs.")]
DryRun = Annotated[bool, typer.Option("--dry-run", "-n", help="Say what it would do, and do nothing.")]
