"""Tells the results: a table for each row, one of all bounds, and pictures of how cost grows; all of it in Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import picture
from .contest import Contest, Entry, Spread
from .result import TIMES, Bound, Result
from .stage import Stage

FEWEST = ("fewest jobs", "fewest files")
"""How those are called that take part for the sake of start-up, with less work than the others."""


LITTLE = "These are the results of `--quick`: there is less work than the bounds were made for."


@dataclass(frozen=True)
class Summary:
    """What holds for all rows.

    :ivar machine: what it is, by its aspects.
    :ivar versions: of the tools.
    """

    machine: dict[str, str]
    versions: dict[str, str]
    stage: Stage


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """A table, aligned for those who read it as it is; the first `left` columns are text, the others figures."""
    cells = [list(head), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]

    def line(row: Sequence[str]) -> str:
        padded = [
            cell.ljust(width) if number < left else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    rule = ["-" * width if number < left else "-" * (width - 1) + ":" for number, width in enumerate(widths)]
    return "\n".join([line(cells[0]), f"|{'|'.join(f' {dashes} ' for dashes in rule)}|", *map(line, cells[1:])])


def digits(value: float) -> str:
    """Three significant digits, without an exponent."""
    for limit, places in ((100, 0), (10, 1), (1, 2), (0.1, 3)):
        if abs(value) >= limit:
            return f"{value:,.{places}f}"
    return f"{value:.4f}"


def spread(value: Spread) -> str:
    """The median and the quartiles."""
    if value.count == 1:
        return digits(value.middle)
    return f"{digits(value.middle)} ({digits(value.low)} to {digits(value.high)})"


# ---- one row


def table(result: Result) -> str:
    """The row as a section."""
    entries = list(result.contest.entries.values())
    lines = [f"### {result.title}", ""]
    if entries:
        lines += [_entries(result, entries), ""]
    lines += [f"- {bound_text(bound)}" for bound in result.bounds]
    lines += [""] if result.bounds else []
    lines += [line for note in [*result.notes, *_start_up(entries)] for line in (note, "")]
    return "\n".join(lines)


def _start_up(entries: Sequence[Entry]) -> list[str]:
    """What was taken away before rates and ratios were formed, if anything."""
    starts = [f"{entry.name} {entry.start * 1000:.0f} ms" for entry in entries if entry.start]
    return [f"Start-up is no part of rates and ratios: {', '.join(starts)}."] if starts else []


def _entries(result: Result, entries: Sequence[Entry]) -> str:
    contest, first, yardstick = result.contest, entries[0].name, result.yardstick
    head = ["", "seconds", f"times {yardstick}" if yardstick else f"{first} takes", "CPU s", "peak MiB", "turns"]
    if result.unit:
        head.insert(2, f"{result.unit}/s")
    rows = []
    for entry in entries:
        against = ""
        if yardstick is not None and yardstick in contest and entry.name != yardstick:
            against = f"{spread(contest.ratio(entry.name, yardstick))} {TIMES}"
        elif yardstick is None and entry.name != first and not entry.name.endswith(FEWEST):
            against = f"{spread(contest.ratio(first, entry.name))} {TIMES}"
        if not entry.complete:
            against = f"< {against}"
        row = [
            entry.name,
            ("" if entry.complete else "> ") + spread(entry.seconds),
            against,
            digits(entry.cpu),
            f"{entry.peak / 2**20:,.0f}",
            str(len(entry.runs)),
        ]
        if result.unit:
            row.insert(2, "" if entry.name.endswith(FEWEST) else _rate(result, entry))
        rows.append(row)
    return markdown(head, rows)


def _rate(result: Result, entry: Entry) -> str:
    units = entry.contestant.units if entry.contestant.units != 1 else result.units
    return ("" if entry.complete else "< ") + digits(units / (Spread.of(entry.each).middle * entry.contestant.units))


def limit(bound: Bound) -> str:
    """What has to be reached."""
    return f"{bound.sense} {bound.limit:,.3g} {bound.unit}"


def value(bound: Bound) -> str:
    """What was."""
    return f"{'< ' if bound.at_most else ''}{spread(bound.value)} {bound.unit}"


def bound_text(bound: Bound) -> str:
    """A bound as a line."""
    return f"{'reached' if bound.reached else '**not reached**'}: {bound.text}: {value(bound)}, must be {limit(bound)}"


# ---- all rows


def verdict(results: Sequence[Result], summary: Summary) -> str:
    """The bounds of all rows, and who took part."""
    rows = [
        (result.title, bound.text, limit(bound), value(bound), "yes" if bound.reached else "**no**")
        for result in results
        for bound in result.bounds
    ]
    reached = sum(bound.reached for result in results for bound in result.bounds)
    lines = [f"{reached} of {len(rows)} bounds are reached.", ""]
    if rows:
        lines += [markdown(("work", "what", "must be", "is, with its quartiles", "reached"), rows, left=5), ""]
    missing = summary.stage.tools.missing
    if missing:
        lines += [f"Not installed, and left out: {', '.join(missing)}.", ""]
    lines += [line for reason in summary.stage.left_out for line in (f"Left out: {reason}", "")]
    return "\n".join(lines)


Figure = Callable[[Contest, str], float]

CHARTS: dict[str, tuple[str, str, str, str, Figure]] = {
    "ticks": (
        "ticks",
        "A tick with nothing to do",
        "jobs, all done",
        "s",
        lambda contest, name: contest[name].seconds.middle,
    ),
    "ticks-memory": (
        "ticks",
        "The same: memory of the largest process",
        "jobs, all done",
        "MiB",
        lambda contest, name: contest[name].peak / 2**20,
    ),
    "listing": (
        "listing",
        "The names in a repository",
        "files",
        "s",
        lambda contest, name: contest[name].seconds.middle,
    ),
}
"""File name: which curves, the title, what goes across, the unit upwards, and the figure."""


def write(path: Path, results: Sequence[Result], summary: Summary, seconds: float) -> None:
    """Write the results to a file, and pictures beside it.

    :param seconds: that the bench took.
    """
    lines = [
        "# Results of the bench",
        "",
        "Written by `make bench`; `python -m bench --help` says how. Times are medians of several rounds in which all",
        "took turns, with their quartiles; so are ratios, which are taken turn by turn. Compare ratios: the times are",
        "those of one machine, and of what else it did. Memory is that of the largest process; and is told from",
        "about 10 MiB on.",
        "",
        markdown(("", ""), list(summary.machine.items()), left=2),
        "",
        markdown(("tool", "version"), list(summary.versions.items()), left=2),
        "",
        f"It took {seconds / 60:.1f} minutes.",
        *([] if summary.stage.sizes.full else ["", LITTLE]),
        "",
        "## Bounds",
        "",
        verdict(results, summary),
        "## How cost grows",
        "",
    ]
    for name, (chart, title, across, unit, figure) in CHARTS.items():
        series = _series(results, chart, figure)
        if series:
            path.with_name(f"{name}.svg").write_text(picture.draw(title, series, across, unit))
            lines += [f"![{title}]({name}.svg)", ""]
    lines += ["An arrow means that it was stopped there, and takes longer.", "", "## Rows", ""]
    lines += [table(result) for result in results]
    path.write_text("\n".join(lines).rstrip() + "\n")


def _series(results: Sequence[Result], chart: str, figure: Figure) -> dict[str, list[picture.Point]]:
    series: dict[str, list[picture.Point]] = {}
    for result in results:
        for curve in result.curves:
            if curve.chart == chart:
                for entry in result.contest.entries.values():
                    if entry.name.endswith(FEWEST):
                        continue  # of another size
                    point = picture.Point(curve.size, figure(result.contest, entry.name), entry.complete)
                    series.setdefault(entry.name, []).append(point)
    return series
