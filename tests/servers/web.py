"""A web server for the files of a directory, which lists them too."""

from __future__ import annotations

import io
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@contextmanager
def serving_files(directory: Path) -> Iterator[str]:
    """The URL of `directory`; a name that begins with ``broken`` is answered with 500."""

    class Handler(SimpleHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(directory))

        def send_head(self) -> Any:
            if self.path.startswith("/broken"):
                self.send_error(500)
                return None
            asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            path = Path(self.translate_path(self.path))
            if asked is None or not path.is_file():
                return super().send_head()
            first, last = (int(text) for text in asked.groups())
            data, size = path.read_bytes()[first : last + 1], path.stat().st_size
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{first + len(data) - 1}/{size}")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            return io.BytesIO(data)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            hang_up()
            server.shutdown()
            thread.join()


def hang_up() -> None:
    """Close the connections that fsspec keeps as long as it lives."""
    import sys

    if "fsspec.implementations.http" not in sys.modules:
        return
    from fsspec.asyn import sync
    from fsspec.implementations.http import HTTPFileSystem

    for fs in list(HTTPFileSystem._cache.values()):
        if fs._session is not None:
            sync(fs.loop, fs._session.close)
    HTTPFileSystem.clear_instance_cache()
