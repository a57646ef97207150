"""The command line of the bench chooses the plan, and writes the figures whole or not at all."""

from __future__ import annotations

import os
import signal

import msgspec
import pytest

from bench import __main__ as command
from bench.plan import CLUSTER, FULL, QUICK, WATCHED
from bench.results import Recording
from lib.settings import SettingsError
from lib.stack.long_program import EXIT_INTERRUPTED
from tests.recordings import recording


@pytest.fixture
def bench(tmp_path, monkeypatch):
    """Run the bench with a command line and a measurement; return its exit code."""

    def run(*arguments, measure=lambda *_: recording(gaps=["no browser"])):
        monkeypatch.setenv("TRADING_VAR_DIR", str(tmp_path))
        monkeypatch.setattr("sys.argv", ["bench", *arguments])
        monkeypatch.setattr(command, "run", measure)
        monkeypatch.setattr(command, "record_watched", measure)
        monkeypatch.setattr(command, "record_cluster", measure)
        return command.main()

    return run


@pytest.mark.parametrize(
    ("arguments", "plan", "name"),
    [
        ((), FULL, command.RESULTS),
        (("--quick",), QUICK, command.RESULTS),
        (("--watched",), WATCHED, command.WATCHED_RESULTS),
        (("--cluster",), CLUSTER, command.CLUSTER_RESULTS),
    ],
)
def test_the_figures_of_the_wanted_plan_are_written_and_their_gaps_printed(
    arguments, plan, name, bench, tmp_path, capsys
) -> None:
    asked = []

    def measure(*given) -> Recording:
        asked.append(given[0])
        return recording(gaps=["no browser"])

    assert bench(*arguments, measure=measure) == 0
    assert asked == [plan]
    [written] = (tmp_path / "bench").iterdir()
    assert written.name == name
    assert msgspec.json.decode(written.read_bytes(), type=Recording).gaps == ["no browser"]
    assert capsys.readouterr().err == "not measured: no browser\n"


def test_invalid_settings_are_reported_in_one_line(bench, monkeypatch, capsys) -> None:
    def invalid() -> None:
        raise SettingsError("trading.toml", "rate: must be a number")

    monkeypatch.setattr(command, "bench_dir", invalid)
    with pytest.raises(SystemExit, match="2"):
        bench()
    assert capsys.readouterr().err == "python -m bench: trading.toml: rate: must be a number\n"


def test_a_run_that_measured_nothing_leaves_the_old_figures(bench, tmp_path, capsys) -> None:
    assert bench() == 0
    before = (tmp_path / "bench" / command.RESULTS).read_bytes()
    nothing = Recording("", False, "", {}, {}, {}, FULL, gaps=["all: no supervisord"])
    assert bench(measure=lambda *_: nothing) == command.EXIT_NOT_WRITTEN
    assert (tmp_path / "bench" / command.RESULTS).read_bytes() == before
    assert "nothing was measured" in capsys.readouterr().err


def test_an_interruption_leaves_the_old_figures(bench, tmp_path) -> None:
    def interrupted(*_) -> Recording:
        os.kill(os.getpid(), signal.SIGINT)
        return recording(seconds=1.0)

    assert bench() == 0
    before = (tmp_path / "bench" / command.RESULTS).read_bytes()
    assert bench(measure=interrupted) == EXIT_INTERRUPTED
    assert (tmp_path / "bench" / command.RESULTS).read_bytes() == before
