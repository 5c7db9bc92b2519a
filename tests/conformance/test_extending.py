"""The example in the manual of a repository that somebody else writes passes the suite, in a project of its own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

MANUAL = Path(__file__).parents[2] / "docs" / "extending.md"


def test_the_manual_s_example_passes(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", MANUAL.read_text(), re.DOTALL)
    (tmp_path / "test_shelf.py").write_text("\n".join(blocks))
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error\n"
    )
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--rootdir", str(tmp_path), str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert re.search(r"\d\d passed", run.stdout)


FAULTS = {
    "half a value is seen": ("self.store[jobs.check(job)] = data", "self.store[jobs.check(job)] = {**data, 'x': 1}"),
    "names are not checked": ("self.store.pop(jobs.check(job), None)", "self.store.pop(job, None)"),
    "deletes are not idempotent": ("self.store.pop(jobs.check(job), None)", "del self.store[jobs.check(job)]"),
}


def test_a_repository_that_is_wrong_does_not_pass(tmp_path: Path) -> None:
    text = "\n".join(re.findall(r"```python\n(.*?)```", MANUAL.read_text(), re.DOTALL))
    for name, (right, wrong) in FAULTS.items():
        assert right in text
        (tmp_path / f"test_{name.replace(' ', '_')}.py").write_text(text.replace(right, wrong))
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--tb=no", "-rf", "--rootdir", str(tmp_path), str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert [name for name in FAULTS if f"FAILED test_{name.replace(' ', '_')}.py" not in run.stdout] == []
