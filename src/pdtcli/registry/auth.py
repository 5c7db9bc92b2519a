"""Who a registry is told we are: stored credentials, challenges, tokens.

Credentials are looked up where ``podman login`` and ``docker login`` leave them: ``$REGISTRY_AUTH_FILE``, or else
``$XDG_RUNTIME_DIR/containers/auth.json`` and ``~/.config/containers/auth.json``, then ``~/.docker/config.json`` (or
``$DOCKER_CONFIG/config.json``), each with its ``auths``, ``credsStore`` and ``credHelpers`` (containers-auth.json(5)),
and programs ``docker-credential-NAME`` (protocol: docs.docker.com, "docker login", "Credential helper protocol").
Tokens follow the distribution project's "Token Authentication" and, for identity tokens, its "OAuth2 Token
Authentication". Nothing here ever prints a secret.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import os
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import BackendError, UsageError

__all__ = ("Authorizer", "Challenge", "Credential", "Keyring", "parse_challenges")

HELPER_TIMEOUT = 30.0
"""Seconds that a credential helper may take; some ask a keychain that asks its user."""

HUB = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})
HUB_KEY = "https://index.docker.io/v1/"
"""The name under which Docker keeps the credentials of its own registry."""

DEFAULT_LIFETIME = 60
"""Seconds that a token is good for when its issuer does not say."""


@dataclass(frozen=True)
class Credential:
    """A user name and a password; or, when `identity`, a token that is traded for others."""

    username: str
    secret: str = field(repr=False)
    identity: bool = False

    @property
    def basic(self) -> str:
        """As a header of the "Basic" scheme (RFC 7617)."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.secret}".encode()).decode()


