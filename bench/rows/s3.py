"""Listings and copies to and from an S3 server on loopback, against the clients that people use for that.

The peers are told to leave out what pdt does not do either: rclone neither looks before an upload nor after it. It has
as many transfers at once as pdt has connections; s5cmd has 256, as it comes.

The server keeps all in memory, and is slower than its clients in most rows; what they need beyond it is what differs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path

from .. import work
from ..contest import PIPE, Contest, Contestant, Failed, Run
from ..result import Result, faster, memory
from ..stage import Stage

PDT, RCLONE, S5CMD = "pdt", "rclone", "s5cmd"
RIVALS = [RCLONE, S5CMD]
BYTES = b"x" * 100
MEMORY = 256.0
"""MiB that may be needed for one long value: an eighth of it."""


@dataclass
class Store:
    """The server, with what its clients have to know about it."""

    stage: Stage
    here: Path
    env: dict[str, str]

    def contestants(
        self, pdt: list[str], rclone: list[str], s5cmd: list[str], like: Contestant
    ) -> list[Contestant | None]:
        """One of each, alike but for their arguments."""
        tools = self.stage.tools
        like = replace(like, cwd=self.here, env=self.env)
        return [
            replace(like, name=PDT, argv=self.stage.pdt(*pdt), idle=self.stage.pdt("repo", "ls", "task.long")),
            self.stage.peer(
                RCLONE,
                lambda: replace(like, name=RCLONE, argv=[tools[RCLONE], *rclone], idle=[tools[RCLONE], "version"]),
            ),
            self.stage.peer(
                S5CMD, lambda: replace(like, name=S5CMD, argv=[tools[S5CMD], *s5cmd], idle=[tools[S5CMD], "version"])
            ),
        ]


@contextmanager
def serving(stage: Stage) -> Iterator[Store]:
    """ministack, with an empty bucket."""
    from tests.servers.s3 import ministack

    with ministack() as server:
        client = server.client()
        client.create_bucket(Bucket="bench")
        client.close()
        rclone = {"TYPE": "s3", "PROVIDER": "Other", "ENV_AUTH": "true", "ENDPOINT": server.endpoint}
        env = {
            **server.environ,
            "S3_ENDPOINT_URL": server.endpoint,
            "RCLONE_CONFIG": "/dev/null",
            **{f"RCLONE_CONFIG_X_{key}": value for key, value in rclone.items()},
        }
        here = work.tree(stage.room("s3"), 0, done=False, pipeline="store")
        work.empty(here / "from", here / "to")
        yield Store(stage, here, env)
    work.reclaim(here)


def measure(stage: Stage) -> list[Result]:
    """Small objects up and down, a listing of many, and a long one up and down."""
    with serving(stage) as store:
        results = [_put(store), _get(store)]
        results.append(_list(store))
        return [*results, *_long(store)]


S5CP = ["--log", "error", "cp"]
COPY = ["copy", "--transfers", "16", "--checkers", "16", "--s3-no-check-bucket", "--s3-no-head", "--no-check-dest"]


def _result(store: Store, title: str, contest: Contest, unit: str, units: int) -> Result:
    return Result("s3", title, contest, faster(contest, PDT, RIVALS), unit, units)


def _files(store: Store, names: list[str]) -> None:
    """The files to upload."""
    work.empty(store.here / "from")
    for name in names:
        (store.here / "from" / name).write_bytes(BYTES)


def _put(store: Store) -> Result:
    """Each turn uploads objects of other names to the same place, where in the end there are many to be listed."""
    size, turn = store.stage.sizes.s3_objects, count()

    def before() -> None:
        prefix = next(turn)
        _files(store, [f"turn{prefix}.{name}" for name in work.jobs(size)])

    contest = store.stage.contest(
        f"{size:,} objects up",
        store.contestants(
            ["repo", "cp", "task.from", "task.many", "--all"],
            [*COPY, "from", "X:bench/many"],
            [*S5CP, "from/", "s3://bench/many/"],
            Contestant("", [], size, before=before),
        ),
        store.stage.sizes.long_rounds,
    )
    return _result(store, f"S3: {size:,} small objects up", contest, "objects", size)


def _seed(store: Store, prefix: str, names: list[str]) -> None:
    """Objects of these names, by the client that is quick at it."""
    _files(store, names)
    first = next(one for one in reversed(_uploads(store, prefix)) if one is not None)
    store.stage.contest(f"{len(names):,} objects to work with", [first], 1)


def _uploads(store: Store, prefix: str) -> list[Contestant | None]:
    return store.contestants(
        ["repo", "cp", "task.from", f"task.{prefix}", "--all"],
        [*COPY, "from", f"X:bench/{prefix}"],
        [*S5CP, "from/", f"s3://bench/{prefix}/"],
        Contestant("", []),
    )


def _get(store: Store) -> Result:
    size, target = store.stage.sizes.s3_objects, store.here / "to"
    _seed(store, "some", work.jobs(size))

    def after(_: Run) -> None:
        got = work.count(target)
        if got != size:
            raise Failed(f"{got} of {size} objects came")

    contest = store.stage.contest(
        f"{size:,} objects down",
        store.contestants(
            ["repo", "cp", "task.some", "task.to", "--all"],
            [*COPY, "X:bench/some", "to"],
            [*S5CP, "s3://bench/some/*", "to/"],
            Contestant("", [], size, before=partial(work.empty, target), after=after),
        ),
        store.stage.sizes.long_rounds,
    )
    return _result(store, f"S3: {size:,} small objects down", contest, "objects", size)


def _list(store: Store) -> Result:
    """Of what the uploads left, filled up to the full number."""
    sizes = store.stage.sizes
    client_turns = sum(one is not None for one in _uploads(store, "many"))
    there = client_turns * sizes.long_rounds * sizes.s3_objects
    if there < sizes.s3_keys:
        _seed(store, "many", [f"more.{name}" for name in work.jobs(sizes.s3_keys - there)])
    size = max(there, sizes.s3_keys)

    def after(run: Run) -> None:
        if run.lines != size:
            raise Failed(f"{run.lines} of {size} keys were listed")

    contest = store.stage.contest(
        f"{size:,} keys",
        store.contestants(
            ["repo", "ls", "task.many"],
            ["lsf", "--fast-list", "X:bench/many"],
            ["ls", "s3://bench/many/"],
            Contestant("", [], size, stdout=PIPE, after=after),
        ),
        sizes.long_rounds,
        warm=True,
    )
    return _result(store, f"S3: the names of {size:,} objects", contest, "keys", size)


def _long(store: Store) -> list[Result]:
    size, rounds = store.stage.sizes.s3_value, store.stage.sizes.long_rounds
    work.empty(store.here / "from", store.here / "to")
    work.random_file(store.here / "from" / "long", size)
    target = store.here / "to" / "long"

    def whole(_: Run) -> None:
        if not target.exists() or target.stat().st_size != size << 20:
            raise Failed("the value did not come whole")

    single = ["copyto", "--s3-no-check-bucket", "--s3-no-head", "--no-check-dest"]
    up = store.stage.contest(
        f"{size:,} MiB up",
        store.contestants(
            ["repo", "cp", "task.from", "task.long", "long"],
            [*single, "from/long", "X:bench/long/long"],
            [*S5CP, "from/long", "s3://bench/long/long"],
            Contestant("", [], size),
        ),
        rounds,
    )
    down = store.stage.contest(
        f"{size:,} MiB down",
        store.contestants(
            ["repo", "cp", "task.long", "task.to", "long"],
            [*single, "X:bench/long/long", "to/long"],
            [*S5CP, "s3://bench/long/long", "to/long"],
            Contestant("", [], size, before=partial(target.unlink, missing_ok=True), after=whole),
        ),
        rounds,
    )
    results = []
    for way, contest in (("up", up), ("down", down)):
        result = _result(store, f"S3: an object of {size:,} MiB {way}", contest, "MiB", size)
        result.bounds.extend(memory(contest, PDT, MEMORY))
        results.append(result)
    return results
