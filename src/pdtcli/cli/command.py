"""Typer's command and group as this project wants them: quick to start, with a help page that reads like a manual page.

`Later` is how a command's module is imported only when the command is called: it stands in the application with its
name and its line of help, which is all that `--help` and completion need, and the group exchanges it for the real
command at the moment it is to run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args, get_origin

import typer
from typer.core import TyperCommand, TyperGroup

__all__ = ("COMMON", "Command", "Group", "Later")

COMMON = "Common options"


class _Manual:
    """The help page: usage, text, arguments, the command's own options, the common ones, an example."""

    epilog: str | None
    options_metavar: str | None

    def get_params(self, ctx: Any) -> list[Any]:
        params: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for param in params:
            _lighten(param)
        return params

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        pieces = [self.options_metavar or ""]
        for param in self.get_params(ctx):
            if param.param_type_name == "argument":
                many = "…" if param.nargs != 1 else ""
                pieces.append(f"{_metavar(param)}{many}" if param.required else f"[{_metavar(param)}{many}]")
        return pieces

    def format_options(self, ctx: Any, formatter: Any) -> None:
        arguments: list[tuple[str, str]] = []
        own: list[tuple[str, str]] = []
        common: list[tuple[str, str]] = []
        for param in self.get_params(ctx):
            if param.param_type_name == "argument":
                arguments.append((_metavar(param), getattr(param, "help", None) or ""))
            elif (record := param.get_help_record(ctx)) is not None:
                shared = param.name == "help" or getattr(param, "rich_help_panel", None) == COMMON
                (common if shared else own).append(record)
        for title, records in (("Arguments", arguments), ("Options", own), (COMMON, common)):
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        if self.epilog:
            with formatter.section("Example"):
                for line in self.epilog.splitlines():
                    formatter.write(f"  {line}\n")


class Command(_Manual, TyperCommand):
    """One command."""


class Group(_Manual, TyperGroup):
    """Commands under one name, some of which are imported when they are called."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [*super().collect_usage_pieces(ctx), self.subcommand_metavar]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        self.format_commands(ctx, formatter)
        super().format_options(ctx, formatter)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        if isinstance(command, Later) and command.callback is not None:
            command = command.callback()
        return name, command, rest


class Later(TyperCommand):
    """Stands for a command or group whose callback imports it."""


def _metavar(param: Any) -> str:
    return str(param.metavar or param.name.upper())


def _lighten(param: Any) -> None:
    """Let `param` convert its values without pydantic where its type is a simple one.

    Recent versions of Typer build a pydantic adapter for every parameter of a command, also of those not given, and the
    import of pydantic alone takes 70 ms. Earlier ones have no such attribute and are left as they are.
    """
    if getattr(param, "_runtime_param", ...) is None:
        annotation = param.type_descriptor.annotation
        many = get_origin(annotation) is list
        convert = get_args(annotation)[0] if many else annotation
        if convert in _WANTED:
            param._runtime_param = _Plain(convert, many)


_WANTED: dict[Any, str] = {str: "text", int: "a whole number", float: "a number", bool: "yes or no"}


class _Plain:
    """Stands in for Typer's converter of one parameter."""

    def __init__(self, convert: Callable[[Any], Any], many: bool) -> None:
        self.convert = convert
        self.many = many

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        if value is None:
            return () if self.many or getattr(param, "multiple", False) else None
        return [self.one(item, param, ctx) for item in value] if self.many else self.one(value, param, ctx)

    def one(self, value: Any, param: Any, ctx: Any) -> Any:
        try:
            converted = self.convert(value)
        except ValueError:
            raise typer.BadParameter(f"{value!r} is not {_WANTED[self.convert]}", ctx=ctx, param=param) from None
        least = getattr(param, "min", None)
        # So written that it refuses NaN as well.
        if least is not None and not converted >= least:
            raise typer.BadParameter(f"{value} is less than {least}", ctx=ctx, param=param)
        return converted
