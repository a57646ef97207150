"""Which processes are killed, when the loop ends, and what counts as expected."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chaos import crash_loop
from chaos.crash_loop import (
    CrashLoopOutcome,
    gave_up_ns,
    kill_until_given_up,
    others_disturbed,
    unmet_expectations,
)
from chaos.lab.figures import WATCHDOG, FaultFigures
from chaos.lab.recorder import SUPERVISORD, Event
from lib.process.supervisor import Process
from tests.log_lines import recorded

ROLE = "order_manager"
RECOVERED = FaultFigures(None, 5, 6, 7, 8, 9, ())
GOOD = CrashLoopOutcome(starts=11, fatal_ns=55, told_ns=1, disturbed=(), recovery=RECOVERED)


def test_every_new_process_is_killed_until_the_role_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def supervisor(name: str, pid: int = 0) -> Event:
        return recorded(1, SUPERVISORD, name, {"role": ROLE, "pid": pid})

    def kill(pid: int) -> None:
        killed.append(pid)
        events.append(supervisor("spawned", pid + 1) if pid < 4 else supervisor("given_up"))

    monkeypatch.setattr(crash_loop, "kill", kill)
    events = [supervisor("spawned", 1)]  # long ago
    killed: list[int] = []
    shown: list[str] = []
    assert kill_until_given_up(events, ROLE, 1, shown.append) == 3
    assert killed == [1, 2, 3, 4]
    assert shown[-1] == "start 3 was killed"


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
    assert unmet_expectations(ROLE, GOOD, retries=10) == []
    assert unmet_expectations(WATCHDOG, replace(GOOD, told_ns=None), retries=10) == []
