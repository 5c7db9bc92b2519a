"""The harness is checked: what makes pdt safe is taken out of a copy of its code, piece by piece; each loss is seen."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.faults.sweep import (
    FULL,
    STAGES,
    Sweep,
    Sweeper,
    collect_elsewhere,
    launch_elsewhere,
    others_tick,
)
from tests.faults.world import OTHER_MACHINE, needs_namespaces
from tests.processes import ROOT, needs_unnamed_files

pytestmark = pytest.mark.timeout(1800 if FULL else 300)


@dataclass(frozen=True)
class Mutant:
    """A change to the code that must be seen.

    :ivar file: below src/pdtcli.
    :ivar pattern: a regular expression; what it matches is replaced. It has to match once.
    :ivar text: what it is replaced by.
    :ivar catch: the part of the harness that sees it.
    :ivar only_full: whether it is left to `make faults`.
    :ivar kind: of the worlds in which it is seen.
    """

    name: str
    file: str
    pattern: str
    text: str
    catch: Callable[[Sweeper], Sweep]
    only_full: bool = True
    kind: str = "files"


def killing(stage: str) -> Callable[[Sweeper], Sweep]:
    def catch(sweeper: Sweeper) -> Sweep:
        with sweeper.ready():
            points = sweeper.points(STAGES[stage], "wpn", 40)
            return sweeper.sweep(points, sweeper.kill(STAGES[stage], "before", ticks=True))

    return catch


def holding(stage: str) -> Callable[[Sweeper], Sweep]:
    def catch(sweeper: Sweeper) -> Sweep:
        with sweeper.ready(others=()):
            points = sweeper.points(STAGES[stage], "wpn", 40, cpu=1)
            return sweeper.sweep(points, sweeper.hold(STAGES[stage], others_tick, kinds="wpn"))

    return catch


def elsewhere(cpu: int) -> Callable[[Sweeper], Sweep]:
    def catch(sweeper: Sweeper) -> Sweep:
        needs_namespaces()
        with sweeper.ready(others=OTHER_MACHINE):
            attempt = sweeper.hold(STAGES["launch"], launch_elsewhere, collect_elsewhere, cpu=cpu, kinds="wpn")
            return sweeper.sweep(reversed(sweeper.points(STAGES["launch"], "wpn", 40, cpu=cpu)), attempt)

    return catch


WRITE_IN_PLACE = """\
        with open(temporary, "rb") as source, open(path, "wb") as sink:
            sink.write(source.read())
        os.unlink(temporary)
"""

MUTANTS = [
    Mutant(
        "a record is written in place, not renamed",
        "atomic.py",
        r"(?<=    if not durable:\n)        os\.rename\(temporary, path\)\n",
        WRITE_IN_PLACE,
        killing("reap"),
        kind="named",
    ),
    Mutant(
        "a record has its name before it is written",
        "atomic.py",
        r"(?P<write>        _fill\(fd, data, mode\)\n        if durable:\n.*\n)"
        r"(?P<name>        try:\n(?:.*\n)*?            return None\n)"
        r"(?=    finally:\n        os\.close\(fd\)\n    if durable)",
        r"\g<name>\g<write>",
        killing("reap"),
        only_full=False,
    ),
    Mutant(
        "a claim replaces another one's",
        "atomic.py",
        r"    if os\.path\.lexists\(target\):\n        return False\n"
        r"(?P<rest>(?:.*\n)*?.*)os\.link\(temporary, target, follow_symlinks=False\)",
        r"\g<rest>os.rename(temporary, target)",
        elsewhere(cpu=10),
        kind="named",
    ),
    Mutant(
        "a claim of a file without a name replaces another one's",
        "atomic.py",
        r"        except FileExistsError:\n            return False\n(?=        except OSError:  # without)"
        r"(?P<rest>(?:.*\n)*?)    if os\.path\.lexists\(target\):\n        return False\n",
        r"        except FileExistsError:\n            return None\n\g<rest>"
        r"    if os.path.lexists(target):\n        os.unlink(target)\n",
        elsewhere(cpu=10),
        only_full=False,
    ),
    Mutant(
        "nobody looks again whether a job may start, once it is claimed",
        "task/process.py",
        r"if not force and not await self\.may_start\(job\)",
        "if False",
        holding("launch"),
    ),
    Mutant(
        "the lock of a job is not taken",
        "manager/local.py",
        r"return lock\.holding\(job\)",
        "import contextlib\n        return contextlib.nullcontext(True)",
        holding("launch"),
    ),
    Mutant(
        "nobody counts again, once a job is claimed",
        "task/claim.py",
        r"kept = claimed and not await quota\.overdrawn\(\)",
        "kept = claimed",
        elsewhere(cpu=1),
    ),
    Mutant(
        "the lock of a function is not taken",
        "task/function.py",
        r"with lock\.holding\(job\) if lock is not None else nullcontext\(True\) as got:",
        "with nullcontext(True) as got:",
        holding("function"),
    ),
    Mutant(
        "the live record goes before the outcome is recorded",
        "task/settle.py",
        r"(?P<record>        await task\.record\(job, outcome, forced=record\.forced\)\n)"
        r"(?P<drop>(?:        await .*\n)*?        await self\.drop\(job\)\n)",
        r"\g<drop>\g<record>",
        killing("reap"),
    ),
    Mutant(
        "what killed writers left is not swept",
        "atomic.py",
        r"if _is_litter\(name, os\.fspath\(directory\)\)",
        "if False",
        killing("reap"),
        kind="named",
    ),
    Mutant(
        "a claim without a runner is not cleared",
        "task/settle.py",
        r"        if not await manager\.forestall\(directory\):\n            return True\n        if record\.stop",
        "        return True\n        if record.stop",
        killing("launch"),
    ),
    Mutant(
        "the directory of a job goes before its output is collected",
        "task/settle.py",
        r"(?P<head>async def _finish(?:.*\n)*?)(?P<collect>        if task\.stdout is not None)",
        r"\g<head>        await task.manager.discard(directory)\n\g<collect>",
        killing("reap"),
    ),
]


@pytest.mark.parametrize(
    "mutant", [each for each in MUTANTS if FULL or not each.only_full], ids=lambda mutant: str(mutant.name)
)
def test_a_loss_is_seen(mutant: Mutant, tmp_path: Path, request: Any, tracer: Path) -> None:
    if mutant.kind == "files":
        needs_unnamed_files(tmp_path)
    sources = tmp_path / "src"
    shutil.copytree(ROOT / "src", sources, ignore=shutil.ignore_patterns("__pycache__"))
    path = sources / "pdtcli" / mutant.file
    text, count = re.subn(mutant.pattern, mutant.text, path.read_text())
    assert count == 1, "the code has changed: mend the mutant's pattern"
    path.write_text(text)

    result = mutant.catch(Sweeper(tmp_path, mutant.kind, request, tracer, sources=sources))

    seen = {found.kind for broken in result.broken.values() if not isinstance(broken, str) for found in broken}
    print(f"{mutant.name}: seen at {len(result.broken)} of {result.points} points, as {', '.join(sorted(seen))}")
    assert result.broken != {}
