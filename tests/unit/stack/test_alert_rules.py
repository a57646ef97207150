"""For what the operator is called, how often, and that a successor neither repeats nor forgets."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from msgspec import UNSET
from msgspec.structs import asdict

from lib.clock import MILLISECOND_NS, SECOND_NS, utc_stamp
from lib.process.log_events import LogEvent, definitions, name_of
from lib.settings import PROJECT_ROOT
from lib.stack.alert_rules import (
    ALERTED,
    EVERY_NS,
    MAX_TOPICS,
    RESUME_NS,
    Alert,
    AlertRules,
    BothClocks,
    LoggedEvent,
    read_logged_event,
)
from tests.log_lines import made

WALL_NS = 1_762_180_200 * SECOND_NS
"""The wall clock when the monotonic one shows 0."""


def line(at_ns: int, event: LogEvent, role: str = "") -> bytes:
    """The line that a role logs at this monotonic time."""
    role = role or next(one.roles[0] for one in definitions() if one.event is type(event))
    fields = {key: value for key, value in asdict(event).items() if value is not UNSET}
    envelope = {"timestamp": utc_stamp(WALL_NS + at_ns), "level": "error", "role": role}
    return json.dumps({**envelope, "event": name_of(type(event)), **fields}).encode()


class Alerts(AlertRules):
    """Takes what programs log, at so many seconds."""

    def __init__(self) -> None:
        super().__init__("/a/var")
        self.all_taken = True

    def log(self, at_s: float, program: str, name: str, /, **fields: Any) -> None:
        if entry := logged(at_s, program, name, **fields):
            self.all_taken &= self.take(entry, entry.at_ns)

    def sent(self, at_s: float) -> list[Alert]:
        alerts = iter(lambda: self.next_alert(round(at_s * SECOND_NS)), None)
        return list(alerts)

    def shown(self, at_s: float) -> list[tuple[str, str, int]]:
        return [(one.kind, one.role, one.suppressed) for one in self.sent(at_s)]


def logged(
    at_s: float, program: str, name: str, /, role: str = "", **fields: Any
) -> LoggedEvent | None:
    at_ns = round(at_s * SECOND_NS)
    raw = line(at_ns, made(name, **fields), role)
    return read_logged_event(program, raw, BothClocks(at_ns, WALL_NS + at_ns))


@pytest.fixture
def alerts() -> Alerts:
    return Alerts()


def test_an_alert_says_what_has_happened_to_whom(alerts):
    hung = {"program": "strategy", "pid": 7, "silent_s": 2.04, "where": "a.py, line 5"}
    alerts.log(1.5, "watchdog", "role_hung", **hung)
    assert alerts.sent(2) == [
        Alert(
            kind="role_hung",
            role="strategy",
            timestamp=utc_stamp(WALL_NS + 1500 * MILLISECOND_NS),
            level="error",
            message="strategy: hung for 2.0 s at a.py, line 5; killed",
            stack="/a/var",
            event=hung,
            suppressed=0,
        )
    ]
    assert alerts.sent(1000) == []


@pytest.mark.parametrize("kind", sorted(ALERTED, key=name_of), ids=name_of)
def test_each_kind_of_alert_is_readable_and_is_json(alerts, kind):
    event = made(name_of(kind), **({"ticks": 5} if name_of(kind) == "ticks_missed" else {}))
    alerts.take(LoggedEvent(0, "", "error", "gateway", event), 0)
    (alert,) = alerts.sent(1)
    assert alert.kind == name_of(kind)
    assert alert.message.startswith(f"{alert.role}: ")
    assert json.loads(json.dumps(alert.event)) == alert.event


def test_the_page_lists_all_kinds_of_alerts():
    page = (PROJECT_ROOT / "docs" / "operations.md").read_text()
    table = page.partition("| kind | when |\n")[2].partition("\n\n")[0]
    first_column = "".join(line.split("|")[1] for line in table.splitlines())
    assert set(re.findall("`(.+?)`", first_column)) == {name_of(kind) for kind in ALERTED}


def test_that_a_program_is_given_up_is_taken_from_supervisords_log(alerts):
    now = BothClocks(5 * SECOND_NS, WALL_NS)
    text = b"2025-11-03 14:30:00,123 INFO gave up: strategy entered FATAL state, too many tries"
    alerts.take(read_logged_event("supervisord", text, now), now.monotonic_ns)
    (alert,) = alerts.sent(5)
    assert (alert.kind, alert.role) == ("role_gave_up", "strategy")
    assert alert.message == "strategy: given up: FATAL state, too many tries"
    assert read_logged_event("supervisord", b"2025-11-03 14:30:00,123 INFO success: a", now) is None
    # The watchdog logs the same, if it has the time to.
    assert logged(1, "watchdog", "role_gave_up", program="strategy") is None


def test_what_is_no_alert_is_not_sent(alerts):
    for program, name in (
        ("order_manager", "trading_resumed"),
        ("watchdog", "role_ended"),
        ("watchdog", "started"),
        ("gateway", "started"),
    ):
        alerts.log(1, program, name)
    alerts.log(1, "strategy", "ticks_missed", where="ring", ticks=0)
    for former in ("", "b"):  # the stream was empty, or this host has written it before
        alerts.log(1, "uplink", "stream_claimed", host="b", former=former)
    for raw in (b"", b"Traceback:", b"{}", b'{"event": "tape_ended"}'):
        assert read_logged_event("gateway", raw, BothClocks(0, WALL_NS)) is None
    assert alerts.sent(2) == []


def test_there_is_one_a_minute_of_a_kind_and_role_and_the_latest_of_the_others_comes_after_it(
    alerts,
):
    alerts.log(0, "strategy", "ticks_missed", first=1)
    assert len(alerts.sent(0)) == 1
    for at_s in (10, 20, 30):
        alerts.log(at_s, "strategy", "ticks_missed", first=at_s)
    alerts.log(31, "orderbook", "ticks_missed")
    alerts.log(32, "watchdog", "role_hung", program="strategy")
    assert alerts.shown(40) == [("ticks_missed", "orderbook", 0), ("role_hung", "strategy", 0)]
    assert alerts.sent(59.999) == []
    (late,) = alerts.sent(60)
    assert (late.event["first"], late.suppressed) == (30, 2)
    alerts.log(119, "strategy", "ticks_missed", first=119)
    assert alerts.sent(119.999) == []
    assert alerts.shown(120) == [("ticks_missed", "strategy", 0)]


def test_whatever_has_waited_for_its_first_alert_comes_before_what_happens_all_the_time(alerts):
    for minute in range(1, 7):  # in which one alert of five that are due is sent
        for number in range(5):
            alerts.log(60 * minute, f"strategy-{number}", "ticks_missed")
        alert = alerts.next_alert(60 * minute * SECOND_NS)
        assert alert.role == f"strategy-{(minute - 1) % 5}"
    alerts.log(420, "order_manager", "trading_halted")
    assert alerts.next_alert(420 * SECOND_NS).kind == "trading_halted"


def test_what_is_remembered_is_bounded_and_forgotten_after_a_minute(alerts):
    for number in range(MAX_TOPICS):
        alerts.log(0, f"strategy-{number}", "ticks_missed")
    assert alerts.all_taken
    alerts.log(1, "strategy-0", "ticks_missed")  # there is room for what is known
    assert alerts.all_taken
    assert logged_is_taken(alerts, 1) is False
    assert len(alerts.sent(1)) == MAX_TOPICS
    assert logged_is_taken(alerts, 2) is False
    later_s = 1 + EVERY_NS / SECOND_NS
    assert not alerts.has_room(round((later_s - 1) * SECOND_NS))
    assert alerts.has_room(round(later_s * SECOND_NS))
    assert logged_is_taken(alerts, later_s) is True


def logged_is_taken(alerts: Alerts, at_s: float) -> bool:
    entry = logged(at_s, "one-more", "ticks_missed")
    assert entry
    return alerts.take(entry, entry.at_ns)


# A successor


def resumed(entries: list[LoggedEvent | None], began_s: float, now_s: float) -> Alerts:
    alerts = Alerts()
    found = [entry for entry in entries if entry]
    alerts.resume(found[::-1], round(began_s * SECOND_NS), round(now_s * SECOND_NS))
    return alerts


HALTED = logged(5, "order_manager", "trading_halted")
MISSED = logged(7, "strategy", "ticks_missed")


def test_the_first_process_of_a_stack_sends_only_what_has_happened_since_the_watchdog_started():
    assert resumed([HALTED, MISSED], 6, 8).shown(8) == [("ticks_missed", "strategy", 0)]
    assert resumed([HALTED, MISSED], 4, 8).shown(8) == [
        ("trading_halted", "order_manager", 0),
        ("ticks_missed", "strategy", 0),
    ]


def own(at_s: float, name: str) -> LoggedEvent | None:
    return logged(at_s, "watchdog", name, role="alerts")


def of(entry: LoggedEvent | None, at_s: float, name: str) -> LoggedEvent | None:
    """A line about the alert for this entry."""
    assert entry
    about = {"kind": name_of(type(entry.event)), "program": entry.program}
    return logged(at_s, "watchdog", name, happened_at=entry.timestamp, **about)


def test_a_successor_sends_what_happened_while_or_after_its_predecessor_was_at_work():
    # The watchdog was killed as well, and began anew at 9.
    for entries in ([own(1, "started"), HALTED, MISSED], [own(6, "started"), MISSED]):
        assert resumed(entries, 9, 10).shown(10)[-1] == ("ticks_missed", "strategy", 0)
    ended = [own(1, "started"), HALTED, own(6, "stopped"), MISSED]
    assert resumed(ended, 9, 10).shown(10) == [("trading_halted", "order_manager", 0)]
    # Another program's start is not that of a predecessor.
    assert resumed([logged(1, "watchdog", "started"), HALTED], 9, 10).sent(10) == []


@pytest.mark.parametrize("how", ["alert_sent", "alert_failed"])
def test_a_successor_repeats_nothing_and_keeps_to_one_a_minute(how):
    later = logged(8, "order_manager", "trading_halted")
    last = logged(9, "order_manager", "trading_halted")
    sent = [of(HALTED, 6, "alert_started"), of(HALTED, 7, how)]
    alerts = resumed([own(1, "started"), HALTED, *sent, MISSED, later, last], 2, 10)
    assert alerts.shown(10) == [("ticks_missed", "strategy", 0)]
    assert alerts.sent(65.999) == []
    (alert,) = alerts.sent(66)
    assert (alert.timestamp, alert.suppressed) == (last.timestamp, 1)


def test_a_successor_repeats_an_alert_that_may_not_have_been_sent_after_a_minute():
    alerts = resumed([own(1, "started"), HALTED, of(HALTED, 6, "alert_started")], 2, 10)
    assert alerts.sent(65.999) == []
    assert alerts.shown(66) == [("trading_halted", "order_manager", 0)]


def test_what_happens_while_the_command_runs_is_sent_after_it():
    later = logged(5.5, "order_manager", "trading_halted")
    sent = [of(HALTED, 5.1, "alert_started"), of(HALTED, 6, "alert_sent")]
    alerts = resumed([own(1, "started"), HALTED, later, *sent], 2, 10)
    assert alerts.shown(66) == [("trading_halted", "order_manager", 0)]


def test_what_is_long_over_is_not_sent():
    at_s = 8 + RESUME_NS / SECOND_NS
    assert resumed([own(1, "started"), HALTED, MISSED], 2, at_s).sent(at_s) == []


def test_what_is_old_in_a_log_that_is_read_again_from_its_start_is_no_alert(alerts):
    assert alerts.take(HALTED, 5 * SECOND_NS + RESUME_NS + 1)
    assert alerts.next_alert(5 * SECOND_NS + RESUME_NS + 1) is None
    assert alerts.take(HALTED, 5 * SECOND_NS + RESUME_NS)
    assert alerts.next_alert(5 * SECOND_NS + RESUME_NS)


def test_a_clock_that_was_set_back_keeps_no_alert_back(alerts):
    alerts.log(0, "strategy", "ticks_missed")
    assert len(alerts.sent(0)) == 1
    raw = line(-3600 * SECOND_NS, made("ticks_missed"))
    now = BothClocks(70 * SECOND_NS, WALL_NS - 3500 * SECOND_NS)
    assert alerts.take(read_logged_event("strategy", raw, now), now.monotonic_ns)
    assert len(alerts.sent(70)) == 1
    # In the log of a predecessor, a time in the future counts as now.
    entry = read_logged_event("a", line(SECOND_NS, made("tape_ended")), BothClocks(0, WALL_NS))
    assert entry.at_ns == 0
