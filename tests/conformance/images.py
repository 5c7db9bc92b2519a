"""Images for tests, without the client under test: a manifest, and the one part it names."""

from __future__ import annotations

import hashlib
import json
import ssl
import urllib.error
import urllib.request
import uuid
from base64 import b64encode
from pathlib import Path
from typing import Any

from tests.servers.registry import RegistryServer

from pdtcli import ImageLayoutRepository
from pdtcli.registry.client import Registry

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = b"{}"


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def ask(server: RegistryServer, method: str, path: str, data: bytes | None = None, **headers: str) -> tuple[int, Any]:
    """A request without the client under test: the status, and the body, or where it went on."""
    context = None if server.certificate is None else ssl.create_default_context(cafile=str(server.certificate.path))
    if server.user is not None:
        headers["Authorization"] = "Basic " + b64encode(f"{server.user}:{server.password}".encode()).decode()
    url = path if path.startswith("http") else f"{server.url}{path}"
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, data, names, method=method)
    try:
        with urllib.request.urlopen(request, context=context) as answer:
            return answer.status, answer.headers.get("Location") or answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, None


def manifest(number: int) -> bytes:
    """A manifest unlike those of other numbers."""
    described = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(CONFIG), "size": len(CONFIG)}
    parts = {"schemaVersion": 2, "mediaType": MANIFEST, "config": described, "layers": []}
    return json.dumps({**parts, "annotations": {"number": "x" * number}}).encode()


def layout(path: Path) -> ImageLayoutRepository:
    """An empty layout, which has the part that manifests name."""
    blobs = path / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    (blobs / digest(CONFIG).partition(":")[2]).write_bytes(CONFIG)
    return ImageLayoutRepository(path)


def fresh_name(server: RegistryServer) -> str:
    """The name of a new repository on `server`, which has the part that manifests name."""
    name = f"tests/{uuid.uuid4().hex[:12]}"
    _, upload = ask(server, "POST", f"/v2/{name}/blobs/uploads/", b"")
    upload += ("&" if "?" in upload else "?") + f"digest={digest(CONFIG)}"
    assert ask(server, "PUT", upload, CONFIG, Content_Type="application/octet-stream")[0] == 201
    return name


def registry_client(server: RegistryServer) -> Registry:
    """The client under test, to be opened."""
    credentials = {} if server.user is None else {server.domain: (server.user, server.password or "")}
    verify: Any = True if server.certificate is None else server.certificate.path
    return Registry(credentials, verify=verify, plain_http=server.scheme == "http")
