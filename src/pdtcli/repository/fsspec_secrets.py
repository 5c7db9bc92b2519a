"""What may be shown of a URL of fsspec's and its options, and what must not.

Everything that could be a credential counts as one: a sentence without a harmless word is still a sentence.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

__all__ = ("public", "secrets_of", "without_secrets")

HARMLESS = frozenset(
    {"host", "port", "protocol", "endpoint_url", "region_name", "mode", "compression", "project", "anon"}
)
"""Options whose values are no secrets."""


def public(url: str) -> str:
    """A URL without users, passwords and queries, in which keys and signatures are handed over."""
    return "::".join(without_secrets(part)[0] for part in url.split("::"))


def without_secrets(part: str) -> tuple[str, set[str]]:
    """One part of a chained URL that may be shown, and what was taken out of it."""
    scheme, mark, rest = part.partition("://")
    if not mark or scheme in ("file", "local", "memory"):
        return part, set()
    rest, _, query = rest.partition("?")
    authority = rest.partition("/")[0]
    end = rest.rfind("@") if ":" in authority and "@" not in authority else authority.rfind("@")
    user, _, password = rest[: max(end, 0)].partition(":")
    hidden = {password, unquote(password), user if not password else "", query}
    hidden |= {value for pair in query.split("&") for value in (pair.partition("=")[2],)}
    return f"{scheme}://{rest[end + 1 :]}", {text for text in hidden if text}


def secrets_of(url: str, options: Any) -> set[str]:
    """Everything that may be a credential."""
    found: set[str] = set()
    for part in url.split("::"):
        found |= without_secrets(part)[1]
    pending = [options]
    while pending:
        match pending.pop():
            case dict() as mapping:
                pending += [value for key, value in mapping.items() if key not in HARMLESS]
            case list() | tuple() as items:
                pending += items
            case str(text) if len(text) > 2:
                found.add(text)
    return found