class Keyring:
    """Finds the credential for a registry.

    :param given: domain to user name and password; asked first.
    :param config: the file to look in; the usual ones when None. It need not be there.
    """

    def __init__(self, given: Mapping[str, Sequence[str]] | None = None, config: Path | None = None) -> None:
        self._given: dict[str, Credential] = {}
        for domain, pair in (given or {}).items():
            if isinstance(pair, str) or len(pair) != 2:
                raise UsageError(f"the credentials for {domain} are not a pair of a user name and a password")
            self._given[domain] = Credential(str(pair[0]), str(pair[1]))
        self._config = config
        self._found: dict[str, Credential | None] = {}

    async def find(self, domain: str) -> Credential | None:
        """The credential for `domain` (a host, with its port if that is not the usual one), or None.

        :raises BackendError: when a configuration, or a helper that it names, does not work.
        """
        if domain not in self._found:
            self._found[domain] = self._given.get(domain) or await self._look_up(domain)
        return self._found[domain]

    async def _look_up(self, domain: str) -> Credential | None:
        for path in _usual_files() if self._config is None else [self._config]:
            if (found := await self._look_into(path, domain)) is not None:
                return found
        return None

    async def _look_into(self, path: Path, domain: str) -> Credential | None:
        try:
            config: Any = json.loads(path.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not JSON"
            raise BackendError(f"{path} cannot be read: {reason}") from None
        if not isinstance(config, dict):
            raise BackendError(f"{path} cannot be read: it is not a JSON object")
        names = [HUB_KEY, *sorted(HUB)] if domain in HUB else [domain, f"https://{domain}", f"http://{domain}"]
        helpers = config.get("credHelpers") or {}
        helper = next((helpers[name] for name in names if name in helpers), config.get("credsStore"))
        if helper:
            for name in names:
                if (found := await _ask_helper(str(helper), name)) is not None:
                    return found
        return _stored(config.get("auths") or {}, names, path)


def _usual_files() -> list[Path]:
    """Podman's files, then Docker's; a variable that names one of them stands for all of its tool's."""
    environ, home = os.environ, Path.home()
    if named := environ.get("REGISTRY_AUTH_FILE"):
        podman = [Path(named)]
    else:
        podman = [Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "containers" / "auth.json"]
        if runtime := environ.get("XDG_RUNTIME_DIR"):
            podman.insert(0, Path(runtime) / "containers" / "auth.json")
    return [*podman, Path(environ.get("DOCKER_CONFIG") or home / ".docker") / "config.json"]


def _stored(auths: Mapping[str, Any], names: Sequence[str], path: Path) -> Credential | None:
    # Old entries are URLs, such as https://example.org/v2/: what counts is the host. Podman's may be for a part of a
    # registry, as example.org/team; those are not for all of it.
    by_host = {re.sub(r"^https?://|/.*$", "", key): key for key in auths if "://" in key}
    for key in [*(name for name in names if name in auths), *(by_host[name] for name in names if name in by_host)]:
        entry = auths[key]
        if not isinstance(entry, dict):
            continue
        username, secret = entry.get("username") or "", entry.get("password") or ""
        if entry.get("auth"):
            try:
                username, _, secret = base64.b64decode(entry["auth"], validate=True).decode().partition(":")
            except (binascii.Error, ValueError, TypeError):
                raise BackendError(f"{path}: the entry for {key} is damaged: 'docker login' writes it anew") from None
        if entry.get("identitytoken"):
            return Credential(username, entry["identitytoken"], identity=True)
        if username:
            return Credential(username, secret.rstrip("\0"))
    return None


async def _ask_helper(helper: str, name: str) -> Credential | None:
    program = f"docker-credential-{helper}"
    if not re.fullmatch(r"[\w.-]+", helper):
        raise BackendError(f"{program!r}, which the configuration names for credentials, is no program's name")
    try:
        process = await asyncio.create_subprocess_exec(
            program,
            "get",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
    except OSError as error:
        raise BackendError(
            f"{program}, which the configuration names for credentials, cannot be run: {error.strerror}"
        ) from None
    try:
        async with asyncio.timeout(HELPER_TIMEOUT):
            out, _ = await process.communicate(name.encode())
    except BaseException as error:
        process.kill()
        await process.wait()
        if isinstance(error, TimeoutError):
            raise BackendError(f"{program} gave no credentials for {name} within {HELPER_TIMEOUT:g} s") from None
        raise
    if process.returncode:
        # Helpers tell "there are none" from "it did not work" by this text only.
        if b"credentials not found" in out:
            return None
        raise BackendError(f"{program} failed with exit status {process.returncode} for {name}")
    try:
        answer = json.loads(out)
        username, secret = answer["Username"], answer["Secret"]
    except (ValueError, KeyError, TypeError):
        raise BackendError(f"{program} gave something else than credentials for {name}") from None
    if not secret:
        return None
    return Credential(username, secret, identity=username == "<token>")


@dataclass(frozen=True)
class Challenge:
    """One way in which a server would be content: a scheme in lower case, and its parameters (RFC 9110, 11.6.1)."""

    scheme: str
    parameters: Mapping[str, str]


_scheme = re.compile(r"[\s,]*([A-Za-z][A-Za-z0-9!#$%&'*+.^_`|~-]*)(?:\s+|$|(?=,))(?!\s*=)").match
_parameter = re.compile(r'[\s,]*([A-Za-z0-9_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]*))').match


def parse_challenges(headers: Iterable[str]) -> list[Challenge]:
    """The challenges in the values of `WWW-Authenticate` headers; what cannot be read ends its header."""
    found: list[Challenge] = []
    for text in headers:
        parameters: dict[str, str] | None = None
        at = 0
        while at < len(text):
            match = _parameter(text, at) if parameters is not None else None
            if match is not None and parameters is not None:
                quoted, plain = match.group(2), match.group(3)
                parameters[match.group(1).lower()] = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else plain
            elif (match := _scheme(text, at)) is not None:
                parameters = {}
                found.append(Challenge(match.group(1).lower(), parameters))
            else:
                break
            at = match.end()
    return found


Fetch = Callable[[str, str, Mapping[str, str], Sequence[tuple[str, str]]], Awaitable[tuple[int, bytes]]]
"""Sends a request of a method to a URL with headers and parameters, in the query or as a form; status and body."""


class Authorizer:
    """Turns a domain and scopes into an `Authorization` header, and remembers what worked.

    :param fetch: how a token's issuer is asked.
    :param is_plain: whether a domain is spoken to without TLS, by its user's choice.
    """

    def __init__(self, keyring: Keyring, fetch: Fetch, is_plain: Callable[[str], bool]) -> None:
        self._keyring = keyring
        self._fetch = fetch
        self._is_plain = is_plain
        self._challenges: dict[str, Challenge] = {}
        self._tokens: dict[tuple[str, frozenset[str]], tuple[str, float]] = {}
        self._lock = asyncio.Lock()

    async def header(self, domain: str, scopes: frozenset[str]) -> str | None:
        """What to send before being asked, as far as earlier answers tell."""
        challenge = self._challenges.get(domain)
        return None if challenge is None else await self._satisfy(domain, challenge, scopes)

    async def answer(self, domain: str, scopes: frozenset[str], headers: Iterable[str], sent: str | None) -> str | None:
        """What to send instead of `sent`, which was refused with the challenges in `headers`; None for nothing else.

        :raises BackendError: when there are no credentials, or those there are were refused.
        """
        offered = {challenge.scheme: challenge for challenge in reversed(parse_challenges(headers))}
        challenge = offered.get("bearer") or offered.get("basic")
        if challenge is None:
            raise BackendError(f"{domain} refused access and asks for no kind of credentials that pdt knows")
        self._challenges[domain] = challenge
        if sent is not None and (known := self._tokens.get((domain, scopes))) and sent == known[0]:
            del self._tokens[domain, scopes]
        header = await self._satisfy(domain, challenge, scopes, challenge.parameters.get("scope", ""))
        if header is None:
            raise BackendError(
                f"{domain} asks for credentials and there are none: run 'docker login {domain}', or name them in "
                "Registry(credentials=…)"
            )
        return None if header == sent else header

    async def _satisfy(self, domain: str, challenge: Challenge, scopes: frozenset[str], more: str = "") -> str | None:
        if challenge.scheme == "basic":
            credential = await self._keyring.find(domain)
            return None if credential is None else credential.basic
        # One at a time: of many requests that start at once, one fetches the token that all of them use.
        async with self._lock:
            token, expiry = self._tokens.get((domain, scopes), ("", 0.0))
            if time.monotonic() >= expiry:
                token, lifetime = await self._token(domain, challenge, scopes.union(more.split()))
                self._tokens[domain, scopes] = token, time.monotonic() + lifetime
        return token

    async def _token(self, domain: str, challenge: Challenge, scopes: frozenset[str]) -> tuple[str, float]:
        realm = challenge.parameters.get("realm", "")
        if not realm.startswith("https://") and not (self._is_plain(domain) and realm.startswith("http://")):
            raise BackendError(f"{domain} sends for tokens to {realm!r}, which is no https address")
        credential = await self._keyring.find(domain)
        asked = [("service", service)] if (service := challenge.parameters.get("service")) else []
        wanted = sorted(scopes)
        if credential is not None and credential.identity:
            form = [("grant_type", "refresh_token"), ("client_id", "pdt"), ("refresh_token", credential.secret)]
            status, body = await self._fetch("POST", realm, {}, [*form, *asked, ("scope", " ".join(wanted))])
        else:
            headers = {} if credential is None else {"Authorization": credential.basic}
            status, body = await self._fetch("GET", realm, headers, [*asked, *(("scope", scope) for scope in wanted)])
        if status in (400, 401, 403):
            if credential is None:
                raise BackendError(f"{domain} gives no access without credentials: run 'docker login {domain}'")
            raise BackendError(f"{domain} refused the credentials: 'docker login {domain}' stores others")
        try:
            answer = json.loads(body) if status == 200 else {}
            token = answer.get("token") or answer["access_token"]
            lifetime = float(answer.get("expires_in") or DEFAULT_LIFETIME)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise BackendError(f"{domain}: its token service answered {status} and no token") from None
        return f"Bearer {token}", max(lifetime * 0.9 - 5, lifetime / 2)
