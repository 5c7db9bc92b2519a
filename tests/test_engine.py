"""What a run and a tick do: from event to event, within the quotas, until nothing is left."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.lab import Events, Lab, tick_until_idle
from tests.processes import is_running, pid_in, python, running, until

from pdtcli import (
    InProcessMetadataRepository,
    InProcessSyncTask,
    MetadataRepository,
    Pipeline,
    ResourceManager,
    Resources,
    Task,
)
from pdtcli.report import Event, Finished, Launched, Surveyed


def numbered(count: int) -> list[str]:
    return [f"job{number:02}" for number in range(count)]


class TestRun:
    def test_goes_on_until_nothing_is_left(self, lab: Lab) -> None:
        lab.give("a", "b")
        first = lab.process("first", "echo 1", stdout=lab.files("one"))
        second = lab.process("second", "cat {{ first_stdout }}", stdout=lab.files("two"))
        third = lab.process("third", "cat {{ stdout }}")
        second.plug(first)
        third.plug(second)

        report = lab.pipeline(first, second, third).run()

        assert (report.launched, report.done, report.failed, report.live, report.ready) == (6, 6, 0, 0, 0)
        assert lab.keys("third.done") == {"a", "b"}
        assert lab.text("two", "a") == "1\n"

    def test_does_nothing_when_nothing_is_to_do(self, lab: Lab) -> None:
        lab.give("a")
        pipeline = lab.pipeline(lab.process("shell", "true"))
        pipeline.run()
        events = Events()

        report = pipeline.run(observer=events)

        assert report.idle
        assert [type(event) for event in events] == [Surveyed]

    def test_collects_what_an_earlier_command_started(self, lab: Lab) -> None:
        lab.give("a")
        os.mkfifo(lab.path("gate"))
        pipeline = lab.pipeline(lab.process("shell", f"read line <{lab.path('gate')}"))
        pipeline.tick()
        lab.path("gate").write_text("go\n")

        report = pipeline.run()

        assert (report.launched, report.done) == (0, 1)

    def test_tells_what_happens_in_the_order_of_its_happening(self, lab: Lab) -> None:
        lab.give("a")
        first, second = lab.process("first", "true"), lab.process("second", "exit 1")
        second.plug(first)
        events: list[Event] = []

        lab.pipeline(first, second).run(observer=events.append)

        told = [event for event in events if isinstance(event, Launched | Finished)]
        assert [(type(event).__name__, event.task) for event in told] == [
            ("Launched", "first"),
            ("Finished", "first"),
            ("Launched", "second"),
            ("Finished", "second"),
        ]
        assert isinstance(told[-1], Finished)
        assert told[-1].why == "exit status 1"
        assert isinstance(events[0], Surveyed)
        assert isinstance(events[-1], Surveyed)

    def test_launches_once_what_is_ready_at_first(self, lab: Lab) -> None:
        lab.give("a", "b")
        first, second = lab.process("first", "true"), lab.process("second", "true")
        second.plug(first)

        report = lab.pipeline(first, second).run(launch_once=True)

        assert (report.launched, report.done) == (2, 2)
        assert lab.keys("second.done") == set()
        assert lab.keys("first.done") == {"a", "b"}

    def test_launches_once_all_that_is_ready_also_when_the_quota_takes_them_in_turns(self, lab: Lab) -> None:
        lab.give(*numbered(5))
        quota = ResourceManager(Resources.parse("2", "1Gi"))

        report = lab.pipeline(lab.process("shell", "true", quota=quota)).run(launch_once=True)

        assert report.done == 5

    def test_gives_up_after_its_time_and_leaves_what_runs_alone(self, lab: Lab) -> None:
        lab.give("a")
        script = f"echo $$ >{lab.path('pid')}; exec sleep 1000"
        pipeline = lab.pipeline(lab.process("shell", script))

        pipeline.tick()

        with pytest.raises(TimeoutError):
            pipeline.run(timeout=0.3)

        assert is_running(until(pid_in(lab.path("pid"))))
        assert lab.keys("shell.pids") == {"a"}
        pipeline.task("shell").cancel(None)

    def test_works_on_what_a_job_s_end_allows_without_looking_at_everything(self, lab: Lab) -> None:
        jobs = numbered(30)
        lab.give(*jobs)
        quota = ResourceManager(Resources.parse("1", "1Gi"))
        events: list[Event] = []

        lab.pipeline(lab.process("shell", "true", quota=quota)).run(observer=events.append)

        assert sum(isinstance(event, Finished) for event in events) == 30
        assert sum(isinstance(event, Surveyed) for event in events) < 15  # two, and one a second

    def test_does_not_end_while_a_job_of_a_task_that_must_be_asked_runs(self, lab: Lab) -> None:
        """A third party's task: it starts and collects, and cannot tell when a job ends."""

        class Slow(Task):
            def __init__(self) -> None:
                super().__init__("slow")
                self.live_jobs: dict[str, int] = {}
                self.outcome = InProcessMetadataRepository()
                self.link("input", lab.input, is_input=True)
                self.link("outcome", self.outcome, is_output=True, inhibits_start=True)

            async def launch(self, job: str) -> None:
                if job not in self.live_jobs:
                    self.live_jobs[job] = 1
                    self.tell_launched(job)

            async def update(self) -> bool:
                found = bool(self.live_jobs)
                for job, rounds in list(self.live_jobs.items()):
                    self.live_jobs[job] -= 1
                    if rounds == 0:
                        del self.live_jobs[job]
                        await self.outcome.dump(job, {"success": True})
                        self.tell_finished(job, {"success": True})
                return found

        lab.give("a", "b")
        task = Slow()
        after = lab.process("after", "true", input=task.outcome)

        report = lab.pipeline(task, after).run()

        assert set(task.outcome.data) == {"a", "b"}
        assert lab.keys("after.done") == {"a", "b"}
        assert report.done == 4

    def test_an_error_in_one_task_does_not_stop_the_others(self, lab: Lab) -> None:
        class Broken(Task):
            async def launch(self, job: str) -> None: ...

            async def update(self) -> bool:
                raise RuntimeError("out of order")

        lab.give("a")
        events = Events()

        report = lab.pipeline(Broken("broken"), lab.process("shell", "true")).run(observer=events)

        assert lab.keys("shell.done") == {"a"}
        assert events.problems == ["broken its live jobs cannot be collected: RuntimeError: out of order"]
        assert report.problems == 1

    def test_what_the_links_of_a_function_do_while_it_awaits_is_concurrent(self, lab: Lab) -> None:
        arrived: list[str] = []
        together = asyncio.Event()
        task = lab.function("meet", input=lab.input)

        @task
        async def _(job: str) -> None:
            arrived.append(job)
            if len(arrived) == 3:
                together.set()
            await together.wait()

        lab.give("a", "b", "c")
        report = lab.pipeline(task).run()

        assert report.done == 3


