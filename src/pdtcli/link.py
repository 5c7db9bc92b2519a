"""A task's relation to a repository."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from .record import Record

if TYPE_CHECKING:
    from .repository.base import Repository

__all__ = ("Link",)


class Link(Record):
    """A repository and its disposition. Made by `Task.link`, which says what each flag means.

    `is_outcome` marks a metadata repository that records both successes and failures: a task that is plugged into this
    one starts on the successes alone.
    """

    repo: Repository
    is_input: bool = False
    is_output: bool = False
    is_status: bool = False
    inhibits_start: bool = False
    required_for_start: bool = False
    inhibits_output: bool = False
    required_for_output: bool = False
    is_outcome: bool = False

    @property
    def role(self) -> str:
        """The disposition in one word: input, output, status, or what else the link is for."""
        if self.is_input:
            return "input"
        if self.is_output:
            return "output"
        if self.is_status:
            return "status"
        if self.required_for_start:
            return "required"
        return "inhibits" if self.inhibits_start else "other"

    @property
    def flags(self) -> Mapping[str, bool]:
        """The disposition, flag by flag."""
        return {name: value for name, value in self.as_dict().items() if name != "repo"}
