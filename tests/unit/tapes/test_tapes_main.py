"""python -m lib.tapes FILE: what it prints, its exit codes, and that it changes nothing."""

from __future__ import annotations

import json
import os
import pty
import resource
import signal
import sys
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

import pytest

from lib.settings import PROJECT_ROOT
from lib.tapes import __main__ as program
from lib.tapes.recording_files import parts_directory
from tests.helpers import DEADLINE_S, wait_until

ENDLESS = "SELECT 'AAPL' AS symbol, sum(range % 7) AS price FROM range(1000000000000)"
"""Takes hours, and little memory."""


@pytest.fixture
def environment(tmp_path) -> dict[str, str]:
    """Without settings of a stack; temporary files are looked at."""
    (tmp_path / "tmp").mkdir()
    kept = {key: value for key, value in os.environ.items() if not key.startswith("TRADING_")}
    return kept | {"TMPDIR": str(tmp_path / "tmp"), "COLUMNS": "60", "PYTHONIOENCODING": "utf-8"}


@pytest.fixture
def start(environment):
    def _start(*arguments: Any, **options: Any) -> Popen[str]:
        command = [sys.executable, "-m", "lib.tapes", *map(str, arguments)]
        options = {"stdout": PIPE, "stderr": PIPE, "env": environment, **options}
        return Popen(command, cwd=PROJECT_ROOT, text=True, **options)

    return _start


@pytest.fixture
def run(start, tmp_path):
    """Run it; return its exit code, output and errors. It must leave no temporary file."""

    def _run(*arguments: Any, **options: Any) -> tuple[int, str, str]:
        process = start(*arguments, **options)
        output, errors = process.communicate(timeout=DEADLINE_S)
        assert list((tmp_path / "tmp").iterdir()) == []
        return process.returncode, output, errors

    return _run


@pytest.fixture
def file(tmp_path) -> Path:
    path = tmp_path / "tape.csv"
    path.write_text("symbol,price\nAAPL,185.23\nMSFT,0.00000001\nAAPL,9000000000\nAAPL,185.67\n")
    return path


def test_programs_get_exact_prices_by_symbol_in_the_order_of_playing(run, file):
    code, output, errors = run(file, "--symbols", "AAPL,MSFT", "--json")
    assert (code, errors) == (0, "")
    assert json.loads(output) == {
        "ticks": 4,
        "symbols": {
            "AAPL": {"ticks": 3, "first": "185.23", "last": "185.67"},
            "MSFT": {"ticks": 1, "first": "0.00000001", "last": "0.00000001"},
        },
        "skipped": 0,
        "warnings": [],
        "error": None,
    }


def test_people_get_the_same_as_text_with_a_chart(run, file):
    code, output, errors = run(file, "--symbols", "AAPL,MSFT")
    assert (code, errors) == (0, "")
    assert output.startswith(f"{file}\n")
    rows = [" ".join(line.split()) for line in output.splitlines()]
    assert "AAPL 3 75.0 % 185.23 185.67 185.23 9000000000.00" in rows
    assert "3 AAPL 9000000000.00" in rows
    assert "█" in output
    assert rows[-1] == "skipped: 0 of 4 rows (0.0 %)"


def test_a_terminal_without_utf8_gets_a_chart_in_ascii(run, file, environment):
    code, output, _ = run(file, env=environment | {"PYTHONIOENCODING": "ascii"})
    assert code == 0
    assert output.isascii()
    assert "#" in output


def test_a_file_that_cannot_be_played_is_one_line_and_the_same_for_programs(run, tmp_path):
    missing = tmp_path / "missing.csv"
    code, output, errors = run(missing)
    assert (code, output) == (1, "")
    assert errors.count("\n") == 1
    assert str(missing) in errors
    code, output, nothing = run(missing, "--json")
    assert (code, nothing) == (1, "")
    assert json.loads(output) == {
        "ticks": 0, "symbols": {}, "skipped": 0, "warnings": [], "error": errors.rstrip("\n"),
    }  # fmt: skip


def test_the_symbols_are_those_of_the_settings_unless_they_are_given(run, tmp_path, file):
    config = tmp_path / "trading.toml"
    config.write_text('symbols = ["MSFT"]\n[price_book]\nring_capacity = 1000\n')
    _, output, _ = run(file, "--json", "--config", config)
    assert list(json.loads(output)["symbols"]) == ["MSFT"]
    _, output, _ = run(file, "--json", "--config", config, "--symbols", "AAPL")
    assert list(json.loads(output)["symbols"]) == ["AAPL"]


def test_the_symbol_of_a_file_without_one_is_that_of_the_settings_unless_it_is_given(run, tmp_path):
    (file := tmp_path / "close.csv").write_text("time,close\n1,5\n")
    config = tmp_path / "trading.toml"
    config.write_text('[gateway]\nsymbol = "MSFT"\n')
    for arguments, symbol in (((), "MSFT"), (("--symbol", "AAPL"), "AAPL")):
        _, output, _ = run(file, "--json", "--config", config, *arguments)
        assert list(json.loads(output)["symbols"]) == [symbol]


def test_sql_instead_of_a_file(run, file):
    query = f"SELECT symbol, price FROM '{file}' WHERE symbol = 'MSFT'"
    code, output, _ = run("--query", query, "--json")
    assert (code, json.loads(output)["ticks"]) == (0, 1)
    code, again, _ = run(file, "--query", query, "--json")  # FILE and the query that reads it
    assert (code, again) == (0, output)