@contextmanager
def program(lab: Lab, pipeline: str, drive: str) -> Iterator[subprocess.Popen[str]]:
    """A process that drives a pipeline of its own, given as the body of a module."""
    header = f"""
        import os, sys, time
        from pathlib import Path
        from pdtcli import *
        from tests.lab import Lab
        from pdtcli.report import *
        lab = Lab(Path({str(lab.directory)!r}))
    """
    code = "\n".join(textwrap.dedent(part) for part in (header, pipeline, drive))
    with running(code) as process:
        yield process


class TestForever:
    def test_takes_up_what_arrives_and_ends_on_sigterm(self, lab: Lab) -> None:
        lab.path("input").mkdir()
        with program(
            lab,
            "task = lab.process('shell', 'true')",
            "report = lab.pipeline(task).run(forever=True); print(report.interrupted, report.done)",
        ) as process:
            until(lab.path("shell.pids").is_dir)
            lab.give("a")
            until(lambda: lab.keys("shell.done") == {"a"})
            lab.give("b")
            until(lambda: lab.keys("shell.done") == {"a", "b"})
            process.send_signal(signal.SIGTERM)
            out, errors = process.communicate(timeout=30)

        assert (out, errors) == ("True 2\n", "")

    def test_hears_of_what_arrives_from_the_kernel(self, lab: Lab) -> None:
        """No look at anything lies between the arrival and the launch but the one that the arrival caused."""
        lab.path("input").mkdir()
        with program(
            lab,
            "task = lab.process('shell', 'true')",
            """
            surveys = 0
            def observe(event):
                global surveys
                if isinstance(event, Surveyed):
                    surveys += 1
                    if surveys == 1:
                        Path(lab.directory / "input" / "a").touch()
                if isinstance(event, Launched):
                    print(surveys)
                    os.kill(os.getpid(), 15)
            lab.pipeline(task).run(forever=True, observer=observe)
            """,
        ) as process:
            out, _ = process.communicate(timeout=60)

        assert int(out) <= 4


