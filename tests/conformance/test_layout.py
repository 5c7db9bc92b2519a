"""Tags in an OCI layout do what every repository has to do, with manifests for values."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.images import MANIFEST, digest, layout, manifest

from pdtcli import ImageLayoutRepository
from pdtcli.testing import BlobRepositorySuite

TAG = "org.opencontainers.image.ref.name"


class TestTags(BlobRepositorySuite):
    any_bytes = False

    def value(self, number: int) -> bytes:
        return manifest(number)

    @pytest.fixture
    def repository(self, tmp_path: Path) -> ImageLayoutRepository:
        return layout(tmp_path)

    @pytest.fixture(autouse=True)
    def no_litter(self, tmp_path: Path) -> Iterator[None]:
        """Nothing stays behind but what is stored."""
        yield
        assert [path.name for path in tmp_path.rglob(".*")] == []

    async def raw_get(self, repository: ImageLayoutRepository, job: str) -> bytes | None:
        index = repository.dir / "index.json"
        entries = json.loads(index.read_bytes())["manifests"] if index.exists() else []
        found = [entry["digest"] for entry in entries if entry["annotations"][TAG] == job]
        if not found:
            return None
        (only,) = found
        data: bytes = (repository.dir / "blobs" / only.replace(":", "/")).read_bytes()
        assert digest(data) == only
        return data

    async def raw_put(self, repository: ImageLayoutRepository, name: str, data: bytes) -> None:
        path = repository.dir / "index.json"
        index: Any = json.loads(path.read_bytes()) if path.exists() else {"schemaVersion": 2, "manifests": []}
        entry = {"mediaType": MANIFEST, "digest": digest(data), "size": len(data), "annotations": {TAG: name}}
        index["manifests"].append(entry)
        (repository.dir / "blobs" / digest(data).replace(":", "/")).write_bytes(data)
        path.write_text(json.dumps(index))
