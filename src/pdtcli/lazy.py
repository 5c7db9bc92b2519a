"""Modules that are imported when something of theirs is first used.

asyncio alone takes as long to import as everything else that a listing of a directory needs, which never waits for
anything. Written as

.. code:: python

    if TYPE_CHECKING:
        import asyncio
    else:
        asyncio = lazy("asyncio")
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ("lazy",)


class lazy:
    """Stands for the module `name`, which the first use of an attribute imports."""

    def __init__(self, name: str) -> None:
        self.__name__ = name

    def __getattr__(self, attribute: str) -> Any:
        value = getattr(import_module(self.__name__), attribute)
        setattr(self, attribute, value)
        return value
