"""What the bench says is only as good as its statistics, and the work that it makes for the peers."""

from __future__ import annotations

import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import pytest
from bench import picture, work
from bench.contest import PIPE, Contest, Contestant, Entry, Failed, Run, Spread, hold, run
from bench.result import Bound, faster, within

ENV = {"PATH": "/usr/bin:/bin"}
RUN = Run(seconds=1.0, complete=True, status=0, cpu=0.5, peak=2**24, first=None, lines=0, bytes=0, figure=1.0)


def taking(name: str, *seconds: float, units: float = 1.0, complete: bool = True, start: float = 0.0) -> Entry:
    runs = [replace(RUN, seconds=one, figure=one, complete=complete) for one in seconds]
    return Entry(Contestant(name, ["true"], units=units), runs, start)


def test_a_ratio_is_the_median_of_the_ratios_of_the_rounds() -> None:
    contest = Contest([taking("pdt", 1.0, 10.0, 3.0), taking("make", 2.0, 10.0, 2.0)])

    assert contest.ratio("pdt", "make") == Spread(1.0, 0.75, 1.25, 3)


def test_rates_are_compared_where_one_had_less_to_do_and_its_start_up_is_told_apart() -> None:
    contest = Contest([taking("pdt", 11.0, units=100, start=1.0), taking("luigi", 6.0, units=10, start=1.0)])

    assert contest.ratio("pdt", "luigi").middle == pytest.approx(0.2)


def test_a_bound_is_reached_by_the_median() -> None:
    contest = Contest([taking("pdt", 1.0, 1.1, 9.0), taking("ls", 1.0, 1.0, 1.0)])

    (near,) = within(contest, "pdt", "ls", 1.1)
    (far,) = within(contest, "pdt", "ls", 1.05)

    assert near.reached
    assert not far.reached
    assert not Bound("rate", Spread.of([0.8]), "≥", 0.9).reached


def test_who_was_stopped_is_slower_and_who_is_missing_is_left_out() -> None:
    contest = Contest([taking("pdt", 1.0), taking("doit", 60.0, complete=False)])

    (bound,) = faster(contest, "pdt", ["ninja", "doit"])

    assert bound.reached
    assert bound.at_most


def test_contestants_take_turns_until_they_fail(tmp_path: Path) -> None:
    turns: list[str] = []
    out: list[str] = []

    def turn(contestant: Contestant) -> Run:
        turns.append(contestant.name)
        if contestant.name == "bad":
            raise Failed("for a reason")
        return RUN

    contestants = [Contestant("a", []), Contestant("bad", []), Contestant("b", [], rounds=1)]
    contest = hold(contestants, 3, turn, lambda contestant, error: out.append(f"{contestant.name}: {error}"))

    assert turns == ["a", "bad", "b", "a", "a"]
    assert out == ["bad: for a reason"]
    assert list(contest.entries) == ["a", "b"]


def test_a_turn_counts_lines_and_waits_for_what_is_left_behind(tmp_path: Path) -> None:
    late = tmp_path / "late"
    script = f"echo one; echo two; (sleep 0.1; : >'{late}') >/dev/null &"

    taken = run(Contestant("sh", ["sh", "-c", script], stdout=PIPE), tmp_path, ENV)

    assert (taken.lines, taken.bytes, taken.complete) == (2, 8, True)
    assert taken.first is not None
    assert late.exists()


def test_a_turn_that_takes_too_long_is_stopped(tmp_path: Path) -> None:
    taken = run(Contestant("sleep", ["sleep", "60"], limit=0.2), tmp_path, ENV)

    assert not taken.complete
    assert taken.figure == pytest.approx(0.2)


def test_a_turn_that_fails_gives_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="ended with 3: no luck"):
        run(Contestant("sh", ["sh", "-c", "echo no luck >&2; exit 3"]), tmp_path, ENV)


def test_who_is_not_there_has_failed_and_the_contest_goes_on(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="could not be started: FileNotFoundError"):
        run(Contestant("gone", ["/nowhere/gone"]), tmp_path, ENV)


@pytest.mark.parametrize("tool", ["make", "ninja"])
def test_peers_find_nothing_to_do_in_a_tree_that_is_done(tmp_path: Path, tool: str) -> None:
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    work.tree(tmp_path, 20, done=True)
    work.ninja(tmp_path, 20, done=True)

    answer = subprocess.run([tool], cwd=tmp_path, env=ENV | {"LC_ALL": "C"}, capture_output=True, text=True, check=True)

    assert answer.stdout.strip() in ("make: Nothing to be done for 'all'.", "ninja: no work to do.")


def test_pdt_finds_nothing_to_do_in_a_tree_that_is_done(tmp_path: Path) -> None:
    work.tree(tmp_path, 20, done=True)

    answer = subprocess.run(
        [sys.executable, "-m", "pdtcli", "status"],
        cwd=tmp_path,
        env=ENV | {"HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=True,
    )

    assert "task\tready\t0\n" in answer.stdout
    assert "task\tdone\t20\n" in answer.stdout


def test_a_picture_has_a_curve_and_a_name_for_each_series() -> None:
    series = {
        "pdt tick": [picture.Point(1e3, 0.1), picture.Point(1e6, 2.0)],
        "doit": [picture.Point(1e3, 0.2), picture.Point(1e5, 60.0, complete=False)],
    }

    root = ElementTree.fromstring(picture.draw("A & B", series, "jobs", "s"))

    texts = [element.text for element in root.iter() if element.tag.endswith("text")]
    assert {"A & B", "pdt tick", "doit", "1 k", "1 M", "10 s", "100 ms"} <= set(texts)
