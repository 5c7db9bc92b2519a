"""What is measured: one module for each family of rows, whose `measure` holds the contests and gives the results."""

from __future__ import annotations

from importlib import import_module

import pytest

from ..result import Result
from ..stage import Stage

FAMILIES = {
    "startup": "start-up",
    "ticks": "ticks with nothing to do",
    "listing": "listings",
    "status": "the status of many jobs",
    "runs": "process jobs",
    "burst": "a tick with much to do",
    "functions": "functions in process",
    "values": "long values",
    "s3": "S3",
    "mongo": "MongoDB",
}
"""The modules, in the order in which they run."""


def measure(family: str, stage: Stage) -> list[Result]:
    """The results of one family."""
    module = import_module(f"{__name__}.{family}")
    try:
        results: list[Result] = module.measure(stage)
    except pytest.skip.Exception as reason:  # a server of the tests is not installed
        stage.leave_out(f"{FAMILIES[family]}: {reason}")
        return []
    return results
