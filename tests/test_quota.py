"""Quantities, and quotas over them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.processes import race

from pdtcli import (
    InProcessMetadataRepository,
    ResourceManager,
    Resources,
    ResourceType,
    UsageError,
    YamlMetadataFileRepository,
    parse_quantity,
)

# ---- quantities

UNITS: dict[str, int | Fraction] = {
    "": 1,
    "n": Fraction(1, 10**9),
    "u": Fraction(1, 10**6),
    "m": Fraction(1, 10**3),
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "P": 10**15,
    "E": 10**18,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
    "Pi": 2**50,
    "Ei": 2**60,
}

numbers = st.from_regex(r"[+-]?([0-9]{1,40}(\.[0-9]{0,20})?|\.[0-9]{1,40})", fullmatch=True)


@given(numbers, st.sampled_from(sorted(UNITS)))
def test_a_quantity_is_exact(number: str, unit: str) -> None:
    assert Fraction(parse_quantity(number + unit)) == Fraction(number.removesuffix(".")) * UNITS[unit]


@pytest.mark.parametrize(
    "text", ["1.12345678901234567Ei", "1234567890123456789012345678901234567890k", f"{'7' * 40}e-9"]
)
def test_no_digit_is_lost(text: str) -> None:
    number, unit = (text[:-2], UNITS["Ei"]) if text.endswith("Ei") else (text.rstrip("k"), UNITS["k"])
    expected = Fraction(text) if "e" in text else Fraction(number) * unit
    assert Fraction(parse_quantity(text)) == expected


@given(numbers, st.sampled_from("eE"), st.integers(-99, 99))
def test_an_exponent_is_exact(number: str, e: str, exponent: int) -> None:
    assert (
        Fraction(parse_quantity(f"{number}{e}{exponent}"))
        == Fraction(number.removesuffix(".")) * Fraction(10) ** exponent
    )


@given(
    st.integers() | st.decimals(allow_nan=False, allow_infinity=False, places=9) | st.fractions(max_denominator=1024)
)
def test_a_number_is_taken_as_it_is_written(number: int | Decimal | Fraction) -> None:
    value = float(number) if isinstance(number, Fraction) else number
    assert parse_quantity(value) == Decimal(repr(value) if isinstance(value, float) else value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("100m", "0.1"),
        ("1.5", "1.5"),
        ("4Gi", 4 * 2**30),
        ("2e3", 2000),
        ("512M", 512_000_000),
        ("1E", 10**18),
        (" 5 ", 5),
    ],
)
def test_examples(text: str, value: str | int) -> None:
    assert parse_quantity(text) == Decimal(value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Gi",
        "1 Gi",
        "1,5",
        "0x10",
        "1_000",
        "--1",
        "1e",
        "1e1000",
        "1e3Ki",
        "nan",
        "inf",
        "-Infinity",
        "\u0661",
        "1\n2",
        ".",
    ],
)
def test_what_is_no_quantity(text: str) -> None:
    with pytest.raises(UsageError):
        parse_quantity(text)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), True, None, [1]])
def test_what_is_no_number(value: float) -> None:
    with pytest.raises(UsageError, match="is not a quantity: write a number such as"):
        parse_quantity(value)


def test_an_unknown_unit_is_told_with_those_there_are() -> None:
    with pytest.raises(UsageError, match="'4GB' has an unknown unit 'GB': the units are n u m k M G T P E Ki"):
        parse_quantity("4GB")


@given(st.text(max_size=12))
def test_any_text_is_a_quantity_or_is_refused_in_a_sentence(text: str) -> None:
    with contextlib.suppress(UsageError):
        assert parse_quantity(text).is_finite()


# ---- amounts


def test_resources_are_parsed() -> None:
    assert Resources.parse("500m", "2Gi", 3) == Resources(Decimal("0.5"), Decimal(2 * 2**30), 3)


def test_what_is_not_given_is_none() -> None:
    assert Resources.parse() == Resources(None, None, None)


@pytest.mark.parametrize("amounts", [("-1", "1", 1), ("1", "-1Mi", 1), ("1", "1", "-1")])
def test_no_resource_is_negative(amounts: tuple[str, str, int]) -> None:
    with pytest.raises(UsageError, match="cannot be negative"):
        Resources.parse(*amounts)


def test_there_is_no_half_a_launch() -> None:
    with pytest.raises(UsageError, match="a number of launches must be whole"):
        Resources.parse(1, 1, 0.5)


amounts = st.builds(Resources, st.integers(0, 99).map(Decimal), st.integers(0, 99).map(Decimal), st.integers(0, 99))


@given(amounts, amounts, st.integers(0, 5))
def test_amounts_add_up(one: Resources, two: Resources, times: int) -> None:
    assert one + two == two + one
    assert one + two - two == one
    assert one * times == sum([one] * times, start=Resources(Decimal(0), Decimal(0), 0))


@pytest.mark.parametrize(
    ("request_", "kind"),
    [
        (Resources.parse(1, 10, 1), None),
        (Resources.parse(2, 11, 2), ResourceType.CPU),
        (Resources.parse(1, 11, 2), ResourceType.MEM),
        (Resources.parse(1, 10, 2), ResourceType.RATE),
        (Resources.parse(), None),
    ],
)
def test_the_first_excess_is_told(request_: Resources, kind: ResourceType | None) -> None:
    assert request_.excess(Resources.parse(1, 10, 1)) is kind


@pytest.mark.parametrize("request_", [Resources.parse("1e30", "1e30", 10**9), Resources.parse()])
def test_what_is_not_given_has_no_limit(request_: Resources) -> None:
    assert request_.excess(Resources.parse()) is None


def test_resources_have_words() -> None:
    assert [kind.word for kind in ResourceType] == ["cpu", "memory", "launch rate"]


# ---- quotas


def counted(records: InProcessMetadataRepository, each: Resources) -> Callable[[], Awaitable[Resources]]:
    async def load() -> Resources:
        return each * len(await records.keys())

    return load


def a_quota(limit: Resources, each: Resources, *jobs: str) -> tuple[ResourceManager, InProcessMetadataRepository]:
    """A quota with one client, whose live jobs use `each`."""
    records = InProcessMetadataRepository({job: {} for job in jobs})
    quota = ResourceManager(limit, name="machine")
    quota.register(counted(records, each), label="task")
    return quota, records


CPU = Resources(Decimal(1), Decimal(0), 0)


async def test_a_quota_grants_what_fits_and_tells_what_does_not() -> None:
    quota, _ = a_quota(Resources.parse(2), CPU)
    assert [await quota.reserve(CPU) for _ in range(3)] == [None, None, ResourceType.CPU]


async def test_what_is_refused_takes_nothing() -> None:
    quota, _ = a_quota(Resources.parse(2, 10), CPU)
    assert await quota.reserve(Resources.parse(1, 11)) is ResourceType.MEM
    assert await quota.usage() == Resources(Decimal(0), Decimal(0), 0)


async def test_what_is_given_back_can_be_had_again() -> None:
    quota, _ = a_quota(Resources.parse(1), CPU)
    await quota.reserve(CPU)
    await quota.relinquish(CPU)
    assert await quota.reserve(CPU) is None


async def test_what_is_live_already_counts() -> None:
    quota, _ = a_quota(Resources.parse(2), CPU, "one", "two")
    assert await quota.reserve(CPU) is ResourceType.CPU


async def test_it_is_full_for_what_did_not_fit_until_something_is_given_back_or_counted_anew() -> None:
    quota, records = a_quota(Resources.parse(2), CPU, "one")
    assert not quota.is_full_for(CPU)  # nobody has counted yet

    await quota.reserve(CPU)
    assert quota.is_full_for(CPU)
    await quota.relinquish(CPU)
    assert not quota.is_full_for(CPU)
    await quota.reserve(CPU)
    await records.delete("one")
    assert quota.is_full_for(CPU)
    await quota.flush()
    assert not quota.is_full_for(CPU)


async def test_use_is_counted_anew_after_a_flush() -> None:
    quota, records = a_quota(Resources.parse(2), CPU, "one", "two")
    await quota.usage()
    del records.data["one"]
    assert await quota.reserve(CPU) is ResourceType.CPU
    await quota.flush()
    assert await quota.reserve(CPU) is None


async def test_a_quota_without_limits_grants_everything_and_counts_nothing() -> None:
    async def load() -> Resources:
        raise AssertionError("nobody needs to know")

    quota = ResourceManager()
    quota.register(load)
    assert await quota.reserve(Resources.parse("1e12", "1e30", 10**6)) is None
    assert quota.unlimited


async def test_only_what_has_a_limit_is_limited() -> None:
    quota, _ = a_quota(Resources.parse(mem="1Gi"), CPU)
    assert [await quota.reserve(Resources.parse(1000, "512Mi")) for _ in range(3)] == [None, None, ResourceType.MEM]


def test_a_request_that_can_never_be_granted_is_known() -> None:
    quota = ResourceManager(Resources.parse(2, "1Gi"))
    assert quota.impossible(Resources.parse(1, "2Gi")) is ResourceType.MEM
    assert quota.impossible(Resources.parse(2, "1Gi")) is None


async def test_use_is_told_by_client() -> None:
    quota, _ = a_quota(Resources.parse(9), CPU, "one", "two")
    quota.register(counted(InProcessMetadataRepository({"three": {}}), CPU), label="other")
    assert await quota.usage_by_client() == {"task": CPU * 2, "other": CPU}
    assert await quota.usage() == CPU * 3


async def test_of_many_that_ask_at_once_as_many_get_it_as_fit() -> None:
    async def slow() -> Resources:
        await asyncio.sleep(0)
        return Resources(Decimal(0), Decimal(0), 0)

    quota = ResourceManager(Resources.parse(10))
    quota.register(slow)
    answers = await asyncio.gather(*(quota.reserve(CPU) for _ in range(50)))
    assert answers.count(None) == 10


def test_a_quota_works_in_one_event_loop_after_another() -> None:
    quota, _ = a_quota(Resources.parse(1), CPU)

    async def contend() -> list[ResourceType | None]:
        await quota.flush()
        return list(await asyncio.gather(*(quota.reserve(CPU) for _ in range(3))))

    for _ in range(2):
        assert asyncio.run(contend()).count(None) == 1


# ---- the launch rate

LAUNCH = Resources(Decimal(0), Decimal(0), 1)


async def test_a_launch_counts_for_its_window_although_the_job_has_ended() -> None:
    quota, _ = a_quota(Resources.parse(launches=1), LAUNCH)
    await quota.reserve(LAUNCH, window=3600)
    await quota.relinquish(LAUNCH)
    assert await quota.reserve(LAUNCH) is ResourceType.RATE
    assert (await quota.usage()).launches == 1


async def test_after_its_window_a_launch_counts_no_more() -> None:
    quota, _ = a_quota(Resources.parse(launches=1), LAUNCH)
    await quota.reserve(LAUNCH, window=1e-9)
    await quota.relinquish(LAUNCH)
    assert await quota.reserve(LAUNCH) is None


async def test_a_long_window_does_not_hold_up_a_short_one() -> None:
    quota, _ = a_quota(Resources.parse(launches=2), LAUNCH)
    await quota.reserve(LAUNCH, window=3600)
    await quota.reserve(LAUNCH, window=1e-9)
    await quota.relinquish(LAUNCH)
    await quota.relinquish(LAUNCH)
    assert [await quota.reserve(LAUNCH) for _ in range(2)] == [None, ResourceType.RATE]


async def test_a_launch_that_did_not_happen_does_not_count() -> None:
    quota, _ = a_quota(Resources.parse(launches=1), LAUNCH)
    await quota.reserve(LAUNCH)
    await quota.relinquish(LAUNCH, launched=False)
    assert await quota.reserve(LAUNCH) is None


async def test_launches_are_not_forgotten_when_use_is_counted_anew() -> None:
    quota, _ = a_quota(Resources.parse(launches=1), LAUNCH)
    await quota.reserve(LAUNCH)
    await quota.relinquish(LAUNCH)
    await quota.flush()
    assert await quota.reserve(LAUNCH) is ResourceType.RATE


def a_shared_quota(place: str) -> ResourceManager:
    """What another command makes of the same pipeline: its live records are elsewhere, and it has none."""
    quota = ResourceManager(Resources.parse(launches=3))

    async def load() -> Resources:
        return Resources(launches=0)

    quota.register(load, place=place)
    return quota


async def test_the_launch_rate_holds_across_commands_whose_jobs_have_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    granted = 0
    for _ in range(5):
        quota = a_shared_quota("file:/somewhere")
        async with quota.admission():
            granted += await quota.reserve(LAUNCH) is None
        await quota.relinquish(LAUNCH)
    assert granted == 3
    assert (await a_shared_quota("file:/somewhere").usage()).launches == 3
    assert (await a_shared_quota("file:/elsewhere").usage()).launches == 0


async def test_launches_that_were_written_down_badly_are_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    quota = a_shared_quota("file:/somewhere")
    async with quota.admission():
        await quota.reserve(LAUNCH)
    (written,) = tmp_path.rglob("*.launches")
    assert written.stat().st_mode & 0o777 == 0o600
    written.write_text("what is this\n")
    assert (await a_shared_quota("file:/somewhere").usage()).launches == 0


# ---- several processes

CLAIMS = """
import asyncio, sys
from decimal import Decimal
from pdtcli import ResourceManager, Resources, YamlMetadataFileRepository

