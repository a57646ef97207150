"""The command line: what is written where, and what the exit code says."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from bench import __main__ as command
from bench.plan import FULL, QUICK
from bench.program import EXIT_NOT_WRITTEN
from bench.results import Recording
from lib.long_program import EXIT_INTERRUPTED

RECORDING = Recording(
    "then", "now", 1.0, True, "python -m bench", {}, {}, {}, (), (), (), (), (), (), (), (), ()
)


@pytest.fixture
def var_dir(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setenv("TRADING_VAR_DIR", str(tmp_path / "var"))
    return tmp_path / "var"


@pytest.fixture
def bench(var_dir: Path, monkeypatch) -> Callable[..., int]:
    """Call it with a command line, and with what a run then does."""

    def call(*arguments: str, outcome: Callable[..., Recording] = lambda *_: RECORDING) -> int:
        monkeypatch.setattr("sys.argv", ["bench", *arguments])
        monkeypatch.setattr(command, "run", outcome)
        return command.main()

    return call


def test_the_figures_are_in_the_var_directory_and_where_else_they_are_wanted(
    bench, var_dir: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert bench("--json", str(elsewhere / "figures.json")) == 0
    for file in (var_dir / "bench" / "results.json", elsewhere / "figures.json"):
        assert msgspec.json.decode(file.read_bytes(), type=Recording) == RECORDING
        assert [other.name for other in file.parent.iterdir()] == [file.name]


@pytest.mark.parametrize(("arguments", "plan"), [((), FULL), (("--quick",), QUICK)])
def test_the_quick_run_is_another_plan(bench, arguments: tuple[str, ...], plan) -> None:
    seen = []

    def outcome(*given) -> Recording:
        seen.append(given)
        return RECORDING

    bench(*arguments, outcome=outcome)
    [(asked, _, _, quick)] = seen
    assert (asked, quick) == (plan, plan is QUICK)


def test_figures_with_a_gap_are_figures(bench, var_dir: Path) -> None:
    recording = msgspec.structs.replace(RECORDING, gaps=("ZeroMQ: not installed",))
    assert bench(outcome=lambda *_: recording) == 0
    written = (var_dir / "bench" / "results.json").read_bytes()
    assert msgspec.json.decode(written, type=Recording).gaps == recording.gaps


def test_after_an_interruption_nothing_is_written(bench, var_dir: Path) -> None:
    def outcome(*_) -> Recording:
        os.kill(os.getpid(), signal.SIGINT)
        return RECORDING

    assert bench(outcome=outcome) == EXIT_INTERRUPTED
    assert not (var_dir / "bench").exists()


def test_figures_that_cannot_be_written_are_one_line(bench, var_dir: Path, capsys) -> None:
    var_dir.mkdir()
    (var_dir / "bench").touch()
    assert bench() == EXIT_NOT_WRITTEN
    [line] = capsys.readouterr().err.splitlines()
    assert "cannot write the figures" in line
    assert str(var_dir / "bench") in line


def test_a_file_that_cannot_be_written_is_refused_before_the_run(bench, tmp_path: Path) -> None:
    ran = []
    with pytest.raises(SystemExit) as ended:
        bench("--json", str(tmp_path / "none" / "x.json"), outcome=lambda *_: ran.append(True))
    assert (ended.value.code, ran) == (2, [])
