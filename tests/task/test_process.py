"""A process job: what it is given, how it may end, and what is left of it."""

from __future__ import annotations

import os
import signal
import stat
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.lab import Events, Lab, tick_until_idle
from tests.processes import is_running, pid_in, until

from pdtcli import (
    STDOUT,
    InProcessBlobRepository,
    InProcessMetadataRepository,
    LocalLinuxManager,
    ProcessTask,
    Resources,
    UsageError,
)
from pdtcli.host import boot_id, hostname

NASTY = {
    "EMPTY": "",
    "input": "a name that a runner might use",
    "SPACES": "  two  words  ",
    "QUOTES": """'single' "double" `backticks`""",
    "LINES": "first\nsecond\n\nfourth\n",
    "EXPANSION": "$HOME ${PATH} $(echo no) \\n \\ * ? ~ ! #",
    "ACCENTS": "café 漢字 🎉",
    "BYTES": os.fsdecode(b"\xff\xfe"),
    "TABS": "\t\r\x01\x7f",
}


class TestWhatAJobIsGiven:
    def test_its_directory_holds_the_protocols_files_and_is_private(self, lab: Lab) -> None:
        task = lab.process(
            "shell", "umask 000; read line", environ={"A": "b"}, stdin=InProcessBlobRepository({"a": b"x\n"})
        )
        pipeline = lab.pipeline(lab.process("hold", f"mkfifo {lab.path('fifo')}; read line <{lab.path('fifo')}"), task)
        lab.give("a")

        with pipeline:
            pipeline.tick()
            until(lab.path("fifo").exists)
            hold = lab.state / "hold" / "a"
            modes = {entry.name: stat.S_IMODE(entry.stat().st_mode) for entry in os.scandir(hold)}
            lab.path("fifo").write_text("go\n")

        assert stat.S_IMODE(lab.state.stat().st_mode) == 0o700
        assert stat.S_IMODE(hold.parent.stat().st_mode) == 0o700
        assert modes == {"cwd": 0o700, "exe": 0o700, "token": 0o600, "run": 0o600}
        tick_until_idle(pipeline)
        assert lab.litter() == []

    def test_variables_name_the_task_the_job_and_the_attempt(self, lab: Lab) -> None:
        task = lab.process("shell", 'echo "$PDT_TASK $PDT_JOB $PDT_ATTEMPT"', stdout=lab.files("out"))
        lab.give("a")

        lab.pipeline(task).run()

        assert lab.text("out", "a") == f"shell a {lab.record('shell.done', 'a')['attempt']}\n"

    @pytest.mark.parametrize("name", NASTY)
    def test_any_value_of_a_variable_arrives_unchanged(self, lab: Lab, name: str) -> None:
        task = lab.process("shell", f'printf %s "${name}"', environ=NASTY, stdout=lab.files("out"))
        lab.give("a")

        lab.pipeline(task).run()

        assert lab.path("out/a").read_bytes() == os.fsencode(NASTY[name])

    def test_a_variable_that_no_shell_could_set_is_refused_when_the_task_is_made(self, lab: Lab) -> None:
        with pytest.raises(UsageError, match="cannot be an environment variable"):
            lab.process("shell", "true", environ={"NOT-A-NAME": "x"})
        with pytest.raises(UsageError, match="cannot be an environment variable"):
            lab.process("shell", "true", environ={"NUL": "a\0b"})

    def test_a_cdpath_does_not_lead_it_astray(self, lab: Lab) -> None:
        lab.path("elsewhere/cwd").mkdir(parents=True)
        task = lab.process("shell", "pwd", environ={"CDPATH": str(lab.path("elsewhere"))}, stdout=lab.files("out"))
        lab.give("a")

        lab.pipeline(task).run()

        assert lab.text("out", "a") == f"{lab.state}/shell/a/cwd\n"

    def test_standard_input_from_files_is_the_file_itself(self, lab: Lab) -> None:
        task = lab.process("shell", "cat; readlink /proc/self/fd/0", stdin=lab.input, stdout=lab.files("out"))
        lab.give("a", text="from a file\n")

        lab.pipeline(task).run()

        assert lab.text("out", "a") == f"from a file\n{lab.path('input/a')}\n"

    def test_standard_input_from_elsewhere_is_copied(self, lab: Lab) -> None:
        blob = os.urandom(300_000)
        source = InProcessBlobRepository({"a": blob})
        task = lab.process("shell", "cat", stdin=source, stdout=lab.files("out"))
        lab.give("a")

        lab.pipeline(task).run()

        assert lab.path("out/a").read_bytes() == blob

    def test_without_standard_input_it_reads_nothing(self, lab: Lab) -> None:
        task = lab.process("shell", "wc -c", stdout=lab.files("out"))
        lab.give("a")

        lab.pipeline(task).run()

        assert lab.text("out", "a").strip() == "0"

    def test_a_session_of_its_own_and_default_signals(self, lab: Lab) -> None:
        script = f"""#!{sys.executable}
import os, signal
print(os.getsid(0) != {os.getsid(0)}, os.getsid(0) == os.getppid())
print(*(signal.getsignal(number) is not signal.SIG_IGN for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)))
print(signal.pthread_sigmask(signal.SIG_BLOCK, []))
links = [os.path.realpath(f'/proc/self/fd/{{fd}}') for fd in os.listdir('/proc/self/fd')]
print([link for link in links if link.endswith('run')])
"""
        task = lab.process("shell", script, stdout=lab.files("out"), stderr=STDOUT)
        lab.give("a")

        lab.pipeline(task).run()

        assert lab.text("out", "a").splitlines() == ["True True", "True True True", "set()", "[]"]

    def test_the_umask_of_whoever_launches_it(self, lab: Lab) -> None:
        task = lab.process("shell", "umask", stdout=lab.files("out"))
        lab.give("a")
        status = Path("/proc/self/status").read_text()
        mask = next(line.split()[1] for line in status.splitlines() if line.startswith("Umask:"))

        lab.pipeline(task).run()

        assert int(lab.text("out", "a"), 8) == int(mask, 8)

    def test_a_template_sees_the_job_the_task_and_the_info_of_every_link(self, lab: Lab) -> None:
        extra = InProcessMetadataRepository({"a": {"count": 3, "title": "it's; rm -rf"}})
        task = lab.process(
            "shell",
            "echo {{task}} {{job}} {{extra.count}} {{extra.title | shquote}} {{input}}",
            stdout=lab.files("out"),
        )
        task.link("extra", extra, is_input=True)
        lab.give("a")

        lab.pipeline(task).run()

        assert lab.text("out", "a") == f"shell a 3 it's; rm -rf {lab.path('input/a')}\n"

    def test_a_template_that_names_what_is_not_there_is_a_problem_and_the_others_go_on(self, lab: Lab) -> None:
        bad = lab.process("bad", "echo {{ nothing_of_the_kind }}")
        good = lab.process("good", "true")
        lab.give("a", "b")
        events = Events()

        report = lab.pipeline(bad, good).run(observer=events)

        assert [line for line in events.problems if line.startswith("bad:a cannot be started")] != []
        assert "nothing_of_the_kind" in events.problems[0]
        assert report.problems == 2
        assert lab.keys("good.done") == {"a", "b"}
        assert lab.keys("bad.pids") == set()
        assert lab.litter() == []

    def test_a_template_may_be_a_file(self, lab: Lab) -> None:
        lab.path("job.sh").write_text("echo from a file\n")
        task = lab.process("shell", str(lab.path("job.sh")), stdout=lab.files("out"))
        lab.give("a")

        lab.pipeline(task).run()

        assert lab.text("out", "a") == "from a file\n"

    @pytest.mark.parametrize("job", ["a.b", "a-b_c.d-e", "0", "X" * 63, "run", "cwd", "a..b"])
    def test_every_valid_job_id_runs(self, lab: Lab, job: str) -> None:
        task = lab.process("shell", 'echo "$PDT_JOB"', stdout=lab.files("out"))
        lab.give(job)

        lab.pipeline(task).run()

        assert lab.text("out", job) == f"{job}\n"
        assert lab.litter() == []


