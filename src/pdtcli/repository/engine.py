"""Container images that an engine on this machine holds, and their way to registries and back.

The docker SDK blocks, so each of its calls runs in a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import IO, TYPE_CHECKING, Any

from .. import job as job_ids
from ..errors import BackendError, JobNotFound
from ..stream import CHUNK
from .base import Repository, job_getter
from .registry import check_name

if TYPE_CHECKING:
    from .registry import DockerRepository

__all__ = ("LocalImageRepository",)

_HOME = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})


class LocalImageRepository(Repository):
    """The images of one name in a container engine; a job is a tag.

    Its blocking calls run in threads. Images have no bytes of their own here: `push` and `pull` trade them with a
    registry, which the engine speaks to itself, and has to trust; `save` and `load` with everything else.

    :param client: a `docker.DockerClient`, or what gives it while the session is open.
    :param repository: the images' name, with its domain if it has one: ``myname/myrepo``, ``example.org/myrepo``.
    """

    holds_images = True

    def __init__(self, client: Any, repository: str) -> None:
        domain, slash, rest = repository.partition("/")
        if slash and (set(domain) & {".", ":"} or domain == "localhost"):
            from ..registry.client import check_domain

            self.domain = check_domain(domain)
            # The engine does not name its home registry.
            self.repository = check_name(rest) if self.domain in _HOME else f"{domain}/{check_name(rest)}"
            self._path = rest
        else:
            self.domain = ""
            self.repository = self._path = check_name(repository)
        self.repository = self.repository.removeprefix("library/")
        self._client = client

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.repository}:*>"

    @property
    def place(self) -> str:
        return f"engine:{self.repository}"

    def _api(self) -> Any:
        client = self._client() if callable(self._client) else self._client
        return client.api

    async def _call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Call the engine in a thread. None for what is not there."""
        return await asyncio.to_thread(_ask, self._api(), method, args, kwargs)

    async def unfiltered_iter(self) -> AsyncIterator[str]:
        for image in await self._call("images", name=self.repository) or ():
            for reference in image.get("RepoTags") or ():
                name, _, tag = reference.rpartition(":")
                if name == self.repository:
                    yield tag

    async def contains(self, job: str, /) -> bool:
        return job_ids.is_valid(job) and await self._id(f"{self.repository}:{job}") is not None

    async def _id(self, name: str) -> str | None:
        found = await self._call("inspect_image", name)
        return None if found is None else str(found["Id"])

    @job_getter
    async def info(self, job: str, /) -> dict[str, str]:
        """How the engine calls the image: ``withdomain``; and ``withoutdomain``, where it has one."""
        return {"withdomain": f"{self.repository}:{job}", "withoutdomain": f"{self._path}:{job}"}

    async def delete(self, job: str, /) -> None:
        """Remove the tag, and the image with its last one.

        :raises BackendError: when a container uses it.
        """
        await self._call("remove_image", f"{self.repository}:{job_ids.check(job)}")

    async def _require(self, job: str) -> str:
        found = await self._id(f"{self.repository}:{job_ids.check(job)}")
        if found is None:
            raise JobNotFound(f"{self} does not hold {job}")
        return found

    async def tag_into(self, job: str, target: LocalImageRepository, target_job: str | None = None) -> None:
        """Give an image another name in the same engine.

        :raises JobNotFound: when it is not here.
        """
        tag = job_ids.check(job if target_job is None else target_job)
        found = await self._require(job)
        if await self._call("tag", found, target.repository, tag) is None:
            raise JobNotFound(f"{self} does not hold {job}")

    async def push(self, job: str, target: DockerRepository, target_job: str | None = None) -> None:
        """Have the engine push an image to a registry.

        :raises JobNotFound: when it is not here.
        :raises BackendError: when the engine or the registry refuses.
        """
        tag = job_ids.check(job if target_job is None else target_job)
        found = await self._require(job)
        name = _engine_name(target)
        async with self._lent(name, tag):
            await self._call("tag", found, name, tag)
            await self._transfer("push", name, tag, target)

    async def pull(self, job: str, source: DockerRepository, source_job: str | None = None) -> None:
        """Have the engine pull an image from a registry, for its own platform.

        :raises JobNotFound: when it is not there.
        :raises BackendError: when the engine or the registry refuses.
        """
        tag = job_ids.check(job if source_job is None else source_job)
        job_ids.check(job)
        name = _engine_name(source)
        if not await source.contains(tag):
            raise JobNotFound(f"{source} does not hold {tag}")
        async with self._lent(name, tag):
            await self._transfer("pull", name, tag, source)
            await self._call("tag", f"{name}:{tag}", self.repository, job)

    async def save(self, job: str, file: IO[bytes]) -> None:
        """Have the engine write an image's archive to a file.

        :raises JobNotFound: when it is not here.
        """
        await self._require(job)
        await asyncio.to_thread(_save, self._api(), f"{self.repository}:{job}", file)

    async def load(self, file: IO[bytes]) -> None:
        """Have the engine load the images of an archive, under the names in it.

        :raises BackendError: when it refuses.
        """
        await asyncio.to_thread(_load, self._api(), file)

    async def platform(self) -> dict[str, str]:
        """What images the engine runs: ``os`` and ``architecture``, in the words of the image specification."""
        version = await self._call("version")
        return {"os": str(version["Os"]), "architecture": str(version["Arch"])}

    @asynccontextmanager
    async def _lent(self, name: str, tag: str) -> AsyncIterator[None]:
        """The engine trades images under the names they have in the registry: what has this one gets it back."""
        before = await self._id(f"{name}:{tag}")
        try:
            yield
        finally:
            if name != self.repository:
                if before is None:
                    await self._call("remove_image", f"{name}:{tag}")
                else:
                    await self._call("tag", before, name, tag)

    async def _transfer(self, method: str, name: str, tag: str, other: DockerRepository) -> None:
        credential = await other.registry.credential(other.domain)
        auth = None
        if credential is not None:
            auth = {"identitytoken" if credential.identity else "password": credential.secret}
            auth["username"] = credential.username
        await asyncio.to_thread(_follow, self._api(), method, name, tag, auth)