class TestInterrupt:
    SLEEPER = "task = lab.process('shell', f'echo $$ >{lab.path(\"pid\")}; exec sleep 1000')"

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_a_first_signal_stops_launching_and_leaves_what_runs_alone(self, lab: Lab, number: signal.Signals) -> None:
        lab.give("a")
        drive = """
            events = []
            report = lab.pipeline(task).run(observer=events.append)
            print(report.interrupted, [(event.live, event.cancel) for event in events if isinstance(event, Stopping)])
        """
        with program(lab, self.SLEEPER, drive) as process:
            pid = until(pid_in(lab.path("pid")))
            process.send_signal(number)
            out, errors = process.communicate(timeout=30)

        assert (out, errors) == ("True [(1, False)]\n", "")
        assert is_running(pid)
        assert lab.keys("shell.pids") == {"a"}
        lab.pipeline(lab.process("shell", "")).task("shell").cancel(None)

    def test_with_cancel_it_stops_the_jobs_as_well(self, lab: Lab) -> None:
        lab.give("a", "b")
        with program(
            lab, self.SLEEPER, "report = lab.pipeline(task).run(cancel=True); print(report.interrupted, report.failed)"
        ) as process:
            pid = until(pid_in(lab.path("pid")))
            process.send_signal(signal.SIGINT)
            out, errors = process.communicate(timeout=30)

        assert (out, errors) == ("True 2\n", "")
        assert not is_running(pid)
        assert lab.record("shell.failed", "a")["reason"] == "cancelled"
        assert lab.litter() == []

    def test_a_function_that_runs_is_waited_for_and_a_second_signal_breaks_it_off(self, lab: Lab) -> None:
        lab.give("a")
        pipeline = """
            import asyncio
            task = lab.function("slow", input=lab.input)
            @task
            async def _(job):
                lab.path("pid").write_text(f"{os.getpid()}\\n")
                await asyncio.sleep(1000)
        """
        drive = """
            def observe(event):
                if isinstance(event, Stopping):
                    print("stopping", flush=True)
            try:
                lab.pipeline(task).run(observer=observe)
            except KeyboardInterrupt:
                print("broken off")
        """
        with program(lab, pipeline, drive) as process:
            until(pid_in(lab.path("pid")))
            process.send_signal(signal.SIGINT)
            assert process.stdout is not None
            assert process.stdout.readline() == "stopping\n"

            def interrupted() -> bool:
                process.send_signal(signal.SIGINT)  # again and again: an echo of the first one does not count
                return process.poll() is not None

            until(interrupted)
            out, errors = process.communicate(timeout=30)

        assert (out, errors) == ("broken off\n", "")
        assert lab.keys("slow.done") == lab.keys("slow.failed") == set()

    def test_signals_are_handled_as_before_afterwards(self, lab: Lab) -> None:
        before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)

        lab.pipeline(lab.process("shell", "true")).run()

        assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


CENSUS = """
mkdir -p {slots}; : >{slots}/$PDT_JOB
ls {slots} | wc -l >>{counts}
echo "$PDT_JOB start" >>{journal}
sleep 0.02
ls {slots} | wc -l >>{counts}
rm {slots}/$PDT_JOB
"""


def census(lab: Lab) -> str:
    """A script that counts how many of its kind run at the same time."""
    return CENSUS.format(slots=lab.path("slots"), counts=lab.path("counts"), journal=lab.path("journal"))


def most_at_once(lab: Lab) -> int:
    return max(map(int, lab.path("counts").read_text().split()))


