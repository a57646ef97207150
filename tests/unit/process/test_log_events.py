"""What is logged is defined, is read as it was written, and is documented."""

from __future__ import annotations

import ast
import json
import typing

import numpy as np
import pytest
import structlog
from msgspec import UNSET
from structlog.testing import capture_logs

from lib.process import log_events
from lib.process.log_events import (
    OrdersBooked,
    RoleHung,
    Started,
    TicksLapped,
    TicksMissed,
    definitions,
    log_event,
    read_line,
)
from lib.process.logs import _to_json
from lib.settings import PROJECT_ROOT
from tests.log_lines import is_as_defined, made

MISSED = TicksMissed(first=3, last=9, where="strategy", tape="t")
LAPPED = TicksLapped(first=3, last=None, where="ring", tape="t", ticks=70)
HUNG = RoleHung(program="strategy", pid=7, silent_s=2.0)
SENT = made("order_sent", order_id=12, price=173.2, tape="t")
LOG_METHODS = {"debug", "info", "warning", "error", "critical", "exception", "log", "msg"}


def written(role: str, event: log_events.LogEvent, *level: typing.Any, **more: typing.Any) -> bytes:
    """The line that a role logs."""
    with capture_logs() as lines:
        log_event(structlog.get_logger(), event, *level, **more)
    fields = dict(lines[0])
    at = "2025-11-03T14:30:00.000001Z"
    return _to_json({"timestamp": at, "level": fields.pop("log_level"), "role": role, **fields})


def line(role: str, event: log_events.LogEvent, **more: object) -> bytes:
    """The same with other or further fields."""
    return json.dumps(json.loads(written(role, event)) | more).encode()


@pytest.mark.parametrize(
    ("role", "event", "level"),
    [
        ("gateway", Started(pid=7), "info"),
        ("strategy", MISSED, "warning"),
        ("strategy", LAPPED, "error"),
        ("watchdog", HUNG, "error"),  # where it hung is not known
        ("strategy:second", SENT, "info"),
        ("order_manager", OrdersBooked(filled=0, rejected=2, first_rejection="halted"), "info"),
    ],
)
def test_an_event_is_read_as_it_was_logged(role, event, level):
    read = read_line(line(role, event, unknown=[1]))
    assert (read.role, read.level, read.event) == (role, level, event)
    assert read.logged_at.isoformat() == "2025-11-03T14:30:00.000001+00:00"
    assert read_line(written(role, event, "debug")).level == "debug"


@pytest.mark.parametrize("mean", [float("nan"), np.float64(1.5), "none yet", [1, 2]])
def test_what_a_signal_explains_stands_beside_the_fields_and_never_in_their_place(mean):
    raw = written("strategy", SENT, more={"short_mean": mean, "mine": 2.0, "level": "x"})
    assert json.loads(raw)["mine"] == 2.0
    assert read_line(raw).event.order_id == SENT.order_id
    with pytest.raises(TypeError):
        written("strategy", SENT, more={"price": 1.0})


def test_roles_may_log_other_events_under_the_same_name_and_older_logs_lack_a_field():
    filled = made("order_filled", by="order_manager")
    assert read_line(line("order_manager", filled)).event == filled
    reported = read_line(line("strategy", filled)).event
    assert type(reported) is log_events.FillReported
    assert reported.answered_ns is UNSET


def test_an_event_that_is_not_defined_or_lacks_a_field_is_a_line_without_an_event():
    for raw in (
        line("gateway", SENT),
        line("tomorrow", Started(pid=7)),
        line("strategy", SENT, order_id="twelve"),
        b'{"role": "strategy", "event": "order_sent"}',
        b'{"role": "strategy", "event": "of_tomorrow", "first": 1}',
    ):
        read = read_line(raw)
        assert read.event is None
        assert read.name in ("order_sent", "started", "of_tomorrow")


@pytest.mark.parametrize(
    "raw",
    [
        b"Traceback (most recent call last):",
        b"{}",
        b"[1]",
        b'{"event": 7}',
        b"\xff",
        b'{"event": "x", "y": ' + b"[" * 50_000,
        b'{"event": "x", "role": "\xff"}',
    ],
)
def test_what_is_no_event_is_none(raw):
    assert read_line(raw) is None


def test_a_timestamp_that_does_not_say_when_is_none():
    for timestamp in ("yesterday", "2025-11-03T14:30:00"):
        assert read_line(line("gateway", Started(pid=7), timestamp=timestamp)).logged_at is None


# The definitions.


def test_every_event_is_defined_for_reading_and_has_a_meaning():
    events = {
        event for event in log_events.LogEvent.__subclasses__() if event.__subclasses__() == []
    }
    events |= set(log_events.CountedEvent.__subclasses__())
    assert events == {one.event for one in definitions()}
    for one in definitions():
        assert one.event.__doc__ != one.event.__mro__[1].__doc__
        assert set(one.roles) <= set(log_events.ROLES)


def calls_of_a_logger(source: str) -> list[str]:
    """The calls that log something else than a defined event."""
    return [
        ast.unparse(node)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in LOG_METHODS
        and "log" in ast.unparse(node.func.value).lower()
    ]


def test_nothing_is_logged_but_events_that_are_defined():
    for call in ("self._log.info(f'client_{event}')", "get_logger().bind(a=1).error('odd')"):
        assert calls_of_a_logger(call) == [call]
    found = {
        f"{path.relative_to(PROJECT_ROOT)}: {call}"
        for place in ("daemons", "lib")
        for path in (PROJECT_ROOT / place).rglob("*.py")
        for call in calls_of_a_logger(path.read_text(encoding="utf-8"))
    }
    assert found == set(), "define the event in lib/process/log_events.py and use log_event"


# The page.


def test_the_table_of_the_page_is_that_of_the_definitions():
    page = log_events.PAGE.read_text(encoding="utf-8")
    assert page == log_events.with_table(page), "stale: run python -m lib.process.log_events"


@pytest.mark.parametrize(
    ("changes", "is_defined"),
    [({}, True), ({"first": "three"}, False), ({"colour": "blue"}, False), ({"level": "x"}, False)],
)
def test_a_stack_under_test_is_held_to_the_definitions(changes, is_defined):
    raw = json.loads(line("strategy", MISSED, level="warning"))
    assert is_as_defined(json.dumps(raw | changes).encode()) is is_defined
