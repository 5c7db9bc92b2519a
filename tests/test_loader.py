"""From what the user names to a pipeline: files, modules, names in them, and what may be wrong with each."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from pdtcli import LoadError, Pipeline
from pdtcli.loader import UserCodeError, discover, identity, load

GOOD = """
    from pdtcli import Pipeline
    pipeline = Pipeline([])
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current directory, whose modules are forgotten afterwards."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.delenv("PDT_PIPELINE", raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path / "here"
    for name in set(sys.modules) - before:
        if not name.startswith("pdtcli"):
            del sys.modules[name]


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text))
    return path


class TestNames:
    def test_a_file_is_asked_for_its_pipeline(self, here: Path) -> None:
        assert isinstance(load(str(write(here / "a.py", GOOD))), Pipeline)

    def test_or_for_another_name(self, here: Path) -> None:
        write(here / "a.py", "from pdtcli import Pipeline\nmine = Pipeline([])\n")

        assert isinstance(load("a.py:mine"), Pipeline)

    def test_or_for_a_function_that_makes_one(self, here: Path) -> None:
        write(here / "a.py", "from pdtcli import Pipeline\ndef make(): return Pipeline([])\n")

        assert isinstance(load("a.py:make"), Pipeline)

    def test_a_file_name_needs_no_python_ending(self, here: Path) -> None:
        write(here / "deep" / "my-pipeline 2.py", GOOD)

        assert isinstance(load("deep/my-pipeline 2.py"), Pipeline)

    def test_a_module_of_the_current_directory(self, here: Path) -> None:
        write(here / "package_one" / "__init__.py", "")
        write(here / "package_one" / "flow.py", GOOD)

        assert isinstance(load("package_one.flow"), Pipeline)
        assert isinstance(load("package_one.flow:pipeline"), Pipeline)

    def test_a_file_imports_what_lies_beside_it(self, here: Path) -> None:
        write(here / "sub" / "beside_it.py", "VALUE = 3\n")
        write(
            here / "sub" / "a.py", "from beside_it import VALUE\nfrom pdtcli import Pipeline\npipeline = Pipeline([])\n"
        )

        assert isinstance(load("sub/a.py"), Pipeline)

    def test_a_file_called_like_a_library_hides_nothing(self, here: Path) -> None:
        write(here / "yaml.py", GOOD)

        load("yaml.py")
        import yaml

        assert hasattr(yaml, "safe_load")

    @pytest.mark.parametrize("how", ["file", "function"])
    def test_relative_paths_start_at_the_file(self, here: Path, how: str) -> None:
        body = 'FileRepository("data").basedir'
        write(
            here / "sub" / "a.py",
            f"from pdtcli import *\nclass P(Pipeline): pass\nx = None\n"
            f"def make():\n    global x\n    x = {body}\n    return Pipeline([])\n"
            + ("" if how == "function" else "pipeline = make()\n"),
        )

        load("sub/a.py:make" if how == "function" else "sub/a.py")

        assert sys.modules["pdt_pipeline_a"].x == here / "sub" / "data"


class TestDiscovery:
    def test_the_nearest_pipeline_file_above(self, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write(here / "pipeline.py", GOOD)
        (here / "a" / "b").mkdir(parents=True)
        monkeypatch.chdir(here / "a" / "b")

        assert discover() == str(here / "pipeline.py")

    def test_the_environment_first(self, here: Path) -> None:
        write(here / "pipeline.py", GOOD)

        assert discover(environment={"PDT_PIPELINE": "other.py:x"}) == "other.py:x"

    def test_nothing(self, here: Path) -> None:
        with pytest.raises(
            LoadError, match=r"no pipeline\.py in .*: name a pipeline with --pipeline or \$PDT_PIPELINE"
        ):
            load()

    def test_all_ways_to_name_the_same_file_are_one(self, here: Path) -> None:
        write(here / "a.py", GOOD)
        (here / "link.py").symlink_to("a.py")

        assert len({identity(spec) for spec in ("a.py", "./a.py", str(here / "a.py"), "link.py", "a.py:pipeline")}) == 1
        assert identity("a.py") != identity("a.py:other")


class TestErrors:
    @pytest.mark.parametrize(
        ("spec", "sentence"),
        [
            ("missing.py", "the pipeline missing.py cannot be loaded: there is no such file"),
            ("./", "it is a directory"),
            ("no_such_module_anywhere", "there is no module no_such_module_anywhere"),
            ("not a module", "is neither a .py file nor a module"),
            ("good.py:not-a-name", "'not-a-name' cannot be a name"),
            ("good.py:absent", r"nothing called 'absent'; it has pipeline: name one as good.py:pipeline"),
            ("good.py:number", "'number' in good.py is not a pipeline but an int"),
            ("good.py:make_number", "'make_number' in good.py is not a pipeline but an int"),
            (":pipeline", "names no file and no module"),
            ("flow.yaml", "a pipeline is defined in a .py file or a module"),
            ("empty.py", "it defines no pipeline"),
        ],
    )
    def test_name_the_thing_and_the_reason(self, here: Path, spec: str, sentence: str) -> None:
        write(here / "good.py", GOOD + "    number = 3\n    def make_number(): return 3\n")
        write(here / "empty.py", "")

        with pytest.raises(LoadError) as caught:
            load(spec)

        assert sentence in str(caught.value)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        ("text", "sentence"),
        [
            ("x = (", "has a syntax error in line 1"),
            ("import no_such_thing", "ModuleNotFoundError: No module named 'no_such_thing'"),
            ("def f():\n    return 1 / 0\nf()", "ZeroDivisionError: division by zero"),
            ("import sys\nsys.exit(3)", "exits while it is loaded (exit code 3)"),
            ("import pdtcli\npdtcli.Resources.parse('many')", "'many' is not a quantity"),
            ("def pipeline():\n    raise KeyError('x')", "KeyError: 'x'"),
        ],
    )
    def test_of_the_user_s_code_show_the_user_s_frames(self, here: Path, text: str, sentence: str) -> None:
        write(here / "broken.py", text)

        with pytest.raises(UserCodeError) as caught:
            load("broken.py")

        assert sentence in str(caught.value)
        assert "broken.py" in caught.value.frames
        assert "loader.py" not in caught.value.frames

    def test_a_module_that_failed_can_be_loaded_once_it_is_mended(self, here: Path) -> None:
        write(here / "a.py", "raise ValueError")
        with pytest.raises(LoadError):
            load("a.py")
        write(here / "a.py", GOOD)

        assert isinstance(load("a.py"), Pipeline)
