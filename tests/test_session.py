"""Resources that live as long as a session."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from pdtcli import PdtError, Session, UsageError


class Log(list[str]):
    """A session's resources, and what happened to them."""

    def resource(self, session: Session, name: str) -> Callable[[], str]:
        async def manager() -> AsyncIterator[str]:
            self.append(f"open {name}")
            try:
                yield name
            finally:
                self.append(f"close {name}")

        manager.__name__ = name
        return session.resource(manager)


def fail() -> None:
    raise ZeroDivisionError


@pytest.fixture
def log() -> Log:
    return Log()


async def test_resources_open_in_order_and_close_in_reverse(log: Log) -> None:
    session = Session()
    one, two = log.resource(session, "one"), log.resource(session, "two")

    async with session:
        log.append(f"use {one()} {two()}")

    assert log == ["open one", "open two", "use one two", "close two", "close one"]


async def test_a_resource_may_use_one_that_was_registered_before(log: Log) -> None:
    session = Session()
    one = log.resource(session, "one")

    @session.resource
    async def both() -> AsyncIterator[str]:
        yield f"{one()} and more"
        log.append(f"{one()} is still there")

    async with session:
        assert both() == "one and more"

    assert log == ["open one", "one is still there", "close one"]


async def test_a_session_can_be_used_again(log: Log) -> None:
    session = Session()
    one = log.resource(session, "one")

    for _ in range(2):
        async with session:
            assert one() == "one"

    assert log == ["open one", "close one"] * 2


def test_a_session_can_be_used_again_in_another_event_loop(log: Log) -> None:
    session = Session()
    log.resource(session, "one")

    async def use() -> None:
        async with session:
            pass

    asyncio.run(use())
    asyncio.run(use())

    assert log == ["open one", "close one"] * 2


async def test_when_one_fails_to_open_the_others_are_closed(log: Log) -> None:
    session = Session()
    one = log.resource(session, "one")

    @session.resource
    async def broken() -> AsyncIterator[str]:
        fail()
        yield ""

    log.resource(session, "never")

    with pytest.raises(ZeroDivisionError):
        await session.open()

    assert log == ["open one", "close one"]
    assert not session.is_open
    with pytest.raises(PdtError):
        one()


async def test_an_error_in_the_body_closes_all_and_is_passed_on(log: Log) -> None:
    session = Session()
    log.resource(session, "one")
    log.resource(session, "two")

    with pytest.raises(ZeroDivisionError):
        async with session:
            fail()

    assert log[-2:] == ["close two", "close one"]


async def test_a_resource_cannot_swallow_the_body_s_error() -> None:
    session = Session()

    @session.resource
    async def greedy() -> AsyncIterator[None]:
        try:
            yield
        except ZeroDivisionError:
            pass

    with pytest.raises(ZeroDivisionError):
        async with session:
            fail()


async def test_when_one_fails_to_close_the_others_are_closed_all_the_same(log: Log) -> None:
    session = Session()
    log.resource(session, "one")

    @session.resource
    async def sticky() -> AsyncIterator[None]:
        yield
        fail()

    log.resource(session, "three")

    with pytest.raises(ZeroDivisionError):
        async with session:
            pass

    assert log == ["open one", "open three", "close three", "close one"]
    assert not session.is_open


async def test_a_cancelled_body_closes_all(log: Log) -> None:
    session = Session()
    log.resource(session, "one")
    inside = asyncio.Event()

    async def work() -> None:
        async with session:
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert log == ["open one", "close one"]


async def test_a_resource_that_is_closed_says_so(log: Log) -> None:
    session = Session()
    one = log.resource(session, "one")

    with pytest.raises(PdtError, match="the resource one is not there: its session is not open"):
        one()


async def test_a_resource_is_gone_once_it_was_closed(log: Log) -> None:
    session = Session()
    found: list[str] = []

    @session.resource
    async def first() -> AsyncIterator[None]:
        yield
        try:
            second()
        except PdtError as error:
            found.append(str(error))

    second = log.resource(session, "second")
    async with session:
        pass

    assert found == ["the resource second is not there: its session is not open"]


async def test_a_resource_that_yields_twice_is_an_error() -> None:
    session = Session()

    @session.resource
    async def twice() -> AsyncIterator[int]:
        yield 1
        yield 2

    with pytest.raises(PdtError, match="the resource twice yields more than once"):
        async with session:
            assert twice() == 1


async def test_a_resource_that_never_yields_is_an_error() -> None:
    session = Session()

    @session.resource
    async def never() -> AsyncIterator[int]:
        for number in range(0):
            yield number

    with pytest.raises(PdtError, match="the resource never yielded nothing"):
        await session.open()


def test_a_coroutine_function_is_no_resource() -> None:
    async def connect() -> int:
        return 1

    with pytest.raises(UsageError, match="the resource connect is not an async generator"):
        Session().resource(connect)  # type: ignore[arg-type]


def test_a_plain_generator_function_is_no_resource() -> None:
    def connect() -> Iterator[int]:
        yield 1

    with pytest.raises(UsageError, match="start it with 'async def'"):
        Session().resource(connect)  # type: ignore[arg-type]


async def test_a_session_cannot_be_opened_twice_at_a_time(log: Log) -> None:
    session = Session()
    log.resource(session, "one")
    await session.open()

    with pytest.raises(PdtError, match="the session is open already"):
        await session.open()
    await session.close()

    assert log == ["open one", "close one"]


async def test_closing_a_closed_session_does_nothing() -> None:
    await Session().close()


def test_a_resource_keeps_its_name_and_documentation() -> None:
    @Session().resource
    async def localhost() -> AsyncIterator[int]:
        """This machine."""
        yield 1

    assert (localhost.__name__, localhost.__doc__, repr(localhost)) == (
        "localhost",
        "This machine.",
        "<resource localhost>",
    )
