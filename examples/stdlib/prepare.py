"""Copies the source files of the running Python's standard library to work/source.

It copies what is missing, so that it may be interrupted at any point and is quick when nothing is left to copy.
"""

import hashlib
import os
import platform
import re
import sys
import sysconfig
from pathlib import Path

import pdtcli


def job_of(path: Path) -> str:
    """A job for a file: its module's name, or where that is no valid job, what is left of it and a part of a hash."""
    module = ".".join(path.with_suffix("").parts).removesuffix(".__init__")
    if pdtcli.Repository.is_valid_job_id(module):
        return module
    readable = re.sub(r"[^A-Za-z0-9_.-]+", "-", module).strip("-_.")[:54].rstrip("-_.")
    return f"{readable}-{hashlib.sha256(os.fsencode(path)).hexdigest()[:8]}".lstrip("-")


def library(root: Path) -> dict[str, Path]:
    """The source files below a directory, by job, without what was installed into it."""
    files: dict[str, Path] = {}
    for directory, subdirectories, names in os.walk(root):
        subdirectories[:] = sorted(name for name in subdirectories if not name.endswith("-packages"))
        for name in sorted(names):
            path = Path(directory, name)
            if name.endswith(".py") and path.is_file():
                # A module and a package of the same name: the second one met keeps its ending.
                job = job_of(path.relative_to(root))
                files[job if job not in files else job_of(path.relative_to(root) / "py")] = path
    return files


def main() -> None:
    files = library(Path(sysconfig.get_path("stdlib")))
    with pdtcli.open_pipeline(str(Path(__file__).with_name("pipeline.py"))) as pipeline:
        source, record = pipeline.repo("parse.source"), pipeline.repo("summary.library")
        known = record.info("stdlib")
        version = platform.python_version()
        if known and known["version"] != version:
            sys.exit(f"work/ is about Python {known['version']}; remove it to begin anew with {version}")
        missing = sorted(files.keys() - source.ls())
        if known and not missing:
            return
        # The record appears when all files are there. Without it there is no summary, and what was made of fewer
        # files is removed.
        pipeline.remove("summary.library", ["stdlib"], recursive=True)
        print(f"copying {len(missing)} files of Python {version} to work/source", file=sys.stderr)
        for job in missing:
            with open(files[job], "rb") as file:
                source.put(job, file)
        record.write("stdlib", f"version: {version}\nfiles: {len(files)}\n".encode())


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
