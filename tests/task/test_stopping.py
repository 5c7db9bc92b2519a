"""Jobs that are stopped, by hand or because their time is up; and jobs that run again."""

from __future__ import annotations

import os
import signal
from datetime import timedelta
from pathlib import Path

import pytest
from tests.lab import Events, Lab, eventually, tick_until_idle
from tests.processes import is_running, pid_in, until

from pdtcli import InProcessMetadataRepository, JobNotFound, LocalLinuxManager, NotReady, PdtError
from pdtcli.manager.base import Attempt, JobDirectory, Launch, Phase, Process
from pdtcli.task.base import Start


def sleeper(lab: Lab) -> str:
    """A script that says which process it is, and sleeps."""
    return f"echo $$ >{lab.path('pid')}; exec sleep 1000"


class TestCancel:
    def test_ends_the_job_and_records_why(self, lab: Lab) -> None:
        lab.give("a")
        pipeline = lab.pipeline(lab.process("shell", f"echo begun; {sleeper(lab)}", stdout=lab.files("out")))
        pipeline.tick()
        pid = until(pid_in(lab.path("pid")))

        assert pipeline.task("shell").cancel(["a"]) == ["a"]

        assert not is_running(pid)
        record = lab.record("shell.failed", "a")
        assert (record["reason"], record["success"], record["signal"]) == ("cancelled", False, "SIGTERM")
        assert lab.text("out", "a") == "begun\n"
        assert lab.keys("shell.pids") == set()
        assert lab.litter() == []

    def test_reaches_every_process_of_its_session(self, lab: Lab) -> None:
        lab.give("a")
        script = f"sleep 1000 & echo $! >{lab.path('background')}; {sleeper(lab)}"
        pipeline = lab.pipeline(lab.process("shell", script))
        pipeline.tick()
        pids = [until(pid_in(lab.path(name))) for name in ("background", "pid")]

        pipeline.task("shell").cancel(None)

        assert not any(is_running(pid) for pid in pids)

    def test_kills_a_job_that_ignores_the_request(self, lab: Lab) -> None:
        lab.give("a")
        script = f"trap '' TERM; echo $$ >{lab.path('pid')}; while :; do sleep 0.01; done"
        pipeline = lab.pipeline(lab.process("shell", script, grace=timedelta(seconds=0.2)))
        pipeline.tick()
        pid = until(pid_in(lab.path("pid")))

        pipeline.task("shell").cancel(["a"])

        assert not is_running(pid)
        assert lab.record("shell.failed", "a")["signal"] == "SIGKILL"
        assert lab.record("shell.failed", "a")["reason"] == "cancelled"

    def test_lets_a_job_clean_up(self, lab: Lab) -> None:
        lab.give("a")
        script = f"trap 'echo cleaned; exit 9' TERM; echo $$ >{lab.path('pid')}; while :; do sleep 0.01; done"
        pipeline = lab.pipeline(lab.process("shell", script, stdout=lab.files("out")))
        pipeline.tick()
        until(pid_in(lab.path("pid")))

        pipeline.task("shell").cancel(["a"])

        assert lab.text("out", "a") == "cleaned\n"
        record = lab.record("shell.failed", "a")
        assert (record["reason"], record["return_code"]) == ("cancelled", 9)

    @pytest.mark.parametrize("attempt", range(5))
    async def test_reaches_a_job_that_was_started_just_now(self, lab: Lab, attempt: int) -> None:
        lab.give("a")
        task = lab.process("shell", sleeper(lab))

        async with lab.pipeline(task).pipeline:
            await task.start("a")
            assert await task.cancel("a")

            assert lab.record("shell.failed", "a")["reason"] == "cancelled"
        assert lab.keys("shell.pids") == set()
        assert lab.litter() == []

    def test_refuses_a_job_that_is_not_live(self, lab: Lab) -> None:
        pipeline = lab.pipeline(lab.process("shell", "true"))

        with pytest.raises(JobNotFound, match="a is not live in shell"):
            pipeline.task("shell").cancel(["a"])

    def test_only_tells_what_it_would_stop_in_a_dry_run(self, lab: Lab) -> None:
        lab.give("a", "b")
        os.mkfifo(lab.path("gate"))
        pipeline = lab.pipeline(lab.process("shell", f"read line <{lab.path('gate')}"))
        pipeline.tick()

        assert pipeline.task("shell").cancel(None, dry_run=True) == ["a", "b"]

        assert lab.keys("shell.pids") == {"a", "b"}
        pipeline.task("shell").cancel(None)

    def test_does_not_start_what_depends_on_it(self, lab: Lab) -> None:
        lab.give("a")
        first = lab.process("first", sleeper(lab), fails=False)
        second = lab.process("second", "true")
        second.plug(first)
        pipeline = lab.pipeline(first, second)
        pipeline.tick()
        until(pid_in(lab.path("pid")))

        pipeline.task("first").cancel(["a"])
        report = pipeline.run()

        assert report.idle


