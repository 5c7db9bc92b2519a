"""Images in the archives that container engines save and load: a tar file with a manifest of its own.

``manifest.json`` lists images, each with the path of its configuration, the paths of its layers, and its names
(github.com/moby/moby, image/spec, "Combined Image JSON + Filesystem Changeset Format"). Older engines name layers
freely and do not compress them; newer ones keep them as ``blobs/sha256/…``. Either way the digests are known before
anything is read: from the name, or from the configuration, which lists those of the uncompressed layers.
"""

from __future__ import annotations

import asyncio
import io
import json
import re
import tarfile
import threading
from collections.abc import Mapping
from typing import IO, Any

from ..errors import BackendError, InvalidValue
from ..stream import CHUNK, MemoryReader, Reader, ReadStream
from .images import OCI_MANIFEST, Checked, Descriptor, ImageStore, Manifest, Open, check_digest, digest_of

__all__ = ("Archive", "choose", "write_archive")

CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
COMPRESSIONS = {b"\x1f\x8b": "+gzip", b"\x28\xb5\x2f\xfd": "+zstd"}
"""By the first bytes."""

CONFIG_LIMIT = 16 * 1024 * 1024
"""Bytes of a configuration that are read."""

_blob = re.compile(r"blobs/(\w+)/([0-9a-f]+)").fullmatch


class Archive:
    """The one image of an archive, as an `ImageStore` that is only read.

    :param file: the archive, open for reading, and long enough open for all that is read from it.
    :raises BackendError: when it is no such archive, or holds several images.
    """

    def __init__(self, file: IO[bytes]) -> None:
        try:
            self._tar = tarfile.open(fileobj=file, mode="r:")  # noqa: SIM115 - it is its caller's file
            (listed,) = json.loads(self._read("manifest.json"))
            config = self._read(listed["Config"])
            digests = json.loads(config)["rootfs"]["diff_ids"]
            parts = [self._layer(path, digest) for path, digest in zip(listed["Layers"], digests, strict=True)]
        except (tarfile.TarError, ValueError, KeyError, TypeError) as error:
            raise BackendError(f"the engine gives an archive that is not understood: {error}") from None
        described = Descriptor(digest_of(config), len(config), CONFIG)
        self._paths = {described.digest: listed["Config"]}
        self._paths |= {part.digest: path for part, path in zip(parts, listed["Layers"], strict=True)}
        content = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": _described(described),
            "layers": [_described(part) for part in parts],
        }
        self.manifest = Manifest.parse(json.dumps(content).encode())
        self._lock = threading.Lock()

    def __str__(self) -> str:
        return "the engine's archive"

    def _member(self, path: str) -> IO[bytes]:
        file = self._tar.extractfile(path)
        if file is None:
            raise KeyError(path)
        return file

    def _read(self, path: str) -> bytes:
        with self._member(path) as file:
            return file.read(CONFIG_LIMIT)

    def _layer(self, path: str, digest: str) -> Descriptor:
        with self._member(path) as file:
            start = file.read(4)
            size = file.seek(0, io.SEEK_END)
        if named := _blob(path):
            digest = ":".join(named.groups())
        compression = next((name for mark, name in COMPRESSIONS.items() if start.startswith(mark)), "")
        return Descriptor(check_digest(digest), size, LAYER + compression)

    async def get_manifest(self, reference: str, /) -> Manifest | None:
        return self.manifest if reference == self.manifest.digest else None

    async def has_manifest(self, digest: str, /) -> bool:
        return digest == self.manifest.digest

    async def put_manifest(self, manifest: Manifest, tag: str | None = None, /) -> None:
        raise NotImplementedError("an archive is only read")

    async def has_blob(self, part: Descriptor, /) -> bool:
        return part.digest in self._paths

    async def open_blob(self, part: Descriptor, /) -> ReadStream:
        return Checked(_MemberReader(self._member(self._paths[part.digest]), self._lock), part)

    async def put_blob(self, part: Descriptor, source: Open, origin: ImageStore, /) -> bool:
        raise NotImplementedError("an archive is only read")


class _MemberReader(Reader):
    """A file in an archive, whose files share one position, and so a lock."""

    def __init__(self, file: IO[bytes], lock: threading.Lock) -> None:
        self._file = file
        self._lock = lock

    def _read(self, n: int) -> bytes:
        with self._lock:
            return self._file.read(n)

    async def read(self, n: int | None = None, /) -> bytes:
        return await asyncio.to_thread(self._read, -1 if n is None else n)

    async def close(self) -> None:
        self._file.close()


def _described(part: Descriptor) -> dict[str, Any]:
    return {"mediaType": part.media_type, "digest": part.digest, "size": part.size}


async def choose(store: ImageStore, manifest: Manifest, platform: Mapping[str, str]) -> Manifest:
    """The image for a platform: the manifest itself, or the first of its index that is for it.

    :param platform: ``os`` and ``architecture``, in the words of the specification.
    :raises InvalidValue: when there is none.
    """
    if not manifest.manifests:
        return manifest
    for part, entry in zip(manifest.manifests, manifest.content["manifests"], strict=False):
        given = entry.get("platform") or {}
        if all(given.get(key, value) == value for key, value in platform.items()):
            child = await store.get_manifest(part.digest)
            if child is None:
                raise BackendError(f"{store} lacks the manifest {part.digest}, which one of its images names")
            return await choose(store, child, platform)
    raise InvalidValue(f"the image is for other platforms than {platform['os']}/{platform['architecture']}")


async def write_archive(store: ImageStore, manifest: Manifest, name: str, file: IO[bytes]) -> int:
    """Write an archive of one image, for an engine to load.

    :param name: what the engine shall call it, with its tag.
    :return: bytes of its blobs.
    :raises InvalidValue: for what is no image of a container.
    """
    if "config" not in manifest.content or any(part.foreign for part in manifest.blobs):
        raise InvalidValue("this is no image, or one with layers that are kept elsewhere: an engine cannot load it")
    config = Descriptor.parse(manifest.content["config"])
    layers = [Descriptor.parse(layer) for layer in manifest.content.get("layers") or ()]
    paths = {}
    for part in {each.digest: each for each in (config, *layers)}.values():
        paths[part.digest] = part.digest.partition(":")[2] + (".json" if part == config else ".tar")
        await _add(file, paths[part.digest], part.size, await store.open_blob(part))
    listed = {"Config": paths[config.digest], "RepoTags": [name], "Layers": [paths[each.digest] for each in layers]}
    data = json.dumps([listed]).encode()
    await _add(file, "manifest.json", len(data), MemoryReader(data))
    file.write(bytes(2 * tarfile.BLOCKSIZE))
    return sum(part.size for part in {config, *layers})


async def _add(file: IO[bytes], path: str, size: int, source: ReadStream) -> None:
    """Append a file to an archive, a piece at a time; `tarfile` would want it from what blocks."""
    entry = tarfile.TarInfo(path)
    entry.size = size
    file.write(entry.tobuf(tarfile.GNU_FORMAT))
    async with source:
        while data := await source.read(CHUNK):
            await asyncio.to_thread(file.write, data)
    file.write(bytes(-size % tarfile.BLOCKSIZE))
