"""What has become of a job when its runner, its machine, its record or its directory is gone."""

from __future__ import annotations

import os
import shutil
import signal
from typing import Any, ClassVar

import pytest
import yaml
from tests.lab import Events, Lab, tick_until_idle
from tests.processes import is_running, pid_in, until

from pdtcli import NotReady, PipelineHandle
from pdtcli.host import hostname


def start(lab: Lab, script: str = "exec sleep 1000", job: str = "a", **options: Any) -> PipelineHandle:
    """A pipeline with one live job, which has told its pid."""
    lab.give(job)
    before = f'echo "start $PDT_JOB" >>{lab.path("log")}; echo $$ >{lab.path("pid")}.$PDT_JOB; '
    pipeline = lab.pipeline(lab.process("shell", before + script, **options))
    pipeline.tick()
    until(pid_in(lab.path(f"pid.{job}")))
    return pipeline


def script_pid(lab: Lab, job: str = "a") -> int:
    return int(lab.path(f"pid.{job}").read_text())


def edit(lab: Lab, job: str = "a", **values: object) -> None:
    """Change a live record, as a user or a reboot would."""
    path = lab.path(f"shell.pids/{job}.yaml")
    path.write_text(yaml.safe_dump({**lab.record("shell.pids", job), **values}))


def starts(lab: Lab, job: str = "a") -> int:
    return lab.path("log").read_text().splitlines().count(f"start {job}")


@pytest.fixture(autouse=True)
def no_job_outlives_its_test(lab: Lab) -> Any:
    yield
    for path in lab.directory.glob("pid.*"):
        if is_running(pid := int(path.read_text())):
            os.kill(pid, signal.SIGKILL)


class TestTheRunnerIsKilled:
    def test_with_its_script_and_the_job_is_lost(self, lab: Lab) -> None:
        pipeline = start(lab, "echo so far; sleep 1000", stdout=lab.files("out"))
        until(lambda: (lab.state / "shell/a/stdout").read_text())
        os.killpg(lab.record("shell.pids", "a")["pid"], signal.SIGKILL)
        until(lambda: not is_running(script_pid(lab)))

        tick_until_idle(pipeline)

        record = lab.record("shell.failed", "a")
        assert (record["reason"], record["return_code"], record["success"]) == ("lost", None, False)
        assert lab.text("out", "a") == "so far\n"
        assert lab.keys("shell.pids") == set()
        assert lab.litter() == []
        assert starts(lab) == 1

    def test_alone_and_its_script_is_ended_before_the_job_is_lost(self, lab: Lab) -> None:
        pipeline = start(lab)
        runner = lab.record("shell.pids", "a")["pid"]
        os.kill(runner, signal.SIGKILL)
        until(lambda: not is_running(runner))
        assert is_running(script_pid(lab))

        tick_until_idle(pipeline)

        assert not is_running(script_pid(lab))
        assert lab.record("shell.failed", "a")["reason"] == "lost"

    def test_while_a_run_waits_for_it(self, lab: Lab) -> None:
        events = Events()

        def observe(event: Any) -> None:
            events(event)
            if lab.path("pid.a").exists() and not killed:
                killed.append(runner := lab.record("shell.pids", "a")["pid"])
                os.kill(runner, signal.SIGKILL)

        killed: list[int] = []
        start(lab, "sleep 1000").run(observer=observe)

        assert lab.record("shell.failed", "a")["reason"] == "lost"
        assert not is_running(script_pid(lab))

    def test_and_the_lost_job_can_be_retried(self, lab: Lab) -> None:
        pipeline = start(lab, f"test -e {lab.path('second-time')} || exec sleep 1000")
        os.killpg(lab.record("shell.pids", "a")["pid"], signal.SIGKILL)
        tick_until_idle(pipeline)
        lab.path("second-time").touch()

        pipeline.task("shell").retry(None)
        pipeline.run()

        assert lab.keys("shell.done") == {"a"}
        assert lab.keys("shell.failed") == set()


