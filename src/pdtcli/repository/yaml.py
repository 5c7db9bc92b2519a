"""YAML values, and metadata repositories on them.

libyaml's safe loader and dumper are used where PyYAML has them; times are written in ISO 8601. PyYAML itself
is imported with the first value that is read or written.
"""

from __future__ import annotations

import datetime
from abc import ABC
from collections.abc import Collection
from functools import lru_cache
from typing import Any

from .. import atomic
from .. import job as job_ids
from ..errors import InvalidValue, JobNotFound
from ..offload import FEW, offload
from .base import BlobRepository, MetadataRepository, job_getter
from .files import FileRepository

__all__ = ("YamlMetadataFileRepository", "YamlMetadataRepository", "dump", "load")


@lru_cache(maxsize=1)
def _classes() -> tuple[Any, Any]:
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    base = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

    class Dumper(base):  # type: ignore[misc, valid-type]
        def ignore_aliases(self, data: object) -> bool:
            return True  # records are read by people and by grep

    def represent_time(dumper: Any, value: datetime.datetime) -> Any:
        return dumper.represent_scalar("tag:yaml.org,2002:timestamp", value.isoformat())

    Dumper.add_representer(datetime.datetime, represent_time)
    return loader, Dumper


def dump(value: Any) -> bytes:
    """`value` as a YAML document in UTF-8.

    :raises InvalidValue: for what YAML's safe types cannot express, and for structures that contain themselves.
    """
    import yaml

    try:
        text: bytes = yaml.dump(
            value, Dumper=_classes()[1], encoding="utf-8", allow_unicode=True, sort_keys=False, width=1_000_000
        )
    except yaml.YAMLError as error:
        raise InvalidValue(f"the value cannot be written as YAML: {_one_line(error)}") from error
    except RecursionError:
        raise InvalidValue("the value cannot be written as YAML: it contains itself, or is nested too deeply") from None
    return text


def load(text: bytes | str, origin: str = "the value") -> Any:
    """The value of a YAML document of safe types.

    :param origin: what the text is, for the error's sentence.
    :raises InvalidValue: when it is not one well-formed document.
    """
    import yaml

    try:
        return yaml.load(text, Loader=_classes()[0])  # noqa: S506 - the loader is the safe one
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidValue(f"{origin} is not valid YAML: {_one_line(error)}") from error
    except (RecursionError, ValueError, OverflowError) as error:
        raise InvalidValue(f"{origin} is not valid YAML: {type(error).__name__}: {error}") from error


def _one_line(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None)
    if problem and mark is not None:
        return f"{problem} in line {mark.line + 1}, column {mark.column + 1}"
    return " ".join(str(error).split())


class YamlMetadataRepository(BlobRepository, MetadataRepository, ABC):
    """Metadata as YAML documents in a blob repository; a subclass says where the blobs are."""

    @job_getter
    async def info(self, job: str, /) -> Any:
        """The value of `job`, or ``{}``.

        :raises InvalidValue: when what is stored is not YAML.
        """
        try:
            return load(await self.read_bytes(job), f"{self}: {job}")
        except JobNotFound:
            return {}

    @job_getter
    async def dump(self, job: str, data: Any, /) -> None:
        job_ids.check(job)
        await self.write_bytes(job, dump(data))


class YamlMetadataFileRepository(YamlMetadataRepository, FileRepository):
    """Metadata as one YAML file a job.

    :param dir: the directory; see `FileRepositoryBase`.
    """

    def __init__(self, dir: Any, extension: str = ".yaml", case_insensitive: bool = False) -> None:
        super().__init__(dir, extension=extension, case_insensitive=case_insensitive)

    def _read(self, job: str) -> bytes | None:
        try:
            with open(self.existing_path(job), "rb", buffering=0) as file:
                return file.read()
        except FileNotFoundError:
            return None

    def _load(self, job: str) -> Any:
        text = self._read(job)
        return {} if text is None else load(text, f"{self}: {job}")

    def _load_many(self, jobs: Collection[str]) -> dict[str, Any]:
        texts = {job: text for job in jobs if (text := self._read(job)) is not None}
        return {job: load(text, f"{self}: {job}") for job, text in texts.items()}

    @job_getter
    async def info(self, job: str, /) -> Any:
        return self._load(job)

    async def info_many(self, jobs: Collection[str]) -> dict[str, Any]:
        return await offload(len(jobs) > FEW, self._load_many, jobs)

    @job_getter
    async def dump(self, job: str, data: Any, /) -> None:
        atomic.replace(self.fullpath(job), dump(data))

    @job_getter
    async def claim(self, job: str, data: Any, /) -> bool:
        return atomic.create(self.fullpath(job), dump(data))
