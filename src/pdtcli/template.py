"""Templates of scripts: jinja2, strict, and lazy about what it costs to fill them in.

A template's variables may be awaitables, such as a repository's `info`. Only those that the template names are made and
awaited, each once. jinja2 is imported with the first template that is rendered.
"""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import LoadError, PdtError, sentence
from .paths import absolute

if TYPE_CHECKING:
    import jinja2
    import jinja2.nodes

__all__ = ("TemplateError", "locate", "parse_template", "read_template", "render")

PATH_LIMIT = 4096

# What jinja2 acts upon; it also rewrites the ends of lines that are not Unix's.
_DELIMITER = re.compile(r"\{[{%#]|\r")


class TemplateError(PdtError):
    """A template that cannot be read, parsed or filled in."""


def _to_json(value: object) -> str:
    import json

    return json.dumps(value, default=str, ensure_ascii=False)


def _to_yaml(value: object) -> str:
    from .repository.yaml import dump

    return dump(value).decode().removesuffix("...\n").rstrip("\n")


def _shquote(value: object) -> str:
    import shlex

    return shlex.quote(str(value))


FILTERS: Mapping[str, Callable[[Any], str]] = {"to_json": _to_json, "to_yaml": _to_yaml, "shquote": _shquote}


@lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    import jinja2

    environment = jinja2.Environment(
        enable_async=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
        # The result is a script or a manifest, not a page.
        autoescape=False,  # noqa: S701
    )
    environment.filters.update(FILTERS)
    return environment


@lru_cache(maxsize=256)
def _compile(text: str) -> tuple[jinja2.Template, frozenset[str]]:
    import jinja2.meta

    environment = _environment()
    names = frozenset(jinja2.meta.find_undeclared_variables(environment.parse(text)))
    return environment.from_string(text), names


def locate(template: str | os.PathLike[str]) -> str | Path:
    """A template that is given as text or as a path, with the path made absolute.

    A `Path` is a path; a string is one when it has a single line and names an existing file.
    """
    if isinstance(template, str) and ("\n" in template or len(template) > PATH_LIMIT):
        return template
    path = absolute(template)
    return path if not isinstance(template, str) or os.path.isfile(path) else template


def read_template(template: str | os.PathLike[str]) -> str:
    """The text of a template, however it is given; see `locate`.

    :raises LoadError: for a file that cannot be read.
    """
    template = locate(template)
    if isinstance(template, str):
        return template
    try:
        return Path(template).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LoadError(f"the template {os.fspath(template)} cannot be read: {sentence(error)}") from error


def parse_template(text: str) -> tuple[jinja2.nodes.Template, frozenset[str]]:
    """The syntax tree of a template, and the names of the variables that it uses.

    :raises TemplateError: for a syntax error.
    """
    import jinja2

    environment = _environment()
    try:
        _, names = _compile(text)  # which also knows whether the filters exist
        return environment.parse(text), names - environment.globals.keys()
    except jinja2.TemplateSyntaxError as error:
        raise _syntax(error) from error


def _syntax(error: jinja2.TemplateSyntaxError) -> TemplateError:
    return TemplateError(f"the template has an error in line {error.lineno}: {error.message}")


async def render(text: str, variables: Mapping[str, Any | Callable[[], Any]]) -> str:
    """Fill in a template.

    :param text: the template itself.
    :param variables: by name, a value, an awaitable, or a `Lazy` that makes either when the template uses the name.
    :raises TemplateError: for a syntax error, an undefined name or an error inside an expression.
    """
    try:
        return await _fill_in(text, variables) if _DELIMITER.search(text) is not None else text
    finally:
        for value in variables.values():
            if inspect.iscoroutine(value):
                value.close()  # one that nobody came to need


async def _fill_in(text: str, variables: Mapping[str, Any | Callable[[], Any]]) -> str:
    import jinja2

    try:
        template, names = _compile(text)
        values = {name: await _value(variables[name]) for name in variables if name in names}
        return await template.render_async(values)
    except jinja2.TemplateSyntaxError as error:
        raise _syntax(error) from error
    except jinja2.UndefinedError as error:
        known = ", ".join(sorted(variables)) or "none"
        raise TemplateError(f"the template uses what is not there: {error.message} (there are: {known})") from error
    except (PdtError, OSError):
        raise  # a repository's, with a sentence of its own
    except Exception as error:
        raise TemplateError(f"the template cannot be filled in: {sentence(error)}") from error


async def _value(variable: Any) -> Any:
    value = variable.make() if isinstance(variable, Lazy) else variable
    return await value if inspect.isawaitable(value) else value


class Lazy:
    """A template variable whose value is made only when a template uses it."""

    __slots__ = ("make",)

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make