class TestTheMachineWasRestarted:
    def test_a_record_of_an_earlier_boot_is_of_a_lost_job(self, lab: Lab) -> None:
        pipeline = start(lab)
        os.killpg(lab.record("shell.pids", "a")["pid"], signal.SIGKILL)
        edit(lab, boot_id="00000000-an-earlier-boot")

        tick_until_idle(pipeline)

        assert lab.record("shell.failed", "a")["reason"] == "lost"
        assert starts(lab) == 1

    def test_a_process_that_has_the_same_number_by_now_is_left_alone(self, lab: Lab) -> None:
        pipeline = start(lab)
        edit(lab, boot_id="00000000-an-earlier-boot")

        tick_until_idle(pipeline)

        assert lab.record("shell.failed", "a")["reason"] == "lost"
        assert is_running(script_pid(lab))  # by the record, it is another one of the same number


class TestThePidIsReused:
    def test_a_process_that_started_at_another_time_is_not_the_job(self, lab: Lab) -> None:
        pipeline = start(lab)
        os.killpg(lab.record("shell.pids", "a")["pid"], signal.SIGKILL)
        until(lambda: not is_running(script_pid(lab)))
        edit(lab, pid=os.getpid(), process_start=1)
        (lab.state / "shell/a/run").write_text(f"{os.getpid()} 1\n")

        tick_until_idle(pipeline)

        assert lab.record("shell.failed", "a")["reason"] == "lost"


class TestAnotherHost:
    RECORD: ClassVar = {"host": "far-away", "boot_id": "b", "attempt": "x", "pid": 1, "process_start": 1}

    def give(self, lab: Lab, *jobs: str) -> None:
        lab.give(*jobs)
        lab.path("shell.pids").mkdir()
        for job in jobs:
            lab.path(f"shell.pids/{job}.yaml").write_text(yaml.safe_dump(self.RECORD))

    def test_its_jobs_are_left_alone_shown_and_counted(self, lab: Lab) -> None:
        self.give(lab, "a", "b")
        pipeline = lab.pipeline(lab.process("shell", "true"))

        ticked, ran = pipeline.tick(), pipeline.run()

        assert ticked.idle
        assert ran.idle
        assert pipeline.status()[0].live == 2
        assert next(row.used for row in pipeline.quotas() if row.resource == "cpu") == 2
        assert "far-away" in pipeline.task("shell").why("a").summary

    def test_its_jobs_take_room_in_the_quota(self, lab: Lab) -> None:
        from pdtcli import ResourceManager, Resources

        self.give(lab, "a", "b")
        lab.give("c")

        report = lab.pipeline(lab.process("shell", "true", quota=ResourceManager(Resources.parse("2", "1Gi")))).tick()

        assert report.launched == 0

    def test_its_jobs_are_not_cancelled_from_here_by_accident(self, lab: Lab) -> None:
        self.give(lab, "a")

        with pytest.raises(NotReady, match="does not run on this machine"):
            lab.pipeline(lab.process("shell", "true")).task("shell").cancel(["a"])

        assert lab.keys("shell.pids") == {"a"}

    def test_its_jobs_are_given_up_by_hand(self, lab: Lab) -> None:
        self.give(lab, "a", "b")
        pipeline = lab.pipeline(lab.process("shell", "true"))

        assert pipeline.task("shell").cancel(None, host="far-away") == ["a", "b"]

        record = lab.record("shell.failed", "a")
        assert (record["reason"], record["host"], record["return_code"]) == ("lost", "far-away", None)
        assert lab.keys("shell.pids") == set()

    def test_giving_up_a_host_leaves_the_jobs_of_others(self, lab: Lab) -> None:
        self.give(lab, "a")
        pipeline = start(lab, job="mine")

        assert pipeline.task("shell").cancel(None, host="far-away") == ["a"]

        assert is_running(script_pid(lab, "mine"))
        assert lab.record("shell.pids", "mine")["host"] == hostname()


