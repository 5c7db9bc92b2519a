"""What images are made of, in the words of the OCI Image Specification 1.1: digests, descriptors, manifests.

An image is a manifest, which names blobs (a configuration and layers) by digest, or an index, which names manifests.
`ImageStore` is what can hold them: a repository of a registry, or a layout in a directory.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from ..errors import BackendError, InvalidValue
from ..stream import Reader, ReadStream

__all__ = (
    "ACCEPT",
    "OCI_INDEX",
    "OCI_MANIFEST",
    "Checked",
    "Descriptor",
    "ImageStore",
    "Manifest",
    "Open",
    "check_digest",
    "digest_of",
)

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_OLD = (
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
)
INDEXES = frozenset({OCI_INDEX, DOCKER_LIST})
MANIFESTS = INDEXES.union({OCI_MANIFEST, DOCKER_MANIFEST, *DOCKER_OLD, ""})
"""What an index lists of other types, as build caches do, are blobs."""

ACCEPT = ", ".join([OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST, "*/*;q=0.5"])
"""Registries say that an image is not there when its kind is not named here."""

MANIFEST_LIMIT = 4 * 1024 * 1024
"""Bytes; registries need not take larger ones (OCI Distribution Specification, "Pushing Manifests")."""

REMOVED = "pdt.removed"
"""The annotation of a manifest that stands in for an image only while its tag is removed."""

LENGTHS = {"sha256": 64, "sha512": 128}
Open = Callable[[], Awaitable[ReadStream]]


def check_digest(digest: object) -> str:
    """Return `digest` when it is one that can be computed here; it is then safe in a path and in a URL.

    :raises InvalidValue: otherwise.
    """
    if isinstance(digest, str):
        algorithm, _, value = digest.partition(":")
        if LENGTHS.get(algorithm) == len(value) and re.fullmatch("[0-9a-f]+", value):
            return digest
    raise InvalidValue(f"{str(digest)[:100]!r} is no sha256 or sha512 digest")


def digest_of(data: bytes, like: str = "sha256:") -> str:
    """The digest of `data`, by the algorithm of the digest `like`."""
    algorithm = like.partition(":")[0]
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


@dataclass(frozen=True)
class Descriptor:
    """A part of an image: its digest, its size in bytes, and its media type; `foreign` parts are fetched elsewhere."""

    digest: str
    size: int
    media_type: str = ""
    foreign: bool = False

    @classmethod
    def parse(cls, data: Any) -> Descriptor:
        """From JSON.

        :raises InvalidValue: when it is not a descriptor.
        """
        if not isinstance(data, dict) or not isinstance(data.get("size"), int) or data["size"] < 0:
            raise InvalidValue("a part of the image has no digest and size")
        kind = str(data.get("mediaType", ""))
        foreign = bool(data.get("urls")) and ("foreign" in kind or "nondistributable" in kind)
        return cls(check_digest(data.get("digest")), data["size"], kind, foreign)


@dataclass(frozen=True)
class Manifest:
    """A manifest or an index: its bytes, which its digest is of, and its media type."""

    data: bytes = field(repr=False)
    media_type: str
    digest: str

    @classmethod
    def parse(cls, data: bytes, media_type: str = "", digest: str = "") -> Manifest:
        """From its bytes.

        :param media_type: what it was served as; what it says of itself counts more.
        :param digest: what its digest should be, if that is known.
        :raises InvalidValue: when it is no manifest.
        :raises BackendError: when its digest is another.
        """
        try:
            content = json.loads(data)
        except (ValueError, RecursionError):
            content = None
        if not isinstance(content, dict):
            raise InvalidValue("an image manifest is a JSON object, and this is none")
        own = content.get("mediaType")
        if not isinstance(own, str):
            own = media_type.partition(";")[0].strip()
            if not own or own == "application/json":
                own = OCI_INDEX if "manifests" in content else OCI_MANIFEST
        real = digest_of(data, digest or "sha256:")
        if digest and real != digest:
            raise BackendError(f"the manifest {digest} is damaged: its digest is {real}")
        return cls(data, own, real)

    @cached_property
    def content(self) -> dict[str, Any]:
        """As JSON."""
        content: dict[str, Any] = json.loads(self.data)
        return content

    @property
    def is_removed(self) -> bool:
        """Whether this is what a removal that was broken off left under a tag."""
        annotations = self.content.get("annotations")
        return isinstance(annotations, dict) and REMOVED in annotations

    @property
    def manifests(self) -> list[Descriptor]:
        """The manifests of an index."""
        return [part for part in self._listed() if part.media_type in MANIFESTS]

    def _listed(self) -> list[Descriptor]:
        return self._parse(self.content.get("manifests")) if self.media_type in INDEXES else []

    @property
    def blobs(self) -> list[Descriptor]:
        """The blobs that the manifest names, each once.

        :raises InvalidValue: for a manifest of Docker's first, signed kind, or a damaged one.
        """
        if self.media_type in INDEXES:
            return [part for part in self._listed() if part.media_type not in MANIFESTS]
        if self.media_type in DOCKER_OLD or self.content.get("schemaVersion") == 1:
            raise InvalidValue("this image is of Docker's old schema 1: push it again with a Docker of this decade")
        parts = [self.content["config"]] if "config" in self.content else []
        found = [*self._parse(parts), *self._parse(self.content.get("layers")), *self._parse(self.content.get("blobs"))]
        return list({part.digest: part for part in found}.values())

    @staticmethod
    def _parse(parts: Any) -> list[Descriptor]:
        if parts is not None and not isinstance(parts, list):
            raise InvalidValue("the image's manifest is damaged")
        return [Descriptor.parse(part) for part in parts or ()]


class Checked(Reader):
    """A `ReadStream` that raises at its end unless what it gave has the right digest and size."""

    def __init__(self, base: ReadStream, part: Descriptor) -> None:
        self._base = base
        self._part = part
        self._hash = hashlib.new(part.digest.partition(":")[0])
        self._size = 0

    async def read(self, n: int | None = None, /) -> bytes:
        data = await self._base.read(n)
        self._hash.update(data)
        self._size += len(data)
        if self._size > self._part.size:
            raise BackendError(f"the blob {self._part.digest} is damaged: it is longer than {self._part.size} bytes")
        if not data or n is None or n < 0:
            self._check()
        return data

    def _check(self) -> None:
        real = f"{self._hash.name}:{self._hash.hexdigest()}"
        if real != self._part.digest or self._size != self._part.size:
            raise BackendError(
                f"the blob {self._part.digest} is damaged: it has {self._size} bytes of {self._part.size} "
                f"and the digest {real}"
            )

    async def close(self) -> None:
        await self._base.close()


class ImageStore(Protocol):
    """Holds blobs and manifests by digest, and manifests by tag."""

    async def get_manifest(self, reference: str, /) -> Manifest | None:
        """The manifest of a tag or a digest, or None."""

    async def has_manifest(self, digest: str, /) -> bool:
        """Whether a manifest is here, with all that it names."""

    async def put_manifest(self, manifest: Manifest, tag: str | None = None, /) -> None:
        """Store a manifest, all of whose parts are here, under its digest and, if it is given, under a tag."""

    async def has_blob(self, part: Descriptor, /) -> bool:
        """Whether a blob is here."""

    async def open_blob(self, part: Descriptor, /) -> ReadStream:
        """The bytes of a blob, checked against its digest."""

    async def put_blob(self, part: Descriptor, source: Open, origin: ImageStore, /) -> bool:
        """Store a blob.

        :param source: opens it; called again when the first attempt fails.
        :param origin: where it comes from, which may spare sending it.
        :return: whether its bytes were sent.
        """
