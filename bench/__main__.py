"""The bench: pdt against the tools that somebody would take instead, on the same work in the same run.

    make bench              about twenty minutes; writes bench/results.md and its pictures
    make bench-quick        about one; writes nothing

    python -m bench [--quick|--tiny] [--rows FAMILY,…] [--pdt PATH] [--directory DIR] [--write FILE]

`make` has the peers installed first (`tools/setup bench`); those that are missing are named and left out. Leaves with 1
when a bound is not reached.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from . import report, tools
from .machine import describe
from .rows import FAMILIES, measure
from .sizes import FULL, QUICK, TINY
from .stage import Stage


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    sizes = parser.add_mutually_exclusive_group()
    sizes.set_defaults(sizes=FULL)
    sizes.add_argument("--quick", dest="sizes", action="store_const", const=QUICK, help="a minute of work")
    sizes.add_argument("--tiny", dest="sizes", action="store_const", const=TINY, help="to see whether it works")
    parser.add_argument("--rows", metavar="FAMILY,…", help=f"only these, of {', '.join(FAMILIES)}")
    parser.add_argument(
        "--pdt", type=Path, default=Path(sys.executable).with_name("pdt"), help="the command to measure"
    )
    parser.add_argument("--directory", type=Path, help="where to work, on the file system that counts; else $TMPDIR")
    parser.add_argument(
        "--write", metavar="FILE.md", type=Path, help="write the results to this file, pictures beside it"
    )
    return parser.parse_args()


def chosen(rows: str | None) -> list[str]:
    """The families of rows to run, in their order."""
    if rows is None:
        return list(FAMILIES)
    unknown = set(rows.split(",")) - set(FAMILIES)
    if unknown:
        sys.exit(f"no such rows: {', '.join(sorted(unknown))}; there are {', '.join(FAMILIES)}")
    return [family for family in FAMILIES if family in rows.split(",")]


def main() -> int:
    """Run the rows, print, write."""
    options = arguments()
    families = chosen(options.rows)
    began = time.monotonic()
    directory = Path(tempfile.mkdtemp(prefix="pdt-bench-", dir=options.directory))
    try:
        stage = Stage(tools.find(Path(os.path.abspath(options.pdt))), options.sizes, directory)
        machine = describe(directory)
        summary = report.Summary(machine, tools.versions(stage.tools), stage)
        results = []
        for family in families:
            stage.say(f"{FAMILIES[family]} ({time.monotonic() - began:.0f} s)")
            for result in measure(family, stage):
                print(report.table(result), flush=True)
                results.append(result)
            if options.write is not None:  # each time, so that little is lost when somebody loses patience
                report.write(options.write, results, summary, time.monotonic() - began)
        print(report.verdict(results, summary))
    finally:
        shutil.rmtree(directory)
    return 0 if all(bound.reached for result in results for bound in result.bounds) else 1


if __name__ == "__main__":
    sys.exit(main())
