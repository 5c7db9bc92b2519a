"""Functions in threads and in worker processes: what they take, how they end, and what a kill leaves of them."""

from __future__ import annotations

import asyncio
import os
import signal
import textwrap
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.lab import Events, Lab
from tests.processes import is_running, python, running, until

from pdtcli import ExecutorTask, MetadataRepository, PipelineHandle, UsageError


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    """Two threads."""
    with ThreadPoolExecutor(2) as pool:
        yield pool


def work(lab: Lab, pool: Any, func: Any = None, **options: Any) -> ExecutorTask:
    options.setdefault("failed", lab.metadata("work.failed"))
    task = ExecutorTask("work", pool, lab.metadata("work.done"), func=func, **options)
    task.link("input", lab.input, is_input=True)
    task.link("out", lab.metadata("out"), is_output=True)
    return task


class TestThreads:
    def test_a_plain_function(self, lab: Lab, threads: ThreadPoolExecutor) -> None:
        task = work(lab, threads)
        seen = []

        @task
        def _(job: str, input: Any) -> None:
            seen.append((job, threading.current_thread() is not threading.main_thread(), type(input).__name__))

        lab.give("a", "b", "c")
        report = lab.pipeline(task).run()

        assert sorted(seen) == [(job, True, "FileRepository") for job in "abc"]
        assert (report.launched, report.done) == (3, 3)
        record = lab.record("work.done", "a")
        assert (record["result"], record["success"]) == ("success", True)
        assert record["start_time"].tzinfo is not None
        assert "host" in record

    def test_an_async_function(self, lab: Lab, threads: ThreadPoolExecutor) -> None:
        task = work(lab, threads)

        @task
        async def _(job: str, out: MetadataRepository) -> None:
            await asyncio.sleep(0)
            await out.dump(job, {"made": "async"})

        lab.give("a")
        lab.pipeline(task).run()

        assert lab.record("out", "a") == {"made": "async"}

    def test_a_tick_waits_for_what_it_submitted(self, lab: Lab, threads: ThreadPoolExecutor) -> None:
        lab.give("a", "b", "c", "d", "e")

        report = lab.pipeline(work(lab, threads, lambda job: None)).tick()

        assert (report.launched, report.done) == (5, 5)
        assert lab.keys("work.done") == set("abcde")

    @pytest.mark.parametrize(
        ("raises", "shown"),
        [(ValueError("no good"), "ValueError('no good')"), (SystemExit(3), "SystemExit(3)")],
    )
    def test_an_exception_is_recorded_with_its_traceback(
        self, lab: Lab, threads: ThreadPoolExecutor, raises: BaseException, shown: str
    ) -> None:
        task = work(lab, threads)

        @task
        def _(job: str) -> None:
            def deep_inside() -> None:
                raise raises

            deep_inside()

        lab.give("a")
        report = lab.pipeline(task).run()

        record = lab.record("work.failed", "a")
        assert report.failed == 1
        assert (record["result"], record["success"], record["exception"]) == ("exception", False, shown)
        assert "deep_inside" in "".join(record["traceback"])
        assert "pdtcli" not in "".join(record["traceback"])
        assert lab.keys("work.done") == set()

    def test_no_more_are_submitted_than_the_limit(self, lab: Lab) -> None:
        most = 0
        now = 0
        lock = threading.Lock()

        def function(job: str) -> None:
            nonlocal most, now
            with lock:
                now += 1
                most = max(most, now)
            threading.Event().wait(0.002)
            with lock:
                now -= 1

        lab.give(*(f"job{number}" for number in range(20)))
        with ThreadPoolExecutor(8) as pool:
            report = lab.pipeline(work(lab, pool, function, limit=3)).run()

        assert report.done == 20
        assert most <= 3

    def test_a_function_that_takes_what_is_not_linked_is_refused_when_the_pipeline_opens(
        self, lab: Lab, threads: ThreadPoolExecutor
    ) -> None:
        def function(job: str, nothing: Any) -> None: ...

        with pytest.raises(UsageError, match=r"takes nothing, but the task has no link"):
            lab.pipeline(work(lab, threads, function)).tick()

    def test_a_repository_that_cannot_record_is_a_problem_and_the_others_go_on(
        self, lab: Lab, threads: ThreadPoolExecutor
    ) -> None:
        lab.give("a", "b")
        task = work(lab, threads)

        @task
        def _(job: str) -> None:
            if job == "a":
                lab.path("work.done/a.yaml/in-the-way").mkdir(parents=True)

        events = Events()
        lab.pipeline(task).tick(observer=events)

        assert lab.keys("work.done") == {"a", "b"}
        assert [line for line in events.problems if line.startswith("work:a cannot be recorded")]


