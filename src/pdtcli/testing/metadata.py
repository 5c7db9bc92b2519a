"""What every metadata repository has to do: structured values, and claims of which one is granted."""

from __future__ import annotations

import asyncio
import datetime
from typing import Any, ClassVar

import pytest

from ..errors import InvalidJobId, InvalidValue, Unsupported
from .base import AT_ONCE, NOT_JOBS, RepositorySuite, in_turns

__all__ = ("MetadataRepositorySuite",)

UTC = datetime.UTC
VALUES: dict[str, Any] = {
    "mapping": {"one": 1, "two": [1, 2.5, None, True, False], "three": {"four": {"five": {}}}},
    "empty mapping": {},
    "list": [1, [2, [3, []]], {"a": [{}]}],
    "empty list": [],
    "text": "text",
    "empty text": "",
    "zero": 0,
    "false": False,
    "none": None,
    "number": 2.5,
    "large numbers": [2**53 + 1, -(2**63), 2**63 - 1, 1e300, 5e-324, -0.0],
    "bytes": {"bytes": b"\0\xff"},
    "unicode": {"caf\u00e9": "\u65e5\u672c\u8a9e \U0001f600 \u2028 \ufeff \x85", "\u03b1": ["\u00df"]},
    "what looks like something else": {
        **{
            text: text for text in ("1", "null", "~", "yes", "off", "2024-01-01", "1e3", "0x1f", "!!str", "- a", "a: b")
        },
        **{
            text: text
            for text in (" leading", "trailing ", "two\nlines\n", "tab\t", "#no", "'", '"', "{", "%", "@", "&a")
        },
    },
    "keys": {"a.b": 1, "$set": 2, "a b": 3, "1": 4, "": 5, "_id": 6, "job": 7},
    "nested keys": {"a": {"a.b": 1, "$set": 2, "": 3, "_id": 4}},
    "long": {"text": "x" * 1_000_000, "list": list(range(10_000)), "keys": {f"key{n}": n for n in range(2_000)}},
    "deep": {"a": {"b": {"c": {"d": {"e": {"f": {"g": {"h": [[[[[[["deep"]]]]]]]}}}}}}}},
}


