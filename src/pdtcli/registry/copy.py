"""Copies of images: between repositories of registries, layouts in directories, and the engine of this machine.

Blobs first, then manifests by digest, then the tag: a tag appears when all of its image is there. What the target has
already is not sent, and within a registry blobs are mounted. Bytes pass through, a few MiB at a time, and are checked
against their digests on the way.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from .. import job as job_ids
from ..errors import BackendError, InvalidValue, Unsupported
from ..repository.base import Repository
from ..repository.engine import LocalImageRepository
from ..repository.registry import DockerRepository, ImageRepository
from ..stream import ReadStream
from .archive import Archive, choose, write_archive
from .images import Descriptor, ImageStore, Manifest

__all__ = ("Copied", "can_copy", "copy_image")

AT_ONCE = 3
"""Blobs of one image under way at a time; each holds some MiB."""

DEPTH = 8
"""So many indexes may be nested."""


@dataclass
class Copied:
    """What a copy did.

    :ivar manifests: manifests that were stored, indexes included.
    :ivar sent: blobs whose bytes were sent.
    :ivar spared: blobs that the target had, or could mount.
    :ivar size: bytes of the blobs that were sent; not known, and 0, where an engine did it.
    """

    manifests: int = 0
    sent: int = 0
    spared: int = 0
    size: int = 0


def can_copy(source: Repository, target: Repository) -> bool:
    """Whether `copy_image` is for these two; other repositories are copied as streams of bytes."""
    kinds = (ImageRepository, LocalImageRepository)
    return isinstance(source, kinds) and isinstance(target, kinds)


async def copy_image(source: Repository, job: str, target: Repository, target_job: str | None = None) -> Copied:
    """Copy an image, with all that it is made of, for all platforms.

    Digests stay the same, but for what an engine gives to a layout. It may be broken off and begun again: what has
    arrived is not sent twice.

    :param target_job: its tag in `target`; the same as in `source` when None.
    :raises JobNotFound: when `source` does not hold `job`.
    :raises InvalidValue: for an image of a kind that is not supported.
    :raises Unsupported: between repositories that do not hold images.
    :raises BackendError: when one of them fails, or a part is damaged.
    """
    tag = job_ids.check(job if target_job is None else target_job)
    job_ids.check(job)
    if isinstance(source, LocalImageRepository) or isinstance(target, LocalImageRepository):
        return await _through_engine(source, job, target, tag)
    if not isinstance(source, ImageRepository) or not isinstance(target, ImageRepository):
        raise Unsupported(f"{target if isinstance(source, ImageRepository) else source} does not hold images")
    return await _store(source.store(), await source.manifest(job), target.store(), tag)


async def _store(source: ImageStore, manifest: Manifest, target: ImageStore, tag: str) -> Copied:
    copy = _Copy(source, target)
    await copy.parts(manifest, 0)
    await copy.target.put_manifest(manifest, tag)
    copy.done.manifests += 1
    return copy.done


async def _through_engine(source: Repository, job: str, target: Repository, tag: str) -> Copied:
    if isinstance(source, LocalImageRepository):
        if isinstance(target, LocalImageRepository):
            await source.tag_into(job, target, tag)
            return Copied()
        if isinstance(target, DockerRepository):
            await source.push(job, target, tag)
            return Copied(manifests=1)
        if isinstance(target, ImageRepository):
            return await _save(source, job, target.store(), tag)
    elif isinstance(target, LocalImageRepository):
        if isinstance(source, DockerRepository):
            await target.pull(tag, source, job)
            return Copied(manifests=1)
        if isinstance(source, ImageRepository):
            return await _load(source.store(), await source.manifest(job), target, tag)
    raise Unsupported(f"{target if isinstance(source, LocalImageRepository) else source} does not hold images")


async def _save(source: LocalImageRepository, job: str, target: ImageStore, tag: str) -> Copied:
    """From an engine by way of an archive, whose digests are those of layers that are not compressed."""
    with tempfile.TemporaryFile(prefix="pdt-") as file:
        await source.save(job, file)
        file.seek(0)
        archive = await asyncio.to_thread(Archive, file)
        return await _store(archive, archive.manifest, target, tag)


async def _load(source: ImageStore, manifest: Manifest, target: LocalImageRepository, tag: str) -> Copied:
    """Into an engine by way of an archive, for the engine's own platform."""
    manifest = await choose(source, manifest, await target.platform())
    with tempfile.TemporaryFile(prefix="pdt-") as file:
        size = await write_archive(source, manifest, f"{target.repository}:{tag}", file)
        file.seek(0)
        await target.load(file)
    return Copied(manifests=1, sent=len(manifest.blobs), size=size)


class _Copy:
    """One image on its way."""

    def __init__(self, source: ImageStore, target: ImageStore) -> None:
        self.source = source
        self.target = target
        self.done = Copied()
        self._seen: set[str] = set()

    async def parts(self, manifest: Manifest, depth: int) -> None:
        """All that a manifest names, and not itself."""
        if depth > DEPTH:
            raise InvalidValue(f"the image is nested more than {DEPTH} indexes deep")
        for part in manifest.manifests:
            if part.digest in self._seen:
                continue
            self._seen.add(part.digest)
            if await self.target.has_manifest(part.digest):
                continue
            child = await self.source.get_manifest(part.digest)
            if child is None:
                raise BackendError(f"{self.source} lacks the manifest {part.digest}, which one of its images names")
            await self.parts(child, depth + 1)
            await self.target.put_manifest(child)
            self.done.manifests += 1
        blobs = [part for part in manifest.blobs if not part.foreign and part.digest not in self._seen]
        self._seen.update(part.digest for part in blobs)
        await _bounded(blobs, self._blob)

    async def _blob(self, part: Descriptor) -> None:
        if not await self.target.has_blob(part):

            async def source() -> ReadStream:
                return await self.source.open_blob(part)

            if await self.target.put_blob(part, source, self.source):
                self.done.sent += 1
                self.done.size += part.size
                return
        self.done.spared += 1


async def _bounded(parts: Iterable[Descriptor], work: Callable[[Descriptor], Awaitable[None]]) -> None:
    waiting = iter(parts)

    async def worker() -> None:
        for part in waiting:
            await work(part)

    workers = [asyncio.create_task(worker()) for _ in range(AT_ONCE)]
    try:
        await asyncio.gather(*workers)
    finally:
        for each in workers:
            each.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