class TestWhereItsOutputGoes:
    SCRIPT = "echo out; echo err >&2; echo out2"

    def test_to_a_repository_each(self, lab: Lab) -> None:
        task = lab.process("shell", self.SCRIPT, stdout=lab.files("out"), stderr=lab.files("err"))
        lab.give("a")

        lab.pipeline(task).run()

        assert lab.text("out", "a") == "out\nout2\n"
        assert lab.text("err", "a") == "err\n"

    def test_to_one_repository_in_the_order_of_writing(self, lab: Lab) -> None:
        task = lab.process("shell", self.SCRIPT, stdout=lab.files("out"), stderr=STDOUT)
        lab.give("a")

        lab.pipeline(task).run()

        assert lab.text("out", "a") == "out\nerr\nout2\n"

    def test_nowhere(self, lab: Lab) -> None:
        lab.give("a")

        report = lab.pipeline(lab.process("shell", self.SCRIPT)).run()

        assert report.done == 1

    def test_only_standard_error(self, lab: Lab) -> None:
        task = lab.process("shell", self.SCRIPT, stderr=lab.files("err"))
        lab.give("a")

        lab.pipeline(task).run()

        assert lab.text("err", "a") == "err\n"

    def test_to_repositories_that_are_not_on_disk(self, lab: Lab) -> None:
        out, err = InProcessBlobRepository(), InProcessBlobRepository()
        task = lab.process("shell", self.SCRIPT, stdout=out, stderr=err)
        lab.give("a")

        lab.pipeline(task).run()

        assert (out.data, err.data) == ({"a": b"out\nout2\n"}, {"a": b"err\n"})

    def test_it_may_be_huge(self, lab: Lab) -> None:
        task = lab.process("shell", "head -c 200000000 /dev/zero", stdout=lab.files("out"))
        lab.give("a")

        lab.pipeline(task).run()

        assert lab.path("out/a").stat().st_size == 200_000_000

    def test_a_value_has_the_mode_of_a_file_that_a_program_makes(self, lab: Lab) -> None:
        lab.give("a")

        lab.pipeline(lab.process("shell", "echo", stdout=lab.files("out"))).run()

        assert stat.S_IMODE(lab.path("out/a").stat().st_mode) == stat.S_IMODE(lab.path("input/a").stat().st_mode)

    def test_a_failed_job_s_output_is_kept_too(self, lab: Lab) -> None:
        task = lab.process("shell", "echo so far; exit 1", stdout=lab.files("out"))
        lab.give("a")

        lab.pipeline(task).run()

        assert lab.text("out", "a") == "so far\n"
        assert lab.keys("shell.failed") == {"a"}


