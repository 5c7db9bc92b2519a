"""What a task is: its links, what they say about which jobs may start, and how the pipeline drives it.

A new kind of task implements `update` (collect what has ended) and `launch` (start a job). One that can tell the moment
a job ends, so that the pipeline need not ask every second, sets `signals_ends` and calls `ended`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from enum import Enum, auto

from .. import job as job_ids
from ..errors import UsageError
from ..link import Link
from ..quota import ResourceManager, Resources, ResourceType
from ..report import Event, Finished, Launched, Observer
from ..repository.base import MetadataRepository, Repository
from ..repository.combine import (
    AggregateAndRepository,
    AggregateOrRepository,
    BlockingRepository,
    RelatedItemRepository,
    SucceededRepository,
)

__all__ = ("Start", "Task")


class Start(Enum):
    """What became of an attempt to start a job."""

    STARTED = auto()
    TAKEN = auto()
    """Somebody else runs it, or ran it in the meantime."""
    LIMITED = auto()
    """The quota, or what runs the jobs, has no room now."""


class Task(ABC):
    """One phase of computation, instantiated once per job.

    :param name: what it is called; the grammar is that of a job.
    :param ready: holds the jobs that may start; by default the links decide.
    :param disabled: a disabled task collects what runs and starts nothing.
    """

    signals_ends = False
    """Whether `ended` is called when a job ends; other tasks are asked every second."""

    in_process = False
    """Whether `launch` returns only when the job has ended."""

    here_only = False
    """Whether only the process that started a job can collect it, so that a tick waits for it."""

    done: MetadataRepository | None = None
    failed: MetadataRepository | None = None
    live: Repository | None = None
    resource_manager: ResourceManager | None = None
    job_resources: Resources | None = None

    def __init__(self, name: str, ready: Repository | None = None, disabled: bool = False) -> None:
        if not job_ids.is_valid(name):
            raise UsageError(f"{name!r} cannot be the name of a task: it takes the same characters as a job id")
        self.name = name
        self._ready = ready
        self.disabled = disabled
        self.links: dict[str, Link] = {}
        self.synchronous = False
        self.metadata = True
        self.stopping = False
        """Set by the pipeline when it was asked to come to an end."""
        self.observer: Observer | None = None
        self.ended: Callable[[str], None] | None = None
        """Set by the pipeline while it runs: called with a job that may be collected, in the event loop's thread."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    # ---- links

    def link(
        self,
        name: str,
        repo: Repository,
        is_input: bool = False,
        is_output: bool = False,
        is_status: bool = False,
        inhibits_start: bool = False,
        required_for_start: bool | None = None,
        inhibits_output: bool = False,
        required_for_output: bool | None = None,
        *,
        is_outcome: bool = False,
    ) -> None:
        """Link a repository to this task.

        :param name: what the link is called: in commands as TASK.NAME, in templates and functions as NAME.
        :param is_input: the task reads it.
        :param is_output: the task fills it.
        :param is_status: it holds what the task tells of its jobs.
        :param inhibits_start: a job in it does not start.
        :param required_for_start: a job starts only when it is in it; as `is_input` when None.
        :param inhibits_output: a job in it does not start tasks that are plugged into this one.
        :param required_for_output: tasks that are plugged into this one start only jobs that are in it; as `is_output`
            when None.
        :param is_outcome: its values are records of success and failure; only successes count for plugged tasks.
        """
        if not job_ids.is_valid(name):
            raise UsageError(
                f"{name!r} cannot be the name of a link of {self.name}: it takes the characters of a job id"
            )
        self.links[name] = Link(
            repo=repo,
            is_input=is_input,
            is_output=is_output,
            is_status=is_status,
            inhibits_start=inhibits_start,
            required_for_start=is_input if required_for_start is None else required_for_start,
            inhibits_output=inhibits_output,
            required_for_output=is_output if required_for_output is None else required_for_output,
            is_outcome=is_outcome,
        )

    def plug(
        self,
        output: Task,
        output_links: Iterable[str] | None = None,
        meta: bool = True,
        translator: Repository | None = None,
        translate_allow_deletes: bool = False,
        translate_prefetch_lookup: bool = True,
    ) -> None:
        """Make the outputs of another task the inputs of this one.

        They are linked by the names that they have there, or as OUTPUT_NAME where this task has such a link already.

        :param output: the task that comes before.
        :param output_links: the names of its outputs to use; all when None.
        :param meta: whether what it requires and inhibits for its output applies here: a job that is live or failed
            there does not start, one that is not done does not either.
        :param translator: its info is the job there for a job here; the same when None.
        :param translate_allow_deletes: whether deletes go through the translation.
        :param translate_prefetch_lookup: whether translations are loaded all at once.
        """
        wanted = None if output_links is None else set(output_links)
        for name, link in output.links.items():
            is_input = link.is_output and (wanted is None or name in wanted)
            inhibits = meta and link.inhibits_output
            required = meta and link.required_for_output
            if not (is_input or inhibits or required):
                continue
            repo = SucceededRepository(link.repo) if link.is_outcome and required else link.repo
            if translator is not None:
                repo = RelatedItemRepository(
                    repo,
                    translator,
                    allow_deletes=translate_allow_deletes,
                    prefetch_lookup=translate_prefetch_lookup,
                )
            # Where both tasks have a link of that name, such as stdout, this task keeps its own.
            self.link(
                name if link.is_output and name not in self.links else f"{output.name}_{name}",
                repo,
                is_input=is_input,
                inhibits_start=inhibits,
                required_for_start=is_input or required,
            )

    def _linked(self, flag: str) -> dict[str, Repository]:
        return {name: link.repo for name, link in self.links.items() if getattr(link, flag)}

    @property
    def input(self) -> dict[str, Repository]:
        """The repositories that the task reads, by link."""
        return self._linked("is_input")

    @property
    def output(self) -> dict[str, Repository]:
        """The repositories that the task fills, by link."""
        return self._linked("is_output")

    @property
    def status(self) -> dict[str, Repository]:
        """The repositories of what the task tells of its jobs, by link."""
        return self._linked("is_status")

    @property
    def inhibits_start(self) -> dict[str, Repository]:
        """The repositories whose jobs do not start, by link."""
        return self._linked("inhibits_start")

    @property
    def required_for_start(self) -> dict[str, Repository]:
        """The repositories in which a job must be to start, by link."""
        return self._linked("required_for_start")

    @property
    def inhibits_output(self) -> dict[str, Repository]:
        """The repositories whose jobs do not start plugged tasks, by link."""
        return self._linked("inhibits_output")

    @property
    def required_for_output(self) -> dict[str, Repository]:
        """The repositories in which a job must be to start plugged tasks, by link."""
        return self._linked("required_for_output")

    @property
    def ready(self) -> Repository:
        """The jobs that may start: what the constructor was given, or what all of `required_for_start` hold and none of
        `inhibits_start` does."""
        if self._ready is not None:
            return self._ready
        return BlockingRepository(
            AggregateAndRepository(**self.required_for_start), AggregateOrRepository(**self.inhibits_start)
        )

    @property
    def has_own_ready(self) -> bool:
        """Whether `ready` is the constructor's, so that the links have no say."""
        return self._ready is not None

    @property
    def remembers(self) -> bool:
        """Whether a job that has ended is kept from starting again by what it left behind."""
        return not self.has_own_ready and any(repo is not self.live for repo in self.inhibits_start.values())

    async def may_start(self, job: str) -> bool:
        """Whether nothing has come to inhibit a job since it was listed; asked by the holder of its claim.

        Whoever ran the job meanwhile recorded that before giving up the claim, so that the answer is the truth.
        """
        if self._ready is not None:
            return await self._ready.contains(job)
        for repo in self.inhibits_start.values():
            if repo is not self.live and await repo.contains(job):
                return False
        return True

    # ---- the pipeline's side

    async def validate(self) -> None:
        """Get ready, and raise when the task is misconfigured; the pipeline calls it once when it opens."""

    @abstractmethod
    async def update(self) -> bool:
        """Collect the jobs that have ended; whether any job was live."""

    @abstractmethod
    async def launch(self, job: str) -> None:
        """Start a job, whether it is ready or not; do nothing when the quota has no room or it runs already.

        :raises PdtError: when it cannot be started.
        """

    async def start(self, job: str, *, force: bool = False) -> Start:
        """Start a job and tell what became of that.

        :param force: also when something inhibits it. A job that is live is never started again.
        """
        await self.launch(job)
        return Start.STARTED

    async def collect(self, job: str) -> None:
        """Collect a job that `ended` was called for."""

    async def cancel(self, job: str) -> bool:
        """Stop a job; whether it was live here."""
        return False

    async def close(self) -> None:
        """Let go of what belongs to this event loop; the pipeline is closing."""

    @property
    def elsewhere(self) -> int:
        """How many jobs were live on other hosts when `update` last looked; they are not this one's to collect."""
        return 0

    @property
    def here(self) -> int:
        """How many jobs this process waits for."""
        return 0

    def impossible(self) -> ResourceType | None:
        """The kind of resource of which one job of this task needs more than the whole quota, or None."""
        if self.resource_manager is None or self.job_resources is None:
            return None
        return self.resource_manager.impossible(self.job_resources)

    def emit(self, event: Event) -> None:
        """Tell whoever watches the pipeline."""
        if self.observer is not None:
            self.observer(event)

    def tell_launched(self, job: str) -> None:
        """A job was started."""
        self.emit(Launched(self.name, job))

    def tell_finished(self, job: str, record: Mapping[str, object]) -> None:
        """A job ended with `record`."""
        event = Finished(self.name, job, bool(record.get("success")), record)
        self.emit(event)

    def link_outcomes(self, done: MetadataRepository | None, failed: MetadataRepository | None) -> None:
        """Link where successes and failures are recorded, with the dispositions that go with that."""
        if failed is not None and done is None:
            raise UsageError(f"the task {self.name} has failed= but no done repository")
        self.done, self.failed = done, failed
        if done is not None:
            self.link(
                "done",
                done,
                is_status=True,
                inhibits_start=True,
                required_for_output=True,
                is_outcome=failed is None,
            )
        if failed is not None:
            self.link("failed", failed, is_status=True, inhibits_start=True, inhibits_output=True)

    async def record(self, job: str, record: dict[str, object], *, forced: bool = False) -> None:
        """Write down how a job ended, in `done` or `failed`.

        :param forced: the job ran despite a record of an earlier attempt, which must not outlive this one.
        """
        if not self.metadata or self.done is None:
            return
        if self.failed is None:
            await self.done.dump(job, record)
            return
        target, other = (self.done, self.failed) if record["success"] else (self.failed, self.done)
        await target.dump(job, record)
        if forced:
            await other.delete(job)
