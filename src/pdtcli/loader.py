"""From a specification to a pipeline: ``path/to/file.py[:NAME]`` or ``package.module[:NAME]``.

NAME defaults to `pipeline` and is a `Pipeline` or a function that returns one. Without a specification there is
``$PDT_PIPELINE``, then ``pipeline.py`` in the current directory and its parents. Relative paths in the user's file
start at the directory of that file.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from .errors import LoadError, PdtError
from .paths import anchored_at
from .pipeline import Pipeline

__all__ = ("DEFAULT_FILE", "DEFAULT_NAME", "VARIABLE", "discover", "identity", "import_again", "load")

DEFAULT_FILE = "pipeline.py"
DEFAULT_NAME = "pipeline"
VARIABLE = "PDT_PIPELINE"

_HERE = os.path.dirname(__file__)


class UserCodeError(LoadError):
    """The user's module raised an exception.

    :ivar frames: the frames of the user's own code, as a traceback prints them.
    """

    def __init__(self, sentence: str, frames: str) -> None:
        super().__init__(sentence)
        self.frames = frames


def discover(start: Path | None = None, environment: Mapping[str, str] | None = None) -> str:
    """The specification to use when none is given.

    :raises LoadError: when there is none to be found.
    """
    environment = os.environ if environment is None else environment
    if spec := environment.get(VARIABLE):
        return spec
    start = (Path.cwd() if start is None else start).absolute()
    for directory in (start, *start.parents):
        if (directory / DEFAULT_FILE).is_file():
            return str(directory / DEFAULT_FILE)
    raise LoadError(
        f"there is no {DEFAULT_FILE} in {start} or above it: name a pipeline with --pipeline or ${VARIABLE}"
    )


def _split(spec: str) -> tuple[str, str | None]:
    """The module and the NAME of a specification."""
    target, colon, name = spec.rpartition(":")
    if not colon:
        return spec, None
    if not name.isidentifier():
        raise LoadError(f"in the pipeline {spec!r}, {name!r} cannot be a name: write FILE.py:NAME or MODULE:NAME")
    return target, name


def _is_path(target: str) -> bool:
    return target.endswith((".py", ".yaml", ".yml")) or "/" in target or os.path.isfile(target)


def identity(spec: str) -> str:
    """A string that is the same for all ways to name the same pipeline on this machine."""
    target, name = _split(spec)
    return f"{os.path.realpath(target) if _is_path(target) else target}:{name or DEFAULT_NAME}"


def load(spec: str | None = None) -> Pipeline:
    """Import the user's module and find the pipeline in it.

    :raises LoadError: when there is no such file, module or name, the module raises, or what it names is no pipeline.
    """
    spec = spec or discover()
    target, name = _split(spec)
    if not target:
        raise LoadError(f"the pipeline {spec!r} names no file and no module")
    if target.endswith((".yaml", ".yml")):
        raise LoadError(f"{target}: a pipeline is defined in a .py file or a module")
    if _is_path(target):
        path = Path(target).absolute()
        if not path.is_file():
            reason = "it is a directory" if path.is_dir() else "there is no such file"
            raise LoadError(f"the pipeline {target} cannot be loaded: {reason}")
        directory, module = path.parent, _import_file(path)
    else:
        module = _import_module(target)
        directory = Path(module.__file__).parent if module.__file__ else Path.cwd()
    return _find(module, target, name, directory)


def _import_file(path: Path) -> ModuleType:
    # A name of its own, so that a pipeline.py does not stand for every other module of that name.
    name = f"pdt_pipeline_{path.stem}" if path.stem.isidentifier() else "pdt_pipeline"
    directory = str(path.parent)
    if directory not in sys.path:
        sys.path.insert(0, directory)  # as for a script: it may import what lies beside it
    specification = importlib.util.spec_from_file_location(name, path)
    if specification is None or specification.loader is None:
        raise LoadError(f"the pipeline {path} cannot be loaded: it is not a Python file")
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    try:
        with anchored_at(directory):
            specification.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        raise _explain(error, str(path)) from error
    return module


def _import_module(name: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise LoadError(f"the pipeline {name!r} is neither a .py file nor a module")
    if (cwd := os.getcwd()) not in sys.path:
        sys.path.insert(0, cwd)
    try:
        found = importlib.util.find_spec(name)
        if found is None:
            raise ModuleNotFoundError(name=name)
        with anchored_at(os.path.dirname(found.origin) if found.origin and os.path.isfile(found.origin) else cwd):
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise LoadError(f"there is no module {name}, and no file of that name") from None
        raise _explain(error, name) from error
    except BaseException as error:
        raise _explain(error, name) from error


def import_again(name: str, file: str | None) -> ModuleType:
    """The module `name` in a worker process, which may have to load it from its file first."""
    if name in sys.modules:
        return sys.modules[name]
    if name.startswith("pdt_pipeline") and file is not None:
        return _import_file(Path(file))
    return importlib.import_module(name)


def _explain(error: BaseException, where: str) -> BaseException:
    """The error of a user's module as a sentence, with the user's frames."""
    if isinstance(error, (KeyboardInterrupt, LoadError)):
        return error
    if isinstance(error, SystemExit):
        return UserCodeError(f"the pipeline {where} exits while it is loaded (exit code {error.code})", _frames(error))
    if isinstance(error, SyntaxError):
        import traceback

        text = "".join(traceback.format_exception_only(error))
        return UserCodeError(f"the pipeline {where} has a syntax error in line {error.lineno}: {error.msg}", text)
    said = str(error) if isinstance(error, PdtError) else f"{type(error).__name__}: {error}"
    return UserCodeError(f"the pipeline {where} cannot be loaded: {said}", _frames(error))


def _frames(error: BaseException) -> str:
    """The part of a traceback that is the user's: neither the import machinery nor this package."""
    import traceback

    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith((_HERE, "<frozen")) and not _is_importlib(frame.filename)
    ]
    return "".join(traceback.format_list(frames))


def _is_importlib(filename: str) -> bool:
    return os.path.dirname(filename) == os.path.dirname(importlib.__file__)


def _find(module: ModuleType, target: str, name: str | None, directory: Path) -> Pipeline:
    wanted = DEFAULT_NAME if name is None else name
    try:
        found: Any = getattr(module, wanted)
    except AttributeError:
        there = [key for key, value in vars(module).items() if isinstance(value, Pipeline)]
        hint = f"it has {', '.join(there)}: name one as {target}:{there[0]}" if there else "it defines no pipeline"
        raise LoadError(f"the pipeline {target} has nothing called {wanted!r}; {hint}") from None
    if callable(found) and not isinstance(found, Pipeline):
        try:
            with anchored_at(directory):
                found = found()
        except BaseException as error:
            raise _explain(error, f"{target}:{wanted}") from error
    if not isinstance(found, Pipeline):
        raise LoadError(f"{wanted!r} in {target} is not a pipeline but {_kind(found)}")
    return found


def _kind(value: object) -> str:
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"