class TestHowItMayEnd:
    @pytest.mark.parametrize("status", [0, 1, 3, 127, 255])
    def test_with_an_exit_status(self, lab: Lab, status: int) -> None:
        lab.give("a")
        before = datetime.now(tz=UTC)

        lab.pipeline(lab.process("shell", f"exit {status}", fails=False)).run()

        record = lab.record("shell.done", "a")
        assert record["return_code"] == status
        assert record["success"] is (status == 0)
        assert record["host"] == hostname()
        assert before <= record["start_time"] <= record["end_time"] + timedelta(seconds=1)
        assert record["start_time"].tzinfo is not None
        assert record["duration"] >= 0
        assert "reason" not in record

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV, signal.SIGINT, signal.SIGHUP])
    def test_by_a_signal(self, lab: Lab, number: signal.Signals) -> None:
        lab.give("a")

        lab.pipeline(lab.process("shell", f"kill -{number.value} $$")).run()

        record = lab.record("shell.failed", "a")
        assert (record["return_code"], record["signal"]) == (128 + number, number.name)

    def test_a_signal_to_its_whole_process_group_does_not_hide_how_it_ended(self, lab: Lab) -> None:
        lab.give("a")

        lab.pipeline(lab.process("shell", "kill -TERM 0; exit 0")).run()

        assert lab.record("shell.failed", "a")["signal"] == "SIGTERM"

    def test_in_any_language_that_its_first_line_names(self, lab: Lab) -> None:
        script = f"#!{sys.executable}\nimport sys\nprint(sys.version_info.major)\nsys.exit(4)\n"
        lab.give("a")

        lab.pipeline(lab.process("py", script, stdout=lab.files("out"))).run()

        assert lab.text("out", "a") == "3\n"
        assert lab.record("py.failed", "a")["return_code"] == 4

    def test_with_an_interpreter_that_is_not_there(self, lab: Lab) -> None:
        lab.give("a")

        lab.pipeline(lab.process("shell", "#!/no/such/interpreter\n", stdout=lab.files("out"), stderr=STDOUT)).run()

        assert lab.record("shell.failed", "a")["return_code"] in (126, 127)
        assert "not found" in lab.text("out", "a") or "interpreter" in lab.text("out", "a")

    def test_with_an_empty_script(self, lab: Lab) -> None:
        lab.give("a")

        lab.pipeline(lab.process("shell", "")).run()

        assert lab.keys("shell.done") == {"a"}

    def test_having_removed_its_working_directory(self, lab: Lab) -> None:
        lab.give("a")

        lab.pipeline(lab.process("shell", 'rm -rf "$PWD"; echo gone', stdout=lab.files("out"))).run()

        assert lab.record("shell.done", "a")["return_code"] == 0
        assert lab.text("out", "a") == "gone\n"
        assert lab.litter() == []

    def test_having_filled_its_working_directory(self, lab: Lab) -> None:
        lab.give("a")
        script = "mkdir -p deep/er; touch deep/er/file; ln -s / root; mkfifo pipe; chmod 0 deep; touch -- '-rf *'"

        lab.pipeline(lab.process("shell", script)).run()

        assert lab.keys("shell.done") == {"a"}
        assert lab.litter() == []

    def test_having_removed_its_own_job_directory(self, lab: Lab) -> None:
        lab.give("a", "b")
        script = 'if [ "$PDT_JOB" = a ]; then cd /; rm -rf "${OLDPWD%/cwd}"; fi; exit 0'

        report = lab.pipeline(lab.process("shell", script, stdout=lab.files("out"))).run()

        assert (report.launched, report.done, report.failed) == (2, 1, 1)
        assert lab.record("shell.failed", "a")["reason"] == "lost"  # nobody can know how it ended
        assert lab.keys("shell.pids") == set()
        assert lab.litter() == []

    def test_what_a_process_in_the_background_writes_later_does_not_change_the_value(self, lab: Lab) -> None:
        lab.give("a")
        script = (
            f"echo in time; (echo $BASHPID >&2; until [ -e {lab.path('go')} ]; do sleep 0.01; done; echo late; "
            f": >{lab.path('gone')}) &"
        )
        lab.pipeline(lab.process("shell", script, stdout=lab.files("out"))).run()
        lab.path("go").touch()
        until(lab.path("gone").exists)

        assert lab.text("out", "a") == "in time\n"

    def test_leaving_a_process_in_the_background(self, lab: Lab) -> None:
        lab.give("a")
        script = f"sleep 1000 & echo $! >{lab.path('pid')}; echo done"

        lab.pipeline(lab.process("shell", script, stdout=lab.files("out"))).run()

        background = int(lab.path("pid").read_text())
        try:
            assert is_running(background)
            assert lab.text("out", "a") == "done\n"
            assert lab.record("shell.done", "a")["return_code"] == 0
            assert lab.litter() == []
        finally:
            os.kill(background, signal.SIGKILL)


