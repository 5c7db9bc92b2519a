"""What the figures were taken on: a ratio says more than a time, and neither says anything without the machine."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def describe(directory: Path) -> dict[str, str]:
    """Processor, memory, kernel, and the file system of a directory."""
    return {
        "Processor": f"{_processor()}, {len(os.sched_getaffinity(0))} cores",
        "Memory": f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB",
        "Kernel": f"{platform.system()} {platform.release()}",
        "File system": _file_system(directory),
        "User": "root" if os.geteuid() == 0 else "a plain one",
        "Load before": f"{os.getloadavg()[0]:.1f}",
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.machine()


def _file_system(directory: Path) -> str:
    """The kind of the mount that a path lies on: the one with the longest mount point (proc(5), mountinfo)."""
    best = ("", "?")
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, rest = line.partition(" - ")
        point = fields.split()[4]
        if directory.resolve().is_relative_to(point) and len(point) >= len(best[0]):
            best = (point, rest.split()[0])
    return best[1]
