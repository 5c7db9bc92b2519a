"""`Remote`: one repository of a registry, as the OCI Distribution Specification 1.1 has it."""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from ..errors import BackendError, InvalidValue, PdtError, Unsupported
from ..stream import CHUNK, Reader, ReadStream
from .client import Answer, Registry
from .failures import REPEATED, passing, pause
from .images import (
    ACCEPT,
    MANIFEST_LIMIT,
    OCI_MANIFEST,
    REMOVED,
    Checked,
    Descriptor,
    ImageStore,
    Manifest,
    Open,
    digest_of,
)

if TYPE_CHECKING:
    import httpx

__all__ = ("Remote",)

PAGE = 1000
"""Tags asked for at a time; what several registries allow at most."""

LISTING_LIMIT = 16 * 1024 * 1024
"""Bytes of one page of tags: registries without pages send a hundred thousand names in some 7 MiB."""

NOTHING = b"{}"
"""The smallest JSON document, the content of what stands in for an image."""


class Remote:
    """The images of one repository of a registry.

    :param name: as the registry knows it, without the domain.
    """

    def __init__(self, registry: Registry, domain: str, name: str) -> None:
        self.registry = registry
        self.domain = domain
        self.name = name
        self._may_remove = False
        self._has_nothing = False
        self._pull = (f"repository:{name}:pull",)
        self._push = (f"repository:{name}:pull,push",)
        self._delete = (f"repository:{name}:delete,pull,push",)

    def __str__(self) -> str:
        return f"{self.domain}/{self.name}"

    def _path(self, what: str) -> str:
        return f"/v2/{self.name}/{what}"

    def _refused(self, answer: Answer, doing: str) -> PdtError:
        if answer.status in (401, 403):
            return BackendError(
                f"{self} does not let these credentials {doing}: 'docker login {self.domain}' stores others"
            )
        return BackendError(f"{self} cannot {doing}: {answer.refusal()}")

    # ---- tags

    async def tags(self) -> AsyncIterator[list[str]]:
        """The tags, in pages; none when the repository is not there."""
        url = self._path("tags/list")
        params: dict[str, str] | None = {"n": str(PAGE)}
        seen: set[str] = set()
        while url not in seen:
            seen.add(url)
            answer = await self.registry.request(
                self.domain, "GET", url, scopes=self._pull, params=params, limit=LISTING_LIMIT
            )
            if answer.status == 404:
                return
            if answer.status != 200:
                raise self._refused(answer, "list its tags")
            try:
                tags = json.loads(answer.body)["tags"] or []
            except (ValueError, KeyError, TypeError):
                raise BackendError(f"{self} lists no tags: {self.domain} may be no registry") from None
            yield [tag for tag in tags if isinstance(tag, str)]
            following = _next_page(answer.headers.get("link", ""))
            if following is None:
                return
            url, params = self.registry.resolve(self.domain, answer.url, following), None
        raise BackendError(f"{self} lists its tags in a circle")

    # ---- manifests

    async def find(self, reference: str) -> bool:
        """Whether a tag or a digest is there."""
        answer = await self.registry.request(
            self.domain, "HEAD", self._path(f"manifests/{reference}"), scopes=self._pull, headers={"Accept": ACCEPT}
        )
        if answer.status not in (200, 404):
            raise self._refused(answer, f"look {reference} up")
        return answer.status == 200

    async def get_manifest(self, reference: str, /) -> Manifest | None:
        answer = await self.registry.request(
            self.domain, "GET", self._path(f"manifests/{reference}"), scopes=self._pull, headers={"Accept": ACCEPT}
        )
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise self._refused(answer, f"read {reference}")
        expected = reference if ":" in reference else answer.headers.get("docker-content-digest", "")
        if expected.partition(":")[0] not in ("sha256", "sha512"):
            expected = ""
        return Manifest.parse(answer.body, answer.headers.get("content-type", ""), expected)

    async def has_manifest(self, digest: str, /) -> bool:
        return await self.find(digest)

    async def put_manifest(self, manifest: Manifest, tag: str | None = None, /) -> None:
        if len(manifest.data) > MANIFEST_LIMIT:
            raise InvalidValue(f"a manifest of {len(manifest.data)} bytes is more than registries take")
        reference = manifest.digest if tag is None else tag
        answer = await self.registry.request(
            self.domain,
            "PUT",
            self._path(f"manifests/{reference}"),
            scopes=self._push,
            headers={"Content-Type": manifest.media_type},
            content=manifest.data,
        )
        if answer.status in (400, 404, 413, 422) and not answer.has_code("NAME_UNKNOWN", "UNSUPPORTED"):
            raise InvalidValue(f"{self} does not take the manifest for {reference}: {answer.refusal()}")
        if answer.status not in (200, 201, 202):
            raise self._refused(answer, f"store {reference}")

    async def untag(self, tag: str) -> None:
        """Remove one tag, and leave those that share its manifest; do nothing when it is not there.

        The specification removes by digest, and with a digest go all tags on it. So the tag is pointed at a manifest
        that nothing else has, and that one is removed. Whether removals are allowed is asked before the tag is touched.

        :raises Unsupported: when the registry forbids removals.
        """
        original = await self.get_manifest(tag)
        if original is None and not await self._lists(tag):
            return
        if not self._may_remove:
            await self._remove("sha256:" + "0" * 64, tag)
            self._may_remove = True
        # Not to be broken off between its steps: the tag would stay, on a manifest of nothing.
        task = asyncio.ensure_future(self._replace_and_remove(tag, original))
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait([task])
            if not task.cancelled():
                task.exception()  # told to nobody: who cancelled does not ask how it went
            raise

    async def _lists(self, tag: str) -> bool:
        """Whether a tag is listed, be it on nothing: Docker's registry leaves such tags where several removals meet."""
        async for page in self.tags():
            if tag in page:
                return True
        return False

    async def _replace_and_remove(self, tag: str, original: Manifest | None) -> None:
        empty = Descriptor(digest_of(NOTHING), len(NOTHING), "application/vnd.oci.image.config.v1+json")
        if not self._has_nothing:
            if not await self.has_blob(empty):
                await self._upload(empty, NOTHING)
            self._has_nothing = True
        content = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {"mediaType": empty.media_type, "digest": empty.digest, "size": empty.size},
            "layers": [],
            "annotations": {REMOVED: uuid.uuid4().hex},
        }
        replacement = Manifest.parse(json.dumps(content).encode())
        await self.put_manifest(replacement, tag)
        try:
            await self._remove(replacement.digest, tag)
        except BaseException:
            if original is not None and not original.is_removed:
                await self.put_manifest(original, tag)
            raise

    async def _remove(self, digest: str, tag: str) -> None:
        answer = await self.registry.request(
            self.domain, "DELETE", self._path(f"manifests/{digest}"), scopes=self._delete
        )
        if answer.status == 405 or answer.has_code("UNSUPPORTED"):
            raise Unsupported(
                f"{self} does not remove {tag}: {self.domain} is set up without deletes; they are allowed there by "
                "storage.delete.enabled or its like"
            )
        if answer.status not in (200, 202, 204, 404):
            raise self._refused(answer, f"remove {tag}")

    # ---- blobs

    async def has_blob(self, part: Descriptor, /) -> bool:
        answer = await self.registry.request(self.domain, "HEAD", self._path(f"blobs/{part.digest}"), scopes=self._pull)
        if answer.status not in (200, 404):
            raise self._refused(answer, f"look {part.digest} up")
        return answer.status == 200

    async def open_blob(self, part: Descriptor, /) -> ReadStream:
        return Checked(_BlobReader(self, part), part)

    async def put_blob(self, part: Descriptor, source: Open, origin: ImageStore, /) -> bool:
        location = None
        if (
            isinstance(origin, Remote)
            and self.registry.url(self.domain, "/") == self.registry.url(origin.domain, "/")
            and origin.name != self.name
        ):
            mounted = await self.registry.request(
                self.domain,
                "POST",
                self._path("blobs/uploads/"),
                params={"mount": part.digest, "from": origin.name},
                # Asked for in vain where these credentials may not read there: the token then lacks it.
                scopes=(*self._push, f"repository:{origin.name}:pull"),
            )
            if mounted.status == 201:
                return False
            if mounted.status == 202:
                location = self._location(mounted)
        await self._upload(part, source, location)
        return True

    def _location(self, answer: Answer) -> str:
        if not answer.headers.get("location"):
            raise BackendError(f"{self} takes no upload: it names no place for it")
        return self.registry.resolve(self.domain, answer.url, answer.headers["location"])

    async def _upload(self, part: Descriptor, source: Open | bytes, location: str | None = None) -> None:
        """Send a blob in one stream. A try that fails is begun anew, under another upload."""
        import httpx

        tries = 0
        while True:
            tries += 1
            if location is None:
                begun = await self.registry.request(
                    self.domain, "POST", self._path("blobs/uploads/"), scopes=self._push
                )
                if begun.status != 202:
                    raise self._refused(begun, "store blobs")
                location = self._location(begun)
            place, location = location, None
            try:
                answer = await self.registry.put_once(
                    self.domain,
                    str(httpx.URL(place).copy_add_param("digest", part.digest)),
                    part.size,
                    source,
                    self._push,
                )
            except httpx.RequestError as error:
                await self._drop(place)
                if tries > self.registry.retries or not passing(error):
                    raise self.registry.unreachable(self.domain, error) from error
                await asyncio.sleep(pause(tries))
                continue
            except BaseException:
                await self._drop(place)
                raise
            if answer.status in (200, 201, 204):
                return
            await self._drop(place)
            # 404: the upload was forgotten, as by a registry that was started anew.
            if answer.status not in REPEATED | {404} or tries > self.registry.retries:
                raise self._refused(answer, f"store the blob {part.digest}")
            await asyncio.sleep(pause(tries))

    async def _drop(self, place: str) -> None:
        """Tell the registry to forget an upload; what it does not forget it sweeps after a while by itself."""
        try:
            async with asyncio.timeout(2):
                await self.registry.request(self.domain, "DELETE", place, scopes=self._push)
        except (PdtError, TimeoutError):
            pass