class TestTheLiveRecord:
    def test_names_host_boot_process_and_attempt(self, lab: Lab) -> None:
        lab.give("a")
        pipeline = lab.pipeline(lab.process("shell", f"echo $PPID >{lab.path('pid')}; exec sleep 1000"))

        pipeline.tick()
        pid = until(pid_in(lab.path("pid")))

        record = lab.record("shell.pids", "a")
        try:
            assert record["pid"] == pid
            assert record["host"] == hostname()
            assert record["boot_id"] == boot_id()
            assert isinstance(record["process_start"], int)
            assert (lab.state / "shell" / "a" / "token").read_text().strip() == record["attempt"]
        finally:
            pipeline.task("shell").cancel(["a"])
        assert lab.keys("shell.pids") == set()

    def test_a_job_outlives_whoever_started_it(self, lab: Lab) -> None:
        lab.give("a")
        pipeline = lab.pipeline(
            lab.process("shell", f"read line <{lab.path('fifo')}; echo $line", stdout=lab.files("out"))
        )
        os.mkfifo(lab.path("fifo"))

        pipeline.tick()
        lab.path("fifo").write_text("go on\n")
        tick_until_idle(pipeline)

        assert lab.text("out", "a") == "go on\n"

    def test_a_second_tick_does_not_start_a_live_job_again(self, lab: Lab) -> None:
        lab.give("a")
        os.mkfifo(lab.path("fifo"))
        pipeline = lab.pipeline(lab.process("shell", f"echo start >>{lab.path('log')}; read line <{lab.path('fifo')}"))

        first = pipeline.tick()
        second = pipeline.tick()
        lab.path("fifo").write_text("go on\n")
        tick_until_idle(pipeline)

        assert (first.launched, second.launched) == (1, 0)
        assert lab.path("log").read_text() == "start\n"


def test_the_default_state_directory_is_private_and_under_xdg_state_home(lab: Lab, state_home: Path) -> None:
    manager = LocalLinuxManager("my-app")

    assert manager.basedir == state_home / "pdt" / "my-app"


def test_a_job_s_resources_do_not_change_what_the_user_gave(lab: Lab) -> None:
    shared = Resources.parse("1", "1Mi", 5)

    task = ProcessTask("t", lab.localhost, lab.quota, shared, lab.metadata("pids"), "true")

    assert shared.launches == 5
    assert task.job_resources.launches == 1


def test_failed_needs_done(lab: Lab) -> None:
    with pytest.raises(UsageError, match="failed= but no done"):
        lab.process("t", "true", done=None)
