"""YAML values, and metadata repositories on them.

libyaml's safe loader and dumper are used where PyYAML has them; times are written in ISO 8601. PyYAML itself
is imported with the first value that is read, or written and not as simple as a record (`flat.py`).
"""

from __future__ import annotations

import datetime
import reprlib
from abc import ABC
from collections.abc import Collection
from functools import lru_cache
from typing import Any

from .. import atomic
from .. import job as job_ids
from ..errors import InvalidValue, JobNotFound
from ..offload import FEW, offload
from . import flat
from .base import BlobRepository, MetadataRepository, job_getter
from .files import FileRepository

__all__ = ("YamlMetadataFileRepository", "YamlMetadataRepository", "dump", "load")


DEEP = 5000
"""So many levels a document may be nested; a shorter text cannot have more."""


@lru_cache(maxsize=1)
def _classes() -> tuple[Any, Any]:
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    base = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

    class Dumper(base):  # type: ignore[misc, valid-type]
        def ignore_aliases(self, data: object) -> bool:
            return True  # records are read by people and by grep

        def represent_mapping(self, tag: str, mapping: Any, flow_style: bool | None = None) -> Any:
            for key in mapping:
                if isinstance(key, tuple):  # comes back as a list, which is no key
                    raise yaml.representer.RepresenterError("cannot be a key", key)
            return super().represent_mapping(tag, mapping, flow_style)

    def represent_time(dumper: Any, value: datetime.datetime) -> Any:
        return dumper.represent_scalar("tag:yaml.org,2002:timestamp", value.isoformat())

    Dumper.add_representer(datetime.datetime, represent_time)
    return loader, Dumper


def dump(value: Any) -> bytes:
    """`value` as a YAML document in UTF-8.

    :raises InvalidValue: for what YAML's safe types cannot express, and for structures that contain themselves.
    """
    short = flat.dump(value)
    return short if short is not None else _dump(value)


def _dump(value: Any) -> bytes:
    import yaml

    try:
        text: bytes = yaml.dump(
            value, Dumper=_classes()[1], encoding="utf-8", allow_unicode=True, sort_keys=False, width=1_000_000
        )
    except yaml.representer.RepresenterError as error:
        what = error.args[-1]
        reason = f"{reprlib.repr(what)} is of the type {type(what).__name__}"
        raise InvalidValue(f"the value cannot be written as YAML: {reason}") from error
    except (yaml.YAMLError, ValueError) as error:  # such as half a character
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
        if len(text) > DEEP and _is_deep(text):
            raise InvalidValue(f"{origin} is not valid YAML: it is nested more than {DEEP} levels deep")
        return yaml.load(text, Loader=_classes()[0])  # noqa: S506 - the loader is the safe one
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidValue(f"{origin} is not valid YAML: {_one_line(error)}") from error
    except (RecursionError, ValueError, OverflowError) as error:
        raise InvalidValue(f"{origin} is not valid YAML: {type(error).__name__}: {error}") from error


def _is_deep(text: bytes | str) -> bool:
    """Whether a document is nested so deep that libyaml would take the process down with the stack."""
    import yaml

    depth = 0
    for event in yaml.parse(text, Loader=_classes()[0]):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > DEEP:
                return True
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
    return False


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

    def __init__(self, dir: Any, extension: str = ".yaml", case_insensitive: bool = False, *, shard: int = 0) -> None:
        super().__init__(dir, extension, case_insensitive, shard=shard)

    def _load_many(self, jobs: Collection[str]) -> dict[str, Any]:
        found = {}
        for job, spellings in self._spellings([job for job in jobs if job_ids.is_valid(job)]).items():
            for path in spellings:
                try:
                    with open(path, "rb", buffering=0) as file:
                        text = file.read()
                except (FileNotFoundError, IsADirectoryError):
                    continue
                found[job] = load(text, path)
                break
        return found

    @job_getter
    async def info(self, job: str, /) -> Any:
        return self._load_many([job]).get(job, {})

    async def info_many(self, jobs: Collection[str]) -> dict[str, Any]:
        return await offload(len(jobs) > FEW, self._load_many, jobs)

    @job_getter
    async def dump(self, job: str, data: Any, /) -> None:
        # In a thread where it waits for the disk, which serves several at once as fast as one.
        await offload(self.durable, atomic.replace, self._path(job), dump(data), durable=self.durable)

    @job_getter
    async def claim(self, job: str, data: Any, /) -> bool:
        if self.case_insensitive and await self.contains(job):
            return False
        return atomic.create(self._path(job), dump(data))
