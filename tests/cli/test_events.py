"""What a run tells: its log lines, its counts, its display and its summary."""

from __future__ import annotations

import logging

import pytest

from pdtcli.cli.events import EventLog, Tally, both, duration, summary
from pdtcli.cli.progress import Display
from pdtcli.report import Counts, Event, Finished, Launched, Problem, Report, Surveyed


def failed(task: str, job: str) -> Finished:
    return Finished(task, job, False, {"return_code": 3, "duration": 2.5})


def done(task: str, job: str) -> Finished:
    return Finished(task, job, True, {"return_code": 0, "duration": 2.5})


class TestEventLog:
    @pytest.fixture(autouse=True)
    def everything(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG, "pdtcli.cli")

    @pytest.mark.parametrize(
        ("event", "level", "text"),
        [
            (Launched("t", "j"), logging.INFO, "t:j started"),
            (done("t", "j"), logging.INFO, "t:j done (2.5 s)"),
            (failed("t", "j"), logging.WARNING, "t:j failed: exit status 3"),
        ],
    )
    def test_an_event_is_a_line(self, caplog: pytest.LogCaptureFixture, event: Event, level: int, text: str) -> None:
        EventLog()(event)
        assert caplog.record_tuples == [("pdtcli.cli", level, text)]

    def test_a_problem_is_left_to_the_pipeline_which_logs_it(self, caplog: pytest.LogCaptureFixture) -> None:
        EventLog()(Problem("t", "j", "is odd"))
        assert caplog.messages == []

    def test_a_long_reason_is_cut(self, caplog: pytest.LogCaptureFixture) -> None:
        EventLog()(Finished("t", "j", False, {"exception": "x\n" * 200}))
        assert caplog.messages == ["t:j failed: " + ("x " * 50)[:99] + "…"]

    def test_after_many_failures_of_a_task_further_ones_are_details(self, caplog: pytest.LogCaptureFixture) -> None:
        log = EventLog(most=2)
        for number in range(5):
            log(failed("t", f"j{number}"))
        log(failed("u", "j"))
        warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
        assert warnings == [
            "t:j0 failed: exit status 3",
            "t:j1 failed: exit status 3",
            "t has more jobs that fail; -v shows them all",
            "u:j failed: exit status 3",
        ]


class TestSummary:
    def told(self, report: Report, *events: Event) -> list[str]:
        tally = Tally()
        for event in events:
            both(tally)(event)
        return summary(report, tally)

    def test_of_a_run_in_which_all_went_well(self) -> None:
        assert self.told(Report(launched=10, done=10, seconds=4)) == ["10 done in 4 s, 2.5 a second"]

    def test_of_one_in_which_some_failed(self) -> None:
        report = Report(launched=3, done=1, failed=2, seconds=0.25)
        assert self.told(report, failed("t", "a"), failed("u", "b")) == [
            "1 done, 2 failed in 0.25 s",
            "failed: t 1, u 1; run them again with 'pdt task retry TASK --all'",
        ]

    def test_failures_of_earlier_runs_count_too(self) -> None:
        earlier = Surveyed([Counts("t", failed=4), Counts("u")])
        assert self.told(Report(failed_before=4), earlier) == [
            "nothing to do",
            "failed earlier: t 4; run them again with 'pdt task retry t --all'",
        ]

    def test_what_is_left_is_named(self) -> None:
        assert self.told(Report(launched=2, live=2, ready=3, waiting=1, seconds=1)) == [
            "2 started; left: 2 live, 3 ready, 1 waiting"
        ]

    def test_problems_are_counted(self) -> None:
        assert self.told(Report(problems=1)) == ["1 problem"]


class TestDisplay:
    def counts(self, display: Display, task: str) -> tuple[int, ...]:
        bar = display.bars[task]
        return bar.waiting, bar.ready, bar.live, bar.done, bar.failed

    def test_the_counts_follow_the_events(self) -> None:
        display = Display()
        display(Surveyed([Counts("t", waiting=1, ready=2, done=3)]))
        display(Launched("t", "a"))
        display(Launched("t", "b"))
        display(Launched("t", "c"))
        display(failed("t", "a"))
        display(done("t", "b"))
        assert self.counts(display, "t") == (0, 0, 1, 4, 1)

    def test_a_survey_is_the_truth(self) -> None:
        display = Display()
        display(done("u", "a"))
        display(Surveyed([Counts("t", ready=5), Counts("u", live=2)]))
        assert list(display.bars) == ["t", "u"]
        assert self.counts(display, "u") == (0, 0, 2, 0, 0)

    def test_the_time_left_is_told_by_the_pace_of_late(self) -> None:
        display = Display()
        display(Surveyed([Counts("t", ready=40)]))
        bar = display.bars["t"]
        start = bar.samples[0][0]
        for number in range(20):
            display(Launched("t", str(number)))
            display(done("t", str(number)))
        assert bar.pace(start + 10) == "2/s  10 s left"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0123, "12 ms"), (0.5, "0.5 s"), (3.14159, "3.1 s"), (59.4, "59 s"), (62, "1 min 02 s"), (3725, "1 h 02 min")],
)
def test_durations_are_said_as_a_person_says_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text
