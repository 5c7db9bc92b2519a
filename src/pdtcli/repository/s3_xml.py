"""Reads the answers of ListObjectsV2 (Amazon S3 API reference) for the names in them, and nothing else.

What clients do in a long listing is to read XML, most of it of no interest. So the objects are cut out and searched for
their keys, which takes a tenth of the time of a parser, and only what is around them is parsed. An answer that does not
look as all servers write it is parsed whole.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote_plus
from xml.etree import ElementTree
from xml.sax.saxutils import unescape

__all__ = ("Listing", "read_listing")


class Listing(NamedTuple):
    """One answer.

    :ivar keys: of the objects, in the order of the answer.
    :ivar last: the last key, or prefix that stands for several; None when there is neither.
    :ivar more: the token to go on with; None at the end.
    """

    keys: list[str]
    last: str | None
    more: str | None


_KEY = re.compile(rb"<Contents>.*?<Key>([^<]*)</Key>", re.DOTALL)


def read_listing(body: bytes) -> Listing:
    """Read an answer.

    :raises ValueError: when it is something else.
    """
    keys: list[str] | None = None
    first, last = body.find(b"<Contents>"), body.rfind(b"</Contents>")
    if first >= 0:
        last += len(b"</Contents>")
        keys = _scan(body[first:last])
        if keys is not None:
            body = body[:first] + body[last:]
    try:
        root = ElementTree.fromstring(body)  # noqa: S314 - from the server that the user trusts with the data
    except ElementTree.ParseError as error:
        raise ValueError(f"no listing: {error}") from error
    if _name(root) != "ListBucketResult":
        raise ValueError(f"no listing, but {_name(root)}")
    found: list[str] = []
    prefixes: list[str] = []
    rest: dict[str, str] = {}
    for element in root:
        match _name(element):
            case "Contents":
                found += [_text(each) for each in element if _name(each) == "Key"]
            case "CommonPrefixes":
                prefixes += [_text(each) for each in element if _name(each) == "Prefix"]
            case name:
                rest[name] = _text(element)
    if keys is None:
        keys = found
    if rest.get("EncodingType") == "url":
        keys, prefixes = _decoded(keys), _decoded(prefixes)
    more = rest.get("NextContinuationToken") if rest.get("IsTruncated") == "true" else None
    return Listing(keys, max(keys[-1:] + prefixes[-1:], default=None), more)


def _scan(block: bytes) -> list[str] | None:
    """The keys of objects that follow one another, as they are written; None when it takes a parser."""
    found = _KEY.findall(block)
    if len(found) != block.count(b"<Contents>") or b"<!" in block or b"<CommonPrefixes>" in block or b"&#" in block:
        return None
    text = b"\n".join(found).decode()
    if "&" in text:
        text = unescape(text, {"&quot;": '"', "&apos;": "'"})
    keys = text.split("\n")
    return keys if len(keys) == len(found) else None  # a key with a newline in it


def _decoded(names: list[str]) -> list[str]:
    text = "\n".join(names)
    if "%" not in text and "+" not in text:
        return names
    return [unquote_plus(name) for name in names]


def _name(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _text(element: ElementTree.Element) -> str:
    return element.text or ""
