"""Talking to a MongoDB server: the session's resource, time limits, retries, and failures as sentences.

Everything that goes to a server goes through `MongoPlace.run`, which repeats what failed for a passing reason until the
time limit, and turns what is left into one of `pdtcli.errors`. pymongo is imported with the first use.

Codes of errors: https://github.com/mongodb/mongo/blob/master/src/mongo/base/error_codes.yml; which of them pass:
https://github.com/mongodb/specifications/blob/master/source/retryable-reads/retryable-reads.md.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import BackendError, InvalidValue, PdtError, UsageError

if TYPE_CHECKING:
    from bson.codec_options import CodecOptions
    from pymongo.asynchronous.collection import AsyncCollection
    from pymongo.asynchronous.database import AsyncDatabase

__all__ = ("DEFAULT_TIMEOUT", "Document", "MongoPlace", "Source", "codec_options", "mongo_database")

Document = dict[str, Any]
T = TypeVar("T")

DEFAULT_TIMEOUT = 30.0
"""Seconds that one question to the server may take, with all repetitions, where nobody said otherwise."""

FIRST_PAUSE = 0.05
LONGEST_PAUSE = 2.0
"""Seconds before something that failed is tried again; doubled from the first to the longest."""

HEARTBEAT = 2000
"""Milliseconds until a server that failed is looked at again; pymongo's own 10 seconds are a third of the limit."""

FAREWELL = 1.0
"""Seconds for telling the server that this client is gone."""

PASSING = frozenset(
    {6, 7, 43, 63, 89, 91, 133, 134, 150, 189, 234, 262, 9001, 10107, 11600, 11602, 13388, 13435, 13436}
)
"""Codes of what another try may not meet: a server that stops or is no primary any more, a cursor that is gone, …"""

UNFIT = {10334: "it is too large", 17419: "it is too large", 17420: "it is too large", 15: "it is nested too deeply"}
UNFIT |= dict.fromkeys((52, 55, 56, 57), "this server does not take the names of its fields")
"""Codes of what is the value's fault."""

_HOSTS = re.compile(r"[A-Za-z0-9.\-_]+(:[0-9]+)?(,[A-Za-z0-9.\-_]+(:[0-9]+)?)*|\[[0-9a-fA-F:]+\](:[0-9]+)?")


# ---- the resource


class _Opener:
    """An async generator function that yields a database while its session is open."""

    def __init__(self, uri: str, name: str | None, timeout: float, options: Document) -> None:
        self._uri = uri
        self._options = options
        self._timeout = timeout
        self.hosts, in_uri = _parts(uri)
        self.database = name if name is not None else in_uri
        if not self.database:
            raise UsageError("the URI of the MongoDB server names no database: it ends in /NAME, or name= tells it")
        # What a session shows of its resources.
        self.__name__ = f"mongodb://{self.hosts or '…'}/{self.database}"
        self.__doc__ = "A MongoDB database."

    def __repr__(self) -> str:
        return f"<{type(self).__name__.strip('_')} {self.__name__}>"

    async def __call__(self) -> AsyncIterator[AsyncDatabase[Document]]:
        import pymongo
        from pymongo import AsyncMongoClient
        from pymongo.errors import PyMongoError

        settings = {
            "appname": "pdt",
            "timeoutMS": round(self._timeout * 1000),
            "heartbeatFrequencyMS": HEARTBEAT,
            **self._options,
        }
        try:
            client: AsyncMongoClient[Document] = AsyncMongoClient(self._uri, **settings)
        except (PyMongoError, ValueError, TypeError, OSError) as error:
            # Neither the error nor its cause: what does not parse may be shown as it is, password and all.
            reason = f" ({error.strerror}: {error.filename})" if isinstance(error, OSError) and error.filename else ""
            raise UsageError(
                f"{self.__name__} cannot be used{reason}: a URI reads mongodb://USER:PASSWORD@HOST:PORT/NAME?OPTION=… "
                "with user and password percent-encoded, and options that pymongo knows"
            ) from None
        try:
            yield client[str(self.database)]
        finally:
            # It says goodbye to the server, which may be the one that has just been found not to answer.
            with pymongo.timeout(min(self._timeout, FAREWELL)):
                await client.close()


