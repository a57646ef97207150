"""A problem that is met again and again: when it is logged."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from lib.process.log_events import LedgerFailed
from lib.process.log_once import LogOnce

FULL, LOCKED = LedgerFailed(reason="full"), LedgerFailed(reason="locked")


@pytest.mark.parametrize(
    ("method", "reasons"),
    [
        (LogOnce.log_new, ["full", "locked", "full", "full"]),
        (LogOnce.log_first, ["full", "full"]),
    ],
)
def test_a_problem_is_logged_once_until_it_is_over(method, reasons):
    log = LogOnce()
    with capture_logs() as lines:
        assert not log.over()
        for problem in (FULL, FULL, LOCKED, FULL):
            method(log, problem)
        assert log.over()
        assert not log.over()
        method(log, FULL)
    assert [line["reason"] for line in lines] == reasons
