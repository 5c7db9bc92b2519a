"""`pdt quota`: the limits on what runs at once."""

from __future__ import annotations

from . import options
from .context import Cli
from .options import command

__all__ = ("app",)

app = options.group("Look at the limits on what runs at once.", example="pdt quota show")


@command(
    app,
    "show",
    example="""
    pdt quota show
    pdt quota show --json
    """,
)
def show(cli: Cli) -> None:
    """Show each quota: its limit, what is used and free, and by which task.

    In a pipe and in JSON, memory is in bytes, and the limit of what is unlimited is empty.
    """
    from . import views

    views.quotas(cli.out, cli.open().quotas())