def mongo_database(
    uri: str, name: str | None = None, *, timeout: float = DEFAULT_TIMEOUT, **options: Any
) -> Callable[[], AsyncIterator[AsyncDatabase[Document]]]:
    """A resource for a session: a database of a MongoDB server.

    .. code:: python

        database = session.resource(pdtcli.mongo_database("mongodb://db.example.org/books"))
        done = pdtcli.MongoMetadataRepository(database, "done")

    :param uri: where the server is and how to reach it: users, replica sets and TLS are its options
        (https://www.mongodb.com/docs/manual/reference/connection-string/). Its password is never shown.
    :param name: of the database; that in the URI when None.
    :param timeout: seconds that one operation may take, repetitions included.
    :param options: further ones for pymongo's `AsyncMongoClient`, such as ``username``, ``password`` or ``tlsCAFile``.
    :raises UsageError: when neither names a database; and when it is opened with a URI that makes no sense.
    """
    return _Opener(uri, name, timeout, options)


def _parts(uri: str) -> tuple[str | None, str | None]:
    """Hosts and database of a URI, as far as they can be told without doubt from what is secret."""
    match = re.fullmatch(r"mongodb(?:\+srv)?://(?:[^/@]*@)?([^/@?]*)(?:/([^/@?]*))?(?:\?.*)?", uri)
    if match is None or _HOSTS.fullmatch(match[1]) is None:
        return None, None
    return match[1], match[2] or None


# ---- a place in a database

Source = Any
"""An `AsyncDatabase`, an `AsyncCollection`, or a function that gives one, such as a session's resource."""


def codec_options() -> CodecOptions[Document]:
    """How documents are decoded: times in UTC but without a zone (see `mongo_values`), and as they are beyond Python's.

    No type registry: with one, bson takes the long way, and twice the time.
    """
    from bson.codec_options import CodecOptions, DatetimeConversion

    return CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_AUTO)


class MongoPlace:
    """What a repository has in a database: collections whose names begin alike.

    :param source: see `Source`.
    :param name: of the collection in it, if it is not the source itself.
    :param timeout: seconds; None for those of the client, or `DEFAULT_TIMEOUT` when it has none either.
    """

    def __init__(self, source: Source, name: str | None, timeout: float | None) -> None:
        self.source = source
        self.name = name
        self.timeout = timeout
        self._known: tuple[Any, Any] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_known": None}

    @property
    def is_live(self) -> bool:
        """Whether the source is the object itself, and not a function that gives it."""
        return type(self.source).__module__.startswith("pymongo.")

    @property
    def label(self) -> str:
        """Where it is, without anything that is secret; the same whether the session is open or not."""
        parts: list[str] = []
        if self.is_live:
            database = getattr(self.source, "database", None)
            if type(self.source).__name__ == "AsyncCollection":
                parts = [f"{database.name}.{self.source.name}" if database is not None else self.source.name]
            else:
                parts = [self.source.name]
        elif isinstance(opener := getattr(self.source, "manager", self.source), _Opener):
            parts = [str(opener.database)]
        return ".".join([*parts, *([self.name] if self.name is not None else [])]) or "?"

    def collection(self) -> AsyncCollection[Document]:
        """The collection; reads go to the primary, since a listing of yesterday would start jobs again.

        :raises UsageError: when the source is nothing of pymongo's asynchronous kind, or does not acknowledge writes.
        :raises PdtError: while its session is closed.
        """
        source = self.source if self.is_live else self.source()
        if self._known is not None and self._known[0] is source:
            found: AsyncCollection[Document] = self._known[1]
            return found
        from pymongo import ReadPreference, WriteConcern
        from pymongo.asynchronous.collection import AsyncCollection
        from pymongo.asynchronous.database import AsyncDatabase

        if not isinstance(source, (AsyncDatabase, AsyncCollection)):
            kind = f"{type(source).__module__}.{type(source).__name__}"
            raise UsageError(
                f"a MongoDB repository works on an AsyncDatabase or AsyncCollection of pymongo, not a {kind}"
            )
        plain = source[self.name] if self.name is not None else source
        if not isinstance(plain, AsyncCollection):
            raise UsageError("a MongoDB repository on a whole database needs the name of a collection")
        if not plain.write_concern.acknowledged:
            raise UsageError("a MongoDB repository needs to know that a write is done: remove w=0 from the URI")
        # A claim that a new primary does not know of would be granted twice.
        concern = plain.write_concern if plain.write_concern.document else WriteConcern("majority")
        found = plain.with_options(codec_options(), ReadPreference.PRIMARY, concern)
        self._known = (source, found)
        return found

    async def run(
        self, who: object, operation: Callable[[AsyncCollection[Document]], Awaitable[T]], limit: float | None = None
    ) -> T:
        """Do something on the collection that may be repeated, until it is done or the time is up.

        :param who: what to call it in a sentence.
        :param limit: seconds, where it is not the place's own affair.
        """
        import pymongo
        from pymongo.errors import PyMongoError

        collection = self.collection()
        if limit is None:
            limit = self.timeout
        if limit is None:
            limit = collection.database.client.options.timeout or DEFAULT_TIMEOUT
        clock = asyncio.get_running_loop().time
        deadline, pause = clock() + limit, FIRST_PAUSE
        with sentences(who, limit), pymongo.timeout(limit):
            while True:
                try:
                    return await operation(collection)
                except PyMongoError as error:
                    if not _passes(error) or clock() + pause >= deadline:
                        raise
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)


