"""The names that programs import from `pdtcli`, and what importing them costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

import pdtcli

FROM_THE_SEED_LIBRARY = [
    "Repository",
    "BlobRepository",
    "MetadataRepository",
    "FileRepositoryBase",
    "FileRepository",
    "DirectoryRepository",
    "YamlMetadataRepository",
    "YamlMetadataFileRepository",
    "InProcessMetadataRepository",
    "InProcessBlobRepository",
    "AggregateAndRepository",
    "AggregateOrRepository",
    "BlockingRepository",
    "RelatedItemRepository",
    "MapRepository",
    "ExecutorLiveRepo",
    "Link",
    "Task",
    "InProcessSyncTask",
    "ExecutorTask",
    "ProcessTask",
    "STDOUT",
    "LocalLinuxManager",
    "ResourceType",
    "Resources",
    "ResourceManager",
    "parse_quantity",
    "Session",
    "Pipeline",
    "main",
    "update",
    "run",
    "launch",
    "print_status",
    "print_trace",
    "delete_data",
    "list_data",
    "cat_data",
    "inject_data",
    "shell",
]


def python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("name", FROM_THE_SEED_LIBRARY)
def test_the_names_of_the_seed_library_are_kept(name: str) -> None:
    assert name in pdtcli.__all__
    assert getattr(pdtcli, name) is not None


def test_all_that_is_announced_is_there() -> None:
    assert [name for name in pdtcli.__all__ if not hasattr(pdtcli, name)] == []


def test_a_star_brings_them_all() -> None:
    assert python("from pdtcli import *; print(Pipeline.__name__, STDOUT)") == "Pipeline STDOUT\n"


def test_names_complete_before_they_are_loaded() -> None:
    assert python("import pdtcli; print('ProcessTask' in dir(pdtcli), 'ProcessTask' in vars(pdtcli))") == "True False\n"


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'pdtcli' has no attribute 'Pipelin'"):
        _ = pdtcli.Pipelin


def test_importing_the_package_imports_next_to_nothing() -> None:
    before = "import sys, importlib, typing; before = set(sys.modules); import pdtcli;"
    assert python(before + "print(*sorted(set(sys.modules) - before))").split() == ["__future__", "pdtcli"]


def test_the_core_imports_nothing_that_only_others_need() -> None:
    heavy = "{'typer', 'rich', 'yaml', 'jinja2', 'boto3', 'pymongo', 'docker', 'asyncssh', 'psutil', 'multiprocessing'}"
    use = "FileRepository, YamlMetadataFileRepository, RelatedItemRepository, ResourceManager, Session, Task"
    assert python(f"import sys; from pdtcli import {use}; print(*(set(sys.modules) & {heavy}))") == "\n"
