"""Which processes are killed, when the loop ends, and what counts as expected."""

from __future__ import annotations

import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from chaos.crash_loop import (
    CrashLoop,
    CrashLoopOutcome,
    gave_up_ns,
    kill,
    kill_until_given_up,
    others_disturbed,
    start_retries,
    unmet_expectations,
)
from chaos.lab.figures import WATCHDOG, FaultFigures
from chaos.lab.recorder import SUPERVISORD
from chaos.lab.target import known_roles
from lib.process.supervisor import Process
from tests.helpers import DEADLINE_S
from tests.log_lines import recorded

ROLE = "order_manager"
RECOVERED = FaultFigures(None, 5, 6, 7, 8, 9, ())
GOOD = CrashLoopOutcome(starts=11, fatal_ns=55, told_ns=1, disturbed=(), recovery=RECOVERED)


def sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])


class Supervisord(threading.Thread):
    """Starts a process `starts` times, each after the previous one has ended; then gives up."""

    def __init__(self, log: Path, first: subprocess.Popen[bytes], starts: int) -> None:
        super().__init__(daemon=True)
        self._log = log
        self._process = first
        self._starts = starts
        self.codes: list[int] = []

    def run(self) -> None:
        for _ in range(self._starts):
            self.codes.append(self._process.wait(DEADLINE_S))
            self._process = sleeper()
            self._say(f"INFO spawned: '{ROLE}' with pid {self._process.pid}")
        self.codes.append(self._process.wait(DEADLINE_S))
        self._say(f"INFO gave up: {ROLE} entered FATAL state, too many start retries too quickly")

    def _say(self, text: str) -> None:
        with self._log.open("a") as file:
            file.write(f"2026-11-22 17:04:04,100 {text}\n")


def test_every_new_process_is_killed_until_the_role_is_given_up(tmp_path: Path) -> None:
    log = tmp_path / "supervisord.log"
    log.write_text(f"2026-11-22 17:04:04,000 INFO spawned: '{ROLE}' with pid 1\n")  # long ago
    first = sleeper()
    supervisord = Supervisord(log, first, starts=3)
    supervisord.start()
    messages: list[str] = []
    assert kill_until_given_up(log, ROLE, first.pid, messages.append) == 3
    supervisord.join(DEADLINE_S)
    assert supervisord.codes == [-9] * 4
    assert messages[-1] == "start 3 was killed"


def test_a_process_that_has_ended_by_itself_need_not_be_killed() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait(DEADLINE_S)
    kill(process.pid)


@pytest.mark.parametrize("role", known_roles())
def test_every_role_is_tried_again(role: str) -> None:
    assert start_retries(role) > 0


def test_only_events_of_the_watchdog_about_this_role_count() -> None:
    events = [
        recorded(1, WATCHDOG, "role_ended", {"program": ROLE}),
        recorded(2, WATCHDOG, "role_gave_up", {"program": "gateway"}),
        recorded(3, WATCHDOG, "role_gave_up", {"program": ROLE}),
    ]
    assert gave_up_ns(ROLE, events) == 3
    assert gave_up_ns(ROLE, events[:2]) is None


def processes(**pids: int) -> dict[str, Process]:
    return {name: Process(name, "RUNNING", pid) for name, pid in pids.items()}


def test_other_roles_are_disturbed_if_they_ended_or_have_another_process() -> None:
    before = processes(order_manager=1, gateway=2, strategy=3)
    after = processes(order_manager=9, gateway=2, strategy=3)
    ended = [recorded(1, SUPERVISORD, "ended", {"role": ROLE})]
    assert others_disturbed(ROLE, ended, before, after) == ()
    ended.append(recorded(2, SUPERVISORD, "ended", {"role": "gateway"}))
    after = processes(order_manager=9, gateway=2, strategy=4)
    assert others_disturbed(ROLE, ended, before, after) == ("gateway", "strategy")


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        (replace(GOOD, fatal_ns=None), "supervisord did not give up on order_manager within 120 s"),
        (replace(GOOD, starts=10), "given up after 10 starts, expected 11 with 10 retries"),
        (replace(GOOD, starts=12), "given up after 12 starts, expected 11 with 10 retries"),
        (replace(GOOD, told_ns=None), "the watchdog did not log role_gave_up within 5 s"),
        (
            replace(GOOD, disturbed=("gateway", "strategy")),
            "also ended in between: gateway, strategy",
        ),
        (
            replace(GOOD, recovery=replace(RECOVERED, pending=("it is back", "a tick comes"))),
            "timed out waiting until it is back and until a tick comes",
        ),
    ],
)
def test_every_unmet_expectation_is_listed(outcome: CrashLoopOutcome, reason: str) -> None:
    assert unmet_expectations(ROLE, outcome, retries=10) == [reason]


def test_an_orderly_crash_loop_is_as_expected_and_the_watchdog_need_not_log_its_own() -> None:
    assert unmet_expectations(ROLE, GOOD, retries=10) == []
    assert unmet_expectations(WATCHDOG, replace(GOOD, told_ns=None), retries=10) == []


def test_reasons_name_the_crash_loop_they_are_about() -> None:
    experiment = CrashLoop(ROLE, 2)
    experiment.found = [GOOD, replace(GOOD, disturbed=("gateway",))]
    assert experiment.reasons() == ["crash loop 2: also ended in between: gateway"]
