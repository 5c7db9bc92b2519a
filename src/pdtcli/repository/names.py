"""What the names in a directory mean: which are jobs, checked by the thousand, and in which directory a job lies.

A match of the grammar for every name would take as long as the kernel takes to list it. So the names of a batch are
joined and matched at once; only where that fails is each one looked at.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TypeVar

from .. import job as job_ids
from ..errors import UsageError

__all__ = ("BATCH", "Names", "Shelves", "batches")

T = TypeVar("T")

BATCH = 4096
"""So many names are looked at together."""


def batches(items: Iterable[T]) -> Iterator[list[T]]:
    """Lists of at most `BATCH` items."""
    iterator = iter(items)
    while batch := list(islice(iterator, BATCH)):
        yield batch


class Names:
    """The names of jobs in a directory.

    :param extension: what they end in, beside the job.
    :param case_insensitive: whether upper and lower case are the same in the extension.
    """

    def __init__(self, extension: str, case_insensitive: bool) -> None:
        self.extension = extension
        self.case_insensitive = case_insensitive
        # ASCII, or the Kelvin sign would count as a k.
        flags = re.ASCII | (re.IGNORECASE if case_insensitive else 0)
        name = rf"({job_ids.GRAMMAR}){re.escape(extension)}"
        self.match = re.compile(name, flags).fullmatch
        # Possessive, so that no position is kept to come back to.
        self._match_all = re.compile(rf"(?:(?>{name}\n))*+", flags).fullmatch

    def split(self, names: list[str]) -> tuple[list[str], list[str]]:
        """The jobs that the names are of, and the names that are of none."""
        text = "\n".join([*names, ""])
        # A name that holds a line break would pass for two.
        if self._match_all(text) is not None and text.count("\n") == len(names):
            if not self.extension:
                return names, []
            if not self.case_insensitive:
                return text.split(f"{self.extension}\n")[:-1], []
        jobs, others = [], []
        for name in names:
            if (found := self.match(name)) is not None:
                jobs.append(found[1])
            else:
                others.append(name)
        return jobs, others

    def has_extension(self, name: str) -> bool:
        """Whether a name ends as those of jobs do."""
        if self.case_insensitive:
            return name.lower().endswith(self.extension.lower())
        return name.endswith(self.extension)


class Shelves:
    """The directories of a repository: one, or 16, 256 or 4096 below it over which the jobs are spread evenly.

    A directory of ten million names is slow to list, to change and to back up on most file systems. A shelf is named
    by the first hexadecimal digits of the BLAKE2b digest of the job's name, the same everywhere and for ever.

    :param base: the directory itself.
    :param digits: how many digits; 0 for no shelves.
    :raises UsageError: for more than 3.
    """

    def __init__(self, base: Path, digits: int) -> None:
        if digits not in range(4):
            raise UsageError(f"shard={digits!r} is not a number of digits from 0 to 3")
        self.base = base
        self.digits = digits
        self._base = os.fspath(base)

    def directory(self, job: str) -> str:
        """Where a job lies."""
        if not self.digits:
            return self._base
        import hashlib

        return f"{self._base}/{hashlib.blake2b(job.encode(), digest_size=8).hexdigest()[: self.digits]}"

    def directories(self) -> list[str]:
        """All of them, whether or not they are there."""
        if not self.digits:
            return [self._base]
        return [f"{self._base}/{number:0{self.digits}x}" for number in range(16**self.digits)]

    def create(self) -> None:
        """Make those that are missing."""
        self.base.mkdir(exist_ok=True, parents=True)
        if self.digits:
            there = set(os.listdir(self.base))
            for path in self.directories():
                if os.path.basename(path) not in there:
                    os.makedirs(path, exist_ok=True)
