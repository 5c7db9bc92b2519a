"""A directory for a pipeline of process tasks, with short names for what every test of them needs."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import yaml

from pdtcli import (
    FileRepository,
    InProcessSyncTask,
    LocalLinuxManager,
    Pipeline,
    PipelineHandle,
    ProcessTask,
    Repository,
    ResourceManager,
    Resources,
    Session,
    Task,
    YamlMetadataFileRepository,
)
from pdtcli.dispatch import Priority
from pdtcli.report import Event, Finished, Launched, Problem


class Events(list[Event]):
    """An observer that keeps what it is told."""

    __call__ = list.append

    @property
    def launched(self) -> list[str]:
        return [f"{event.task}:{event.job}" for event in self if isinstance(event, Launched)]

    @property
    def finished(self) -> list[str]:
        return [f"{event.task}:{event.job}" for event in self if isinstance(event, Finished)]

    @property
    def problems(self) -> list[str]:
        return [
            f"{':'.join(part for part in (event.task, event.job) if part)} {event.message}"
            for event in self
            if isinstance(event, Problem)
        ]


class Lab:
    """Makes tasks, repositories and pipelines below one directory.

    Everything is named by its place: the task `shell` keeps its records in `shell.pids/`, `shell.done/` and
    `shell.failed/`, its outputs in `shell.stdout/`, and its inputs are the files in `input/`.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.state = directory / "state" / "lab"
        self.session = Session()
        self.input = self.files("input")
        self.quota = ResourceManager(Resources.parse("100", "100Gi"))

        @self.session.resource
        async def localhost() -> AsyncIterator[LocalLinuxManager]:
            yield self.manager()

        self.localhost = localhost

    def manager(self) -> LocalLinuxManager:
        return LocalLinuxManager("lab", local_path=self.directory / "state")

    def files(self, name: str, extension: str = "") -> FileRepository:
        return FileRepository(self.directory / name, extension=extension)

    def metadata(self, name: str) -> YamlMetadataFileRepository:
        return YamlMetadataFileRepository(self.directory / name)

    def give(self, *jobs: str, text: str = "input\n") -> None:
        """Put inputs in their place."""
        (self.directory / "input").mkdir(exist_ok=True)
        for job in jobs:
            (self.directory / "input" / job).write_text(text)

    def process(
        self,
        name: str,
        template: str,
        *,
        input: Repository | None = None,
        quota: ResourceManager | None = None,
        cpu: str = "1",
        fails: bool = True,
        **options: Any,
    ) -> ProcessTask:
        """A process task; `fails` says whether failures have a repository of their own."""
        options.setdefault("done", self.metadata(f"{name}.done"))
        if fails:
            options.setdefault("failed", self.metadata(f"{name}.failed"))
        task = ProcessTask(
            name,
            self.localhost,
            self.quota if quota is None else quota,
            Resources.parse(cpu, "1Mi"),
            self.metadata(f"{name}.pids"),
            template,
            **options,
        )
        task.link("input", self.input if input is None else input, is_input=True)
        return task

    def function(self, name: str, *, input: Repository | None = None, **options: Any) -> InProcessSyncTask:
        """A function task, to be used as a decorator."""
        options.setdefault("failed", self.metadata(f"{name}.failed"))
        task = InProcessSyncTask(name, self.metadata(f"{name}.done"), **options)
        if input is not None:
            task.link("input", input, is_input=True)
        return task

    def pipeline(self, *tasks: Task, priority: Priority | None = None) -> PipelineHandle:
        return PipelineHandle(Pipeline(tasks, self.session, priority=priority), None)

    # ---- what is there

    def path(self, name: str) -> Path:
        return self.directory / name

    def keys(self, name: str) -> set[str]:
        """The jobs in a repository, as the directory shows them; hidden files count too."""
        path = self.directory / name
        return {entry.removesuffix(".yaml") for entry in os.listdir(path)} if path.exists() else set()

    def record(self, name: str, job: str) -> dict[str, Any]:
        """The record of a job in a metadata repository."""
        value: dict[str, Any] = yaml.safe_load((self.directory / name / f"{job}.yaml").read_text())
        return value

    def text(self, name: str, job: str) -> str:
        """The value of a job in a blob repository."""
        return (self.directory / name / job).read_text()

    def litter(self) -> list[str]:
        """Job directories and hidden temporary files; none when nothing runs."""
        hidden = [str(path.relative_to(self.directory)) for path in self.directory.rglob(".pdt-*")]
        state = [str(path.relative_to(self.directory)) for path in self.state.glob("*/*") if path.name != ".lock"]
        return sorted(hidden + state)


async def eventually(condition: Any, patience: float = 30.0) -> Any:
    """Wait, in an event loop, until `condition` gives something true, and return that."""
    async with asyncio.timeout(patience):
        while not (value := condition()):
            await asyncio.sleep(0.005)
    return value


def tick_until_idle(pipeline: PipelineHandle, tasks: Iterable[str] = (), patience: float = 30.0) -> None:
    """Ticks, as cron would give them, until nothing runs or is ready."""
    from tests.processes import until

    def idle() -> bool:
        pipeline.tick()
        return all(row.live == row.ready == 0 for row in pipeline.status(list(tasks)))

    until(idle, "the pipeline to be idle", patience)
