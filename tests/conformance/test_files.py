"""Repositories in directories do what every repository has to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pdtcli import DirectoryRepository, FileRepository, YamlMetadataFileRepository
from pdtcli.repository import yaml
from pdtcli.testing import BlobRepositorySuite, MetadataRepositorySuite, RepositorySuite
from pdtcli.testing.blobs import pieces

EXTENSIONS = ["", ".txt", ".tar.gz", "-x"]


class InFiles:
    """Looks at the files themselves."""

    async def raw_get(self, repository: Any, job: str) -> bytes | None:
        path = Path(repository.basedir, job + repository.extension)
        return path.read_bytes() if path.exists() else None

    async def raw_put(self, repository: Any, name: str, data: bytes) -> None:
        Path(repository.basedir, name + repository.extension).write_bytes(data)

    @pytest.fixture(autouse=True)
    def no_litter(self, tmp_path: Path) -> Any:
        """Nothing stays behind but what is stored."""
        yield
        assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


class TestFiles(InFiles, BlobRepositorySuite):
    large = 200 * 1024 * 1024

    @pytest.fixture
    def repository(self, tmp_path: Path) -> FileRepository:
        return FileRepository(tmp_path)


@pytest.mark.parametrize("extension", EXTENSIONS[1:])
class TestFilesWithAnExtension(InFiles, BlobRepositorySuite):
    @pytest.fixture
    def repository(self, tmp_path: Path, extension: str) -> FileRepository:
        return FileRepository(tmp_path, extension)


class TestFilesInAnyCase(InFiles, BlobRepositorySuite):
    @pytest.fixture
    def repository(self, tmp_path: Path) -> FileRepository:
        return FileRepository(tmp_path, ".Txt", case_insensitive=True)


@pytest.mark.parametrize("discard_empty", [False, True])
class TestDirectories(RepositorySuite):
    @pytest.fixture
    def repository(self, tmp_path: Path, discard_empty: bool) -> DirectoryRepository:
        return DirectoryRepository(tmp_path, discard_empty=discard_empty)

    async def put(self, repository: DirectoryRepository, job: str, number: int) -> None:
        async with await repository.create(job) as path:
            (path / "value").write_text(str(number))

    async def check(self, repository: DirectoryRepository, job: str, number: int) -> None:
        assert (repository.fullpath(job) / "value").read_text() == str(number)

    async def test_a_directory_of_large_files_is_there_as_a_whole(self, repository: DirectoryRepository) -> None:
        async with await repository.create("job") as path:
            for name in ("one", "two"):
                with open(path / name, "wb") as file:
                    for piece in pieces(100 * 1024 * 1024):
                        file.write(piece)
            assert await repository.keys() == set()
        assert [each.stat().st_size for each in repository.fullpath("job").iterdir()] == [100 * 1024 * 1024] * 2


class YamlValues(MetadataRepositorySuite):
    """Values that the store holds as YAML."""

    def raw_value(self, number: int) -> bytes:
        return yaml.dump(self.value(number))


@pytest.mark.parametrize("case_insensitive", [False, True])
class TestYamlFiles(InFiles, YamlValues):
    @pytest.fixture
    def repository(self, tmp_path: Path, case_insensitive: bool) -> YamlMetadataFileRepository:
        return YamlMetadataFileRepository(tmp_path, case_insensitive=case_insensitive)