class _BlobReader(Reader):
    """The bytes of a blob; goes on with a request for the rest when the connection breaks."""

    def __init__(self, remote: Remote, part: Descriptor) -> None:
        self._remote = remote
        self._part = part
        self._at = 0
        self._tries = 0
        self._stack = AsyncExitStack()
        self._pieces: AsyncIterator[bytes] | None = None
        self._rest = b""

    async def _connect(self) -> AsyncIterator[bytes]:
        remote = self._remote
        headers = {"Range": f"bytes={self._at}-"} if self._at else {}
        response: httpx.Response = await self._stack.enter_async_context(
            remote.registry.stream(
                remote.domain, remote._path(f"blobs/{self._part.digest}"), scopes=remote._pull, headers=headers
            )
        )
        status = response.status_code
        if status == 404:
            raise BackendError(f"{remote} lacks the blob {self._part.digest}, which one of its images names")
        if status not in (200, 206):
            raise _Refused(status, f"{remote} does not give the blob {self._part.digest}: HTTP status {status}")
        skip = self._at if status == 200 else 0

        async def pieces() -> AsyncIterator[bytes]:
            left = skip
            async for piece in response.aiter_raw(CHUNK):
                if left < len(piece):
                    yield piece[left:]
                left = max(0, left - len(piece))

        return pieces()

    async def _next(self) -> bytes:
        import httpx

        while True:
            try:
                if self._pieces is None:
                    self._pieces = await self._connect()
                piece = await anext(self._pieces, b"")
                if not piece and self._at < self._part.size:
                    raise httpx.RemoteProtocolError("the connection closed in the middle of a blob")
                self._at += len(piece)
                self._tries = 0
                return piece
            except (httpx.RequestError, _Refused) as error:
                self._pieces = None
                await self._stack.aclose()
                self._tries += 1
                hopeful = error.status in REPEATED if isinstance(error, _Refused) else passing(error)
                if self._tries > self._remote.registry.retries or not hopeful:
                    if isinstance(error, _Refused):
                        raise BackendError(str(error)) from None
                    raise self._remote.registry.unreachable(self._remote.domain, error) from error
                await asyncio.sleep(pause(self._tries))

    async def read(self, n: int | None = None, /) -> bytes:
        if n is None or n < 0:
            whole = bytearray(self._rest)
            self._rest = b""
            while piece := await self._next():
                whole += piece
            return bytes(whole)
        if not self._rest:
            self._rest = await self._next()
        data, self._rest = self._rest[:n], self._rest[n:]
        return data

    async def close(self) -> None:
        await self._stack.aclose()


class _Refused(Exception):
    """A status that is no success; another try may better it."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


def _next_page(link: str) -> str | None:
    """The address of the next page in a `Link` header (RFC 8288), or None."""
    for address, parameters in re.findall(r"<([^>]*)>([^<]*)", link):
        if re.search(r';\s*rel\s*=\s*"?next\b', parameters):
            return str(address)
    return None
