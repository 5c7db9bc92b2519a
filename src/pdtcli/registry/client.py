"""`Registry`: what speaks to OCI registries, of which there may be several, over one pool of connections.

It follows the OCI Distribution Specification 1.1 and the distribution project's HTTP API V2. This module is about
requests: addresses, authentication, time limits, repetitions, and errors as sentences; what is asked for is in
`pdtcli.registry.remote`. Every request that goes through here may be repeated without harm; one that may not be must
not use it.
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, cast

from ..errors import BackendError, UsageError
from ..stream import CHUNK, ReadStream
from .auth import HUB, Authorizer, Credential, Keyring
from .failures import REPEATED, passing, pause, root_cause
from .trust import contexts

if TYPE_CHECKING:
    import httpx

__all__ = ("Answer", "Registry", "check_domain")

BODY_LIMIT = 4 * 1024 * 1024
"""Bytes of a manifest or a listing that are taken; the specification asks registries to take manifests up to this."""

CONNECTIONS = 8
"""Small requests under way at a time."""

Open = Callable[[], Awaitable[ReadStream]]
Content = bytes | Callable[[], AsyncIterator[bytes]] | None
"""A body: bytes, or what gives a fresh stream of them for each try."""

_domain = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?").fullmatch


def check_domain(domain: str) -> str:
    """Return `domain` when it is a host, with or without a port.

    :raises UsageError: otherwise.
    """
    if not isinstance(domain, str) or _domain(domain) is None:
        # What it is instead may be a URL with a password in it, so it is not shown.
        raise UsageError("a registry's domain is a host name, with a port where needed, such as example.org:5000")
    return domain


@dataclass(frozen=True)
class Answer:
    """What a registry answered: status, headers, and the whole body."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str

    def refusal(self) -> str:
        """The registry's own words for why not."""
        try:
            errors = json.loads(self.body)["errors"]
            texts = [str(error.get("message") or error.get("code")) for error in errors]
        except (ValueError, KeyError, TypeError, AttributeError):
            texts = [self.body[:200].decode("utf-8", "replace").strip()] if b"<" not in self.body[:200] else []
        return f"HTTP status {self.status}" + (f", {'; '.join(texts)[:300]}" if any(texts) else "")

    def has_code(self, *codes: str) -> bool:
        """Whether the registry gave one of these error codes."""
        try:
            return any(error.get("code") in codes for error in json.loads(self.body)["errors"])
        except (ValueError, KeyError, TypeError, AttributeError):
            return False


