"""Every source file of Python's standard library: counted by a shell script, parsed by a function, then summed up.

    source ─┬─ count (a shell script, as a process) ──────┬─ summary (a function, once all files are through)
            └─ parse (a function, in a pool of processes) ┘

A job of `count` and `parse` is a file, called like its module: json.decoder. `summary` has the one job `stdlib`. All
data lies under work/; `prepare.py` fills work/source.
"""

import ast
import os
import signal
import warnings
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pdtcli

WORK = Path(__file__).resolve().parent / "work"
JOURNAL = WORK / "journal"
CORES = os.cpu_count() or 1

session = pdtcli.Session()
quota = pdtcli.ResourceManager(pdtcli.Resources.parse(cpu=CORES, mem="1Gi"), name="cores")


@session.resource
async def localhost():
    JOURNAL.mkdir(parents=True, exist_ok=True)
    yield pdtcli.LocalLinuxManager("stdlib", local_path=WORK / "state")


def records(*path: str) -> pdtcli.YamlMetadataFileRepository:
    """Small structured values: a YAML file for each job."""
    return pdtcli.YamlMetadataFileRepository(WORK.joinpath(*path))


source = pdtcli.FileRepository(WORK / "source", extension=".py")


# ---- count: a script, run as a process. What it prints is YAML, so that others can read it as a structured value.

COUNT = """\
#!/bin/sh
set -eu
note() { read -r uptime _ </proc/uptime; echo "$1 $PDT_JOB $$ $uptime" >>"$JOURNAL"; }
note start
trap 'note end' EXIT

set -- $(wc -l -c <{{ source | shquote }}) $(sha256sum <{{ source | shquote }})
echo "lines: $1"
echo "bytes: $2"
echo "sha256: '$3'"
"""

count = pdtcli.ProcessTask(
    "count",
    manager=localhost,
    resource_manager=quota,
    job_resources=pdtcli.Resources.parse(cpu=1, mem="20Mi"),
    pids=records("count", "live"),
    template=COUNT,
    environ={"JOURNAL": str(JOURNAL / "count.log")},
    stdout=records("count", "stdout"),
    done=records("count", "done"),
    failed=records("count", "failed"),
)
count.link("source", source, is_input=True)


# ---- parse: a function, run in a pool of processes. Where it raises, the job has failed, and the record says why.


@contextmanager
def journal(task: str, job: str) -> Iterator[None]:
    """Write down when a job starts and ends, as the script of `count` does: what, job, process, seconds since boot."""

    def note(what: str) -> None:
        uptime = Path("/proc/uptime").read_text().split()[0]
        with open(JOURNAL / f"{task}.log", "a") as file:
            file.write(f"{what} {job} {os.getpid()} {uptime}\n")

    note("start")
    try:
        yield
    finally:
        note("end")


async def parse_file(job: str, source: pdtcli.BlobRepository, facts: pdtcli.MetadataRepository) -> None:
    """What a file defines and what it imports."""
    with journal("parse", job), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the style of the files
        tree = ast.parse(await source.read_bytes(job), filename=f"{job}.py")
        kinds = Counter(type(node) for node in ast.walk(tree))
        await facts.dump(
            job,
            {
                "functions": kinds[ast.FunctionDef] + kinds[ast.AsyncFunctionDef],
                "classes": kinds[ast.ClassDef],
                "imports": sorted(imports(tree)),
            },
        )


def imports(tree: ast.AST) -> set[str]:
    """The top-level modules that are imported by their full names."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
    return {name.partition(".")[0] for name in names}


parse = pdtcli.ExecutorTask(
    "parse",
    # Ctrl-C reaches the workers too; they finish what they have, and pdt tells them when to leave.
    ProcessPoolExecutor(CORES, initializer=signal.signal, initargs=(signal.SIGINT, signal.SIG_IGN)),
    func=parse_file,
    done=records("parse", "done"),
    failed=records("parse", "failed"),
)
parse.link("source", source, is_input=True)
parse.link("facts", records("parse", "facts"), is_output=True)


# ---- summary: a function, run by pdt itself, when the last file is through the other two.


class Barrier(pdtcli.Repository):
    """Holds the job `stdlib` as soon as every file was counted, and parsed, with or without success."""

    def __init__(self, source: pdtcli.Repository, *tasks: pdtcli.ExecutorTask | pdtcli.ProcessTask) -> None:
        self.source = source
        self.outcomes = [pdtcli.AggregateOrRepository(done=task.done, failed=task.failed) for task in tasks]

    @property
    def bases(self) -> tuple[pdtcli.Repository, ...]:
        """What it depends on: from this, pdt knows when to look."""
        return (self.source, *self.outcomes)

    async def unfiltered_iter(self) -> AsyncIterator[str]:
        if await self.info("stdlib") == 0:
            yield "stdlib"

    async def contains(self, job: str) -> bool:
        return job == "stdlib" and await self.info(job) == 0  # asked for every file that is through

    async def info(self, job: str) -> int:
        """How many results are still missing."""
        files = await self.source.keys()
        return sum([len(files - await outcomes.keys()) for outcomes in self.outcomes])

    async def delete(self, job: str) -> None:
        """There is nothing to delete."""


summary = pdtcli.InProcessSyncTask("summary", records("summary", "done"), failed=records("summary", "failed"))
summary.link("library", records("summary", "library"), is_input=True)
summary.link("complete", Barrier(source, count, parse), required_for_start=True)
summary.link("counts", count.stdout, is_input=True, required_for_start=False)
summary.link("facts", parse.output["facts"], is_input=True, required_for_start=False)
summary.link("unparsed", parse.failed, is_input=True, required_for_start=False)
summary.link("table", pdtcli.FileRepository(WORK / "summary" / "table", extension=".txt"), is_output=True)


@summary
async def summarise(job, library, counts, facts, unparsed, table):
    """The packages with the most lines, what is imported most, and the files that do not parse."""
    with journal("summary", job):
        about = await library.info(job)
        every_count, every_fact, failed = await counts.info_all(), await facts.info_all(), await unparsed.keys()
        packages: dict[str, Counter[str]] = {}
        imported: Counter[str] = Counter()
        for name, numbers in every_count.items():
            of_package = packages.setdefault(name.partition(".")[0], Counter())
            of_package.update(files=1, lines=numbers["lines"], bytes=numbers["bytes"])
            if name in every_fact:
                fact = every_fact[name]
                of_package.update(functions=fact["functions"], classes=fact["classes"])
                imported.update(fact["imports"])
        total = sum(packages.values(), Counter())
        largest = sorted(packages.items(), key=lambda item: (-item[1]["lines"], item[0]))[:10]
        favourites = sorted(imported.items(), key=lambda item: (-item[1], item[0]))[:6]

        columns = ("files", "lines", "bytes", "functions", "classes")
        lines = [f"{about['directory']}, with Python {about['python']}", ""]
        lines.append(f"{'package':20}" + "".join(f"{column:>12}" for column in columns))
        for name, numbers in [*largest, ("all", total)]:
            row = f"{name:20}" + "".join(f"{numbers[column]:12,}" for column in columns)
            lines += [row] if name != "all" else ["─" * len(row), f"{f'all {len(packages)}':20}" + row[20:]]
        lines += ["", "imported most: " + ", ".join(f"{name} {n}" for name, n in favourites)]
        lines += ["", f"not parsed: {len(failed)}", *(f"    {name}" for name in sorted(failed))]
        async with await table.open(job, "w") as stream:
            await stream.write("\n".join(lines) + "\n")


pipeline = pdtcli.Pipeline([count, parse, summary], session)
