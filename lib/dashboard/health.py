"""Whether the stack is at work: the answer to /health, for probes that know no metrics. Pure.

What makes a stack unhealthy is a role that is not at work, and ticks, news, the ledger or the price
book that are not there, if a program has the role that they are for. What a person or the tape has
decided does not: a halt, the end of the news of a file, and the end of a tape, after which there
are neither ticks nor news for them to meet. Nor does the age of the latest order: price and news
may disagree for as long as they like. Nor does what is not known: whether news is in force is read
from the logs. In a cluster, a stream without a writer or a majority of the brokers does.
"""

from __future__ import annotations

from typing import Final

from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import asdict

from lib.dashboard.view import ClusterView, StreamView
from lib.process.log_events import ORDER_MANAGER, ORDERBOOK, STRATEGY
from lib.settings import Settings

TICKS_LATE_S: Final = 5.0
"""How long no tick may come, at rates that bring several in that time."""
TICKS_LATE: Final = 3
"""At lower rates: how many ticks in a row may be late."""
WRITER_LATE_S: Final = 10.0
"""How long the writer of a stream may be silent: longer than a takeover takes."""


class RoleHealth(Struct, frozen=True):
    """One program of supervisord."""

    role: str
    """Which role it runs."""
    state: str
    """supervisord's statename; "ENDED" before supervisord has noticed."""
    is_up: bool
    heartbeat_age_s: float | None


class Condition(Struct, frozen=True):
    """What is seen of the stack. Ages are None before the first one was seen."""

    roles: dict[str, RoleHealth]
    supervisord: str
    """Why the roles are unknown; "" if they are known."""
    price_book: str
    """Why the price book is not attached; "" if it is."""
    ledger: str
    """Why the ledger cannot be read; "" if it can."""
    tick_age_s: float | None
    news_age_s: float | None
    order_age_s: float | None
    """Since the latest answer to an order."""
    is_news_in_force: bool | None
    """None if it is not known: the log does not say, or no strategy is there."""
    has_tape_ended: bool
    have_news_ended: bool
    """Whether the sentiments are of a file, and all of them are published."""
    is_halted: bool
    cluster: ClusterView | UnsetType = UNSET
    """Only where the settings have [cluster]."""


class Health(Condition, frozen=True, kw_only=True):
    """The answer to /health."""

    is_healthy: bool
    problems: list[str]
    """What is wrong, a line each."""


def health(condition: Condition, settings: Settings) -> Health:
    """Judge what is seen."""
    problems = [*_of_roles(condition, settings.watchdog.hang_after)]
    if condition.supervisord:
        problems.append(condition.supervisord)
    roles = {one.role for one in condition.roles.values()} or {ORDERBOOK, STRATEGY, ORDER_MANAGER}
    goes_on = not condition.has_tape_ended
    if ORDERBOOK in roles and condition.price_book:
        problems.append(condition.price_book)
    if ORDER_MANAGER in roles and condition.ledger:
        problems.append(condition.ledger)
    if ORDERBOOK in roles and goes_on:
        problems += _of_ticks(condition, settings.gateway.rate)
    may_have_news = goes_on and not condition.have_news_ended
    if STRATEGY in roles and may_have_news and condition.is_news_in_force is False:
        problems.append("no news is in force: a strategy has had none for news_timeout")
    if condition.cluster is not UNSET:
        problems += [problem for one in condition.cluster.streams if (problem := _of_stream(one))]
    return Health(**asdict(condition), is_healthy=not problems, problems=problems)


def _of_roles(condition: Condition, hang_after_s: float) -> list[str]:
    problems = []
    for program, role in condition.roles.items():
        age_s = role.heartbeat_age_s
        if not role.is_up:
            problems.append(f"{program} is {role.state}")
        elif hang_after_s and age_s is not None and age_s > hang_after_s:
            problems.append(f"{program} has not completed a pass of its loop for {age_s:.1f} s")
    return problems


def _of_ticks(condition: Condition, rate: float) -> list[str]:
    problems = []
    limit_s = max(TICKS_LATE_S, TICKS_LATE / rate) if rate else TICKS_LATE_S
    if condition.tick_age_s is None:
        problems.append("no tick has come yet")
    elif condition.tick_age_s > limit_s:
        problems.append(f"no tick for {condition.tick_age_s:.1f} s, over {limit_s:g} s")
    return problems


def _of_stream(status: StreamView) -> str:
    """Return what is wrong with a stream of the cluster; "" if nothing is."""
    if status.activity == "no majority":
        return f"{status.role} reaches no majority of the brokers: {status.stream} has no leader"
    if status.heard_s is None:
        return f"{status.role} has heard no writer of {status.stream} yet"
    if status.heard_s > WRITER_LATE_S:
        return f"{status.writer}, the writer of {status.stream}, is silent: {status.heard_s:.1f} s"
    return ""
