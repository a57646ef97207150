"""Whether the stack is at work: the answer to /health, for probes that know no metrics. Pure.

What makes a stack unhealthy is a role that is not at work, and ticks, news, the ledger or the price
book that are not there. What a person or the tape has decided does not: a halt, and the end of a
tape, after which there are neither ticks nor news for them to meet. Nor does the age of the latest
order: price and news may disagree for as long as they like.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct
from msgspec.structs import asdict

from lib.settings import Settings

TICKS_LATE_S: Final = 5.0
"""How long no tick may come, at rates that bring several in that time."""
TICKS_LATE: Final = 3
"""At lower rates: how many ticks in a row may be late."""


class RoleHealth(Struct, frozen=True):
    """One program of supervisord."""

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
    is_news_in_force: bool
    has_tape_ended: bool
    is_halted: bool


class Health(Condition, frozen=True, kw_only=True):
    """The answer to /health."""

    is_healthy: bool
    problems: list[str]
    """What is wrong, a line each."""


def health(condition: Condition, settings: Settings) -> Health:
    """Judge what is seen."""
    problems = [*_of_roles(condition, settings.watchdog.hang_after)]
    for problem in (condition.supervisord, condition.price_book, condition.ledger):
        if problem:
            problems.append(problem)
    if not condition.has_tape_ended:
        problems += _of_streams(condition, settings.gateway.rate)
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


def _of_streams(condition: Condition, rate: float) -> list[str]:
    problems = []
    limit_s = max(TICKS_LATE_S, TICKS_LATE / rate) if rate else TICKS_LATE_S
    if condition.tick_age_s is None:
        problems.append("no tick has come yet")
    elif condition.tick_age_s > limit_s:
        problems.append(f"no tick for {condition.tick_age_s:.1f} s, over {limit_s:g} s")
    if not condition.is_news_in_force:
        problems.append("no news is in force: the strategy has had none for news_timeout, or ever")
    return problems
