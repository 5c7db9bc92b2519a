"""Where relative paths start."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from pdtcli import FileRepository
from pdtcli.paths import absolute, anchored_at


def test_a_relative_path_starts_at_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute("data/in") == tmp_path / "data" / "in"


def test_a_relative_path_starts_at_the_anchor_where_there_is_one(tmp_path: Path) -> None:
    with anchored_at(tmp_path):
        assert absolute("../data") == tmp_path.parent / "data"


def test_an_absolute_path_is_itself(tmp_path: Path) -> None:
    with anchored_at("/elsewhere"):
        assert absolute(tmp_path) == tmp_path


def test_a_tilde_is_the_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert absolute("~/data") == tmp_path / "data"


def test_anchors_nest(tmp_path: Path) -> None:
    with anchored_at(tmp_path):
        with anchored_at("/other"):
            assert absolute("x") == Path("/other/x")
        assert absolute("x") == tmp_path / "x"


def test_symbolic_links_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/usr")
    assert absolute(tmp_path / "link") == tmp_path / "link"


def test_a_repository_stays_where_it_was_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with anchored_at(tmp_path):
        repository = FileRepository("data")
    monkeypatch.chdir("/")
    assert asyncio.run(repository.info("job")) == str(tmp_path / "data" / "job")