async def main(me, pids):
    each = Resources(Decimal(1), Decimal(0), 0)

    async def load():
        return each * len(await pids.keys())

    quota = ResourceManager(Resources.parse(7))
    quota.register(load, place=pids.place)
    print("ready", flush=True)
    sys.stdin.readline()

    async def claim(number):
        async with quota.admission():
            if await quota.reserve(each) is None:
                await asyncio.sleep(0)
                await pids.claim(f"{me}-{number}", {})

    await asyncio.gather(*(claim(number) for number in range(10)))

asyncio.run(main(sys.argv[1], YamlMetadataFileRepository(sys.argv[2])))
"""


async def test_processes_that_launch_at_once_never_exceed_the_quota(tmp_path: Path) -> None:
    race(CLAIMS, *((name, tmp_path) for name in ("a", "b", "c")))

    assert len(await YamlMetadataFileRepository(tmp_path).keys()) == 7


async def test_within_one_process_admissions_take_turns(tmp_path: Path) -> None:
    pids = YamlMetadataFileRepository(tmp_path)

    async def load() -> Resources:
        return CPU * len(await pids.keys())

    quota = ResourceManager(Resources.parse(3))
    quota.register(load, place=pids.place)

    async def claim(job: str) -> None:
        async with quota.admission():
            if await quota.reserve(CPU) is None:
                await asyncio.sleep(0)
                await pids.claim(job, {})

    await asyncio.gather(*(claim(f"job{number}") for number in range(20)))

    assert len(await pids.keys()) == 3


async def test_an_error_in_an_admission_lets_the_next_one_in(tmp_path: Path) -> None:
    quota = ResourceManager(Resources.parse(1))
    quota.register(counted(InProcessMetadataRepository(), CPU), place=str(tmp_path))
    with pytest.raises(ZeroDivisionError):
        async with quota.admission():
            raise ZeroDivisionError
    async with quota.admission():
        assert await quota.reserve(CPU) is None
