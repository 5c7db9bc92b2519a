"""A real OCI registry: open, behind a password, behind tokens, behind TLS, and one that forbids deletes.

It deletes manifests by digest only, and with a digest every tag on it. HEAD of an OCI manifest needs an `Accept` that
names its type.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .certificate import Certificate, self_signed
from .process import Process, data_directory, find, free_ports, listens, started
from .token import ISSUER, SERVICE, token_service

USER = "pdt"
PASSWORD = "p@ss/word:%"


@dataclass(frozen=True)
class RegistryServer:
    """Where a registry is, and who may use it."""

    port: int
    process: Process = field(repr=False)
    scheme: str = "http"
    user: str | None = None
    password: str | None = None
    certificate: Certificate | None = None
    data: Path | None = None
    """Where it keeps what it has, in the layout of Docker's registry."""

    @property
    def domain(self) -> str:
        """Host and port, as in the name of an image."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.domain}"

    def docker_config(self, directory: Path) -> Path:
        """Write the `config.json` that `docker login` would, into `directory`, which then is a `DOCKER_CONFIG`."""
        from base64 import b64encode

        auth = b64encode(f"{self.user}:{self.password}".encode()).decode()
        path = directory / "config.json"
        path.write_text(json.dumps({"auths": {self.domain: {"auth": auth}}}))
        return path


@contextmanager
def serving(
    configure: Callable[[Path, dict[str, Any], dict[str, Any]], dict[str, Any]] | None = None, *, deletes: bool = True
) -> Iterator[RegistryServer]:
    """A registry.

    :param configure: called with its directory, the `http` part of its configuration and all of it; changes them, and
        gives the fields of `RegistryServer` that follow.
    :param deletes: whether it lets manifests be deleted.
    """
    command = find("docker-registry")
    with data_directory() as directory:

        def attempt() -> RegistryServer:
            (port,) = free_ports(1)
            http: dict[str, Any] = {"addr": f"127.0.0.1:{port}", "secret": "the same for all its processes"}
            config: dict[str, Any] = {
                "version": "0.1",
                "log": {"level": "error", "accesslog": {"disabled": True}},
                "storage": {
                    "filesystem": {"rootdirectory": str(directory / "data")},
                    "delete": {"enabled": deletes},
                    "maintenance": {"uploadpurging": {"enabled": False}},
                },
                "http": http,
            }
            fields = configure(directory, http, config) if configure is not None else {}
            path = directory / "config.yml"
            path.write_text(json.dumps(config))  # which is YAML too
            process = Process([command, "serve", str(path)], directory / "log")
            try:
                process.wait_until(lambda: listens(port))
            except BaseException:
                process.stop()
                raise
            return RegistryServer(port, process, data=directory / "data", **fields)

        server = started(attempt)
        try:
            yield server
        finally:
            server.process.stop()


@contextmanager
def with_password() -> Iterator[RegistryServer]:
    """A registry with Basic authentication."""
    htpasswd = find("htpasswd")

    def configure(directory: Path, http: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
        line = subprocess.run([htpasswd, "-niB", "-C", "4", USER], input=PASSWORD, capture_output=True, text=True)
        line.check_returncode()
        (directory / "htpasswd").write_text(line.stdout)
        config["auth"] = {"htpasswd": {"realm": "tests", "path": str(directory / "htpasswd")}}
        return {"user": USER, "password": PASSWORD}

    with serving(configure) as server:
        yield server


@contextmanager
def with_tokens() -> Iterator[RegistryServer]:
    """A registry that sends whoever has no Bearer token to a service that gives them out."""
    with data_directory() as keys:
        certificate = self_signed(keys)
        with token_service(certificate, USER, PASSWORD) as realm:

            def configure(directory: Path, http: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
                bundle = str(certificate.path)
                token = {"realm": realm, "service": SERVICE, "issuer": ISSUER, "rootcertbundle": bundle}
                config["auth"] = {"token": token}
                return {"user": USER, "password": PASSWORD}

            with serving(configure) as server:
                yield server


@contextmanager
def with_tls() -> Iterator[RegistryServer]:
    """A registry that speaks HTTPS, with a certificate of our own making."""

    def configure(directory: Path, http: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
        certificate = self_signed(directory)
        http["tls"] = {"certificate": str(certificate.path), "key": str(certificate.key)}
        return {"scheme": "https", "certificate": certificate}

    with serving(configure) as server:
        yield server