class TestTimeout:
    def test_stops_a_job_in_a_run(self, lab: Lab) -> None:
        lab.give("a")

        lab.pipeline(lab.process("shell", sleeper(lab), timeout=timedelta(seconds=0.3))).run()

        assert lab.record("shell.failed", "a")["reason"] == "timeout"
        assert not is_running(int(lab.path("pid").read_text()))
        assert lab.litter() == []

    def test_stops_a_job_when_a_tick_comes_by(self, lab: Lab) -> None:
        lab.give("a")
        pipeline = lab.pipeline(lab.process("shell", sleeper(lab), timeout=timedelta(seconds=0.3)))
        pipeline.tick()
        pid = until(pid_in(lab.path("pid")))

        tick_until_idle(pipeline)

        assert lab.record("shell.failed", "a")["reason"] == "timeout"
        assert not is_running(pid)

    def test_does_not_concern_a_job_that_is_quicker(self, lab: Lab) -> None:
        lab.give("a")

        lab.pipeline(lab.process("shell", "true", timeout=timedelta(minutes=1))).run()

        assert lab.keys("shell.done") == {"a"}

    def test_does_not_stop_the_others(self, lab: Lab) -> None:
        lab.give("a", "b", "c")
        script = f'if [ "$PDT_JOB" = b ]; then {sleeper(lab)}; fi'

        report = lab.pipeline(lab.process("shell", script, timeout=timedelta(seconds=0.3))).run()

        assert (report.done, report.failed) == (2, 1)


class TestRetry:
    def test_runs_failed_jobs_again(self, lab: Lab) -> None:
        lab.give("a", "b")
        pipeline = lab.pipeline(lab.process("shell", f"test -e {lab.path('ready')}"))
        assert pipeline.run().failed == 2
        lab.path("ready").touch()

        assert pipeline.task("shell").retry(["a"]) == ["a"]
        pipeline.run()

        assert lab.keys("shell.done") == {"a"}
        assert lab.keys("shell.failed") == {"b"}

    def test_finds_the_failures_among_the_outcomes_of_a_task_without_failed(self, lab: Lab) -> None:
        lab.give("a", "b")
        pipeline = lab.pipeline(lab.process("shell", '[ "$PDT_JOB" = a ]', fails=False))
        pipeline.run()

        assert pipeline.task("shell").retry(None) == ["b"]

        assert lab.keys("shell.done") == {"a"}

    def test_refuses_a_job_that_has_not_failed(self, lab: Lab) -> None:
        lab.give("a")
        pipeline = lab.pipeline(lab.process("shell", "true"))
        pipeline.run()

        with pytest.raises(JobNotFound, match="a is not failed in shell"):
            pipeline.task("shell").retry(["a"])

    def test_changes_nothing_in_a_dry_run(self, lab: Lab) -> None:
        lab.give("a")
        pipeline = lab.pipeline(lab.process("shell", "false"))
        pipeline.run()

        assert pipeline.task("shell").retry(None, dry_run=True) == ["a"]

        assert lab.keys("shell.failed") == {"a"}


