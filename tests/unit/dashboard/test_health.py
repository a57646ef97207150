"""A stack is healthy while it is at work, and what is wrong is said in words."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from lib.dashboard.health import TICKS_LATE_S, WRITER_LATE_S, Condition, RoleHealth, health
from lib.dashboard.view import ClusterView, StreamView
from lib.settings import GatewaySettings, Settings, WatchdogSettings


def role(
    name: str, state: str = "RUNNING", is_up: bool = True, age_s: float | None = 0.2
) -> RoleHealth:
    return RoleHealth(name, state, is_up, age_s)


NAMES = ("gateway", "orderbook", "order_manager", "strategy")
WELL = Condition(
    roles={name: role(name) for name in NAMES},
    supervisord="",
    price_book="",
    ledger="",
    tick_age_s=0.1,
    news_age_s=0.4,
    order_age_s=None,
    is_news_in_force=True,
    has_tape_ended=False,
    have_news_ended=False,
    is_halted=False,
)


def problems(settings: Settings | None = None, **changed) -> list[str]:
    judged = health(replace(WELL, **changed), settings or Settings())
    assert judged.is_healthy == (not judged.problems)
    return judged.problems


def test_a_stack_at_work_is_healthy_whatever_the_age_of_its_last_order():
    assert problems() == []
    assert problems(order_age_s=1e6) == []
    assert problems(news_age_s=1e6) == []  # an old sentiment may still be in force
    judged = health(WELL, Settings())
    assert (judged.roles, judged.tick_age_s, judged.order_age_s) == (WELL.roles, 0.1, None)


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"roles": {"gateway": role("gateway", "FATAL", False, None)}}, "gateway is FATAL"),
        ({"roles": {"gateway": role("gateway", "STARTING", False, 0.1)}}, "gateway is STARTING"),
        (
            {"roles": {"gateway": role("gateway", age_s=2.5)}},
            "gateway has not completed a pass of its loop for 2.5 s",
        ),
        ({"supervisord": "the stack is being stopped"}, "the stack is being stopped"),
        ({"price_book": "no book"}, "no book"),
        ({"ledger": "ledger x: damaged"}, "ledger x: damaged"),
        ({"tick_age_s": None}, "no tick has come yet"),
        ({"tick_age_s": 7.0}, "no tick for 7.0 s, over 5 s"),
        ({"is_news_in_force": False}, "no news is in force"),
    ],
)
def test_each_of_these_is_a_problem(changed, problem):
    [said] = problems(**changed)
    assert said.startswith(problem)


def test_what_no_program_is_there_for_is_no_problem_and_all_is_while_no_program_is_known():
    wrong = {"price_book": "gone", "ledger": "lost", "tick_age_s": 7.0, "is_news_in_force": False}
    for left_out, count in (
        ((), 4),
        (("orderbook",), 2),
        (("order_manager",), 3),
        (("strategy",), 3),
        (("orderbook", "order_manager", "strategy"), 0),
        (NAMES, 4),
    ):
        roles = {name: role(name) for name in NAMES if name not in left_out}
        assert len(problems(roles=roles, **wrong)) == count
    second = {"second_strategy": role("strategy")}
    assert len(problems(roles=second, **wrong)) == 1


def test_news_of_which_nothing_is_known_are_no_problem():
    assert problems(is_news_in_force=None, news_age_s=None) == []


def test_several_problems_are_all_said():
    assert len(problems(price_book="gone", ledger="gone", tick_age_s=None)) == 3


def test_slow_ticks_may_be_late_by_their_own_pace_and_hasty_ones_may_not():
    slow = Settings(gateway=GatewaySettings(rate=0.1))
    assert problems(slow, tick_age_s=29.0) == []
    assert problems(slow, tick_age_s=31.0) == ["no tick for 31.0 s, over 30 s"]
    for rate in (0.0, 1e6):
        hasty = Settings(gateway=GatewaySettings(rate=rate))
        assert problems(hasty, tick_age_s=TICKS_LATE_S) == []
        assert len(problems(hasty, tick_age_s=TICKS_LATE_S + 0.1)) == 1


def test_a_role_is_as_late_as_the_watchdog_says_or_never():
    late = {"gateway": role("gateway", age_s=5.0)}
    assert problems(Settings(watchdog=WatchdogSettings(hang_after=6.0)), roles=late) == []
    assert problems(Settings(watchdog=WatchdogSettings(hang_after=0.0)), roles=late) == []


def test_what_was_decided_is_no_problem_a_halt_and_the_end_of_a_tape():
    assert problems(is_halted=True) == []
    over = {"has_tape_ended": True, "tick_age_s": 100.0, "is_news_in_force": False}
    assert problems(**over) == []
    assert problems(**over, price_book="gone") == ["gone"]
    assert problems(have_news_ended=True, is_news_in_force=False) == []
    assert len(problems(have_news_ended=True, tick_age_s=100.0)) == 1


STREAM = StreamView(
    stream="TW_PRICE",
    role="downlink",
    activity="following",
    writer="host-1",
    epoch=3,
    takeovers=0,
    last=7,
    position=100,
    lag=10**6,
    lag_s=60.0,
    heard_s=WRITER_LATE_S,
    p50_us=None,
    p99_us=None,
)


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        (
            {"activity": "no majority", "heard_s": 99.0},
            "downlink reaches no majority of the brokers: TW_PRICE has no leader",
        ),
        ({"heard_s": None}, "downlink has heard no writer of TW_PRICE yet"),
        ({"heard_s": 10.26}, "host-1, the writer of TW_PRICE, is silent: 10.3 s"),
    ],
)
def test_in_a_cluster_a_stream_needs_a_writer_and_a_majority(changed, problem):
    def of(*streams: StreamView) -> list[str]:
        return problems(cluster=ClusterView("host-2", list(streams)))

    assert of() == of(STREAM) == of(replace(STREAM, activity="standing by")) == []
    assert of(STREAM, replace(STREAM, **changed)) == [problem]
