"""YAML values, and metadata in YAML files."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.processes import race

from pdtcli import BackendError, InvalidValue, YamlMetadataFileRepository
from pdtcli.repository import flat
from pdtcli.repository.yaml import _dump, dump, load

# ---- values

offsets = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
    | st.binary(max_size=20)
    | st.dates()
    | st.datetimes(min_value=datetime(1900, 1, 1), timezones=offsets)
    | st.datetimes()
)
keys = st.text(st.characters(exclude_categories=["Cs"]), max_size=10) | st.integers()
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4), max_leaves=12
)


@settings(max_examples=200)
@given(values)
def test_what_goes_in_comes_out(value: Any) -> None:
    assert load(dump(value)) == value


@settings(max_examples=50)
@given(values)
def test_any_other_safe_reader_understands_it(value: Any) -> None:
    assert yaml.safe_load(dump(value)) == value


# What a fast path must not mistake for a plain string, a plain number or a plain time, and what looks like it.
NASTY = "yes No ON null y ~ 0b1 0x1f 017 1_0 1:30 1e5 1.5 2026-11-22 = << a: 12345678 1234567a 0b10101010101010a"
tricky = st.text("aefnory0123489bxEX_./-tTzZ:+ ~#'\n", max_size=14) | st.sampled_from(NASTY.split())
words = tricky | st.from_regex(r"[a-z_][a-z0-9_.-]{0,9}|[0-9a-f]{16}", fullmatch=True) | st.uuids().map(str)
items = words | scalars | st.floats() | st.datetimes(timezones=st.just(UTC) | st.none())


@settings(max_examples=400)
@given(st.dictionaries(words | keys, items, max_size=3))
def test_a_flat_record_is_written_as_the_library_would_write_it(record: dict[Any, Any]) -> None:
    assert dump(record) == _dump(record)


def test_the_records_of_jobs_need_no_library() -> None:
    moment = datetime(2026, 11, 22, 16, 5, 7, 120, tzinfo=UTC)
    process = {"return_code": 0, "success": True, "start_time": moment, "duration": 0.25, "attempt": "668d3b03eed14d6c"}
    claim = {"host": "node-1", "boot_id": "0ddc15ed-398d-4cde-91d8-0f3f4c2f3d1a", "pid": 9044, "process_start": 1226141}

    for record in (process, claim):
        assert flat.dump(record) == _dump(record)


@settings(max_examples=200)
@given(st.binary(max_size=60) | st.text("ab:-[]{}&*!|>'\"%@#,?\n \t0=~<", max_size=40))
def test_anything_is_a_value_or_is_refused_in_a_sentence(text: bytes | str) -> None:
    with contextlib.suppress(InvalidValue):
        load(text, "this text")
        return
    with pytest.raises(InvalidValue, match=r"\Athis text is not valid YAML: [^\n]+\Z"):
        load(text, "this text")


def test_libyaml_is_used_where_there_is_one() -> None:
    from pdtcli.repository.yaml import _classes

    loader, dumper = _classes()
    assert issubclass(loader, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    assert issubclass(dumper, getattr(yaml, "CSafeDumper", yaml.SafeDumper))


WITHOUT_LIBYAML = """
import sys
sys.modules["yaml._yaml"] = None  # as in a PyYAML that was built without libyaml
from datetime import UTC, datetime
import yaml
from pdtcli.repository.yaml import dump, load
value = {"time": datetime(2024, 5, 1, tzinfo=UTC), "text": ["é", None]}
print(yaml.__with_libyaml__, load(dump(value)) == value)
"""


def test_it_works_without_libyaml() -> None:
    found = subprocess.run([sys.executable, "-c", WITHOUT_LIBYAML], check=True, capture_output=True, text=True)
    assert found.stdout == "False True\n"


@pytest.mark.parametrize(
    ("when", "text"),
    [
        (datetime(2024, 5, 1, 12, 30, 0, 250000, UTC), "2024-05-01T12:30:00.250000+00:00"),
        (datetime(2024, 5, 1, 12, tzinfo=timezone(timedelta(hours=-3, minutes=-30))), "2024-05-01T12:00:00-03:30"),
        (datetime(2024, 5, 1, 12), "2024-05-01T12:00:00"),
        (date(2024, 5, 1), "2024-05-01"),
    ],
)
def test_times_are_written_in_iso_8601_and_come_back_as_they_were(when: date, text: str) -> None:
    written = dump({"time": when})
    again = load(written)["time"]
    assert written.decode() == f"time: {text}\n"
    assert (again, getattr(again, "tzinfo", None) is None) == (when, getattr(when, "tzinfo", None) is None)


def test_records_are_for_people_to_read() -> None:
    shared = [1]
    record = {"z": "caf\u00e9", "a": shared, "b": shared, "long": "word " * 100}
    assert dump(record).decode() == f"z: caf\u00e9\na:\n- 1\nb:\n- 1\nlong: '{'word ' * 100}'\n"


def cycle() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


UNSTORABLE: dict[str, Callable[[], Any]] = {
    "PosixPath('/data') is of the type PosixPath": lambda: {"path": Path("/data")},
    "Decimal('1.5') is of the type Decimal": lambda: [Decimal("1.5")],
    "(1, 2) is of the type tuple": lambda: {(1, 2): "a key that comes back as a list"},
    "surrogates not allowed": lambda: "half a character: \ud800",
    "it contains itself, or is nested too deeply": cycle,
    "it contains itself": lambda: nested(100_000),
    "Exceeds the limit": lambda: 10**5000,
}


@pytest.mark.parametrize(("reason", "make"), UNSTORABLE.items(), ids=UNSTORABLE)
async def test_what_cannot_be_stored_is_refused_before_anything_is_touched(
    tmp_path: Path, reason: str, make: Callable[[], Any]
) -> None:
    repository = YamlMetadataFileRepository(tmp_path)
    await repository.dump("job", "old")
    with pytest.raises(InvalidValue, match=f"the value cannot be written as YAML: .*{re.escape(reason)}|{reason}"):
        await repository.dump("job", make())
    assert (await repository.info("job"), os.listdir(tmp_path)) == ("old", ["job.yaml"])


BROKEN = {
    "a: [1, 2": "did not find expected",
    "a: b: c": "mapping values are not allowed in this context in line 1, column 5",
    "a: 1\n---\nb: 2\n": "found another document in line 2, column 1",
    "!!python/object/apply:os.system ['touch /tmp/owned']": "could not determine a constructor for the tag",
    "!!python/name:os.system": "could not determine a constructor for the tag",
    "time: 2024-13-45": "ValueError: month must be in 1..12",
    "[1]: 2": "found unhashable key in line 1, column 1",
    "a\x00b": "control characters are not allowed",
    "[" * 200_000 + "]" * 200_000: "it is nested more than 5000 levels deep",
    "- " * 200_000: "it is nested more than 5000 levels deep",
}


@pytest.mark.parametrize(("text", "reason"), BROKEN.items(), ids=[text[:20] for text in BROKEN])
async def test_a_broken_file_is_named_with_the_place_of_the_fault(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "emma.yaml").write_text(text)
    with pytest.raises(InvalidValue) as caught:
        await YamlMetadataFileRepository(tmp_path).info("emma")
    assert str(caught.value).startswith(f"{tmp_path}/emma.yaml is not valid YAML: ")
    assert reason in str(caught.value)


@pytest.mark.parametrize("others", [3, 300])
async def test_among_many_the_broken_file_is_named_too(tmp_path: Path, others: int) -> None:
    for number in range(others):
        (tmp_path / f"job{number}.yaml").write_text("fine: true\n")
    (tmp_path / "emma.yaml").write_text("fine: [")
    with pytest.raises(InvalidValue, match=f"^{tmp_path}/emma.yaml is not valid YAML"):
        await YamlMetadataFileRepository(tmp_path).info_all()


def test_a_long_and_deep_but_sane_document_is_read() -> None:
    value = [nested(500) for _ in range(20)]
    assert load(repr(value)) == value


# ---- files


async def test_a_value_is_a_file(tmp_path: Path) -> None:
    await YamlMetadataFileRepository(tmp_path).dump("emma", {"words": 155_887, "title": "Emma"})
    assert (tmp_path / "emma.yaml").read_text() == "words: 155887\ntitle: Emma\n"


async def test_a_file_that_somebody_touched_is_there_and_holds_nothing(tmp_path: Path) -> None:
    (tmp_path / "emma.yaml").touch()
    repository = YamlMetadataFileRepository(tmp_path)
    assert (await repository.keys(), await repository.info("emma")) == ({"emma"}, None)
    assert await repository.info_all() == {"emma": None}


async def test_a_job_that_is_not_there_has_the_empty_value(tmp_path: Path) -> None:
    assert await YamlMetadataFileRepository(tmp_path).info("emma") == {}


async def test_it_is_a_blob_repository_too(tmp_path: Path) -> None:
    repository = YamlMetadataFileRepository(tmp_path)
    async with await repository.open("emma", "w") as writer:
        await writer.write("words: 1 # by hand\n")
    assert await repository.info("emma") == {"words": 1}
    assert await repository.read_bytes("emma") == b"words: 1 # by hand\n"


async def test_many_values_are_read_at_once(tmp_path: Path) -> None:
    for number in range(200):
        (tmp_path / f"job{number}.yml").write_text(f"{number}\n")
    found = await YamlMetadataFileRepository(tmp_path, ".yml").info_all()
    assert found == {f"job{number}": number for number in range(200)}


async def test_values_in_any_case_are_read(tmp_path: Path) -> None:
    (tmp_path / "emma.YAML").write_text("1\n")
    (tmp_path / "sanditon.yaml").write_text("2\n")
    repository = YamlMetadataFileRepository(tmp_path, case_insensitive=True)
    assert await repository.info_all() == {"emma": 1, "sanditon": 2}
    assert await repository.info("emma") == 1


async def test_a_claim_in_any_case_is_refused_where_there_is_a_value(tmp_path: Path) -> None:
    (tmp_path / "emma.YAML").touch()
    assert not await YamlMetadataFileRepository(tmp_path, case_insensitive=True).claim("emma", {})
    assert os.listdir(tmp_path) == ["emma.YAML"]


@pytest.mark.parametrize("write", ["dump", "claim"])
async def test_a_missing_directory_is_told(tmp_path: Path, write: str) -> None:
    repository = YamlMetadataFileRepository(tmp_path / "missing")
    with pytest.raises(BackendError, match=r"/missing/emma\.yaml cannot be written: its directory is not there"):
        await getattr(repository, write)("emma", {})


CLAIMS = """
import asyncio, sys
from pdtcli import YamlMetadataFileRepository

async def main():
    repository = YamlMetadataFileRepository(sys.argv[1])
    print("ready", flush=True)
    sys.stdin.readline()
    print(sum([await repository.claim(f"job{number}", {"by": sys.argv[2]}) for number in range(50)]))

asyncio.run(main())
"""


async def test_of_many_processes_one_gets_each_claim(tmp_path: Path) -> None:
    wins = [int(won) for won in race(CLAIMS, *((tmp_path, number) for number in range(4)))]

    by = [record["by"] for record in (await YamlMetadataFileRepository(tmp_path).info_all()).values()]
    assert sum(wins) == len(by) == 50
    assert [by.count(str(number)) for number in range(4)] == wins
