"""A user's command gets its line; its time, its output and what it leaves behind are bounded."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

import pytest

from lib.process.run_identity import adopt_orphans, end_children
from lib.settings import PROJECT_ROOT
from lib.stack.bounded_command import LONGEST_NS, MAX_ERROR_BYTES, BoundedCommand
from tests.helpers import DEADLINE_S, wait_until
from tests.processes import forked

LINE = json.dumps({"message": "x" * 300_000}).encode() + b"\n"
"""More than a pipe holds."""


def run(command: str, line: bytes = LINE) -> str:
    """The outcome of a command, at the time of its start."""
    running = BoundedCommand(command, line, now_ns=0)
    outcomes: list[str] = []

    def has_ended() -> bool:
        outcome = running.outcome(0)
        if outcome is not None:
            outcomes.append(outcome)
        return outcome is not None

    wait_until(has_ended, "the command has ended")
    return outcomes[0]


def processes_with(mark: str) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and mark.encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
    return found


def test_it_gets_the_line_in_the_projects_root_and_without_supervisords_variables(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("SUPERVISOR_PROCESS_NAME", "watchdog")
    monkeypatch.setenv("TRADING_CONFIG", "mine.toml")
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "out"
    assert run(f"cat > {out}; env > {out}.env; pwd > {out}.pwd; echo said; echo bad >&2") == ""
    assert out.read_bytes() == LINE
    environment = Path(f"{out}.env").read_text()
    assert "TRADING_CONFIG=mine.toml\n" in environment
    assert "SUPERVISOR_" not in environment
    assert Path(f"{out}.pwd").read_text() == f"{PROJECT_ROOT}\n"


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("exit 3", "exit status 3"),
        (
            "echo first >&2; echo 'the last\tone' >&2; echo >&2; exit 3",
            "exit status 3: the last\\tone",
        ),
        ("printf %0300d 0 >&2; exit 1", f"exit status 1: {'0' * 200}…"),
        (r"printf '\377' >&2; exit 1", "exit status 1: �"),
        ("kill -9 $$", "signal 9"),
    ],
)
def test_a_failure_says_how_it_ended_and_the_last_line_of_its_standard_error(command, reason):
    assert run(command) == reason


def test_what_the_shell_cannot_run_is_a_failure():
    assert "no-such-program" in run("no-such-program")
    assert run("if").startswith("exit status 2: ")


@pytest.fixture
def mark(request, monkeypatch) -> str:
    """A variable in the environment of what a command starts, and of nothing else."""
    monkeypatch.setenv("TRADEWIRE_TEST", f"{request.node.name} {os.getpid()}")
    return f"TRADEWIRE_TEST={request.node.name} {os.getpid()}"


@pytest.mark.parametrize(("command", "outcome"), [("true", ""), ("sleep 99 & exit 1", "1")])
def test_neither_an_unread_line_nor_what_runs_on_keeps_it_from_its_end(mark, command, outcome):
    assert run(command).removeprefix("exit status ") == outcome
    wait_until(lambda: not processes_with(mark), "all have ended")


def test_what_has_left_its_group_ends_too_with_a_caller_that_adopts_it(mark, tmp_path):
    # Forked, as the caller ends whatever it has started.
    left = f"setsid sh -c 'touch {tmp_path}/left; sleep 99 & sleep 99'"

    def caller() -> None:
        adopt_orphans()
        assert run(f"{left} & while [ ! -e {tmp_path}/left ]; do sleep 0.01; done") == ""
        assert processes_with(mark)
        end_children(DEADLINE_S)
        assert not processes_with(mark)

    with forked(caller) as process:
        assert process.join() == 0


def test_one_that_takes_too_long_is_killed_with_what_it_has_started(mark):
    running = BoundedCommand("echo begun >&2; sleep 99 | sleep 99", LINE, now_ns=7)
    wait_until(lambda: len(processes_with(mark)) >= 2, "it runs")
    assert running.outcome(7 + LONGEST_NS - 1) is None
    assert running.outcome(7 + LONGEST_NS) == "takes over 10 s; killed: begun"
    wait_until(lambda: not processes_with(mark), "all have ended")


def test_one_that_floods_its_standard_error_is_killed():
    assert run("yes >&2") == f"writes {MAX_ERROR_BYTES:,} bytes to its standard error; killed: y"


def test_one_that_floods_its_standard_output_is_not_heard():
    assert run("head -c 10000000 /dev/zero") == ""


def test_one_that_is_stopped_says_why():
    running = BoundedCommand("sleep 99", LINE, now_ns=0)
    assert running.kill("the stack is stopping; killed") == "the stack is stopping; killed"
