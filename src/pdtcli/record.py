"""Plain data as `dataclasses` has it, at a fraction of the cost of its import.

A frozen dataclass writes and compiles ten functions when its class is made; the two dozen of this package that every
command imports took a fifth of its start-up. Here the methods are written once, and work for every class of fields.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any, ClassVar, Self, dataclass_transform

__all__ = ("Record",)


@dataclass_transform(frozen_default=True)
class Record:
    """Base of classes whose annotations are their fields; a default is what the class has by the name.

    A class is immutable unless it is made with ``frozen=False``.
    """

    _fields: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, *, frozen: bool = True) -> None:
        if not frozen:
            cls.__setattr__ = object.__setattr__  # type: ignore[assignment, method-assign]
        cls._fields = (*cls._fields, *inspect.get_annotations(cls))
        # Not by its name, which a type checker takes for its own to give.
        type.__setattr__(cls, "__match_args__", cls._fields)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        names = self._fields
        if len(args) == len(names) and not kwargs:  # as events are made, thousands a second
            self.__dict__.update(zip(names, args, strict=True))
            return
        if len(args) > len(names):
            raise TypeError(f"{type(self).__name__} takes {len(names)} values, not {len(args)}")
        given = dict(zip(names, args, strict=False))
        for name, value in kwargs.items():
            if name in given or name not in names:
                raise TypeError(f"{type(self).__name__} takes no {name}, or not twice")
            given[name] = value
        missing = [name for name in names if name not in given and not hasattr(type(self), name)]
        if missing:
            raise TypeError(f"{type(self).__name__} needs {', '.join(missing)}")
        self.__dict__.update(given)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{type(self).__name__} cannot be changed: make another one with replace()")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} cannot be changed: it has no {name} to lose")

    def __iter_fields(self) -> Iterator[tuple[str, Any]]:
        return ((name, getattr(self, name)) for name in self._fields)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.__iter_fields())})"

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self.as_dict() == other.as_dict()

    def __hash__(self) -> int:
        return hash((type(self), *(value for _, value in self.__iter_fields())))

    def as_dict(self) -> dict[str, Any]:
        """The fields and their values."""
        return dict(self.__iter_fields())

    def replace(self, **changes: Any) -> Self:
        """The same with other values for some fields."""
        return type(self)(**{**self.as_dict(), **changes})
