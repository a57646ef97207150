"""A program that records figures writes them whole, or says why not."""

from __future__ import annotations

import os
import signal

import msgspec
import pytest

from bench.program import EXIT_NOT_WRITTEN, run_recorder
from bench.results import WatchedRecording
from lib.long_program import EXIT_INTERRUPTED, CommandLine

FIGURES = WatchedRecording("2026-01-02T", {}, 2e3, (), ("no browser",))


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run a recorder with a command line."""

    def run_with(record, *arguments, file=tmp_path / "new" / "figures.json"):
        monkeypatch.setattr("sys.argv", ["recorder", *map(str, arguments)])
        return run_recorder(CommandLine("recorder", "Records."), file, lambda _: record())

    return run_with


def test_the_figures_are_written_where_they_are_wanted_and_their_gaps_are_printed(
    run, tmp_path, capsys
):
    for file, arguments in (("new/figures.json", ()), ("x.json", ("--json", tmp_path / "x.json"))):
        assert run(lambda: FIGURES, *arguments) == 0
        written = (tmp_path / file).read_bytes()
        assert msgspec.json.decode(written, type=WatchedRecording) == FIGURES
        assert capsys.readouterr().err == "not measured: no browser\n"


def test_a_place_that_cannot_be_written_is_named(run, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert run(lambda: FIGURES, file=tmp_path / "file" / "figures.json") == EXIT_NOT_WRITTEN
    assert f"{tmp_path}/file" in capsys.readouterr().err


def test_a_file_that_cannot_be_written_is_refused_before_the_run(run, tmp_path):
    with pytest.raises(SystemExit) as ended:
        run(lambda: pytest.fail("it ran"), "--json", tmp_path / "none" / "x.json")
    assert ended.value.code == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interruption_leaves_the_old_figures(run, tmp_path, number):
    run(lambda: FIGURES)

    def interrupted() -> WatchedRecording:
        os.kill(os.getpid(), number)
        return FIGURES

    before = (tmp_path / "new" / "figures.json").stat()
    assert run(interrupted) == EXIT_INTERRUPTED
    assert (tmp_path / "new" / "figures.json").stat().st_mtime_ns == before.st_mtime_ns
