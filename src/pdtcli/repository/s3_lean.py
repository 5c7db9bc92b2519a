"""The calls that are made by the thousand, without boto3's way through a dozen layers: a tenth of its time.

Nothing is configured here. The client makes one call itself, and what it sent is looked at: the address, the headers,
the signature. When the same request, signed by this module, has the same signature, the calls to that bucket that this
module knows are made over connections of its own; everything else is left to the client: a request that was sent
through a proxy, without a signature or with another kind of one, with headers that are not known here; a client that
somebody watches or changes (event handlers, replaced methods), since he expects to be called.

Errors are the client's own, and its own rules say what is tried again (`s3_attempts`). ``PDT_S3_LEAN=0`` in the
environment leaves all calls to the client.
"""

from __future__ import annotations

import os
import re
import threading
import weakref
from typing import Any
from urllib.parse import quote, urlsplit

from .s3_connection import Connection
from .s3_http import Pool
from .s3_place import FIRST, NAMES, OPERATIONS, Place
from .s3_sign import Signer

__all__ = ("call", "release")

_KNOWN = re.compile(
    r"user-agent|x-amz-date|x-amz-content-sha256|x-amz-security-token|authorization|amz-sdk-.*|content-(length|type|md5)"
    r"|expect|x-amz-checksum-.*|x-amz-sdk-checksum-algorithm|x-amz-meta-.*|range|if-(none-)?match"
)
"""The headers that the client may have sent for this module to do it the same way."""

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d+)/([^/]+)/([^/]+)/aws4_request, SignedHeaders=([^,]+), Signature=(\w+)"
)

_EVENTS = (
    *("provide-client-params", "before-parameter-build", "before-endpoint-resolution", "before-call"),
    *("request-created", "choose-signer", "before-sign", "before-send", "response-received", "before-parse"),
    *("parse-error", "after-call", "after-call-error", "needs-retry"),
)


# ---- calls


def call(client: Any, bucket: str, operation: str, parameters: dict[str, Any]) -> Any:
    """What ``client.OPERATION(Bucket=bucket, **parameters)`` gives, as far as this package needs it; in this thread."""
    state = _state_of(client)
    if bucket not in state.places and state.is_usual(client):
        return _first_call(state, client, bucket, operation, parameters)
    place = state.places.get(bucket)
    if place is not None and state.is_usual(client):
        request = place.request(operation, parameters) if _method(operation) not in vars(client) else None
        if request is not None:
            answer = place.perform(client, request)
            if answer is not None:
                return answer
            state.places.pop(bucket, None)  # it is elsewhere now: the client finds it
    return getattr(client, _method(operation))(Bucket=bucket, **parameters)


def _method(operation: str) -> str:
    return {NAMES: "list_objects_v2", FIRST: "get_object"}.get(operation, operation)


def _first_call(state: _State, client: Any, bucket: str, operation: str, parameters: dict[str, Any]) -> Any:
    """Let the client make a call, and learn from it."""
    _watch.seen = None
    _watch.on = True
    try:
        answer = getattr(client, _method(operation))(Bucket=bucket, **parameters)
    finally:
        _watch.on = False
    seen, _watch.seen = _watch.seen, None
    if seen is not None and operation in OPERATIONS:
        try:
            state.places[bucket] = _learn(state, client, seen, parameters.get("Key"))
        except Renewed:
            pass  # the next call is looked at
    return answer


class Renewed(Exception):
    """The credentials are others than those that a request was signed with."""


class _Watch(threading.local):
    on = False
    seen: Any = None


_watch = _Watch()


def _look(request: Any, **_: Any) -> None:
    """Handler of botocore's event before-send."""
    if _watch.on:
        _watch.seen = request


def release(client: Any) -> None:
    """Close the connections that were made for a client."""
    state = _states.pop(client, None)
    if state is not None:
        state.close()


# ---- what is known of a client


_states: weakref.WeakKeyDictionary[Any, _State] = weakref.WeakKeyDictionary()
_states_lock = threading.Lock()


def _state_of(client: Any) -> _State:
    state = _states.get(client)
    if state is None:
        with _states_lock:
            state = _states.get(client)
            if state is None:
                state = _states[client] = _State(client)
                weakref.finalize(client, state.close)
    return state


