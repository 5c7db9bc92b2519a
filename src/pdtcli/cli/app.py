"""The way in and the way out: arguments come in here, and here alone an outcome becomes a sentence and an exit code.

Nothing heavier than `sys` is imported before the first `try`, so that Ctrl-C and a closed pipe end quietly from the
first millisecond on. The commands themselves are put together in `root`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    import typer

    Instrument = Callable[[typer.Typer], None]

__all__ = ("build", "entry", "execute", "main")

GARBAGE = 50_000
"""So many more objects that may refer to others are made than freed before the cyclic garbage collector looks at them.

A command makes 40,000 by importing and loading, hardly one of which is garbage, and few for each job. To look at them
again and again, at every 700 as Python does, takes a fifteenth of the time of a short command.
"""


def entry() -> NoReturn:
    """The `pdt` command."""
    import gc

    gc.set_threshold(GARBAGE, 20, 50)
    program = os.path.basename(sys.argv[0])
    # `python -m pdtcli` has the name of the module's file.
    _leave(execute(sys.argv[1:], program="pdt" if program == "__main__.py" else program))


def _leave(code: int) -> NoReturn:
    """End the process, without taking its objects apart one by one: for millions of jobs that takes half a second.

    What has registered for the end is called all the same, and threads that work on are waited for.
    """
    import atexit
    import threading

    if threading.active_count() > 1:
        sys.exit(code)
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        pass  # nobody listens
    os._exit(code)


def main(pipeline: Any, instrument: Instrument | None = None) -> None:
    """Make the running script the command line of `pipeline`.

    :param pipeline: a `Pipeline`, or a specification such as `--pipeline` takes; `--pipeline` still overrides it.
    :param instrument: called with the Typer application before it runs, to add commands to it.

    Returns when the command succeeded and leaves with its exit code when not.
    """
    code = execute(sys.argv[1:], program=os.path.basename(sys.argv[0]), pipeline=pipeline, instrument=instrument)
    if code:
        sys.exit(code)


def build(instrument: Instrument | None = None) -> typer.Typer:
    """The Typer application, with what `instrument` adds to it."""
    from .root import application

    app = application()
    if instrument is not None:
        instrument(app)
    return app


def execute(
    arguments: Sequence[str],
    *,
    program: str = "pdt",
    pipeline: Any = None,
    instrument: Instrument | None = None,
) -> int:
    """Run one command line and return its exit code; nothing is raised but what ends the interpreter."""
    _plug_missing_streams()
    try:
        try:
            code = _run(arguments, program, pipeline, instrument)
        except BaseException as error:
            code = _explain(error, debug="--debug" in arguments)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        _drop_output()
        return 0
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        # What was still in the buffer could not be written, to a full disk for instance.
        _drop_output()
        _tell(f"the output could not be written: {error.strerror or error}")
        return 1


def _run(arguments: Sequence[str], program: str, pipeline: Any, instrument: Instrument | None) -> int:
    if list(arguments) == ["--version"] and instrument is None:
        # Spares the import of typer, which takes longer than all the rest of this.
        from .. import __version__

        sys.stdout.write(f"pdt {__version__}\n")
        return 0
    from typer.main import get_command

    command = get_command(build(instrument))
    if os.environ.get(f"_{program}_COMPLETE".replace("-", "_").upper()):
        from . import complete

        complete.answer(command, program, pipeline)
        return 0
    # Not command.main(): it would turn a closed pipe and Ctrl-C into exit codes of its own.
    with command.make_context(program, list(arguments), obj=pipeline) as context:
        result = command.invoke(context)
    # A command that a script added may return anything.
    return result if isinstance(result, int) else 0


def _explain(error: BaseException, *, debug: bool) -> int:
    """Say on stderr what went wrong, and give the exit code."""
    if isinstance(error, (SystemExit, BrokenPipeError)):
        if isinstance(error, SystemExit) and isinstance(error.code, int):
            return error.code
        raise error
    if isinstance(error, KeyboardInterrupt):
        _tell("interrupted")
        return 130
    # Typer's own exceptions, known by their shape: their place differs between versions.
    kind = type(error).__name__
    if kind == "Exit":
        return int(getattr(error, "exit_code", 0))
    if kind == "Abort":
        _tell("aborted")
        return 1
    if kind == "NoArgsIsHelpError":
        sys.stderr.write(f"{error.format_message()}\n")  # type: ignore[attr-defined]
        return 2
    from ..errors import exit_code, sentence

    if hasattr(error, "format_message"):
        _tell(_usage(error))
        return int(getattr(error, "exit_code", 2))
    if debug:
        import traceback

        traceback.print_exception(error)
    elif frames := getattr(error, "frames", ""):
        sys.stderr.write(frames if frames.endswith("\n") else f"{frames}\n")
    _tell(sentence(error))
    return int(exit_code(error))


def _usage(error: Any) -> str:
    """A complaint of the parser as a sentence in the style of all others, with the help to look at."""
    text = " ".join(error.format_message().split()).rstrip(".")
    text = text[:1].lower() + text[1:]
    context = getattr(error, "ctx", None)
    return f"{text} (see '{context.command_path} --help')" if context is not None else text


def _tell(text: str) -> None:
    try:
        sys.stderr.write(f"pdt: {text}\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        pass  # nobody listens


def _plug_missing_streams() -> None:
    """Give a standard stream that was closed before the start a place to go, lest a file of ours takes its number."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            # The lowest free number is the one that is missing, since those below it are open by now.
            setattr(sys, name, open(os.open(os.devnull, os.O_RDWR), mode, closefd=False))  # noqa: SIM115
            assert getattr(sys, name).fileno() == number
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            # A name or a symbol that the terminal's encoding lacks is shown escaped, and is no error.
            reconfigure(errors="backslashreplace")


def _drop_output() -> None:
    """Point stdout at nothing, so that the interpreter's last flush cannot complain of a pipe that is gone."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        pass  # not a real file, such as a test's buffer
