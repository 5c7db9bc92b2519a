"""pdt: data-centric pipelines over plain data directories.

The public names, each imported from its module when it is first used, so that a program pays only for what it needs.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_MODULES = {
    "errors": (
        "BackendError",
        "InvalidJobId",
        "InvalidValue",
        "JobNotFound",
        "LoadError",
        "LockHeld",
        "NotFound",
        "NotReady",
        "PdtError",
        "UnknownRepository",
        "UnknownTask",
        "Unsupported",
        "UsageError",
    ),
    "facade": ("PipelineHandle", "open_pipeline"),
    "link": ("Link",),
    "manager.local": ("LocalLinuxManager",),
    "pipeline": ("Pipeline",),
    "quota": ("ResourceManager", "ResourceType", "Resources", "parse_quantity"),
    "registry.client": ("Registry",),
    "registry.copy": ("copy_image",),
    "repository.engine": ("LocalImageRepository",),
    "repository.base": ("BlobRepository", "DerivedRepository", "MetadataRepository", "Repository"),
    "repository.combine": (
        "AggregateAndRepository",
        "AggregateOrRepository",
        "BlockingRepository",
        "MapRepository",
        "RelatedItemRepository",
    ),
    "repository.files": ("DirectoryRepository", "FileRepository", "FileRepositoryBase"),
    "repository.fsspec": ("FsspecRepository",),
    "repository.live": ("ExecutorLiveRepo",),
    "repository.memory": ("InProcessBlobRepository", "InProcessBlobStream", "InProcessMetadataRepository"),
    "repository.mongo": ("MongoMetadataRepository",),
    "repository.mongo_blob": ("MongoBlobInfo", "MongoBlobRepository"),
    "repository.mongo_client": ("mongo_database",),
    "repository.registry": ("DockerRepository", "ImageLayoutRepository"),
    "repository.s3": ("S3BucketInfo", "S3BucketRepository", "YamlMetadataS3Repository"),
    "repository.s3_client": ("s3_client",),
    "repository.yaml": ("YamlMetadataFileRepository", "YamlMetadataRepository"),
    "script": (
        "cat_data",
        "delete_data",
        "inject_data",
        "launch",
        "list_data",
        "main",
        "print_status",
        "print_trace",
        "run",
        "shell",
        "update",
    ),
    "session": ("Session",),
    "task.base": ("Task",),
    "task.executor": ("ExecutorTask",),
    "task.function": ("InProcessSyncTask",),
    "task.process": ("STDOUT", "ProcessTask"),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = ("__version__", *sorted(_HOMES))

if TYPE_CHECKING:
    from .errors import BackendError as BackendError
    from .errors import InvalidJobId as InvalidJobId
    from .errors import InvalidValue as InvalidValue
    from .errors import JobNotFound as JobNotFound
    from .errors import LoadError as LoadError
    from .errors import LockHeld as LockHeld
    from .errors import NotFound as NotFound
    from .errors import NotReady as NotReady
    from .errors import PdtError as PdtError
    from .errors import UnknownRepository as UnknownRepository
    from .errors import UnknownTask as UnknownTask
    from .errors import Unsupported as Unsupported
    from .errors import UsageError as UsageError
    from .facade import PipelineHandle as PipelineHandle
    from .facade import open_pipeline as open_pipeline
    from .link import Link as Link
    from .manager.local import LocalLinuxManager as LocalLinuxManager
    from .pipeline import Pipeline as Pipeline
    from .quota import ResourceManager as ResourceManager
    from .quota import Resources as Resources
    from .quota import ResourceType as ResourceType
    from .quota import parse_quantity as parse_quantity
    from .registry.client import Registry as Registry
    from .registry.copy import copy_image as copy_image
    from .repository.base import BlobRepository as BlobRepository
    from .repository.base import DerivedRepository as DerivedRepository
    from .repository.base import MetadataRepository as MetadataRepository
    from .repository.base import Repository as Repository
    from .repository.combine import AggregateAndRepository as AggregateAndRepository
    from .repository.combine import AggregateOrRepository as AggregateOrRepository
    from .repository.combine import BlockingRepository as BlockingRepository
    from .repository.combine import MapRepository as MapRepository
    from .repository.combine import RelatedItemRepository as RelatedItemRepository
    from .repository.engine import LocalImageRepository as LocalImageRepository
    from .repository.files import DirectoryRepository as DirectoryRepository
    from .repository.files import FileRepository as FileRepository
    from .repository.files import FileRepositoryBase as FileRepositoryBase
    from .repository.fsspec import FsspecRepository as FsspecRepository
    from .repository.live import ExecutorLiveRepo as ExecutorLiveRepo
    from .repository.memory import InProcessBlobRepository as InProcessBlobRepository
    from .repository.memory import InProcessBlobStream as InProcessBlobStream
    from .repository.memory import InProcessMetadataRepository as InProcessMetadataRepository
    from .repository.mongo import MongoMetadataRepository as MongoMetadataRepository
    from .repository.mongo_blob import MongoBlobInfo as MongoBlobInfo
    from .repository.mongo_blob import MongoBlobRepository as MongoBlobRepository
    from .repository.mongo_client import mongo_database as mongo_database
    from .repository.registry import DockerRepository as DockerRepository
    from .repository.registry import ImageLayoutRepository as ImageLayoutRepository
    from .repository.s3 import S3BucketInfo as S3BucketInfo
    from .repository.s3 import S3BucketRepository as S3BucketRepository
    from .repository.s3 import YamlMetadataS3Repository as YamlMetadataS3Repository
    from .repository.s3_client import s3_client as s3_client
    from .repository.yaml import YamlMetadataFileRepository as YamlMetadataFileRepository
    from .repository.yaml import YamlMetadataRepository as YamlMetadataRepository
    from .script import cat_data as cat_data
    from .script import delete_data as delete_data
    from .script import inject_data as inject_data
    from .script import launch as launch
    from .script import list_data as list_data
    from .script import main as main
    from .script import print_status as print_status
    from .script import print_trace as print_trace
    from .script import run as run
    from .script import shell as shell
    from .script import update as update
    from .session import Session as Session
    from .task.base import Task as Task
    from .task.executor import ExecutorTask as ExecutorTask
    from .task.function import InProcessSyncTask as InProcessSyncTask
    from .task.process import STDOUT as STDOUT
    from .task.process import ProcessTask as ProcessTask


def __getattr__(name: str) -> Any:
    try:
        module = _HOMES[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    value = getattr(importlib.import_module(f"{__name__}.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
