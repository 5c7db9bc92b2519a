"""What every repository has to do with its keys, whatever its values are."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import pytest

from ..errors import InvalidJobId

__all__ = ("NOT_JOBS", "UNUSUAL_JOBS", "RepositorySuite", "in_turns")

UNUSUAL_JOBS = (
    *("a", "A", "0", "7", "x" * 63, "0" * 63, "a" + "-_." * 20 + "b"),
    *("a.b", "a..b", "a.-_b", "a--b", "a__b", "A1", "1a", "1.5", "1e5", "0x1f", "007", "2024-01-01"),
    *("null", "true", "no", "con", "NUL", "latest", "index.html", "a.yaml", "a.tar.gz", "a.tmp", "tmp", "default"),
)
"""Valid, and what a careless store may take for something else."""

NOT_JOBS = (
    *("", " ", "a b", " a", "a ", "a\n", "\na", "a\0", "\0", "a\tb", "x" * 64, "x" * 10_000),
    *(".", "..", "...", "../x", "a/b", "/a", "a/", "a/../b", "a\\b", ".hidden", "a.", "-rf", "a-", "_a", "a_"),
    *("a:b", "a@b", "a%2Fb", "%2e%2e", "a?b", "a#b", "a*b", "$(a)", "a;b", "{}", "\u0430", "caf\u00e9", "\u212a"),
)
"""What no store may be bothered with; the last ones look like letters, or become some when their case is changed."""

AT_ONCE = 8


async def in_turns(work: Iterable[Any]) -> list[Any]:
    """What coroutines return, of which a few run at the same time."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(coroutine: Any) -> Any:
        async with gate:
            return await coroutine

    return await asyncio.gather(*(one(coroutine) for coroutine in work))


