"""Live resources (connections, clients, managers) that a pipeline needs while it is open.

A resource is an async generator function that yields one object. Registering it leaves a function in its place that
returns the object while the session is open, so that it can be handed to tasks and repositories before anything is
connected.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, cast

from .errors import PdtError, UsageError

__all__ = ("Session",)

T = TypeVar("T")


class _Resource(Generic[T]):
    """What stands in for a resource: call it for the live object. Picklable only where its session is.

    :ivar manager: the function that was registered; it may tell what the object will be before there is one.
    """

    def __init__(self, session: Session, manager: Callable[[], AsyncIterator[T]]) -> None:
        self._session = session
        self.manager = manager
        self.__name__ = getattr(manager, "__name__", repr(manager))
        self.__doc__ = manager.__doc__

    def __call__(self) -> T:
        try:
            value: T = self._session._live[self]
        except KeyError:
            raise PdtError(f"the resource {self.__name__} is not there: its session is not open") from None
        return value

    def __repr__(self) -> str:
        return f"<resource {self.__name__}>"

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[T]:
        generator = cast("AsyncGenerator[T, None]", self.manager())
        try:
            value = await anext(generator)
        except StopAsyncIteration:
            raise PdtError(f"the resource {self.__name__} yielded nothing") from None
        try:
            yield value
        except BaseException as error:
            # The resource sees what ended the session, as a context manager would.
            try:
                await generator.athrow(error)
            except StopAsyncIteration:
                pass
            except BaseException as raised:
                if raised is not error:
                    raise
            else:
                await self._overrun(generator)
            raise
        else:
            try:
                await anext(generator)
            except StopAsyncIteration:
                return
            await self._overrun(generator)

    async def _overrun(self, generator: AsyncGenerator[T, None]) -> None:
        await generator.aclose()
        raise PdtError(f"the resource {self.__name__} yields more than once")


class Session:
    """A set of resources, opened in the order of their registration and closed in the reverse order.

    .. code:: python

        session = pdtcli.Session()

        @session.resource
        async def localhost():
            yield pdtcli.LocalLinuxManager("my-app")

        async with session:
            localhost().basedir

    A resource may use those registered before it. When one fails to open, those already open are closed and the error
    is raised; when one fails to close, the others are closed all the same. A session can be opened again after it was
    closed.
    """

    def __init__(self) -> None:
        self._resources: list[_Resource[Any]] = []
        self._live: dict[_Resource[Any], Any] = {}
        self._stack: AsyncExitStack | None = None

    def resource(self, manager: Callable[[], AsyncIterator[T]]) -> Callable[[], T]:
        """Register an async generator function that yields exactly one object; usable as a decorator.

        :return: a function that returns the live object, and raises `PdtError` while the session is closed.
        :raises UsageError: for another kind of function.
        """
        resource = _Resource(self, manager)
        if inspect.iscoroutinefunction(manager) or inspect.isgeneratorfunction(manager):
            raise UsageError(
                f"the resource {resource.__name__} is not an async generator: start it with 'async def' and have it "
                "'yield' one object"
            )
        self._resources.append(resource)
        return resource

    @property
    def is_open(self) -> bool:
        """Whether the resources are live."""
        return self._stack is not None

    async def open(self) -> None:
        """Open all resources, or none.

        :raises PdtError: when the session is open already.
        """
        if self._stack is not None:
            raise PdtError("the session is open already")
        async with AsyncExitStack() as stack:
            for resource in self._resources:
                stack.callback(self._live.pop, resource, None)
                self._live[resource] = await stack.enter_async_context(resource._opened())
            self._stack = stack.pop_all()

    async def close(self) -> None:
        """Close all resources; do nothing when the session is closed already."""
        stack, self._stack = self._stack, None
        if stack is not None:
            await stack.aclose()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        stack, self._stack = self._stack, None
        return None if stack is None else await stack.__aexit__(kind, error, trace)
