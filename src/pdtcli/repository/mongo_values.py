"""Values and the documents that hold them: what MongoDB takes, and what comes back.

The times of documents are read without a zone, and made aware here: bson's own way takes ten times as long.
"""

from __future__ import annotations

import datetime
import reprlib
from collections.abc import Iterable
from typing import Any

from ..errors import InvalidValue
from .mongo_client import Document

__all__ = ("decode_into", "encode")

DEEP = 90
"""So many levels a value may be nested; the server's own limit is 100 for a document."""

WRAPPED = "_value"
"""The one field of a document whose value is no mapping, or one that cannot be a document as it is."""

_SCALARS = frozenset({type(None), bool, float, str, bytes, datetime.datetime})
_AS_IT_IS = frozenset({type(None), bool, float, str, bytes, int})

_TIME = datetime.datetime
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_NAIVE_EPOCH = _EPOCH.replace(tzinfo=None)


def encode(job: str, value: Any, who: object = "MongoDB") -> Document:
    """The document of a value.

    :raises InvalidValue: for what YAML, or BSON, cannot hold.
    """
    try:
        _check(value, 0)
    except InvalidValue as error:
        raise InvalidValue(f"{who}: the value of {job} cannot be stored: {error}") from None
    plain = type(value) is dict and "_id" not in value and value.keys() != {WRAPPED}
    if plain and not any(key.startswith("$") or "." in key or not key for key in value):
        return {"_id": job, **value}
    return {"_id": job, WRAPPED: value}


def decode_into(values: dict[str, Any], documents: Iterable[Document]) -> None:
    """Put the values of documents, which are used up, under their `_id`."""
    for document in documents:
        job = document.pop("_id")
        for key, value in document.items():
            kind = type(value)
            if kind is _TIME:  # here as well, since a call takes as long as all the rest
                document[key] = _EPOCH + (value - _NAIVE_EPOCH)
            elif kind not in _AS_IT_IS:
                document[key] = _mended(value)
        # A value that is no mapping is alone in its field.
        values[job] = document[WRAPPED] if len(document) == 1 and WRAPPED in document else document


def _mended(value: Any) -> Any:
    """A plain integer for one of bson's own, which knows what size it was stored in and which YAML does not take; an
    aware time for one without a zone; and both inside of containers, which stay the same ones.
    """
    kind = type(value)
    if kind is _TIME:
        return _EPOCH + (value - _NAIVE_EPOCH)  # a tenth of the time of `replace`
    if kind is dict:
        value.update([(key, _mended(item)) for key, item in value.items()])
    elif kind is list:
        value[:] = map(_mended, value)
    elif isinstance(value, int) and kind is not bool:
        return int(value)
    return value


def _check(value: Any, depth: int) -> None:
    kind = type(value)
    if kind is str:
        try:
            value.encode()
        except UnicodeEncodeError:
            raise InvalidValue(f"{reprlib.repr(value)} is not valid Unicode") from None
    elif kind in _SCALARS:
        return
    elif kind is int:
        if not -(2**63) <= value < 2**63:
            raise InvalidValue(f"{reprlib.repr(value)} has more than 64 bits: store it as text")
    elif depth >= DEEP:
        raise InvalidValue(f"it contains itself, or is nested more than {DEEP} levels deep")
    elif kind is dict:
        for key, item in value.items():
            if type(key) is not str or "\0" in key:
                raise InvalidValue(f"the key {reprlib.repr(key)} is not a string that MongoDB takes: use another one")
            if key == "$ref" and "$id" in value:
                raise InvalidValue("a mapping of $ref and $id would come back as a reference: use other keys")
            _check(key, depth + 1)
            _check(item, depth + 1)
    elif kind is list or kind is tuple:
        for item in value:
            _check(item, depth + 1)
    elif kind is datetime.date:
        raise InvalidValue(f"{value} is a date without a time, which MongoDB does not know: store a time or text")
    else:
        raise InvalidValue(
            f"{reprlib.repr(value)} is of the type {kind.__name__}, which neither YAML nor MongoDB holds"
        )