@pytest.mark.asyncio
class RepositorySuite:
    """Keys, infos and deletes.

    A subclass has a fixture `repository`, which gives an empty one that is ready for use, and the hook `put`, unless it
    derives from one of the other suites, which know how. Values are told apart by numbers.
    """

    many: ClassVar[int] = 70
    """So many jobs are a lot: more than the store treats one by one, or has on one page."""

    deletes: ClassVar[bool] = True
    """Whether a delete removes the job; a view may leave it where it is, and then nothing is deleted here."""

    secrets: ClassVar[Sequence[str]] = ()
    """What must not be seen in the repository's `repr` and `place`: passwords, keys, tokens."""

    # ---- hooks

    async def put(self, repository: Any, job: str, number: int) -> None:
        """Store value `number` under `job`."""
        raise NotImplementedError("a suite for keys alone has to say how a job comes into being: define `put`")

    async def check(self, repository: Any, job: str, number: int) -> None:
        """Fail unless value `number` is what `job` holds."""

    async def raw_get(self, repository: Any, job: str) -> bytes | None:
        """What the store itself holds for `job`, byte for byte, asked without the repository; None when nothing.

        Without this hook the repository is asked alone, and can vouch for itself.
        """
        raise NotImplementedError

    async def raw_put(self, repository: Any, name: str, data: bytes) -> None:
        """Put `data` into the store under a name that need not be a job id, without the repository."""
        raise NotImplementedError

    def raw_value(self, number: int) -> bytes:
        """Value `number` as the store holds it."""
        raise NotImplementedError

    # ---- for the tests

    async def raw(self, repository: Any, job: str) -> bytes | None:
        """As `raw_get`; the test is skipped where it is not defined."""
        try:
            return await self.raw_get(repository, job)
        except NotImplementedError:
            pytest.skip("there is no raw_get to look into the store with")

    async def slip_in(self, repository: Any, name: str, number: int) -> None:
        """As `raw_put`; the test is skipped where it is not defined."""
        try:
            await self.raw_put(repository, name, self.raw_value(number))
        except NotImplementedError:
            pytest.skip("there is no raw_put to reach the store with")

    async def put_all(self, repository: Any, jobs: Sequence[str]) -> None:
        """Store value 0 under the first job, 1 under the second, …"""
        await in_turns(self.put(repository, job, number) for number, job in enumerate(jobs))

    def need_deletes(self) -> None:
        """Skip the test where nothing is deleted."""
        if not self.deletes:
            pytest.skip("this repository leaves deletes to another one")

    # ---- keys

    async def test_nothing_is_there_at_first(self, repository: Any) -> None:
        assert await repository.keys() == set()
        assert [job async for job in repository] == []
        assert await repository.among(["job"]) == set()
        assert await repository.info_all() == {}
        assert await repository.contains("job") is False

    async def test_what_is_stored_is_there(self, repository: Any) -> None:
        await self.put_all(repository, ["one", "two"])
        assert await repository.keys() == {"one", "two"}
        assert sorted([job async for job in repository]) == ["one", "two"]
        assert await repository.contains("one") is True
        assert await repository.contains("three") is False
        assert await repository.among(["one", "three"]) == {"one"}
        await self.check(repository, "one", 0)
        await self.check(repository, "two", 1)

    async def test_a_job_is_not_its_neighbour(self, repository: Any) -> None:
        await self.put_all(repository, ["job.1", "b"])
        for other in ("job", "job.", "job.10", "job-1", "jobx1", "1", "Job.1", "B", "a", "c"):
            assert await repository.contains(other) is False
        assert await repository.among(["job", "job.10", "job-1", "B"]) == set()

    async def test_the_keys_are_the_caller_s_own(self, repository: Any) -> None:
        await self.put(repository, "job", 0)
        (await repository.keys()).add("mine")
        assert await repository.keys() == {"job"}

    async def test_many_jobs_are_listed_and_found(self, repository: Any) -> None:
        jobs = [f"job-{number}" for number in range(self.many)]
        await self.put_all(repository, jobs)
        assert await repository.keys() == set(jobs)
        assert sorted([job async for job in repository]) == sorted(jobs)
        asked = [*jobs[::2], *(f"other-{number}" for number in range(self.many))]
        assert await repository.among(asked) == set(jobs[::2])
        assert set(await repository.info_all()) == set(jobs)
        await self.check(repository, jobs[-1], self.many - 1)

    async def test_among_takes_whatever_holds_jobs(self, repository: Any) -> None:
        await self.put(repository, "job", 0)
        for asked in (["job", "job"], ("job",), {"job"}, {"job": 1}.keys(), frozenset({"job", "other"})):
            assert await repository.among(asked) == {"job"}
        assert await repository.among([]) == set()

    async def test_unusual_jobs_are_jobs(self, repository: Any) -> None:
        await self.put_all(repository, UNUSUAL_JOBS)
        assert await repository.keys() == set(UNUSUAL_JOBS)
        assert await repository.among(UNUSUAL_JOBS) == set(UNUSUAL_JOBS)
        for number, job in enumerate(UNUSUAL_JOBS):
            await self.check(repository, job, number)
            assert await repository.contains(job)

    async def test_it_behaves_as_a_dictionary(self, repository: Any) -> None:
        self.need_deletes()
        choice = random.Random(0)  # noqa: S311 - the same steps every time
        model: dict[str, int] = {}
        jobs = ["a", "b", "c", "A", "a.b", "x-1"]
        for step in range(40):
            job = choice.choice(jobs)
            if choice.random() < 0.6:
                model[job] = step
                await self.put(repository, job, step)
            else:
                model.pop(job, None)
                await repository.delete(job)
            assert await repository.contains(job) == (job in model)
        assert await repository.keys() == set(model)
        for job, number in model.items():
            await self.check(repository, job, number)

    # ---- names that are no job ids

    async def test_other_names_are_nowhere(self, repository: Any) -> None:
        await self.put(repository, "good", 0)
        for name in NOT_JOBS:
            assert await repository.contains(name) is False
        assert await repository.among([*NOT_JOBS, "good"]) == {"good"}
        assert set(await repository.info_many([*NOT_JOBS, "good"])) == {"good"}

    async def test_a_delete_with_another_name_touches_nothing(self, repository: Any) -> None:
        await self.put(repository, "good", 0)
        for name in NOT_JOBS:
            with pytest.raises(InvalidJobId):
                await repository.delete(name)
            with pytest.raises(InvalidJobId):
                await repository.delete_many(["good", name])
        assert await repository.keys() == {"good"}
        await self.check(repository, "good", 0)

    async def test_other_names_in_the_store_are_skipped(
        self, repository: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        await self.slip_in(repository, "good", 0)
        for name in ("a b", "-x", "y_", "x" * 64):
            try:
                await self.slip_in(repository, name, 1)
            except (OSError, ValueError):
                pass  # the store itself does not take such names
        with caplog.at_level(logging.WARNING):
            for _ in range(2):
                assert await repository.keys() == {"good"}
                assert [job async for job in repository] == ["good"]
                assert set(await repository.info_all()) == {"good"}
        assert len([record for record in caplog.records if "not valid job ids" in record.getMessage()]) <= 1

    # ---- infos

    async def test_infos_are_those_of_what_is_there(self, repository: Any) -> None:
        await self.put_all(repository, ["one", "two", "three"])
        infos = {job: await repository.info(job) for job in ("one", "two", "three")}
        assert await repository.info_all() == infos
        assert await repository.info_many(["one", "three", "four"]) == {job: infos[job] for job in ("one", "three")}
        assert await repository.info_many([]) == {}

    # ---- deletes

    async def test_what_is_deleted_is_gone(self, repository: Any) -> None:
        self.need_deletes()
        await self.put_all(repository, ["one", "two"])
        await repository.delete("one")
        assert await repository.keys() == {"two"}
        assert await repository.contains("one") is False
        await self.check(repository, "two", 1)

    async def test_what_is_not_there_can_be_deleted(self, repository: Any) -> None:
        await repository.delete("job")
        await self.put(repository, "job", 0)
        await repository.delete("job")
        await repository.delete("job")
        await repository.delete_many([])
        await repository.delete_many(["job", "other"])
        assert await repository.keys() == (set() if self.deletes else {"job"})

    async def test_what_is_deleted_can_be_stored_again(self, repository: Any) -> None:
        self.need_deletes()
        await self.put(repository, "job", 0)
        await repository.delete("job")
        await self.put(repository, "job", 1)
        assert await repository.keys() == {"job"}
        await self.check(repository, "job", 1)

    async def test_many_jobs_are_deleted_at_once(self, repository: Any) -> None:
        self.need_deletes()
        jobs = [f"job-{number}" for number in range(self.many)]
        await self.put_all(repository, [*jobs, "kept"])
        await repository.delete_many(job for job in [*jobs, jobs[0], "absent"])
        assert await repository.keys() == {"kept"}
        await self.check(repository, "kept", self.many)

    async def test_one_job_is_deleted_by_many_at_once(self, repository: Any) -> None:
        self.need_deletes()
        await self.put_all(repository, ["job", "kept"])
        await asyncio.gather(*(repository.delete("job") for _ in range(AT_ONCE)))
        assert await repository.keys() == {"kept"}

    # ---- around the repository

    async def test_what_somebody_else_stored_is_there(self, repository: Any) -> None:
        await self.slip_in(repository, "job", 3)
        assert await repository.keys() == {"job"}
        assert await repository.contains("job")
        assert await repository.among(["job"]) == {"job"}
        await self.check(repository, "job", 3)

    async def test_the_store_holds_what_was_stored(self, repository: Any) -> None:
        assert await self.raw(repository, "job") is None
        await self.put(repository, "job", 5)
        assert await self.raw(repository, "job") == self.raw_value(5)

    async def test_the_store_forgets_what_was_deleted(self, repository: Any) -> None:
        self.need_deletes()
        await self.put(repository, "job", 0)
        assert await self.raw(repository, "job") is not None
        await repository.delete("job")
        assert await self.raw(repository, "job") is None

    # ---- the rest

    async def test_it_can_be_made_ready_again(self, repository: Any) -> None:
        await self.put(repository, "job", 0)
        await repository.validate()
        await repository.validate()
        assert await repository.keys() == {"job"}

    async def test_it_tells_what_it_is_and_no_secret(self, repository: Any) -> None:
        shown = f"{repository!r} {repository} {repository.place}"
        assert type(repository).__name__ in repr(repository)
        assert repository.place is None or isinstance(repository.place, str)
        for secret in self.secrets:
            assert secret not in shown
