"""Images made on the spot, as small or as large as a test needs them."""

from __future__ import annotations

import json
import uuid
from typing import Any

from pdtcli import DockerRepository
from pdtcli.registry.images import OCI_INDEX, OCI_MANIFEST, Descriptor, ImageStore, Manifest, digest_of
from pdtcli.stream import MemoryReader, ReadStream


def fresh_name() -> str:
    """A repository that no other test uses."""
    return f"tests/r-{uuid.uuid4().hex[:12]}"


async def put_blob(store: ImageStore, data: bytes) -> dict[str, Any]:
    """Store a blob; its descriptor."""

    async def source() -> ReadStream:
        return MemoryReader(data)

    await store.put_blob(Descriptor(digest_of(data), len(data)), source, store)
    return {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest_of(data), "size": len(data)}


async def image(store: ImageStore, *layers: bytes, note: str = "") -> Manifest:
    """Store the parts of an image; its manifest, which is not stored yet."""
    config = await put_blob(store, b'{"architecture": "amd64", "os": "linux"}')
    content = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": config | {"mediaType": "application/vnd.oci.image.config.v1+json"},
        "layers": [await put_blob(store, layer) for layer in layers],
        "annotations": {"note": note},
    }
    return Manifest.parse(json.dumps(content).encode())


async def push(repository: DockerRepository, job: str, *layers: bytes, note: str = "") -> Manifest:
    """Push an image; its manifest."""
    manifest = await image(repository.store(), *(layers or (b"layer",)), note=note)
    await repository.store().put_manifest(manifest, job)
    return manifest


async def push_index(repository: DockerRepository, job: str, *manifests: Manifest) -> Manifest:
    """Push an index of manifests; it."""
    for manifest in manifests:
        await repository.store().put_manifest(manifest)
    content = {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [{"mediaType": m.media_type, "digest": m.digest, "size": len(m.data)} for m in manifests],
    }
    index = Manifest.parse(json.dumps(content).encode())
    await repository.store().put_manifest(index, job)
    return index
