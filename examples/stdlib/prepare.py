"""Copies the source files of the running Python's standard library, or of another directory, to work/source.

It copies what is missing, so that it may be interrupted at any point and is quick when nothing is left to copy.

    python prepare.py [DIRECTORY]
"""

import hashlib
import json
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
    """The source files below a directory, by job, without what was installed beside them."""
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


def main(root: Path) -> None:
    files = library(root)
    with pdtcli.open_pipeline(str(Path(__file__).with_name("pipeline.py"))) as pipeline:
        source, record = pipeline.repo("parse.source"), pipeline.repo("summary.library")
        about = {"directory": str(root), "python": platform.python_version()}
        known = record.info("stdlib")
        if known and {key: known.get(key) for key in about} != about:
            sys.exit(f"work/ is about {known['directory']} and Python {known['python']}: remove it to begin anew")
        missing = sorted(files.keys() - source.ls())
        if known and not missing:
            return
        # The record appears when all files are there. Without it there is no summary, and one that was made of fewer
        # files is removed with it.
        pipeline.remove("summary.library", ["stdlib"], recursive=True)
        print(f"copying {len(missing)} files to work/source", file=sys.stderr)
        for job in missing:
            with open(files[job], "rb") as file:
                source.put(job, file)
        record.write("stdlib", json.dumps(about | {"files": len(files)}).encode())


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1] if len(sys.argv) > 1 else sysconfig.get_path("stdlib")).resolve())
    except KeyboardInterrupt:
        sys.exit(130)