class TestQuotas:
    def test_hold_in_a_run(self, lab: Lab) -> None:
        lab.give(*numbered(20))
        task = lab.process("shell", census(lab), quota=ResourceManager(Resources.parse("3", "1Gi")))

        report = lab.pipeline(task).run()

        assert report.done == 20
        assert 2 <= most_at_once(lab) <= 3

    def test_hold_across_tasks(self, lab: Lab) -> None:
        lab.give(*numbered(8))
        quota = ResourceManager(Resources.parse("3", "1Gi"))
        other = lab.files("other")
        lab.path("other").mkdir()
        for job in numbered(8):
            lab.path(f"other/x{job}").touch()

        lab.pipeline(
            lab.process("one", census(lab), quota=quota),
            lab.process("two", census(lab), quota=quota, cpu="2", input=other),
        ).run()

        assert lab.keys("one.done") == set(numbered(8))
        assert len(lab.keys("two.done")) == 8
        assert most_at_once(lab) <= 3

    def test_hold_across_ticks(self, lab: Lab) -> None:
        lab.give(*numbered(6))
        os.mkfifo(lab.path("gate"))
        task = lab.process(
            "shell", f"read line <{lab.path('gate')}", quota=ResourceManager(Resources.parse("2", "1Gi"))
        )
        pipeline = lab.pipeline(task)

        launched = [pipeline.tick().launched for _ in range(3)]

        assert launched == [2, 0, 0]
        pipeline.task("shell").cancel(None)

    def test_hold_across_simultaneous_runs_and_no_job_runs_twice(self, lab: Lab) -> None:
        jobs = numbered(30)
        lab.give(*jobs)
        pipeline = f"""
            task = lab.process('shell', {census(lab)!r}, quota=ResourceManager(Resources.parse("3", "1Gi")))
        """
        drive = "report = lab.pipeline(task).run(); print(report.launched, report.problems)"

        with program(lab, pipeline, drive) as first, program(lab, pipeline, drive) as second:
            outs = [process.communicate(timeout=60) for process in (first, second)]

        assert [errors for _, errors in outs] == ["", ""]
        counts = [list(map(int, out.split())) for out, _ in outs]
        assert counts[0][0] + counts[1][0] == 30
        assert sorted(lab.path("journal").read_text().split()[::2]) == jobs
        assert lab.keys("shell.done") == set(jobs)
        assert most_at_once(lab) <= 3
        assert lab.litter() == []

    def test_an_impossible_request_is_told_once_and_the_run_ends(self, lab: Lab) -> None:
        lab.give(*numbered(5))
        events = Events()
        small = ResourceManager(Resources.parse("1", "1Gi"))

        report = lab.pipeline(
            lab.process("big", "true", cpu="2", quota=small), lab.process("fits", "true", quota=small)
        ).run(observer=events)

        assert events.problems == ["big one job needs more cpu than its whole quota has, so that none can ever start"]
        assert report.done == 5
        assert lab.keys("big.pids") == set()

    def test_the_launch_rate_counts_what_was_launched_within_the_window(self, lab: Lab) -> None:
        lab.give(*numbered(5))
        quota = ResourceManager(Resources.parse(None, None, launches=2))
        pipeline = lab.pipeline(lab.process("shell", "exec sleep 1000", quota=quota, window=timedelta(hours=1)))

        launched = [pipeline.tick().launched for _ in range(2)]

        assert launched == [2, 0]
        pipeline.task("shell").cancel(None)

    def test_the_launch_rate_counts_jobs_that_have_ended_and_what_other_commands_launched(self, lab: Lab) -> None:
        lab.give(*numbered(5))

        def launch() -> int:
            quota = ResourceManager(Resources.parse(None, None, launches=2))
            pipeline = lab.pipeline(lab.process("shell", "true", quota=quota, window=timedelta(hours=1)))
            launched = pipeline.tick().launched
            until(lambda: pipeline.tick() and not lab.keys("shell.pids"))
            return launched

        assert [launch(), launch()] == [2, 0]
        assert len(lab.keys("shell.done")) == 2

    def test_the_launch_rate_lets_more_start_when_the_window_has_passed(self, lab: Lab) -> None:
        lab.give(*numbered(6))
        quota = ResourceManager(Resources.parse(None, None, launches=2))
        script = f"date +%s.%N >>{lab.path('times')}"

        report = lab.pipeline(lab.process("shell", script, quota=quota, window=timedelta(seconds=0.4))).run()

        assert report.done == 6
        times = sorted(map(float, lab.path("times").read_text().split()))
        assert times[-1] - times[0] > 0.4  # three windows at the least, whose jobs may begin late but not early

    def test_a_lower_priority_waits_while_a_higher_one_could_start(self, lab: Lab) -> None:
        lab.give(*numbered(6))
        quota = ResourceManager(Resources.parse("1", "1Gi"))
        high, low = lab.process("high", "true", quota=quota), lab.process("low", "true", quota=quota)
        free = lab.process("free", "true", quota=ResourceManager(Resources.parse("1", "1Gi")))
        events = Events()

        lab.pipeline(high, low, free, priority=lambda task, job: {"high": 2, "low": 1, "free": 0}[task]).run(
            observer=events
        )

        limited = [name.split(":")[0] for name in events.launched if not name.startswith("free")]
        assert limited == ["high"] * 6 + ["low"] * 6
        assert events.launched.index("free:job00") < 3  # its quota is another one