@pytest.mark.asyncio
class MetadataRepositorySuite(RepositorySuite):
    """Values, and claims."""

    claims: ClassVar[bool] = True
    """Whether it can hold live records; where it cannot, `claim` has to say so."""

    any_value: ClassVar[bool] = False
    """Whether it holds any Python object."""

    resolution: ClassVar[datetime.timedelta] = datetime.timedelta(microseconds=1)
    """What a time is rounded to."""

    def value(self, number: int) -> Any:
        """Value `number`."""
        return {"number": number, "list": list(range(number % 5)), "text": f"caf\u00e9 {number}"}

    async def put(self, repository: Any, job: str, number: int) -> None:
        await repository.dump(job, self.value(number))

    async def check(self, repository: Any, job: str, number: int) -> None:
        assert await repository.info(job) == self.value(number)

    # ---- values

    @pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
    async def test_a_value_comes_back(self, repository: Any, value: Any) -> None:
        await repository.dump("job", value)
        for back in (
            await repository.info("job"),
            (await repository.info_all())["job"],
            (await repository.info_many(["job"]))["job"],
        ):
            assert back == value
            assert type(back) is type(value)
        assert await repository.keys() == {"job"}
        assert await repository.contains("job") is True

    async def test_a_time_comes_back_aware_and_in_utc(self, repository: Any) -> None:
        east = datetime.timezone(datetime.timedelta(hours=5, minutes=30))
        times = [
            datetime.datetime(2024, 2, 29, 12, 30, 15, tzinfo=UTC),
            datetime.datetime(2024, 2, 29, 23, 59, 59, 999_999, tzinfo=UTC),
            datetime.datetime(1969, 12, 31, 23, 59, 59, 500_000, tzinfo=UTC),
            datetime.datetime(2024, 1, 1, 2, 3, 4, tzinfo=east),
        ]
        await repository.dump("job", {"times": times})
        back = (await repository.info("job"))["times"]
        for time, stored in zip(times, back, strict=True):
            assert stored.tzinfo is not None
            assert abs(time - stored) < self.resolution
            if time.tzinfo is UTC:
                assert stored.utcoffset() == datetime.timedelta(0)

    async def test_what_is_not_there_is_empty(self, repository: Any) -> None:
        await self.put(repository, "other", 0)
        assert not await repository.info("job")

    async def test_a_value_is_overwritten_whole(self, repository: Any) -> None:
        for value in ({"a": 1, "b": 2}, {"b": 3}, [1], {}, {"c": {"d": 1}}):
            await repository.dump("job", value)
            assert await repository.info("job") == value
        assert await repository.keys() == {"job"}

    async def test_what_cannot_be_held_is_refused(self, repository: Any) -> None:
        if self.any_value:
            pytest.skip("any object is a value here")
        await self.put(repository, "job", 1)
        itself: list[Any] = []
        itself.append(itself)
        for value in (object(), {"a": {1, 2}, "b": object()}, [lambda: None], itself, {("a", "b"): 1}, "\ud800"):
            with pytest.raises(InvalidValue):
                await repository.dump("job", value)
            with pytest.raises(InvalidValue):
                await repository.dump("new", value)
        assert await repository.keys() == {"job"}
        await self.check(repository, "job", 1)

    async def test_nothing_is_stored_under_another_name(self, repository: Any) -> None:
        await self.put(repository, "good", 0)
        for name in NOT_JOBS:
            with pytest.raises(InvalidJobId):
                await repository.dump(name, {})
            if self.claims:
                with pytest.raises(InvalidJobId):
                    await repository.claim(name, {})
        assert await repository.keys() == {"good"}

    async def test_of_many_writers_one_wins_whole(self, repository: Any) -> None:
        values = [{"by": number, "list": [number] * 1000} for number in range(AT_ONCE)]
        await asyncio.gather(*(repository.dump("job", value) for value in values))
        assert await repository.info("job") in values

    async def test_who_reads_while_others_write_reads_whole_values(self, repository: Any) -> None:
        await repository.dump("job", [0] * 500)
        done = False

        async def write() -> None:
            nonlocal done
            try:
                for number in range(1, 15):
                    await repository.dump("job", [number] * 500)
            finally:
                done = True

        async def read() -> None:
            while not done:
                value = await repository.info("job")
                assert value == [value[0]] * 500
                await asyncio.sleep(0)

        await asyncio.gather(write(), read(), read())

    # ---- claims

    def need_claims(self) -> None:
        """Skip the test where nothing can be claimed."""
        if not self.claims:
            pytest.skip("nothing can be claimed here")

    async def test_where_nothing_can_be_claimed_it_says_so(self, repository: Any) -> None:
        if self.claims:
            pytest.skip("claims are granted here")
        with pytest.raises(Unsupported):
            await repository.claim("job", {"by": 1})
        assert await repository.keys() == set()

    async def test_a_claim_is_granted_once(self, repository: Any) -> None:
        self.need_claims()
        assert await repository.claim("job", {"by": 1, "attempt": "a"}) is True
        for value in ({"by": 2, "attempt": "b"}, {}, {"by": 1}):
            assert await repository.claim("job", value) is False
        assert await repository.info("job") == {"by": 1, "attempt": "a"}
        assert await repository.keys() == {"job"}

    async def test_a_claim_is_refused_where_a_value_is(self, repository: Any) -> None:
        self.need_claims()
        for value in ({"old": True}, {}, None):
            await repository.dump("job", value)
            assert await repository.claim("job", {"by": 1}) is False
            assert await repository.info("job") == value

    async def test_what_was_given_back_is_claimed_again(self, repository: Any) -> None:
        self.need_claims()
        self.need_deletes()
        for number in range(3):
            assert await repository.claim("job", {"by": number}) is True
            await repository.dump("job", {"by": number, "more": True})
            assert await repository.claim("job", {"by": number}) is False
            await repository.delete("job")
        assert await repository.keys() == set()

    async def test_of_many_who_claim_a_job_one_gets_it(self, repository: Any) -> None:
        self.need_claims()
        for round_number in range(5):
            job = f"job-{round_number}"
            claims = [{"by": number, "attempt": f"attempt-{number}"} for number in range(3 * AT_ONCE)]
            granted = await asyncio.gather(*(repository.claim(job, claim) for claim in claims))
            assert granted.count(True) == 1
            assert granted.count(False) == len(claims) - 1
            assert await repository.info(job) == claims[granted.index(True)]

    async def test_claims_of_different_jobs_do_not_meet(self, repository: Any) -> None:
        self.need_claims()
        jobs = [f"job-{number}" for number in range(self.many)]
        assert all(await in_turns(repository.claim(job, {"job": job}) for job in jobs))
        assert await repository.info_all() == {job: {"job": job} for job in jobs}
