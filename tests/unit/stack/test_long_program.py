"""The frame of a long program: its command line, its interruption, its figures."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from lib.stack.long_program import (
    EXIT_INTERRUPTED,
    CommandLine,
    Interrupted,
    interruptible,
    output_file,
    run_interruptible,
    write_json,
)

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.mark.parametrize(
    "options", [["--json", "/no/such/directory/x.json"], ["--json", "/tmp"], ["--js", "/tmp/x"]]
)
def test_a_wrong_command_line_is_one_line_and_exit_code_2(options, capsys) -> None:
    parser = CommandLine("program", "Does things.")
    parser.add_argument("--json", type=output_file)
    assert parser.parse_args(["--json", "/tmp/x"]).json == Path("/tmp/x")
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(options)
    assert ended.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("program: ")


def test_figures_are_written_whole_beside_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "figures.json"
    for figures in ({"a": [1, 2.5, None]}, {"b": {}}):
        write_json(figures, file)
        assert json.loads(file.read_text()) == figures
        assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize("number", SIGNALS)
def test_clean_up_after_a_signal_is_not_interrupted_by_a_second_one(number: signal.Signals) -> None:
    before, cleaned = signal.getsignal(number), []

    def measure() -> None:
        with interruptible():
            try:
                signal.raise_signal(number)
            except Exception:  # a handler of errors must not stop it
                cleaned.append(False)
            finally:
                for other in SIGNALS:
                    signal.raise_signal(other)
                cleaned.append(True)

    with pytest.raises(Interrupted):
        measure()
    assert cleaned == [True]
    assert signal.getsignal(number) is before


def test_an_interrupted_program_says_what_that_means_and_ends_with_130(capsys) -> None:
    def with_reason() -> int:
        raise Interrupted("cannot be undone")

    assert run_interruptible(lambda: 7, "interrupted") == 7
    assert capsys.readouterr().err == ""
    assert run_interruptible(lambda: signal.raise_signal(2), "interrupted") == EXIT_INTERRUPTED
    assert capsys.readouterr().err == "interrupted\n"
    assert run_interruptible(with_reason, "interrupted") == EXIT_INTERRUPTED
    assert capsys.readouterr().err == "cannot be undone\n"