class TestTick:
    def test_is_one_cycle(self, lab: Lab) -> None:
        lab.give("a")
        first, second = lab.process("first", "true"), lab.process("second", "true")
        second.plug(first)
        pipeline = lab.pipeline(first, second)

        report = pipeline.tick()

        assert (report.launched, report.done) == (1, 0)
        tick_until_idle(pipeline)
        assert lab.keys("second.done") == {"a"}

    def test_waits_for_functions_of_its_own(self, lab: Lab) -> None:
        lab.give("a", "b")
        task = lab.function("task", input=lab.input)

        @task
        async def _(job: str) -> None:
            await asyncio.sleep(0)

        report = lab.pipeline(task).tick()

        assert (report.launched, report.done) == (2, 2)


def test_a_run_whose_functions_run_elsewhere_waits_calmly(lab: Lab) -> None:
    lab.give("a")
    pipeline = """
        task = lab.function("slow", input=lab.input)
        @task
        def _(job):
            lab.path("pid").write_text(f"{os.getpid()}\\n")
            while not lab.path("release").exists():
                time.sleep(0.005)
    """
    observed = """
        import threading
        surveys = 0
        def observe(event):
            global surveys
            surveys += isinstance(event, Surveyed)
            if surveys == 1:
                threading.Timer(0.5, lab.path("release").touch).start()
        report = lab.pipeline(task).run(observer=observe)
        print(report.launched, surveys)
    """
    with program(lab, pipeline, "lab.pipeline(task).run()") as first:
        until(pid_in(lab.path("pid")))
        with program(lab, pipeline, observed) as second:
            out, errors = second.communicate(timeout=60)
        first.communicate(timeout=60)

    assert errors == ""
    launched, surveys = map(int, out.split())
    assert launched == 0
    assert surveys < 40  # it does not spin
    assert lab.keys("slow.done") == {"a"}


def test_a_function_dies_with_its_run_and_the_next_run_does_it_again(lab: Lab) -> None:
    lab.give("a")
    pipeline = """
        task = lab.function("slow", input=lab.input)
        @task
        def _(job):
            lab.path("pid").write_text(f"{os.getpid()}\\n")
            while not lab.path("release").exists():
                time.sleep(0.005)
    """
    with program(lab, pipeline, "lab.pipeline(task).run()") as killed:
        until(pid_in(lab.path("pid")))
        killed.kill()
        killed.wait()
    lab.path("release").touch()

    with program(lab, pipeline, "print(lab.pipeline(task).run().done)") as again:
        out, errors = again.communicate(timeout=60)

    assert (out, errors) == ("1\n", "")


def test_a_task_in_memory_alone_runs_through(lab: Lab) -> None:
    source = InProcessMetadataRepository({str(number): number for number in range(50)})
    result = InProcessMetadataRepository()
    square = InProcessSyncTask("square", InProcessMetadataRepository())
    square.link("source", source, is_input=True)
    square.link("result", result, is_output=True)

    @square
    async def _(job: str, source: MetadataRepository, result: MetadataRepository) -> None:
        await result.dump(job, (await source.info(job)) ** 2)

    async def drive() -> Any:
        async with Pipeline([square]) as pipeline:
            return await pipeline.run()

    report = asyncio.run(drive())

    assert report.done == 50
    assert result.data["7"] == 49


def test_two_pipelines_in_memory_tick_at_the_same_time(lab: Lab, tmp_path: Path) -> None:
    code = """
        import sys
        from pathlib import Path
        from pdtcli import *
        task = InProcessSyncTask("task", InProcessMetadataRepository())
        task.link("source", InProcessMetadataRepository({"a": 1}), is_input=True)
        @task
        def _(job):
            Path(sys.argv[1]).touch()
            sys.stdin.read()
        open_pipeline(Pipeline([task])).tick()
    """
    other = """
        from pdtcli import *
        task = InProcessSyncTask("task", InProcessMetadataRepository(), func=lambda job: None)
        task.link("source", InProcessMetadataRepository({"a": 1}), is_input=True)
        print(open_pipeline(Pipeline([task])).tick().done)
    """
    with running(code, tmp_path / "begun") as first:
        until((tmp_path / "begun").exists)

        out = python(textwrap.dedent(other))

        first.communicate("", timeout=30)
    assert out == "1\n"