class TestByHand:
    def test_a_job_that_is_not_ready_is_refused_with_the_reason(self, lab: Lab) -> None:
        with pytest.raises(NotReady, match=r"shell:a does not start: it is not in input"):
            lab.pipeline(lab.process("shell", "true")).task("shell").run(["a"])

    def test_nothing_is_started_when_one_of_them_is_not_ready(self, lab: Lab) -> None:
        lab.give("a")

        with pytest.raises(NotReady):
            lab.pipeline(lab.process("shell", "true")).task("shell").run(["a", "b"])

        assert lab.keys("shell.pids") == set()

    def test_force_runs_a_job_that_is_done_again(self, lab: Lab) -> None:
        lab.give("a")
        pipeline = lab.pipeline(lab.process("shell", f"echo run >>{lab.path('log')}"))
        pipeline.run()

        pipeline.task("shell").run(["a"], force=True, sync=True)

        assert lab.path("log").read_text() == "run\nrun\n"

    @pytest.mark.parametrize(("before", "after"), [("failed", "done"), ("done", "failed")])
    def test_the_outcome_of_a_forced_job_replaces_the_earlier_one(self, lab: Lab, before: str, after: str) -> None:
        lab.give("a")
        lab.path("script").write_text("exit 0" if before == "done" else "exit 1")
        pipeline = lab.pipeline(lab.process("shell", f"sh {lab.path('script')}"))
        pipeline.run()
        assert lab.keys(f"shell.{before}") == {"a"}
        lab.path("script").write_text("exit 1" if before == "done" else "exit 0")

        pipeline.task("shell").run(["a"], force=True, sync=True)

        assert lab.keys(f"shell.{after}") == {"a"}
        assert lab.keys(f"shell.{before}") == set()

    def test_force_does_not_start_a_live_job_twice(self, lab: Lab) -> None:
        lab.give("a")
        pipeline = lab.pipeline(lab.process("shell", sleeper(lab)))
        pipeline.tick()

        with pytest.raises(NotReady, match="shell:a is live"):
            pipeline.task("shell").run(["a"], force=True)

        until(pid_in(lab.path("pid")))
        pipeline.task("shell").cancel(None)

    def test_sync_waits_for_the_end(self, lab: Lab) -> None:
        lab.give("a")

        report = lab.pipeline(lab.process("shell", "exit 3")).task("shell").run(["a"], sync=True)

        assert (report.launched, report.failed) == (1, 1)
        assert lab.record("shell.failed", "a")["return_code"] == 3

    def test_without_metadata_nothing_is_recorded(self, lab: Lab) -> None:
        lab.give("a")
        pipeline = lab.pipeline(lab.process("shell", "echo out", stdout=lab.files("out")))

        pipeline.task("shell").run(["a"], sync=True, meta=False)

        assert lab.text("out", "a") == "out\n"
        assert lab.keys("shell.done") == lab.keys("shell.failed") == lab.keys("shell.pids") == set()
        assert lab.litter() == []

    def test_a_dry_run_starts_nothing(self, lab: Lab) -> None:
        lab.give("a")
        pipeline = lab.pipeline(lab.process("shell", "true"))

        assert pipeline.task("shell").run(["a"], dry_run=True).launched == 0

        assert lab.keys("shell.pids") == set()

    async def test_start_tells_what_became_of_it(self, lab: Lab) -> None:
        lab.give("a")
        task = lab.process("shell", sleeper(lab))

        async with lab.pipeline(task).pipeline:
            first = await task.start("a")
            second = await task.start("a", force=True)
            await eventually(pid_in(lab.path("pid")))
            await task.cancel("a")
            third = await task.start("a")

        assert (first, second, third) == (Start.STARTED, Start.TAKEN, Start.TAKEN)
        assert lab.keys("shell.pids") == set()

    async def test_a_job_that_cannot_be_started_gives_its_claim_and_its_share_of_the_quota_back(self, lab: Lab) -> None:
        lab.give("a")
        task = lab.process("shell", "echo {{ nothing_of_the_kind }}")

        async with lab.pipeline(task).pipeline:
            with pytest.raises(PdtError, match="nothing_of_the_kind"):
                await task.start("a")
            used = await task.resource_manager.usage()

        assert lab.keys("shell.pids") == set()
        assert not used.cpu
        assert lab.litter() == []

    async def test_a_runner_that_is_there_although_its_start_failed_keeps_the_job(self, lab: Lab) -> None:
        class Quick(LocalLinuxManager):
            """Whose runner takes the job between a look at it and what follows from that."""

            async def spawn(self, directory: JobDirectory, launch: Launch) -> Process:
                raise PdtError("interrupted once it was started")

            async def inspect(self, directory: JobDirectory, hint: Process | None = None) -> Attempt:
                found = await super().inspect(directory, hint)
                if found.phase is Phase.PREPARED:
                    lab.path(f"state/lab/shell/{directory.job}/run").touch()
                return found

        lab.give("a")
        lab.localhost = lambda: Quick("lab", local_path=lab.path("state"))
        task = lab.process("shell", "echo")

        async with lab.pipeline(task).pipeline:
            with pytest.raises(PdtError, match="once it was started"):
                await task.start("a")

        assert lab.keys("shell.pids") == {"a"}
        assert lab.path("state/lab/shell/a/exe").exists()

    async def test_a_job_that_somebody_else_claims_first_takes_no_share_of_the_quota_twice(self, lab: Lab) -> None:
        lab.give("a")
        task = lab.process("shell", "echo")

        async with lab.pipeline(task).pipeline:
            lab.path("shell.pids/a.yaml").write_text("host: elsewhere\nattempt: theirs\n")
            before = await task.resource_manager.usage()
            result = await task.start("a")
            after = await task.resource_manager.usage()

        assert result is Start.TAKEN
        assert (before.cpu, after.cpu) == (task.job_resources.cpu, task.job_resources.cpu)