def _passes(error: Any) -> bool:
    """Whether another try may fare better, and there is time for it."""
    from pymongo.errors import AutoReconnect, OperationFailure, WaitQueueTimeoutError

    if error.timeout and not isinstance(error, WaitQueueTimeoutError):
        return False
    if isinstance(error, (AutoReconnect, WaitQueueTimeoutError)):
        return True
    return isinstance(error, OperationFailure) and (
        error.code in PASSING
        or error.has_error_label("RetryableWriteError")
        or error.has_error_label("RetryableReadError")
    )


# ---- failures


@contextmanager
def sentences(who: object, limit: float) -> Iterator[None]:
    """A block whose failures are told as the project tells them."""
    from bson.errors import BSONError
    from pymongo.errors import PyMongoError

    try:
        yield
    except (PyMongoError, BSONError) as error:
        raise _told(str(who), error, limit) from error


def _told(who: str, error: Exception, limit: float) -> PdtError:
    from bson.errors import BSONError
    from pymongo import errors

    match error:
        case errors.DocumentTooLarge():
            return InvalidValue(f"{who}: the value cannot be stored: MongoDB's limit is 16 MiB")
        case BSONError():
            return InvalidValue(f"{who}: the value does not fit into BSON: {_reason(error)}")
        case errors.BulkWriteError():
            first = (error.details.get("writeErrors") or error.details.get("writeConcernErrors") or [{}])[0]
            return _answered(who, first.get("code"), str(first.get("errmsg", "a write failed")), limit)
        case errors.OperationFailure():
            details = error.details or {}
            return _answered(who, error.code, str(details.get("errmsg", error)), limit)
        case errors.ServerSelectionTimeoutError():
            return BackendError(
                f"{who}: no server within {limit:g} s ({_reason(error)}): check that it runs, and the URI"
            )
        case errors.PyMongoError() if error.timeout:
            return BackendError(f"{who}: the server did not answer within {limit:g} s: try again, or allow more time")
        case errors.ConnectionFailure():
            return BackendError(f"{who}: the connection to the server broke ({_reason(error)}): try again")
    return BackendError(f"{who}: {_reason(error)}: check the URI and the server")


def _answered(who: str, code: int | None, text: str, limit: float) -> PdtError:
    if code in UNFIT:
        return InvalidValue(f"{who}: the value cannot be stored: {UNFIT[code]}")
    match code:
        case 18:
            return BackendError(f"{who}: the server refuses the login: check user, password and authSource in the URI")
        case 13 if "requires authentication" in text:
            return BackendError(f"{who}: the server asks for a login: put user and password into the URI")
        case 13:
            command = re.search(r"execute command \{ (\w+)", text)
            what = f" ({command[1]})" if command else ""
            return BackendError(f"{who}: the user may not do that{what}: it needs the role readWrite on the database")
        case 50 | 202 | 262:
            return BackendError(f"{who}: the server did not answer within {limit:g} s: try again, or allow more time")
    number = f"error {code}: " if code is not None else ""
    return BackendError(f"{who}: the server failed ({number}{_short(text)}): its log tells more")


def _reason(error: Exception) -> str:
    """The first of what pymongo has to say; the state of the whole topology follows it."""
    return _short(re.split(r" \(configured timeouts|, Timeout: |, full error: ", str(error))[0])


def _short(text: str) -> str:
    line = " ".join(text.split()).rstrip(".")
    return line if len(line) <= 200 else line[:199] + "…"