class Registry:
    """A client of OCI registries; a pipeline's session opens it.

    .. code:: python

        @session.resource
        async def registry():
            async with pdtcli.Registry() as client:
                yield client

    :param credentials: domain to user name and password. For other domains those that ``podman login`` or ``docker
        login`` stored are used, and their credential helpers.
    :param verify: whether certificates are checked, by the system's authorities and those in ``certs.d``; or the path
        of a PEM file of the authorities to trust, or an `ssl.SSLContext`.
    :param plain_http: whether to speak HTTP without TLS; or the domains for which to. Never tried unasked.
    :param timeout: seconds that a registry may take for a small request, repetitions included, and that a large
        transfer may stand still.
    :param retries: how often a request that failed for a passing reason is repeated.
    :param docker_config: the one file to look for credentials in, instead of the usual ones.
    """

    def __init__(
        self,
        credentials: Mapping[str, Sequence[str]] | None = None,
        *,
        verify: bool | str | Path | ssl.SSLContext = True,
        plain_http: bool | Collection[str] = False,
        timeout: float = 60.0,
        retries: int = 4,
        docker_config: str | Path | None = None,
    ) -> None:
        self.keyring = Keyring(credentials, None if docker_config is None else Path(docker_config))
        self.timeout = timeout
        self.retries = retries
        self._verify = verify
        self._plain = plain_http if isinstance(plain_http, bool) else frozenset(plain_http)
        self._client: httpx.AsyncClient | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def __repr__(self) -> str:
        return "<Registry>"

    # ---- life

    async def __aenter__(self) -> Self:
        self._open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections; the next request opens others."""
        client, self._client = self._client, None
        if client is not None and self._loop is asyncio.get_running_loop():
            await client.aclose()

    def _open(self) -> httpx.AsyncClient:
        loop = asyncio.get_running_loop()
        if self._client is None or self._loop is not loop:
            # Imported here, because a pipeline that is merely looked at should not pay for it.
            import httpx

            from .. import __version__

            verify = self._trusted()
            limits = httpx.Limits(max_connections=None, max_keepalive_connections=CONNECTIONS)
            own = contexts() if verify is True else {}
            self._client = httpx.AsyncClient(
                verify=verify,
                timeout=httpx.Timeout(self.timeout, pool=None),
                limits=limits,
                mounts={
                    f"https://{domain}": httpx.AsyncHTTPTransport(verify=context, limits=limits)
                    for domain, context in own.items()
                },
                headers={"User-Agent": f"pdt/{__version__}", "Accept-Encoding": "identity"},
                follow_redirects=True,
                event_hooks={"request": [_stay_encrypted]},
            )
            self._loop = loop
            self._slots = asyncio.Semaphore(CONNECTIONS)
            self._authorizer = Authorizer(self.keyring, self._fetch_token, self.is_plain)
        return self._client

    def _trusted(self) -> bool | ssl.SSLContext:
        if isinstance(self._verify, (bool, ssl.SSLContext)):
            return self._verify
        try:
            return ssl.create_default_context(cafile=str(self._verify))
        except OSError as error:
            raise UsageError(f"{self._verify} holds no certificates to trust: {error.strerror}") from None

    # ---- addresses

    def is_plain(self, domain: str) -> bool:
        """Whether `domain` is spoken to without TLS."""
        return self._plain if isinstance(self._plain, bool) else domain in self._plain

    def url(self, domain: str, path: str) -> str:
        """The address of `path`, which begins with a slash, at `domain`."""
        host = "registry-1.docker.io" if domain in HUB else domain
        return f"{'http' if self.is_plain(domain) else 'https'}://{host}{path}"

    def resolve(self, domain: str, base: str, location: str) -> str:
        """The address that a `Location` or a `Link` from `base` means.

        A registry behind a proxy that ends TLS may name itself without it; that is mended, so that no credential and no
        data goes out in the clear.
        """
        import httpx

        try:
            url = httpx.URL(base).join(location)
        except httpx.InvalidURL:
            raise BackendError(f"{domain} names an address that is none: {location[:100]!r}") from None
        home = httpx.URL(self.url(domain, "/"))
        if url.host == home.host and url.scheme == "http" and home.scheme == "https":
            url = url.copy_with(scheme="https", port=home.port)
        if url.scheme != "https" and not self.is_plain(domain):
            raise BackendError(f"{domain} sends elsewhere without encryption, to {url.host}")
        return str(url)

    def _is_home(self, domain: str, url: str) -> bool:
        import httpx

        home, there = httpx.URL(self.url(domain, "/")), httpx.URL(url)
        return (there.scheme, there.host, there.port) == (home.scheme, home.host, home.port)

    async def credential(self, domain: str) -> Credential | None:
        """What `domain` is shown, for those who speak to it themselves."""
        return await self.keyring.find(domain)

    # ---- requests

    async def request(
        self,
        domain: str,
        method: str,
        url: str,
        *,
        scopes: Iterable[str] = (),
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        params: Mapping[str, str] | None = None,
        limit: int = BODY_LIMIT,
    ) -> Answer:
        """One request and its whole answer, whatever its status is; repeated while there is hope and time.

        :param url: absolute, or a path at `domain`.
        :param scopes: what it needs to be allowed to, as in ``repository:NAME:pull``.
        :raises BackendError: when there is no answer within the time limit, or no access.
        """

        async def attempt() -> Answer:
            async with self._sent(domain, method, url, scopes, headers, content, params) as response:
                body = bytearray()
                async for piece in response.aiter_raw():
                    body += piece
                    if len(body) > limit:
                        raise BackendError(f"{domain} answers with more than {limit} bytes to {method} {url}")
                return Answer(response.status_code, dict(response.headers), bytes(body), str(response.url))

        self._open()
        try:
            async with self._slots, asyncio.timeout(self.timeout):
                return await self._repeated(domain, attempt)
        except TimeoutError:
            raise self._silent(domain) from None

    @asynccontextmanager
    async def stream(
        self,
        domain: str,
        url: str,
        *,
        scopes: Iterable[str] = (),
        headers: Mapping[str, str] | None = None,
    ) -> AsyncIterator[httpx.Response]:
        """A GET whose body is read by the caller. One try; errors of the transport are httpx's own."""
        self._open()
        async with self._sent(domain, "GET", url, scopes, headers) as response:
            yield response

    async def put_once(self, domain: str, url: str, size: int, source: Open | bytes, scopes: Iterable[str]) -> Answer:
        """A PUT of a stream of `size` bytes. One try; errors of the transport are httpx's own."""
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        async with AsyncExitStack() as stack:

            def pieces() -> AsyncIterator[bytes]:
                generator = _pieces(cast(Open, source))
                # A server that refuses in the middle leaves it half-way, with the source open.
                stack.push_async_callback(generator.aclose)
                return generator

            content: Content = source if isinstance(source, bytes) else pieces
            async with self._sent(domain, "PUT", url, scopes, headers, content) as response:
                body = await response.aread()
                return Answer(response.status_code, dict(response.headers), body[:BODY_LIMIT], str(response.url))

    async def _repeated(self, domain: str, attempt: Callable[[], Awaitable[Answer]]) -> Answer:
        import httpx

        tries = 0
        while True:
            tries += 1
            try:
                answer = await attempt()
            except httpx.RequestError as error:
                if tries > self.retries or not passing(error):
                    raise self.unreachable(domain, error) from error
                await asyncio.sleep(pause(tries))
                continue
            if answer.status not in REPEATED:
                return answer
            if tries > self.retries:
                raise BackendError(f"{domain} cannot serve the request now: {answer.refusal()}")
            await asyncio.sleep(min(pause(tries, answer.headers.get("retry-after")), self.timeout))

    @asynccontextmanager
    async def _sent(
        self,
        domain: str,
        method: str,
        url: str,
        scopes: Iterable[str],
        headers: Mapping[str, str] | None = None,
        content: Content = None,
        params: Mapping[str, str] | None = None,
    ) -> AsyncIterator[httpx.Response]:
        client = self._open()
        address = self.url(domain, url) if url.startswith("/") else url
        home = self._is_home(domain, address)
        wanted = frozenset(scopes)
        sent = await self._authorizer.header(domain, wanted) if home else None
        for _ in range(3):
            request = client.build_request(
                method,
                address,
                params=params,
                headers={**(headers or {}), **({"Authorization": sent} if sent else {})},
                content=content() if callable(content) else content,
                extensions={"pdt.plain": self.is_plain(domain)},
            )
            response = await client.send(request, stream=True)
            try:
                if response.status_code != 401 or not self._is_home(domain, str(response.url)):
                    yield response
                    return
                challenges = response.headers.get_list("www-authenticate")
            finally:
                await response.aclose()
            header = await self._authorizer.answer(domain, wanted, challenges, sent)
            if header is None:
                break
            sent = header
        raise BackendError(
            f"{domain} refused the credentials for {method} {url.partition('?')[0]}: 'docker login {domain}' stores "
            "others"
        )

    async def _fetch_token(
        self, method: str, url: str, headers: Mapping[str, str], params: Sequence[tuple[str, str]]
    ) -> tuple[int, bytes]:
        import httpx

        client = self._open()
        domain = httpx.URL(url).netloc.decode()
        fields: dict[str, Any] = {"params": list(params)} if method == "GET" else {"data": dict(params)}
        extensions = {"pdt.plain": url.startswith("http://")}

        async def attempt() -> Answer:
            response = await client.request(method, url, headers=dict(headers), extensions=extensions, **fields)
            return Answer(response.status_code, dict(response.headers), response.content, url)

        answer = await self._repeated(domain, attempt)
        return answer.status, answer.body

    # ---- errors

    def _silent(self, domain: str) -> BackendError:
        return BackendError(f"{domain} did not answer within {self.timeout:g} s")

    def unreachable(self, domain: str, error: Exception) -> BackendError:
        """A sentence for an error of the transport."""
        import httpx

        if isinstance(error, httpx.TimeoutException):
            return self._silent(domain)
        text = " ".join(str(error).split()) or type(error).__name__
        if "CERTIFICATE_VERIFY_FAILED" in text:
            reason = re.sub(r"^.*?certificate verify failed: | \(_ssl.*$", "", text)
            return BackendError(
                f"{domain} shows a certificate that is not trusted ({reason}): Registry(verify=FILE) names whom to "
                "trust"
            )
        if "WRONG_VERSION_NUMBER" in text or "RECORD_LAYER_FAILURE" in text or "record layer failure" in text:
            return BackendError(f"{domain} does not speak TLS: Registry(plain_http=['{domain}']) does without")
        return BackendError(f"{domain} cannot be reached: {root_cause(error) or text}")


async def _pieces(source: Open) -> AsyncGenerator[bytes, None]:
    async with await source() as reader:
        while data := await reader.read(CHUNK):
            yield data


async def _stay_encrypted(request: httpx.Request) -> None:
    """Refuse a redirection that leaves TLS behind."""
    if request.url.scheme != "https" and not request.extensions.get("pdt.plain"):
        raise BackendError(f"a registry redirects to {request.url.host} without encryption")
