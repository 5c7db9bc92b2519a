"""Repositories whose values are container images: tags in a registry, or in an OCI layout."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from typing import TYPE_CHECKING

from .. import job as job_ids
from ..errors import InvalidValue, JobNotFound, UsageError
from ..paths import absolute
from ..stream import MemoryReader, MemoryWriter, ReadStream, WriteStream
from .base import BlobRepository, job_getter

if TYPE_CHECKING:
    from ..registry.client import Registry
    from ..registry.images import ImageStore, Manifest
    from ..registry.layout import ImageLayout
    from ..registry.remote import Remote

__all__ = ("DockerRepository", "ImageLayoutRepository", "ImageRepository", "check_name")

FEW = 8
"""So many jobs are looked up one by one, all at a time, instead of in a listing."""

# The grammar of the distribution specification ("Pulling Manifests").
_part = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_name = re.compile(rf"{_part}(?:/{_part})*").fullmatch


def check_name(name: str) -> str:
    """Return `name` when a repository of images may be called that.

    :raises UsageError: otherwise.
    """
    if not isinstance(name, str) or len(name) > 255 or _name(name) is None:
        raise UsageError(
            f"{name!r} is no name of a repository of images: it takes lower-case words, with / between them"
        )
    return name


class ImageRepository(BlobRepository):
    """Images by tag, whose value as bytes is their manifest.

    `pdtcli.registry.copy.copy_image` copies an image with all its parts; a manifest written as bytes is stored only
    where its parts are already.
    """

    holds_images = True

    def store(self) -> ImageStore:
        """What holds the parts of the images."""
        raise NotImplementedError

    async def manifest(self, job: str) -> Manifest:
        """The manifest of `job`.

        :raises JobNotFound: when it is not here.
        """
        manifest = await self.store().get_manifest(job_ids.check(job))
        if manifest is None or manifest.is_removed:
            raise JobNotFound(f"{self} does not hold {job}")
        return manifest

    async def open_reader(self, job: str, /) -> ReadStream:
        return MemoryReader((await self.manifest(job)).data)

    async def open_writer(self, job: str, /) -> WriteStream:
        return ManifestWriter(self, job)


class ManifestWriter(MemoryWriter):
    """A manifest on its way under a tag; kept in memory, for it is small."""

    def __init__(self, repository: ImageRepository, job: str) -> None:
        super().__init__()
        self._repository = repository
        self._job = job

    async def write(self, data: bytes, /) -> int:
        from ..registry.images import MANIFEST_LIMIT

        if self._buffer is not None and len(self._buffer) + len(data) > MANIFEST_LIMIT:
            self._buffer = None
            raise InvalidValue(f"{self._repository} takes manifests of images, of up to {MANIFEST_LIMIT} bytes")
        return await super().write(data)

    async def _store(self, value: bytes) -> None:
        from ..registry.images import Manifest

        await self._repository.store().put_manifest(Manifest.parse(value), self._job)


class DockerRepository(ImageRepository):
    """The images of one repository of a registry; a job is a tag.

    :param registry: the `Registry`, or what gives it while the session is open.
    :param domain: the registry's host, with its port if that is not the usual one: ``registry-1.docker.io``.
    :param repository: the repository's name there: ``myname/myrepo``.
    """

    def __init__(self, registry: Registry | Callable[[], Registry], domain: str, repository: str) -> None:
        from ..registry.client import check_domain

        self._registry = registry
        self.domain = check_domain(domain)
        self.repository = check_name(repository)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.domain}/{self.repository}:*>"

    @property
    def place(self) -> str:
        return f"registry://{self.domain}/{self.repository}"

    @property
    def registry(self) -> Registry:
        """The live client.

        :raises PdtError: while the session is closed.
        """
        return self._registry() if callable(self._registry) else self._registry

    def store(self) -> Remote:
        from ..registry.remote import Remote

        return Remote(self.registry, self.domain, self.repository)

    async def unfiltered_iter(self) -> AsyncIterator[str]:
        async for page in self.store().tags():
            for tag in page:
                yield tag

    async def contains(self, job: str, /) -> bool:
        return job_ids.is_valid(job) and await self.store().find(job)

    async def among(self, jobs: Collection[str]) -> set[str]:
        if len(jobs) > FEW:
            return await super().among(jobs)
        chosen = list(jobs)
        found = await asyncio.gather(*(self.contains(job) for job in chosen))
        return {job for job, is_here in zip(chosen, found, strict=True) if is_here}

    @job_getter
    async def info(self, job: str, /) -> dict[str, str]:
        """How others call the image: ``withdomain`` as a container engine does, ``withoutdomain`` as the registry."""
        return {
            "withdomain": f"{self.domain}/{self.repository}:{job}",
            "withoutdomain": f"{self.repository}:{job}",
        }

    async def delete(self, job: str, /) -> None:
        """Remove the tag, and leave others that share its manifest; its layers are the registry's to collect.

        :raises Unsupported: when the registry forbids removals and the tag is there.
        """
        await self.store().untag(job_ids.check(job))

    async def delete_many(self, jobs: Iterable[str]) -> None:
        # Only what is there costs more than its share of a listing; and what holds for one holds for all of them. One
        # after the other: a registry looks through all tags for each removal, and misses some that change meanwhile.
        store, doomed = self.store(), {job_ids.check(job) for job in jobs}
        present = await self.among(doomed)
        if len(doomed) <= FEW and present != doomed:
            present |= doomed & await self.keys()  # a tag on nothing is seen in listings only
        for job in sorted(present):
            await store.untag(job)


class ImageLayoutRepository(ImageRepository):
    """The images of an OCI layout in a directory (``oci:`` to other tools); a job is a tag.

    :param dir: the directory; it need not be there.
    """

    def __init__(self, dir: str | os.PathLike[str]) -> None:
        self.dir = absolute(dir)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.dir}>"

    @property
    def place(self) -> str:
        return f"oci:{self.dir}"

    @property
    def watched_path(self) -> str:
        return str(self.dir)

    def store(self) -> ImageLayout:
        from ..registry.layout import ImageLayout

        return ImageLayout(self.dir)

    async def unfiltered_iter(self) -> AsyncIterator[str]:
        for tag in self.store().tags():
            yield tag

    async def contains(self, job: str, /) -> bool:
        return job_ids.is_valid(job) and job in self.store().tags()

    @job_getter
    async def info(self, job: str, /) -> str:
        """How other tools call the image: ``oci:DIRECTORY:TAG``."""
        return f"oci:{self.dir}:{job}"

    async def delete(self, job: str, /) -> None:
        """Remove the tag; its blobs stay, for others may share them."""
        await self.delete_many([job])

    async def delete_many(self, jobs: Iterable[str]) -> None:
        await self.store().untag({job_ids.check(job) for job in jobs})