class _State:
    """What is known of a client. It must not hold the client, which would then never go away."""

    def __init__(self, client: Any) -> None:
        self.places: dict[str, Place | None] = {}
        """By the name of the bucket; None where all calls are the client's."""
        self._pools: dict[tuple[str, str, int], Pool] = {}
        self._lock = threading.Lock()
        self._vetted: Any = None
        self._is_usual = False
        self.owed = 0
        if os.environ.get("PDT_S3_LEAN") != "0" and _is_plain(client):
            client.meta.events.register("before-send.s3", _look, unique_id="pdt-look")
            self._is_plain = True
        else:
            self._is_plain = False

    def is_usual(self, client: Any) -> bool:
        """Whether nobody but the libraries themselves handles the client's events, as of now."""
        if not self._is_plain:
            return False
        emitter = client.meta.events._emitter
        # A new one at each change.
        if emitter._lookup_cache is not self._vetted:
            vetted = emitter._lookup_cache
            self._is_usual = all(
                _is_ours(handler)
                for operation in OPERATIONS.values()
                for event in _EVENTS
                for handler in emitter._handlers.prefix_search(f"{event}.s3.{operation.name}")
            )
            self._vetted = vetted
        return self._is_usual

    def pool(self, client: Any, scheme: str, host: str, port: int) -> Pool:
        """The connections to a server."""
        with self._lock:
            address = (scheme, host, port)
            if address not in self._pools:
                config = client.meta.config
                context = _tls_context(client._endpoint.http_session._verify) if scheme == "https" else None
                timeouts = (config.connect_timeout, config.read_timeout)
                keepalive = bool(config.tcp_keepalive)
                self._pools[address] = Pool(
                    f"{scheme}://{host}:{port}",
                    lambda: Connection((host, port), context, timeouts, keepalive),
                    config.max_pool_connections or 10,
                )
            return self._pools[address]

    def close(self) -> None:
        for pool in self._pools.values():
            pool.close()


def _is_plain(client: Any) -> bool:
    """Whether the client is one of botocore's, with settings that do not change how requests are sent."""
    from botocore.client import BaseClient
    from botocore.httpsession import URLLib3Session
    from botocore.utils import get_environ_proxies

    try:
        config, session = client.meta.config, client._endpoint.http_session
        emitter = client.meta.events._emitter
        return (
            isinstance(client, BaseClient)
            and type(session) is URLLib3Session
            and isinstance(emitter._lookup_cache, dict)
            and callable(emitter._handlers.prefix_search)
            and client._request_signer._credentials is not None
            and session._verify is not None
            and not session._cert_file
            and not config.proxies
            and not get_environ_proxies(client.meta.endpoint_url)
            and (config.retries or {}).get("mode") != "adaptive"
        )
    except AttributeError:  # another version of botocore keeps these elsewhere
        return False


def _is_ours(handler: Any) -> bool:
    """Whether an event handler belongs to the libraries."""
    while hasattr(handler, "func"):
        handler = handler.func
    owner = getattr(handler, "__self__", None)
    module = str(getattr(handler if owner is None else type(owner), "__module__", ""))
    if owner is not None and module in ("builtins", "weakref"):
        module = str(getattr(handler, "__module__", ""))
    return module.startswith(("botocore.", "boto3.", "s3transfer.", "pdtcli.repository.")) and module != "botocore.stub"


def _tls_context(verify: Any) -> Any:
    """What the client's own connections are made with, and the check of names that urllib3 does besides."""
    import ssl

    from botocore.httpsession import create_urllib3_context, get_cert_path

    context = create_urllib3_context()
    if verify:
        context.load_verify_locations(cafile=get_cert_path(verify))
        context.check_hostname = True
    else:
        context.verify_mode = ssl.CERT_NONE
    return context


def _learn(state: _State, client: Any, seen: Any, key: str | None) -> Place | None:
    """Where a bucket is, from a request that the client has sent; None when this module would have sent another.

    :raises Renewed: when the two cannot be compared.
    """
    from botocore.utils import get_environ_proxies

    headers = {
        name.lower(): value.decode() if isinstance(value, bytes) else value for name, value in seen.headers.items()
    }
    match = _AUTHORIZATION.fullmatch(headers.get("authorization", ""))
    parts = urlsplit(seen.url)
    path = parts.path
    known = all(map(_KNOWN.fullmatch, headers))
    if match is None or parts.hostname is None or not known or get_environ_proxies(seen.url):
        return None
    if key is not None:
        tail = "/" + quote(key, safe="/-._~")
        if not path.endswith(tail):
            return None
        path = path[: -len(tail)]
    who, _, region, service, names, signature = match.groups()
    signer = Signer(client._request_signer._credentials, region, service)
    credentials = signer.current()
    if credentials.access_key != who:
        raise Renewed
    host = _host(parts)
    signed = {name: host if name == "host" else headers[name] for name in names.split(";")}
    moment = headers["x-amz-date"]
    canonical = [seen.method, parts.path, "&".join(sorted(parts.query.split("&")))]
    if signer.signature(credentials, canonical, signed, headers["x-amz-content-sha256"], moment) != signature:
        return None
    port = parts.port or (443 if parts.scheme == "https" else 80)
    pool = state.pool(client, parts.scheme, parts.hostname, port)
    return Place(
        weakref.proxy(state), pool, signer, host, path.rstrip("/"), headers.get("user-agent", ""), client.meta.config
    )


def _host(parts: Any) -> str:
    default = {"http": 80, "https": 443}.get(parts.scheme)
    name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return name if parts.port in (None, default) else f"{name}:{parts.port}"
