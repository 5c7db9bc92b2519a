"""Why a job does or does not start: one look at each link of a task, and a verdict in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal

from .outcome import succeeded
from .quota import ResourceManager
from .report import PlanRow, QuotaRow, Reason, State, TraceRow, Verdict
from .repository.base import Repository
from .repository.combine import SucceededRepository
from .survey import Survey
from .task.base import Task

__all__ = ("explain", "plan", "quota_rows", "state_of", "trace")

_RESOURCES = ("cpu", "memory", "launches")


async def state_of(task: Task, job: str) -> State:
    """Where one job stands in a task."""
    if task.live is not None and await task.live.contains(job):
        return State.LIVE
    if task.failed is not None and await task.failed.contains(job):
        return State.FAILED
    if task.done is not None and await task.done.contains(job):
        return State.DONE if task.failed is not None or succeeded(await task.done.info(job)) else State.FAILED
    if await task.ready.contains(job):
        return State.READY
    return State.WAITING


async def explain(task: Task, job: str) -> Verdict:
    """Which links let a job start, and which hold it back."""
    state = await state_of(task, job)
    reasons = []
    for name, link in task.links.items():
        present = await link.repo.contains(job)
        if link.required_for_start:
            detail = "" if present else await _absence(link.repo, job)
            reasons.append(Reason(name, "required", present, not present and not task.has_own_ready, detail))
        if link.inhibits_start:
            reasons.append(Reason(name, "inhibits", present, present and not task.has_own_ready))
        if not (link.required_for_start or link.inhibits_start):
            reasons.append(Reason(name, link.role, present, False))
    if task.has_own_ready:
        present = await task.ready.contains(job)
        reasons.append(Reason("(ready)", "required", present, not present, "the task was given what is ready"))
    return Verdict(task.name, job, state, await _summary(task, job, state, reasons), reasons)


async def _absence(repository: Repository, job: str) -> str:
    if isinstance(repository, SucceededRepository) and await repository.source.contains(job):
        return "it failed there"
    return ""


async def _summary(task: Task, job: str, state: State, reasons: Iterable[Reason]) -> str:
    subject = f"{task.name}:{job}"
    match state:
        case State.LIVE:
            return f"{subject} is live{await _where(task, job)}"
        case State.DONE:
            return f"{subject} is done"
        case State.FAILED:
            return f"{subject} failed; 'pdt task retry {task.name} {job}' lets it run again"
        case State.READY:
            return f"{subject} is ready{await _but(task)}"
    missing = [f"{r.link} ({r.detail})" if r.detail else r.link for r in reasons if r.holds and r.rule == "required"]
    inhibiting = [r.link for r in reasons if r.holds and r.rule == "inhibits"]
    words = []
    if missing:
        words.append(
            f"it is not in {' or '.join(missing)}" if len(missing) < 3 else f"it is in none of {', '.join(missing)}"
        )
    if inhibiting:
        words.append(f"it is in {' and '.join(inhibiting)}")
    if not words:
        words.append("no link of the task lets any job start")
    return f"{subject} does not start: {', and '.join(words)}"


async def _where(task: Task, job: str) -> str:
    record = await task.live.info(job) if task.live is not None else None
    if not isinstance(record, Mapping) or "host" not in record:
        return ""
    pid = f" as process {record['pid']}" if "pid" in record else ""
    return f" on {record['host']}{pid}"


async def _but(task: Task) -> str:
    if task.disabled:
        return ", but the task is disabled"
    if (kind := task.impossible()) is not None:
        return f", but it needs more {kind.word} than the whole quota has"
    quota = task.resource_manager
    if quota is not None and task.job_resources is not None:
        excess = ((await quota.usage()) + task.job_resources).excess(quota.quota)
        if excess is not None:
            return f", and waits for {excess.word} of its quota"
    return ": the next tick starts it"


async def plan(tasks: Iterable[Task]) -> list[PlanRow]:
    """What a cycle would start, and for what the others wait; nothing is touched."""
    survey = Survey()
    rows: list[PlanRow] = []
    room = {task.resource_manager: await task.resource_manager.usage() for task in tasks if task.resource_manager}
    for task in tasks:
        standing = await survey.standing(task)
        quota = task.resource_manager
        for job in sorted(standing.ready):
            reason = ""
            if task.disabled:
                reason = "the task is disabled"
            elif (kind := task.impossible()) is not None:
                reason = f"needs more {kind.word} than the whole quota has"
            elif quota is not None and task.job_resources is not None:
                used = room[quota] + task.job_resources
                if (kind := used.excess(quota.quota)) is not None:
                    reason = f"waits for {kind.word} of its quota"
                else:
                    room[quota] = used
            rows.append(PlanRow(task.name, job, not reason, reason))
        rows += await _waiting(task, survey, standing.waiting)
    return rows


async def _waiting(task: Task, survey: Survey, jobs: set[str]) -> list[PlanRow]:
    required = {name: await survey.keys(repo) for name, repo in task.required_for_start.items()}
    inhibiting = {name: await survey.keys(repo) for name, repo in task.inhibits_start.items()}
    rows = []
    for job in sorted(jobs):
        missing = [name for name, keys in required.items() if job not in keys]
        holding = [name for name, keys in inhibiting.items() if job in keys]
        reason = f"waits for {', '.join(missing)}" if missing else f"held by {', '.join(holding)}"
        rows.append(PlanRow(task.name, job, False, reason if missing or holding else "not in what is ready"))
    return rows


async def trace(tasks: Iterable[Task], jobs: Iterable[str]) -> list[TraceRow]:
    """Where each of some jobs stands in each task, and which links hold it; the row of a task as such has no link."""
    rows = []
    for job in jobs:
        for task in tasks:
            state = await state_of(task, job)
            rows.append(TraceRow(task.name, "", "", job, state is not State.WAITING, state))
            for name, link in task.links.items():
                if link.is_input or link.is_output or link.is_status:
                    rows.append(TraceRow(task.name, name, link.role, job, await link.repo.contains(job), None))
    return rows


async def quota_rows(quotas: Iterable[ResourceManager]) -> list[QuotaRow]:
    """Limit and use of every resource of every quota."""
    rows = []
    for number, quota in enumerate(quotas, 1):
        used = await quota.usage()
        by_task = await quota.usage_by_client()
        for word, attribute in zip(_RESOURCES, ("cpu", "mem", "launches"), strict=True):
            limit, amount = getattr(quota.quota, attribute), getattr(used, attribute) or 0
            rows.append(
                QuotaRow(
                    quota=quota.name or f"quota-{number}",
                    resource=word,
                    limit=None if limit is None else Decimal(limit),
                    used=Decimal(amount),
                    free=None if limit is None else Decimal(limit) - Decimal(amount),
                    by_task={label: Decimal(getattr(part, attribute) or 0) for label, part in by_task.items()},
                )
            )
    return rows
