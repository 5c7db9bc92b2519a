"""`pdt repo`: the values themselves."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from . import complete, options
from .context import Cli
from .options import All, DryRun, Job, Jobs, RepositoryName, command, named

__all__ = ("app",)

app = options.group(
    "List, read, write and delete values.",
    example="""
    pdt repo ls
    pdt repo cat count.books emma | wc -w
    """,
)


@command(
    app,
    "ls",
    example="""
    pdt repo ls
    pdt repo ls count.books
    pdt repo ls 'count.books - count.done' | wc -l
    """,
)
def ls(
    cli: Cli,
    expression: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="EXPR", help="A set expression over repositories.", autocompletion=complete.repositories
        ),
    ] = None,
) -> None:
    """List the jobs in a repository, or in a set expression over repositories.

    The operators are & (in both), | (in either), - (in the first only) and ^ (in just one); - binds tightest, then
    &, ^ and |, and parentheses group. Without an expression, list the repositories.

    In a pipe, more than 10,000 names in a repository of files come as they are found; else they are sorted.
    """
    if expression:
        cli.out.names(cli.open().listing(" ".join(expression)))
    else:
        from . import views

        views.repositories(cli.out, cli.open().repositories())


@command(
    app,
    "cat",
    example="""
    pdt repo cat count.books emma | wc -w
    """,
)
def cat(cli: Cli, repo: RepositoryName, jobs: Jobs) -> None:
    """Write the values of jobs to stdout, byte for byte, one after the other."""
    with cli.open() as pipeline:
        repository = pipeline.repo(repo)
        for job in jobs or ():
            repository.cat(job, sys.stdout.buffer)


@command(
    app,
    "put",
    example="""
    pdt repo put count.books emma emma.txt
    curl -s https://example.org/emma.txt | pdt repo put count.books emma
    """,
)
def put(
    cli: Cli,
    repo: RepositoryName,
    job: Job,
    file: Annotated[str, typer.Argument(metavar="FILE", help="The file to read; - is stdin.")] = "-",
    dry_run: DryRun = False,
) -> None:
    """Store a value, which replaces the one that is there.

    For a metadata repository it is read as YAML first, and refused when it is none.
    """
    repository = cli.open().repo(repo)
    if dry_run:
        from .output import Column

        row = {"repository": repo, "job": job, "action": "replace" if job in repository else "create"}
        cli.out.rows([row], [Column("repository"), Column("job"), Column("action")])
        return
    if file == "-":
        if sys.stdin.isatty():
            cli.say("reading the value from the terminal; end with Ctrl-D")
        # Without Python's buffer the kernel can copy what is there.
        size = repository.put(job, getattr(sys.stdin.buffer, "raw", sys.stdin.buffer))
    else:
        with open(file, "rb", buffering=0) as source:
            size = repository.put(job, source)
    if cli.settings.verbose:
        cli.say(f"stored {size} bytes as {job} in {repo}")


@command(
    app,
    "rm",
    example="""
    pdt repo rm count.done emma
    pdt repo rm -r count.books emma --dry-run
    """,
)
def rm(
    cli: Cli,
    target: Annotated[
        str,
        typer.Argument(metavar="REPO|TASK", help="A repository, or a task.", autocompletion=complete.targets),
    ],
    jobs: Jobs = None,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Also delete all that depends on it, in every repository.")
    ] = False,
    everything: All = False,
    dry_run: DryRun = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> int | None:
    """Delete jobs from a repository, or what a task made of them.

    On a terminal it asks before it deletes more than was named, that is with -r or --all; in a pipe it does not ask.
    """
    from . import views

    chosen = named(jobs, everything)
    with cli.open() as pipeline:
        if (recursive or everything) and not (dry_run or yes) and cli.interactive:
            found = pipeline.remove(target, chosen, recursive=recursive, dry_run=True)
            examples = ", ".join(f"{removal.repository}:{removal.job}" for removal in found[:3])
            more = ", …" if len(found) > 3 else ""
            if found and not cli.ask(f"delete {len(found)} values ({examples}{more})?"):
                cli.say("nothing was deleted")
                return 1
        views.removals(cli.out, pipeline.remove(target, chosen, recursive=recursive, dry_run=dry_run))
    return None


@command(
    app,
    "cp",
    example="""
    pdt repo cp count.books archive.books emma
    pdt repo cp count.books archive.books --all --skip-existing
    """,
)
def cp(
    cli: Cli,
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="The repository to copy from.", autocompletion=complete.repositories)
    ],
    target: Annotated[
        str, typer.Argument(metavar="TARGET", help="The repository to copy to.", autocompletion=complete.repositories)
    ],
    jobs: Jobs = None,
    everything: All = False,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="Leave out the jobs that are in the target.")
    ] = False,
    dry_run: DryRun = False,
) -> None:
    """Copy values from one repository to another, whatever keeps them; they replace those that are there.

    Bytes are streamed, metadata are copied as values, and YAML stands between the two.
    """
    from . import views

    sizes: dict[str, int] = {}
    chosen = cli.open().copy(
        source,
        target,
        named(jobs, everything),
        skip_existing=skip_existing,
        dry_run=dry_run,
        copied=sizes.__setitem__,
    )
    views.copies(cli.out, chosen, sizes)


@command(
    app,
    "info",
    example="""
    pdt repo info count.books emma
    """,
)
def info(cli: Cli, repo: RepositoryName, job: Job) -> None:
    """Show what a task's template sees of a job: a path, a URL, or the value itself."""
    value = cli.open().repo(repo).info(job)
    if cli.out.structured or isinstance(value, (dict, list)):
        cli.out.data(value)
    else:
        cli.out.line(str(value))
