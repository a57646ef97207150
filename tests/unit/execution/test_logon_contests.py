"""When two clients of one client_id replace each other, and when it is only one that reconnects."""

from __future__ import annotations

from lib.clock import SECOND_NS
from lib.execution.logon_contests import MAX_CLIENT_IDS, QUIET_NS, LogonContests
from lib.trading.order_client import ANSWER_LIMIT_NS
from lib.trading.order_connection import REPLACED_WAIT_NS


def reported(times_s: list[float]) -> list[float]:
    """The times at which a contest is reported, of replacements at these times."""
    contests = LogonContests()
    return [at for at in times_s if contests.replaced("strategy", int(at * SECOND_NS))]


def test_two_strategies_that_replace_each_other_are_reported_once():
    turn_s = 1.2 * REPLACED_WAIT_NS / SECOND_NS
    turns = [100 + number * turn_s for number in range(500)]
    assert reported(turns) == [turns[2]]


def test_after_it_was_quiet_a_contest_is_reported_again():
    quiet_s = QUIET_NS / SECOND_NS
    assert reported([1, 2, 3, quiet_s, quiet_s + 1, quiet_s + 2]) == [3]
    later = quiet_s + 4
    assert reported([1, 2, 3, later, later + 1, later + 2]) == [3, later + 2]


def test_a_client_that_gives_up_one_dead_connection_after_the_other_is_no_contest():
    every_s = ANSWER_LIMIT_NS / SECOND_NS
    assert reported([number * every_s for number in range(100)]) == []


def test_connections_that_have_waited_for_the_order_manager_together_are_no_contest():
    assert reported([10.0, 10.001, 10.02, 10.03, 10.04, 15.0]) == []


def test_clients_that_come_back_at_once_are_a_contest_too():
    assert len(reported([10 + number * 0.01 for number in range(100)])) == 1


def test_each_client_id_has_a_contest_of_its_own_and_not_without_end():
    contests = LogonContests()
    names = [f"client-{number}" for number in range(10 * MAX_CLIENT_IDS)]
    assert not any(contests.replaced(name, SECOND_NS) for name in names)
    assert len(contests._turns) == MAX_CLIENT_IDS
    assert [contests.replaced(names[-1], at * SECOND_NS) for at in (2, 3)] == [False, True]
