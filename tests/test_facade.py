"""Blocking calls on a pipeline, as a script or a notebook makes them."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.lab import Lab
from tests.processes import python, running, until

import pdtcli
from pdtcli import (
    InProcessMetadataRepository,
    InvalidJobId,
    JobNotFound,
    LockHeld,
    PdtError,
    Pipeline,
    PipelineHandle,
    Session,
    UnknownRepository,
    UnknownTask,
    Unsupported,
)


class Opened:
    """A pipeline whose session says how often it was opened and closed."""

    def __init__(self, lab: Lab) -> None:
        self.log: list[str] = []
        session = Session()

        @session.resource
        async def thing() -> AsyncIterator[int]:
            self.log.append("open")
            try:
                yield 1
            finally:
                self.log.append("close")

        task = lab.function("task", input=lab.input, func=lambda job: None)
        self.handle = PipelineHandle(Pipeline([task], session), None)


class TestCycles:
    def test_each_call_is_one(self, lab: Lab) -> None:
        opened = Opened(lab)

        opened.handle.status()
        opened.handle.tick()

        assert opened.log == ["open", "close"] * 2

    def test_a_block_of_calls_is_one(self, lab: Lab) -> None:
        opened = Opened(lab)
        lab.give("a")

        with opened.handle as pipeline:
            pipeline.tick()
            assert pipeline.repo("task.done").ls() == {"a"}
            pipeline.repo("task.input").write("b", b"x")
            pipeline.run()

        assert opened.log == ["open", "close"]
        assert lab.keys("task.done") == {"a", "b"}

    def test_an_error_closes_what_was_opened(self, lab: Lab) -> None:
        opened = Opened(lab)

        with pytest.raises(JobNotFound):
            opened.handle.repo("task.input").read("nothing")
        with pytest.raises(ZeroDivisionError), opened.handle:
            raise ZeroDivisionError

        assert opened.log == ["open", "close"] * 2
        assert opened.handle.status()[0].live == 0  # and it can be used again

    def test_a_pipeline_that_cannot_open_is_closed(self, lab: Lab) -> None:
        opened = Opened(lab)
        opened.handle.pipeline.task("task").func = None  # type: ignore[attr-defined]

        with pytest.raises(PdtError, match="the task task has no function"):
            opened.handle.status()

        assert opened.log == ["open", "close"]

    def test_a_pipeline_is_not_opened_twice(self, lab: Lab) -> None:
        opened = Opened(lab)

        with opened.handle, pytest.raises(PdtError, match="open already"), opened.handle:
            pass

        assert opened.log == ["open", "close"]


class TestRepositories:
    def test_values_come_and_go(self, lab: Lab) -> None:
        repo = lab.pipeline(lab.process("shell", "true")).repo("shell.input")

        repo.write("a", b"\x00\xff")

        assert repo.ls() == {"a"}
        assert "a" in repo
        assert repo.read("a") == b"\x00\xff"
        assert repo.info("a") == str(lab.path("input/a"))
        repo.rm("a", "b")
        assert repo.ls() == set()

    def test_metadata_is_yaml(self, lab: Lab) -> None:
        repo = lab.pipeline(lab.process("shell", "true")).repo("shell.done")

        repo.write("a", b"{success: true, note: [1, 2]}")

        assert repo.info("a") == {"success": True, "note": [1, 2]}
        assert b"note" in repo.read("a")

    def test_an_invalid_name_is_refused_before_anything_is_read(self, lab: Lab) -> None:
        repo = lab.pipeline(lab.process("shell", "true")).repo("shell.input")
        source = io.BytesIO(b"data")

        with pytest.raises(InvalidJobId):
            repo.put("../escape", source)

        assert source.tell() == 0

    def test_what_holds_neither_bytes_nor_metadata_says_so(self, lab: Lab) -> None:
        from concurrent.futures import ThreadPoolExecutor

        from pdtcli import ExecutorTask

        with ThreadPoolExecutor(1) as pool:
            task = ExecutorTask("work", pool, lab.metadata("done"), func=lambda job: None)
            with pytest.raises(Unsupported, match="neither bytes nor metadata"):
                lab.pipeline(task).repo("work.live").read("a")

    def test_an_unknown_name_gets_a_hint(self, lab: Lab) -> None:
        pipeline = lab.pipeline(lab.process("shell", "true"))

        with pytest.raises(UnknownRepository, match=r"did you mean shell\.input\?"):
            pipeline.repo("shell.inputs")
        with pytest.raises(UnknownTask, match="the tasks are shell"):
            pipeline.task("shall")

    def test_a_set_expression_selects_jobs(self, lab: Lab) -> None:
        lab.give("a", "b", "c")
        pipeline = lab.pipeline(lab.process("shell", '[ "$PDT_JOB" != b ]'))
        pipeline.run()

        assert pipeline.select("shell.input - shell.done") == {"b"}


class TestTickLock:
    HOLD = """
        import sys
        from pathlib import Path
        from tests.lab import Lab
        lab = Lab(Path(sys.argv[1]))
        task = lab.function("slow", input=lab.input)
        @task
        def _(job):
            lab.path("begun").touch()
            sys.stdin.read()
        lab.pipeline(task).tick()
    """

    def test_a_second_tick_leaves_at_once(self, lab: Lab) -> None:
        lab.give("a")
        with running(self.HOLD, lab.directory) as first:
            until(lab.path("begun").exists)

            with pytest.raises(LockHeld, match="another tick of the pipeline is still going on") as caught:
                lab.pipeline(lab.function("slow", input=lab.input, func=lambda job: None)).tick()

            first.communicate("", timeout=30)
        assert caught.value.exit_code == 75

    def test_or_waits_for_a_while(self, lab: Lab) -> None:
        lab.give("a")
        with running(self.HOLD, lab.directory) as first:
            until(lab.path("begun").exists)

            with pytest.raises(LockHeld, match=r"after 0\.1 seconds"):
                lab.pipeline(lab.function("slow", input=lab.input, func=lambda job: None)).tick(wait=0.1)

            first.communicate("", timeout=30)

    def test_or_until_the_first_has_ended(self, lab: Lab) -> None:
        lab.give("a")
        with running(self.HOLD, lab.directory) as first:
            until(lab.path("begun").exists)
            assert first.stdin is not None
            first.stdin.close()

            report = lab.pipeline(lab.function("slow", input=lab.input, func=lambda job: None)).tick(wait=30)

        assert report.idle

    def test_a_killed_tick_holds_nothing(self, lab: Lab) -> None:
        lab.give("a")
        with running(self.HOLD, lab.directory) as first:
            until(lab.path("begun").exists)
            first.kill()
            first.wait()

        assert lab.pipeline(lab.function("slow", input=lab.input, func=lambda job: None)).tick().done == 1


class TestOpenPipeline:
    def test_from_a_file_in_a_script(self, tmp_path: Path) -> None:
        (tmp_path / "pipeline.py").write_text(
            "from pdtcli import *\n"
            'task = InProcessSyncTask("task", YamlMetadataFileRepository("done"), func=lambda job: None)\n'
            'task.link("input", FileRepository("input"), is_input=True)\n'
            "pipeline = Pipeline([task])\n"
        )
        script = """
            import sys, pdtcli
            with pdtcli.open_pipeline(sys.argv[1]) as pipeline:
                pipeline.repo("task.input").write("a", b"")
                print(pipeline.run().done, pipeline.task("task").status().done, pipeline.name == sys.argv[1])
        """

        assert python(script, tmp_path / "pipeline.py") == "1 1 True\n"
        assert (tmp_path / "done" / "a.yaml").exists()

    async def test_a_handle_can_be_used_where_an_event_loop_runs_already_as_in_a_notebook(self) -> None:
        source = InProcessMetadataRepository({"a": 1})
        task = pdtcli.InProcessSyncTask("task", InProcessMetadataRepository(), func=lambda job: None)
        task.link("input", source, is_input=True)
        pipeline = pdtcli.open_pipeline(Pipeline([task]))

        with pipeline:
            assert pipeline.run().done == 1
        assert pipeline.repo("task.done").ls() == {"a"}
        with pytest.raises(JobNotFound):
            pipeline.repo("task.done").read("b")