def _engine_name(repository: DockerRepository) -> str:
    if repository.domain in _HOME:
        return repository.repository.removeprefix("library/")
    return f"{repository.domain}/{repository.repository}"


@contextmanager
def _speaking(api: Any) -> Iterator[None]:
    import docker
    import requests

    try:
        yield
    except docker.errors.NotFound:
        raise
    except docker.errors.APIError as error:
        raise BackendError(f"the container engine refuses: {error.explanation or error}") from error
    except (docker.errors.DockerException, requests.RequestException) as error:
        reason = " ".join(str(error).split())[:200]
        raise BackendError(f"the container engine at {api.base_url} cannot be reached: {reason}") from error


def _ask(api: Any, method: str, args: Any, kwargs: Any) -> Any:
    import docker

    with _speaking(api):
        try:
            return getattr(api, method)(*args, **kwargs)
        except docker.errors.NotFound:
            return None


def _save(api: Any, name: str, file: IO[bytes]) -> None:
    with _speaking(api):
        for piece in api.get_image(name, chunk_size=CHUNK):
            file.write(piece)


def _load(api: Any, file: IO[bytes]) -> None:
    with _speaking(api):
        for line in api.load_image(file):
            if "error" in line:
                raise BackendError(f"the container engine cannot load the image: {line['error']}")


def _follow(api: Any, method: str, name: str, tag: str, auth: dict[str, str] | None) -> None:
    import docker

    with _speaking(api):
        try:
            for line in getattr(api, method)(name, tag=tag, stream=True, decode=True, auth_config=auth):
                if "error" in line:
                    raise BackendError(f"the container engine cannot {method} {name}:{tag}: {line['error']}")
        except docker.errors.NotFound as error:
            raise BackendError(f"the container engine cannot {method} {name}:{tag}: {error.explanation}") from error