class TestTheRecordIs:
    def test_deleted_while_the_job_runs_and_it_is_adopted(self, lab: Lab) -> None:
        os.mkfifo(lab.path("gate"))
        pipeline = start(lab, f"read line <{lab.path('gate')}; echo $line", stdout=lab.files("out"))
        lab.path("shell.pids/a.yaml").unlink()

        report = pipeline.tick()
        adopted = lab.record("shell.pids", "a")
        lab.path("gate").write_text("end\n")
        tick_until_idle(pipeline)

        assert report.launched == 0
        assert starts(lab) == 1
        assert lab.record("shell.done", "a")["attempt"] == adopted["attempt"]
        assert lab.text("out", "a") == "end\n"

    @pytest.mark.parametrize(
        "text", ["", "{}", "[]", "just a string", "attempt: 7", "pid: many\nhost: [1]", "{ this is: [ no"]
    )
    def test_damaged_while_the_job_runs_and_it_is_not_started_twice(self, lab: Lab, text: str) -> None:
        os.mkfifo(lab.path("gate"))
        pipeline = start(lab, f"read line <{lab.path('gate')}; echo $line", stdout=lab.files("out"))
        lab.path("shell.pids/a.yaml").write_text(text)

        pipeline.tick()
        pipeline.tick()
        assert starts(lab) == 1
        lab.path("gate").write_text("end\n")
        tick_until_idle(pipeline)

        assert starts(lab) == 1
        assert lab.text("out", "a") == "end\n"
        assert lab.keys("shell.done") == {"a"}

    @pytest.mark.parametrize("key", ["host", "boot_id", "pid", "process_start", "start_time"])
    def test_without_one_of_its_keys_and_it_is_not_started_twice(self, lab: Lab, key: str) -> None:
        os.mkfifo(lab.path("gate"))
        pipeline = start(lab, f"read line <{lab.path('gate')}")
        record = lab.record("shell.pids", "a")
        del record[key]
        lab.path("shell.pids/a.yaml").write_text(yaml.safe_dump(record))

        pipeline.tick()
        pipeline.tick()
        assert lab.keys("shell.pids") == {"a"}
        lab.path("gate").write_text("end\n")
        tick_until_idle(pipeline)

        assert starts(lab) == 1
        assert lab.keys("shell.done") == {"a"}

    def test_damaged_and_the_other_jobs_go_on(self, lab: Lab) -> None:
        os.mkfifo(lab.path("gate"))
        pipeline = start(lab, f'[ "$PDT_JOB" = b ] || read line <{lab.path("gate")}')
        lab.path("shell.pids/a.yaml").write_text("{ this is: [ no YAML")
        lab.give("b")

        def b_is_done() -> bool:
            pipeline.tick()
            return lab.keys("shell.done") == {"b"}

        until(b_is_done, "the other job")
        assert starts(lab) == 1


class TestTheDirectoryIsDeleted:
    @pytest.mark.parametrize("remembers", [True, False], ids=["done", "no-done"])
    def test_while_the_job_runs_and_it_is_not_started_twice(self, lab: Lab, remembers: bool) -> None:
        os.mkfifo(lab.path("gate"))
        options: dict[str, Any] = {} if remembers else {"done": None, "fails": False}
        pipeline = start(lab, f"read line <{lab.path('gate')}", **options)
        shutil.rmtree(lab.state / "shell/a")

        report = pipeline.tick()

        assert report.launched == 0
        assert starts(lab) == 1
        assert lab.keys("shell.pids") == {"a"}

    def test_after_the_job_ended_and_it_is_lost(self, lab: Lab) -> None:
        pipeline = start(lab, "exit 0")
        until(lambda: not is_running(lab.record("shell.pids", "a")["pid"]))
        shutil.rmtree(lab.state / "shell/a")

        tick_until_idle(pipeline)

        assert lab.record("shell.failed", "a")["reason"] == "lost"
        assert starts(lab) == 1

    def test_with_all_others_and_the_next_tick_makes_it_anew(self, lab: Lab) -> None:
        lab.give("a")
        pipeline = lab.pipeline(lab.process("shell", "true"))
        pipeline.run()
        shutil.rmtree(lab.directory / "state")
        lab.give("b")

        pipeline.run()

        assert lab.keys("shell.done") == {"a", "b"}


def test_what_is_left_of_a_directory_without_a_record_does_not_stand_in_the_way(lab: Lab) -> None:
    lab.give("a")
    left = lab.state / "shell" / "a"
    (left / "cwd" / "deep").mkdir(parents=True)
    (left / "token").write_text("an-attempt-of-long-ago\n")
    (left / "run").write_text("1 1\n")

    lab.pipeline(lab.process("shell", "true")).run()

    assert lab.keys("shell.done") == {"a"}
    assert lab.litter() == []