PIPELINE = """
import os, time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from pdtcli import ExecutorTask, FileRepository, Pipeline, YamlMetadataFileRepository
from helper_beside import size_of

here = Path(__file__).parent
work = ExecutorTask(
    "work",
    ProcessPoolExecutor(WORKERS),
    YamlMetadataFileRepository("work.done"),
    failed=YamlMetadataFileRepository("work.failed"),
)
work.link("input", FileRepository("input"), is_input=True)
work.link("out", YamlMetadataFileRepository("out"), is_output=True)

def note(text):
    with open(here / "journal", "a") as file:
        file.write(text + "\\n")

@work
async def work_on(job, input, out):
    note(f"start {job} {os.getpid()}")
    if job.startswith("hold"):
        while not (here / "release").exists():
            time.sleep(0.005)
    if job.startswith("crash"):
        os.kill(os.getpid(), 9)
    if job.startswith("raise"):
        raise ValueError(job)
    await out.dump(job, {"size": size_of(await input.read_bytes(job)), "pid": os.getpid()})
    note(f"end {job} {os.getpid()}")

pipeline = Pipeline([work])
"""

RUN = """
import sys
from pdtcli import open_pipeline
report = open_pipeline(sys.argv[1]).run()
print(report.launched, report.done, report.failed)
"""


@pytest.fixture
def program(lab: Lab) -> Path:
    """A pipeline file with a pool of two processes."""
    lab.path("helper_beside.py").write_text("def size_of(data):\n    return len(data)\n")
    path = lab.path("my pipeline.py")
    path.write_text(textwrap.dedent(PIPELINE).replace("WORKERS", "2"))
    return path


def journal(lab: Lab) -> list[list[str]]:
    path = lab.path("journal")
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


class TestProcesses:
    def test_a_decorated_function_of_a_pipeline_file_runs_in_other_processes(self, lab: Lab, program: Path) -> None:
        lab.give("a", "b", "raise")

        assert python(RUN, program) == "3 2 1\n"

        assert {lab.record("out", job)["size"] for job in "ab"} == {6}
        assert lab.record("work.failed", "raise")["exception"] == "ValueError('raise')"
        assert "work_on" in "".join(lab.record("work.failed", "raise")["traceback"])
        assert len({pid for word, _, pid in journal(lab)}) >= 1

    def test_a_worker_that_is_killed_is_a_recorded_failure(self, lab: Lab, program: Path) -> None:
        lab.give("a")
        lab.give("crash")

        out = python(RUN, program)

        assert lab.record("work.failed", "crash")["reason"] == "lost"
        assert lab.keys("work.done") | lab.keys("work.failed") == {"a", "crash"}
        assert out.split()[0] == "2"

    def test_no_worker_outlives_a_run_that_was_killed(self, lab: Lab, program: Path) -> None:
        lab.give("hold")
        with running(RUN, program) as killed:
            until(lambda: journal(lab))
            workers = children(killed.pid)
            killed.kill()
            killed.wait()

        assert len(workers) == 2  # one of which has had nothing to do yet
        until(lambda: not any(is_running(pid) for pid in workers), "the workers to end", patience=10)

    def test_what_a_killed_run_left_undone_is_done_by_the_next(self, lab: Lab, program: Path) -> None:
        lab.give("hold", "a")
        with running(RUN, program) as killed:
            until(lambda: lab.keys("work.done") == {"a"})
            killed.kill()
            killed.wait()
        lab.path("release").touch()

        assert python(RUN, program) == "1 1 0\n"

        assert [word for word, job, _ in journal(lab) if job == "hold"] == ["start", "start", "end"]
        assert [word for word, job, _ in journal(lab) if job == "a"] == ["start", "end"]

    def test_two_runs_at_once_do_each_job_once(self, lab: Lab, program: Path) -> None:
        jobs = [f"job{number}" for number in range(30)]
        lab.give(*jobs)

        with running(RUN, program) as first, running(RUN, program) as second:
            outs = [process.communicate(timeout=60)[0].split() for process in (first, second)]

        assert sorted(job for word, job, _ in journal(lab) if word == "start") == sorted(jobs)
        assert lab.keys("work.done") == set(jobs)
        assert sum(int(out[1]) for out in outs) == 30

    def test_a_run_that_finds_everything_being_done_elsewhere_waits_calmly(self, lab: Lab, program: Path) -> None:
        lab.give("hold")
        count = """
import pathlib, sys, threading
from pdtcli import open_pipeline
from pdtcli.report import Surveyed
surveys = 0
def observe(event):
    global surveys
    surveys += isinstance(event, Surveyed)
    if surveys == 1:
        threading.Timer(0.5, pathlib.Path(sys.argv[2]).touch).start()
report = open_pipeline(sys.argv[1]).run(observer=observe)
print(report.launched, surveys)
"""
        with running(RUN, program) as first:
            until(lambda: journal(lab))
            launched, surveys = python(count, program, lab.path("release")).split()
            first.communicate(timeout=60)

        assert launched == "0"
        assert int(surveys) < 40  # it does not spin
        assert [word for word, *_ in journal(lab)] == ["start", "end"]

    def test_a_function_that_cannot_be_sent_to_a_worker_is_refused_at_once(self, lab: Lab) -> None:
        lab.give("a")

        with (
            ProcessPoolExecutor(1) as pool,
            pytest.raises(UsageError, match=r"function of the task work: .* define it at the top of a module"),
        ):
            lab.pipeline(work(lab, pool, lambda job: None)).run()

        assert lab.keys("work.failed") == set()

    def test_workers_outlive_the_thread_that_drove_the_pipeline(self, lab: Lab) -> None:
        lab.give("a")

        with ProcessPoolExecutor(1) as pool:
            pipeline = lab.pipeline(work(lab, pool, nothing))
            driver = threading.Thread(target=pipeline.run)
            driver.start()
            driver.join()
            lab.give("b")
            pipeline.run()

        assert lab.keys("work.done") == {"a", "b"}

    def test_a_spawned_worker_does_not_outlive_a_run_that_was_killed(self, lab: Lab, program: Path) -> None:
        lab.give("hold")
        text = program.read_text().replace("Executor(2)", "Executor(2, multiprocessing.get_context('spawn'))")
        program.write_text("import multiprocessing\n" + text)
        with running(RUN, program) as killed:
            worker = int(until(lambda: journal(lab))[0][2])
            killed.kill()
            killed.wait()

        until(lambda: not is_running(worker), "the worker to end", patience=10)


