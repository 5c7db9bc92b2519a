"""All keys, and all values, of a collection in MongoDB, against bare loops over pymongo's cursors."""

from __future__ import annotations

import subprocess
from functools import partial
from pathlib import Path

from ..contest import Contestant, Failed, Run
from ..result import Result, within
from ..stage import Stage
from ..tools import ROOT

PDT, BARE, BARE_ASYNC = "pdt", "pymongo", "pymongo-async"


def measure(stage: Stage) -> list[Result]:
    """The values first, while there are fewer of them."""
    from tests.servers.mongo import standalone

    results = []
    with standalone() as server:
        for what, size in (("values", stage.sizes.mongo_values), ("keys", stage.sizes.mongo_keys)):
            subprocess.run(_command(stage, "fill", PDT, server.uri, str(size)), cwd=ROOT, check=True)
            results.append(_read(stage, what, size, server.uri))
    return results


def _command(stage: Stage, *arguments: str) -> list[str]:
    return [stage.tools.python, "-m", "bench.documents", *arguments]


def _read(stage: Stage, what: str, size: int, uri: str) -> Result:
    answer = stage.directory / "answer"

    def complete(_: Run) -> None:
        if int(answer.read_text().split()[1]) != size:
            raise Failed(f"{answer.read_text().split()[1]} of {size} documents were found")

    contestants = [
        Contestant(
            who,
            _command(stage, what, who, uri),
            size,
            cwd=ROOT,
            stdout=str(answer),
            after=complete,
            figure=partial(_seconds, answer),
        )
        for who in (PDT, BARE, BARE_ASYNC)
    ]
    call = "info_all()" if what == "values" else "keys()"
    contest = stage.contest(f"{call} of {size:,} documents", contestants, stage.sizes.rounds)
    title = f"MongoDB: `{call}` of {size:,} documents"
    notes = ["Seconds without start-up and connection, as the commands themselves took them. CPU time is of all."]
    return Result("mongo", title, contest, within(contest, PDT, BARE, 1.2), "documents", size, notes)


def _seconds(answer: Path, _: Run) -> float:
    return float(answer.read_text().split()[0])
