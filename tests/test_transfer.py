"""Copies between repositories, whatever keeps the values."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.lab import Lab

from pdtcli import (
    AggregateOrRepository,
    FileRepository,
    InProcessBlobRepository,
    InProcessMetadataRepository,
    InProcessSyncTask,
    InvalidValue,
    JobNotFound,
    MetadataRepository,
    Pipeline,
    PipelineHandle,
    RelatedItemRepository,
    Repository,
    Unsupported,
    UsageError,
    YamlMetadataFileRepository,
)
from pdtcli.transfer import AT_ONCE, copy_jobs, copy_value


class TestOneValue:
    async def test_bytes_become_the_same_bytes(self, tmp_path: Path) -> None:
        target = FileRepository(tmp_path)
        size = await copy_value(InProcessBlobRepository({"a": bytes(range(256))}), target, "a")

        assert size == 256
        assert (tmp_path / "a").read_bytes() == bytes(range(256))

    async def test_a_value_becomes_the_same_value(self, tmp_path: Path) -> None:
        target = YamlMetadataFileRepository(tmp_path)
        await copy_value(InProcessMetadataRepository({"a": {"n": [1, None, "x"]}}), target, "a")

        assert await target.info("a") == {"n": [1, None, "x"]}

    async def test_a_value_becomes_yaml_where_bytes_are_kept(self) -> None:
        target = InProcessBlobRepository()
        size = await copy_value(InProcessMetadataRepository({"a": {"n": 1}}), target, "a")

        assert (target.data, size) == ({"a": b"n: 1\n"}, 5)

    async def test_yaml_becomes_a_value_where_values_are_kept(self) -> None:
        target = InProcessMetadataRepository()
        await copy_value(InProcessBlobRepository({"a": b"[1, 2]"}), target, "a")

        assert target.data == {"a": [1, 2]}

    async def test_bytes_that_are_no_yaml_are_refused_and_nothing_is_stored(self) -> None:
        target = InProcessMetadataRepository({"a": "before"})
        with pytest.raises(InvalidValue, match="a is not valid YAML"):
            await copy_value(InProcessBlobRepository({"a": b"[1,"}), target, "a")

        assert target.data == {"a": "before"}

    async def test_a_related_repository_is_copied_from_as_what_it_relates_to(self) -> None:
        source = RelatedItemRepository(InProcessBlobRepository({"1": b"x"}), InProcessMetadataRepository({"a": "1"}))
        target = InProcessBlobRepository()
        await copy_value(source, target, "a")

        assert target.data == {"a": b"x"}

    @pytest.mark.parametrize("source", [InProcessBlobRepository(), InProcessMetadataRepository()], ids=repr)
    async def test_what_is_not_there_cannot_be_copied(self, source: Repository) -> None:
        target = InProcessBlobRepository()
        with pytest.raises(JobNotFound):
            await copy_value(source, target, "a")

        assert target.data == {}

    async def test_a_repository_without_values_is_refused(self) -> None:
        with pytest.raises(Unsupported, match="holds neither bytes nor metadata"):
            await copy_value(AggregateOrRepository(), InProcessBlobRepository(), "a")


async def test_many_values_are_copied_and_told() -> None:
    values = {f"job{number}": b"x" * number for number in range(5 * AT_ONCE)}
    target = InProcessBlobRepository()
    told: dict[str, int] = {}
    await copy_jobs(InProcessBlobRepository(values), target, values, told.__setitem__)

    assert target.data == values
    assert told == {job: len(value) for job, value in values.items()}


async def test_the_first_error_ends_a_copy_and_what_was_copied_stays() -> None:
    source = InProcessBlobRepository({"a": b"1", "b": b"[", "c": b"3"})
    target = InProcessMetadataRepository()
    with pytest.raises(InvalidValue):
        await copy_jobs(source, target, ["a", "b"])

    assert target.data == {"a": 1}


class TestBetweenRepositoriesOfAPipeline:
    @pytest.fixture
    def pipeline(self, lab: Lab) -> PipelineHandle:
        lab.give("a", "b", text="{n: 1}\n")
        task = InProcessSyncTask("task", lab.metadata("done"), func=lambda job: None)
        task.link("input", lab.input, is_input=True)
        task.link("values", lab.metadata("values"), is_output=True)
        return PipelineHandle(Pipeline([task]), None)

    def values(self, pipeline: PipelineHandle) -> set[str]:
        return pipeline.repo("task.values").ls()

    def test_named_jobs_are_copied(self, pipeline: PipelineHandle) -> None:
        assert pipeline.copy("task.input", "task.values", ["a"]) == ["a"]
        assert pipeline.repo("task.values").info("a") == {"n": 1}
        assert self.values(pipeline) == {"a"}

    def test_all_jobs_are_copied_but_those_that_are_there(self, pipeline: PipelineHandle) -> None:
        pipeline.repo("task.values").write("a", b"before")

        assert pipeline.copy("task.input", "task.values", None, skip_existing=True) == ["b"]
        assert pipeline.repo("task.values").info("a") == "before"

    def test_a_dry_run_copies_nothing(self, pipeline: PipelineHandle) -> None:
        assert pipeline.copy("task.input", "task.values", None, dry_run=True) == ["a", "b"]
        assert self.values(pipeline) == set()

    def test_a_job_that_is_not_there_is_told_before_anything_is_copied(self, pipeline: PipelineHandle) -> None:
        with pytest.raises(JobNotFound, match=r"task\.input does not hold c"):
            pipeline.copy("task.input", "task.values", ["a", "c"])
        assert self.values(pipeline) == set()

    def test_a_repository_is_not_copied_to_itself(self, pipeline: PipelineHandle) -> None:
        with pytest.raises(UsageError, match="are the same repository"):
            pipeline.copy("task.input", "task.input", None)


async def test_what_holds_values_takes_a_copy_also_as_a_class_of_its_own() -> None:
    class Shouting(InProcessMetadataRepository):
        async def dump(self, job: str, data: object, /) -> None:
            await super().dump(job, str(data).upper())

    target: MetadataRepository = Shouting()
    await copy_value(InProcessMetadataRepository({"a": "x"}), target, "a")

    assert await target.info("a") == "X"