def test_news(run, tmp_path):
    (file := tmp_path / "news.csv").write_text("sentiment\n55\n0\n")
    code, output, _ = run(file, "--news")
    assert code == 0
    assert "sentiment 2 100.0 % 55.00 0.00 0.00 55.00" in " ".join(output.split())
    code, output, _ = run(file, "--news", "--json")
    assert json.loads(output) == {"sentiments": 2, "skipped": 0, "warnings": [], "error": None}


WRONG = {
    "nothing": [],
    "an unknown option": ["a.csv", "--sybols", "A"],
    "an empty symbol": ["a.csv", "--symbols", "A,,B"],
    "a symbol twice": ["a.csv", "--symbols", "A,A"],
    "a long symbol": ["a.csv", "--symbols", "A" * 17],
    "a time order": ["a.csv", "--time-order", "up"],
    "a query that reads another file": ["a.csv", "--query", "SELECT * FROM 'b.csv'"],
    "a plot that is no picture": ["a.csv", "--plot", "a.txt"],
    "a plot in a directory that is not there": ["a.csv", "--plot", "/nowhere/a.png"],
    "a recording of no file": ["record"],
    "a recording that is no Parquet": ["record", "a.csv"],
    "a recording in a directory that is not there": ["record", "/nowhere/a.parquet"],
    "no time": ["record", "--minutes", "0", "a.parquet"],
    "joining for a time": ["record", "--join", "--minutes", "1", "a.parquet"],
}


@pytest.mark.parametrize("arguments", WRONG.values(), ids=WRONG)
def test_a_wrong_command_line_is_one_line_and_exit_code_2(run, arguments):
    code, output, errors = run(*arguments)
    assert (code, output) == (2, "")
    assert errors.count("\n") == 1
    assert errors.startswith("python -m lib.tapes")


def no_room() -> None:
    """Let this process write no file, as if the disk were full."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def test_a_full_disk_is_one_line(run, file):
    code, _, errors = run(file, preexec_fn=no_room)
    assert code == 1
    assert errors.startswith("cannot make a temporary directory: No usable")
    assert errors.count("\n") == 1


def test_joining_what_is_not_there_says_so(run, tmp_path):
    file = tmp_path / "a.parquet"
    code, output, errors = run("record", "--join", file)
    assert (code, output) == (1, "")
    assert errors.startswith(f"nothing to join: {file}.parts is not there")
    assert errors.count("\n") == 1


def test_joining_a_recording_without_a_part_says_so(run, tmp_path):
    file = tmp_path / "a.parquet"
    parts_directory(file).mkdir()
    assert run("record", "--join", file) == (1, f"no part was written: no {file}\n", "")
    assert not parts_directory(file).exists()


def test_invalid_settings_are_one_line_and_exit_code_78(run, file, tmp_path):
    (config := tmp_path / "trading.toml").write_text("symbols = 5\n")
    for arguments in ([file], ["record", tmp_path / "a.parquet"]):
        code, output, errors = run(*arguments, "--config", config)
        assert (code, output, errors.count("\n")) == (78, "", 1)
        assert "symbols" in errors


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_at_once_and_leaves_nothing(start, tmp_path, number):
    process = start("--query", ENDLESS)
    wait_until(lambda: list((tmp_path / "tmp").glob("*/*")), "it prepares")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.send_signal(number)
    output, errors = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, output, errors) == (130, "", "stopped; nothing is changed\n")
    assert list((tmp_path / "tmp").iterdir()) == []
    assert len(children) == 1
    assert not Path(f"/proc/{children[0]}").exists()


def test_a_reader_that_is_gone_ends_it_silently(start, file):
    reader, writer = os.pipe()
    os.close(reader)
    process = start(file, stdout=writer)
    os.close(writer)
    _, errors = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, errors) == (-signal.SIGPIPE, "")


def test_a_terminal_shows_a_bar_while_it_prepares(start, tmp_path):
    ours, theirs = pty.openpty()
    process = start("--query", ENDLESS, stderr=theirs)
    os.close(theirs)
    shown = b""
    while b"%" not in shown:
        shown += os.read(ours, 1000)
    process.terminate()
    process.wait(DEADLINE_S)
    os.close(ours)
    assert shown.startswith(b"\r[")


def test_elsewhere_a_line_every_few_seconds_says_how_far_it_is(monkeypatch, capsys):
    times = iter([0.0, 1.0, 3.5, 3.5, 4.0, 7.0, 7.0])
    monkeypatch.setattr(program.time, "monotonic", lambda: next(times))
    progress = program._ProgressDisplay()
    for share in (0.1, 0.4, 0.5, 0.9):
        progress.show("reading", share)
    progress.end()
    assert capsys.readouterr().err.splitlines() == [" 40% reading", " 90% reading"]


def test_a_plot_is_a_picture(run, file, tmp_path):
    pytest.importorskip("matplotlib", reason="plots need matplotlib: requirements-bench.txt")
    for name, begins in (("a.png", b"\x89PNG"), ("a.svg", b"<?xml")):
        code, _, errors = run(file, "--plot", tmp_path / name)
        assert (code, errors) == (0, "")
        assert (tmp_path / name).read_bytes().startswith(begins)


def test_without_matplotlib_a_line_says_where_it_is(run, file, tmp_path, environment):
    (hidden := tmp_path / "hidden").mkdir()
    (hidden / "matplotlib.py").write_text("raise ImportError('none here')\n")
    env = environment | {"PYTHONPATH": str(hidden)}
    code, _, errors = run(file, "--plot", tmp_path / "a.png", env=env)
    assert (code, errors.count("\n")) == (1, 1)
    assert "requirements-bench.txt" in errors
