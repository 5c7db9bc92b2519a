"""The service that gives out Bearer tokens for a registry, as its specification has it.

Source: https://distribution.github.io/distribution/spec/auth/token/ and …/jwt/.
"""

from __future__ import annotations

import base64
import json
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from .certificate import Certificate

SERVICE = "registry for tests"
ISSUER = "tests"
LIFETIME = 300
"""Seconds."""


def _plain(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _sign(certificate: Certificate, claims: dict[str, Any]) -> str:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import padding, rsa

    key = serialization.load_pem_private_key(certificate.key.read_bytes(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    der = x509.load_pem_x509_certificate(certificate.path.read_bytes()).public_bytes(serialization.Encoding.DER)
    header = {"typ": "JWT", "alg": "RS256", "x5c": [base64.b64encode(der).decode()]}
    text = ".".join(_plain(json.dumps(part).encode()) for part in (header, claims))
    return f"{text}.{_plain(key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


@contextmanager
def token_service(certificate: Certificate, user: str, password: str) -> Iterator[str]:
    """The URL of a service that gives `user` whatever scope is asked for, and everybody else nothing."""
    expected = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = parse_qs(urlsplit(self.path).query)
            known = self.headers.get("Authorization") == expected
            access = []
            for scope in " ".join(asked.get("scope", [])).split() if known else []:
                kind, _, rest = scope.partition(":")
                name, _, actions = rest.rpartition(":")
                access.append({"type": kind, "name": name, "actions": actions.split(",")})
            now = int(time.time())
            who = {"iss": ISSUER, "sub": user if known else "", "aud": SERVICE, "jti": uuid.uuid4().hex}
            claims = {**who, "iat": now, "nbf": now - 10, "exp": now + LIFETIME, "access": access}
            refused = not known and "Authorization" in self.headers
            answer = {"errors": [{"code": "UNAUTHORIZED", "message": "wrong password"}]}
            body = json.dumps(answer if refused else {"token": _sign(certificate, claims), "expires_in": LIFETIME})
            self.send_response(401 if refused else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/token"
        finally:
            server.shutdown()
            thread.join()