def test_logs_follow_a_live_job_to_its_end(lab: Lab, tmp_path: Path) -> None:
    lab.give("a")
    os.mkfifo(lab.path("gate"))
    script = f"echo one; read line <{lab.path('gate')}; echo two"
    pipeline = lab.pipeline(lab.process("shell", script, stdout=lab.files("out")))
    pipeline.tick()

    class Reader:
        """Lets the job go on once its first line has come."""

        seen = b""

        def write(self, data: bytes) -> int:
            self.seen += data
            if self.seen == b"one\n":
                lab.path("gate").write_text("go\n")
            return len(data)

        def flush(self) -> None: ...

    out = Reader()
    pipeline.task("shell").logs("a", out, follow=True)  # type: ignore[arg-type]

    assert out.seen == b"one\ntwo\n"


class TestFailedJobs:
    def test_are_recorded_apart_and_do_not_run_again(self, lab: Lab) -> None:
        lab.give("a")
        pipeline = lab.pipeline(lab.process("shell", "exit 1"))

        first, second = pipeline.run(), pipeline.run()

        assert (first.failed, first.done) == (1, 0)
        assert second.idle
        assert lab.keys("shell.failed") == {"a"}
        assert lab.keys("shell.done") == set()

    @pytest.mark.parametrize("fails", [True, False], ids=["failed-apart", "done-alone"])
    def test_do_not_start_what_is_plugged_in(self, lab: Lab, fails: bool) -> None:
        lab.give("good", "bad")
        first = lab.process("first", '[ "$PDT_JOB" = good ]', fails=fails, stdout=lab.files("out"))
        second = lab.process("second", "cat {{ stdout | shquote }}")
        second.plug(first)

        report = lab.pipeline(first, second).run()

        assert report.launched == 3
        assert lab.keys("second.done") == {"good"}

    @pytest.mark.parametrize("fails", [True, False], ids=["failed-apart", "done-alone"])
    def test_do_not_start_what_is_plugged_in_under_other_names(self, lab: Lab, fails: bool) -> None:
        lab.give("good", "bad")
        names = InProcessMetadataRepository({"x1": "good", "x2": "bad", "x3": "good", "x4": "unheard-of"})
        first = lab.process("first", '[ "$PDT_JOB" = good ]', fails=fails, stdout=lab.files("out"))
        second = lab.process("second", "cat {{ stdout | shquote }}", input=names)
        second.plug(first, translator=names)

        lab.pipeline(first, second).run()

        assert lab.keys("second.done") == {"x1", "x3"}
        assert lab.keys("second.failed") == set()

    def test_start_what_is_plugged_in_without_its_meta_links(self, lab: Lab) -> None:
        lab.give("bad")
        first = lab.process("first", "echo partial; exit 1", stdout=lab.files("out"))
        second = lab.process("second", "cat {{ stdout | shquote }}")
        second.plug(first, meta=False)

        lab.pipeline(first, second).run()

        assert lab.keys("second.done") == {"bad"}

    def test_a_record_that_somebody_touched_into_place_counts_as_a_success(self, lab: Lab) -> None:
        lab.give("a")
        first, second = lab.process("first", "exit 1", fails=False), lab.process("second", "true")
        second.plug(first)
        pipeline = lab.pipeline(first, second)
        lab.path("first.done").mkdir()
        lab.path("first.done/a.yaml").touch()

        report = pipeline.run()

        assert report.launched == 1
        assert lab.keys("second.done") == {"a"}


def test_a_disabled_task_collects_what_runs_and_starts_nothing(lab: Lab) -> None:
    lab.give("a")
    os.mkfifo(lab.path("gate"))
    script = f"read line <{lab.path('gate')}"
    lab.pipeline(lab.process("shell", script)).tick()
    lab.give("b")

    disabled = lab.pipeline(lab.process("shell", script, disabled=True))
    lab.path("gate").write_text("go\n")
    report = disabled.run()

    assert (report.launched, report.done) == (0, 1)
    assert lab.keys("shell.done") == {"a"}


def test_a_ready_repository_replaces_what_the_links_say(lab: Lab) -> None:
    lab.give("a", "b")
    lab.path("chosen").mkdir()
    lab.path("chosen/c").touch()
    events = Events()

    lab.pipeline(lab.process("shell", "true", ready=lab.files("chosen"))).run(observer=events)

    assert events.launched == ["shell:c"]


def test_sigkill_of_the_script_alone_is_how_it_ended(lab: Lab) -> None:
    lab.give("a")
    pipeline = lab.pipeline(lab.process("shell", sleeper(lab)))
    pipeline.tick()
    os.kill(until(pid_in(lab.path("pid"))), signal.SIGKILL)

    tick_until_idle(pipeline)

    record = lab.record("shell.failed", "a")
    assert (record["signal"], record.get("reason")) == ("SIGKILL", None)
