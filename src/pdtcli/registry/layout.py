"""`ImageLayout`: images in a directory, as the OCI Image Layout Specification 1.0 has it.

``oci-layout`` names the version, ``index.json`` lists the images, ``blobs/sha256/…`` holds all parts by digest. A tag
is the annotation `org.opencontainers.image.ref.name` of an entry in the index. Such directories are what ``skopeo``,
``podman``, ``buildah`` and ``docker buildx`` call ``oci:``.

The index is read, changed and renamed into place under a lock on the directory, so that several writers lose nothing of
each other's; blobs need none, for their names follow from their contents.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .. import atomic
from ..errors import BackendError
from ..stream import CHUNK, ReadStream
from .images import Checked, Descriptor, ImageStore, Manifest, Open, check_digest

__all__ = ("ImageLayout",)

TAG = "org.opencontainers.image.ref.name"
VERSION = {"imageLayoutVersion": "1.0.0"}
Entries = list[dict[str, Any]]


class ImageLayout:
    """Images in the directory `path`, which is made with the first image."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __str__(self) -> str:
        return str(self.path)

    def _blob(self, digest: str) -> Path:
        algorithm, _, value = check_digest(digest).partition(":")
        return self.path / "blobs" / algorithm / value

    # ---- the index

    def _entries(self) -> Entries:
        try:
            entries = json.loads((self.path / "index.json").read_bytes())["manifests"]
            if not all(isinstance(entry, dict) for entry in entries):
                raise TypeError
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise BackendError(f"{self.path}/index.json cannot be read: {error.strerror}") from error
        except (ValueError, KeyError, TypeError):
            raise BackendError(f"{self.path}/index.json is damaged: it is no index of an OCI image layout") from None
        return list(entries)

    @contextmanager
    def _changing(self) -> Iterator[Entries]:
        with atomic.writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            entries = self._entries()
            yield entries
            atomic.replace(self.path / "oci-layout", json.dumps(VERSION).encode())
            index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": entries}
            atomic.replace(self.path / "index.json", json.dumps(index, indent=1).encode())
        finally:
            os.close(lock)

    def tags(self) -> list[str]:
        """The tags."""
        return list(dict.fromkeys(tag for entry in self._entries() if (tag := _tag(entry)) is not None))

    def _untag(self, tags: set[str]) -> None:
        if not tags.isdisjoint(self.tags()):
            with self._changing() as entries:
                entries[:] = [entry for entry in entries if _tag(entry) not in tags]

    async def untag(self, tags: set[str]) -> None:
        """Remove tags; what they were on stays, as other tags, and copies under way, may need it."""
        await asyncio.to_thread(self._untag, tags)

    # ---- manifests

    def _get_manifest(self, reference: str) -> Manifest | None:
        digest, kind = reference, ""
        if ":" not in reference:
            # Where a tag is there twice, which no writer should do, the last one counts.
            entry = next((entry for entry in reversed(self._entries()) if _tag(entry) == reference), None)
            if entry is None:
                return None
            digest, kind = check_digest(entry.get("digest")), str(entry.get("mediaType", ""))
        try:
            return Manifest.parse(self._blob(digest).read_bytes(), kind, digest)
        except FileNotFoundError:
            if digest == reference:
                return None
            raise BackendError(f"{self.path} lacks the blob {digest}, which is tagged {reference}") from None

    async def get_manifest(self, reference: str, /) -> Manifest | None:
        return await asyncio.to_thread(self._get_manifest, reference)

    def _is_complete(self, digest: str) -> bool:
        manifest = self._get_manifest(digest)
        if manifest is None:
            return False
        return all(self._has_blob(part) or part.foreign for part in manifest.blobs) and all(
            self._is_complete(part.digest) for part in manifest.manifests
        )

    async def has_manifest(self, digest: str, /) -> bool:
        return await asyncio.to_thread(self._is_complete, digest)

    def _put_manifest(self, manifest: Manifest, tag: str | None) -> None:
        path = self._blob(manifest.digest)
        with atomic.writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        atomic.replace(path, manifest.data)
        entry: dict[str, Any] = {
            "mediaType": manifest.media_type,
            "digest": manifest.digest,
            "size": len(manifest.data),
        }
        if tag is not None:
            with self._changing() as entries:
                entries[:] = [each for each in entries if _tag(each) != tag]
                entries.append(entry | {"annotations": {TAG: tag}})

    async def put_manifest(self, manifest: Manifest, tag: str | None = None, /) -> None:
        await asyncio.to_thread(self._put_manifest, manifest, tag)

    # ---- blobs

    def _has_blob(self, part: Descriptor) -> bool:
        try:
            return self._blob(part.digest).stat().st_size == part.size
        except (FileNotFoundError, NotADirectoryError):
            return False

    async def has_blob(self, part: Descriptor, /) -> bool:
        return self._has_blob(part)

    async def open_blob(self, part: Descriptor, /) -> ReadStream:
        from ..repository.files import FileReader

        path = self._blob(part.digest)
        try:
            return Checked(FileReader(open(path, "rb", buffering=0)), part)
        except FileNotFoundError:
            raise BackendError(f"{self.path} lacks the blob {part.digest}, which one of its images names") from None

    async def put_blob(self, part: Descriptor, source: Open, origin: ImageStore, /) -> bool:
        from ..repository.files import FileWriter

        path = self._blob(part.digest)
        with atomic.writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        atomic.sweep(path.parent, [name for name in os.listdir(path.parent) if name.startswith(atomic.PREFIX)])
        async with await source() as reader, FileWriter(path) as writer:
            while data := await reader.read(CHUNK):
                await writer.write(data)
        return True


def _tag(entry: dict[str, Any]) -> str | None:
    annotations = entry.get("annotations")
    tag = annotations.get(TAG) if isinstance(annotations, dict) else None
    return tag if isinstance(tag, str) else None


_check: Callable[[Path], ImageStore] = ImageLayout  # a type checker's proof that it is one
