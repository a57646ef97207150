"""The process of the alerts is started again, ever later, and ends with its parent."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from structlog.testing import capture_logs

from lib.clock import SECOND_NS
from lib.process.alerts_process import LONGEST_WAIT_NS, AlertsProcess
from tests.helpers import wait_until


def waits_s(count: int, alive_ns: int) -> tuple[list[int], set[str]]:
    """How long it waits after each end, and the reasons that it logs."""
    now_ns = 0
    process = AlertsProcess(lambda: now_ns)
    waits = []
    with capture_logs() as lines:
        while len(waits) < count:
            assert process.next_deadline_ns() == now_ns
            process.on_time(now_ns)
            if len(lines) == len(waits):  # it has been started
                now_ns += alive_ns
                wait_until_ended(process, now_ns, lines)
            waits.append((process.next_deadline_ns() - now_ns) // SECOND_NS)
            now_ns = process.next_deadline_ns()
    assert {line["event"] for line in lines} == {"alerts_ended"}
    return waits, {line["reason"] for line in lines}


def wait_until_ended(process: AlertsProcess, now_ns: int, lines: list[Any]) -> None:
    before = len(lines)

    def has_ended() -> bool:
        process.on_time(now_ns)
        return len(lines) > before

    wait_until(has_ended, "its end is logged")


@pytest.mark.parametrize(
    ("program", "reason"),
    [("/bin/false", "exit status 1"), ("/no/such/python", "cannot be started: ")],
)
def test_one_that_does_not_live_is_started_again_ever_later(monkeypatch, program, reason):
    monkeypatch.setattr(sys, "executable", program)
    waits, (logged,) = waits_s(8, alive_ns=0)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
    assert logged.startswith(reason)


def test_one_that_has_lived_is_started_again_soon(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    assert waits_s(3, alive_ns=LONGEST_WAIT_NS + 1)[0] == [1, 1, 1]


def test_the_command_may_have_any_letters_whatever_the_locale(monkeypatch, tmp_path):
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "$@" > $0.asked\n')
    python.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(python))
    process = AlertsProcess(lambda: 0)
    process.on_time(0)
    wait_until_ended_quietly(process)
    assert (tmp_path / "python.asked").read_text() == "-X utf8 -m daemons.alerts\n"


def wait_until_ended_quietly(process: AlertsProcess) -> None:
    with capture_logs() as lines:
        wait_until_ended(process, 0, lines)


def test_it_is_asked_to_end_and_then_killed(monkeypatch, tmp_path):
    deaf = tmp_path / "deaf"
    deaf.write_text("#!/bin/sh\ntrap '' TERM\ntouch $0.ready\nwhile :; do sleep 0.05; done\n")
    deaf.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(deaf))
    monkeypatch.setattr("lib.process.alerts_process.END_S", 0.1)
    process = AlertsProcess(lambda: 0)
    process.close()  # nothing was started
    process.on_time(0)
    wait_until(lambda: (tmp_path / "deaf.ready").exists(), "it runs")
    process.close()
    with capture_logs() as lines:
        wait_until_ended(process, 0, lines)
    assert lines[0]["reason"] == "signal 9"