DETACHED = """
import pickle, subprocess, sys, threading
from concurrent.futures import Executor, Future

WORKER = (
    "import pickle, sys\\n"
    "function, call = pickle.load(sys.stdin.buffer)\\n"
    "pickle.dump(function(call), sys.stdout.buffer)\\n"
)

class Detached(Executor):
    def submit(self, function, call):
        future = Future()
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        worker = subprocess.Popen([sys.executable, "-c", WORKER], start_new_session=True, **pipes)
        def work():
            future.set_result(pickle.loads(worker.communicate(pickle.dumps((function, call)))[0]))
            note(f"answered {call.job} {os.getpid()}")
        threading.Thread(target=work, daemon=True).start()
        return future
"""


def test_a_worker_that_outlives_who_submitted_its_job_has_no_rival(lab: Lab, program: Path) -> None:
    """As those of a cluster do: they know nothing of a run that was killed."""
    lab.give("hold")
    program.write_text(DETACHED + program.read_text().replace("ProcessPoolExecutor(2)", "Detached()"))
    with running(RUN, program) as killed:
        until(lambda: journal(lab))
        killed.kill()
        killed.wait()
    with running(RUN, program) as second:
        try:
            until(lambda: ["answered", "hold", str(second.pid)] in journal(lab), "the second worker to give way")
        finally:
            lab.path("release").touch()
        assert second.communicate(timeout=60)[0].split()[1:] == ["1", "0"]

    words = [word for word, *_ in journal(lab) if word != "answered"]
    assert words == ["start", "end", "start", "end"]  # who would have recorded the first is gone


def nothing(job: str) -> None:
    """A function that any process can import."""


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_job_that_has_not_begun_is_taken_back_when_the_run_is_interrupted(
    lab: Lab, threads: ThreadPoolExecutor
) -> None:
    begun = threading.Semaphore(0)
    go_on = threading.Event()
    task = work(lab, threads)

    @task
    def _(job: str) -> None:
        begun.release()
        go_on.wait(30)

    lab.give(*(f"job{number}" for number in range(8)))
    pipeline: PipelineHandle = lab.pipeline(task)

    def interrupt() -> None:
        for _ in range(2):
            begun.acquire(timeout=30)
        until(lambda: len(task.submitted()) == 8)
        os.kill(os.getpid(), signal.SIGINT)
        until(lambda: len(task.submitted()) == 2)
        go_on.set()

    helper = threading.Thread(target=interrupt)
    helper.start()
    report = pipeline.run()
    helper.join()

    assert report.interrupted
    assert len(lab.keys("work.done")) == 2
    assert not task.submitted()
