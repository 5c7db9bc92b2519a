"""A Docker engine of its own, beside any that the machine may have, without networks: run with network_mode="none".

It needs root, and a kernel that lets it mount overlays.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from .process import DidNotStart, Process, data_directory, find


@dataclass(frozen=True)
class DockerEngine:
    """Where an engine is."""

    url: str
    process: Process = field(repr=False)

    def client(self) -> Any:
        """A client of the docker SDK, to be closed."""
        import docker

        return docker.DockerClient(base_url=self.url, timeout=60)

    def small_image(self, client: Any, repository: str, tag: str) -> str:
        """Import an image of busybox and nothing else; the test is skipped when there is none. Its id."""
        import io
        import tarfile

        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w") as archive:
            archive.add(find("busybox"), "bin/busybox", recursive=False)
        client.api.import_image_from_data(data.getvalue(), repository=repository, tag=tag)
        return str(client.images.get(f"{repository}:{tag}").id)


@contextmanager
def engine() -> Iterator[DockerEngine]:
    """An engine without images, that may use any registry on loopback without TLS."""
    command = find("dockerd")
    if os.geteuid() != 0:
        pytest.skip("dockerd needs root")
    with data_directory() as directory:
        (directory / "config.json").write_text("{}")
        socket = directory / "s"
        arguments = [
            *("--config-file", str(directory / "config.json"), "--data-root", str(directory / "root")),
            *("--exec-root", str(directory / "exec"), "--pidfile", str(directory / "pid"), "-H", f"unix://{socket}"),
            *("--storage-driver", "overlay2", "--bridge=none", "--iptables=false", "--ip6tables=false"),
            *("--ip-forward=false", "--ip-masq=false", "--userland-proxy=false"),
        ]
        process = Process([command, *arguments], directory / "log")
        try:
            process.wait_until(lambda: _answers(socket))
        except DidNotStart as error:
            pytest.skip(f"dockerd does not run on this machine: {str(error).splitlines()[-1]}")
        except BaseException:
            process.stop()
            raise
        try:
            yield DockerEngine(f"unix://{socket}", process)
        finally:
            process.stop()
            namespace = directory / "exec" / "netns" / "default"
            if namespace.exists():
                subprocess.run(["umount", "-lq", str(namespace)], check=False)


def _answers(socket: Path) -> bool:
    import http.client
    import socket as sockets

    with sockets.socket(sockets.AF_UNIX) as connection:
        try:
            connection.connect(str(socket))
            connection.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            response = http.client.HTTPResponse(connection)
            try:
                response.begin()
                return response.status == 200
            finally:
                response.close()
        except (OSError, http.client.HTTPException):
            return False
