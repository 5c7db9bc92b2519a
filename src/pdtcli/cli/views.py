"""How each kind of answer looks: which columns it has, and where a table differs from the lines of a pipe.

A pipe gets long rows of few columns that `grep` and `awk` can work on; a terminal gets what fits the eye.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from ..report import Counts, Finding, PlanRow, QuotaRow, Removal, RepositoryRow, State, TaskRow, TraceRow, Verdict
from .output import Column, Output

__all__ = (
    "copies",
    "findings",
    "job_rows",
    "plan",
    "quotas",
    "removals",
    "repositories",
    "status",
    "tasks",
    "trace",
    "why",
)

_STATES = ("waiting", "ready", "live", "done", "failed")


def _state_style(row: Any) -> str:
    state = row["state"] if isinstance(row, Mapping) else row.state
    return state.style if isinstance(state, State) else ""


def _symbol(state: State | None) -> str:
    return f"{state.symbol} {state.word}" if state is not None else ""


def repositories(out: Output, rows: Sequence[RepositoryRow]) -> None:
    """The repositories: name, kind, role, where."""
    out.rows(rows, [Column("name", style="bold"), Column("kind"), Column("role"), Column("where", style="dim")])


def tasks(out: Output, rows: Sequence[TaskRow]) -> None:
    """The tasks: name, kind, what they read and write."""
    columns = [
        Column("name", style="bold"),
        Column("kind"),
        Column("disabled", show=lambda value: "disabled" if value else ""),
        Column("inputs"),
        Column("outputs"),
    ]
    if out.form == "table" and not any(row.disabled for row in rows):
        del columns[2]
    out.rows(rows, columns)


def findings(out: Output, rows: Sequence[Finding]) -> None:
    """What is wrong: a line for each finding, with the task."""
    out.rows(rows, [Column("task", style="bold"), Column("message", "finding")])


def status(out: Output, counts: Sequence[Counts]) -> None:
    """Per task how many jobs stand where, and how many each linked repository holds.

    In a pipe a line for each number: the task, then a state or the repository as TASK.LINK, then the number.
    """
    if out.structured:
        out.data(counts)
    elif out.form == "plain":
        rows = []
        for count in counts:
            rows += [{"task": count.task, "what": state, "jobs": getattr(count, state)} for state in _STATES]
            rows += [{"task": count.task, "what": f"{count.task}.{link}", "jobs": n} for link, n in count.links.items()]
        out.rows(rows, [Column("task"), Column("what"), Column("jobs")])
    else:
        lines: list[dict[str, Any]] = []
        for count in counts:
            title = f"{count.task} (disabled)" if count.disabled else count.task
            lines.append({"what": title, "jobs": "", **{state: getattr(count, state) for state in _STATES}})
            lines += [
                {"what": f"  {count.task}.{link}", "jobs": n, **dict.fromkeys(_STATES, "")}
                for link, n in count.links.items()
            ]
        out.rows(
            lines,
            [
                Column("what", "task", style=lambda row: "dim" if row["what"].startswith(" ") else "bold"),
                *(_state_column(State[state.upper()]) for state in _STATES),
                Column("jobs", right=True, style="dim"),
            ],
        )


def _state_column(state: State) -> Column:
    # A zero says nothing worth a colour.
    return Column(state.word, right=True, style=lambda row: state.style if row[state.word] else "dim")


def trace(out: Output, rows: Sequence[TraceRow]) -> None:
    """Each job's way: its state in each task, and which of the task's repositories hold it."""
    # The state comes in a row of its own, without a link.
    states = {(row.job, row.task): row.state for row in rows if not row.link}
    rows = [row for row in rows if row.link]
    if out.form != "table":
        keys = ("task", "link", "role", "present")
        lines = [
            {"job": row.job, "state": states.get((row.job, row.task)), **{key: getattr(row, key) for key in keys}}
            for row in rows
        ]
        out.rows(lines, [Column(key) for key in ("job", "task", "state", "link", "role", "present")])
        return
    grouped: dict[tuple[str, str], dict[str, Any]] = {
        key: {"job": key[0], "task": key[1], "state": state, "in": [], "not": []} for key, state in states.items()
    }
    for row in rows:
        grouped[row.job, row.task]["in" if row.present else "not"].append(row.link)
    lines = list(grouped.values())
    last = None
    for line in lines:
        # The job's name stands once, at the top of its way.
        last, line["job"] = line["job"], "" if line["job"] == last else line["job"]
    out.rows(
        lines,
        [
            Column("job", style="bold"),
            Column("task"),
            Column("state", style=_state_style, show=_symbol),
            Column("in"),
            Column("not", "not in", style="dim"),
        ],
    )


def why(out: Output, verdict: Verdict) -> None:
    """The verdict in a sentence, then what each link says."""
    if out.structured:
        out.data(verdict)
        return
    out.line(verdict.summary)
    out.rows(
        verdict.reasons,
        [
            Column("link", style="bold"),
            Column("rule"),
            Column("present", show=lambda present: "holds the job" if present else "does not hold it"),
            Column(
                "holds",
                "verdict",
                show=lambda holds: "holds it back" if holds else "fine",
                style=lambda reason: State.FAILED.style if reason.holds else State.DONE.style,
            ),
            Column("detail", style="dim"),
        ],
    )


def plan(out: Output, rows: Sequence[PlanRow]) -> None:
    """What a cycle would start, and what waits for what."""
    out.rows(
        rows,
        [
            Column("task"),
            Column("job"),
            Column(
                "starts",
                show=lambda starts: "starts" if starts else "waits",
                style=lambda row: State.READY.style if row.starts else State.WAITING.style,
            ),
            Column("reason", style="dim"),
        ],
    )


def removals(out: Output, rows: Sequence[Removal]) -> None:
    """What was, or would be, deleted."""
    out.rows(rows, [Column("repository"), Column("job")])


def copies(out: Output, jobs: Iterable[str], sizes: Mapping[str, int]) -> None:
    """What was copied, and how many bytes; without a number, what would be."""
    out.rows([{"job": job, "bytes": sizes.get(job)} for job in jobs], [Column("job"), Column("bytes", right=True)])


def job_rows(out: Output, task: str, jobs: Iterable[str], **more: Any) -> None:
    """Jobs of one task that something was, or would be, done to."""
    out.rows([{"task": task, "job": job, **more} for job in jobs], [Column("task"), Column("job"), *map(Column, more)])


def quotas(out: Output, rows: Sequence[QuotaRow]) -> None:
    """Each resource of each quota: limit, used, free, and who uses it."""
    if out.form != "table":
        out.rows(rows, [Column(key) for key in ("quota", "resource", "limit", "used", "free", "by_task")])
        return
    lines = [
        {
            "quota": row.quota,
            "resource": row.resource,
            **{key: _quantity(getattr(row, key), row.resource) for key in ("limit", "used", "free")},
            "by_task": {task: _quantity(used, row.resource) for task, used in row.by_task.items() if used},
        }
        for row in rows
    ]
    out.rows(
        lines,
        [
            Column("quota", style="bold"),
            Column("resource"),
            Column("limit", right=True),
            Column("used", right=True, style=State.LIVE.style),
            Column("free", right=True, style=State.READY.style),
            Column("by_task", "by task"),
        ],
    )


def _quantity(amount: Decimal | None, resource: str) -> str:
    """An amount as a person reads it: bytes in binary units, the rest as it is."""
    if amount is None:
        return "unlimited"
    if resource.lower().startswith("mem"):
        units = iter(("Ki", "Mi", "Gi", "Ti", "Pi"))
        unit = ""
        while abs(amount) >= 1024 and (larger := next(units, "")):
            amount, unit = amount / 1024, larger
        amount = amount.quantize(Decimal("0.1"))
        return f"{amount.normalize():f}{unit}"
    return f"{amount.normalize():f}"
