"""Backoff: first at once, then small random waits, then longer ones, and never a busy loop."""

from __future__ import annotations

from random import Random

from lib.clock import MILLISECOND_NS, SECOND_NS
from lib.net.backoff import Backoff


class Longest(Random):
    """Draws the longest wait that is allowed."""

    def randint(self, a, b):
        assert a == 0
        return b


def waits_ms(backoff: Backoff, began_ns: int, until_ns: int) -> list[tuple[float, float]]:
    """Fail at once, again and again. Returns (time since the beginning, wait), in ms."""
    waits = []
    now_ns = began_ns
    while now_ns < until_ns:
        wait_ns = backoff.next_wait_ns(now_ns)
        waits.append(((now_ns - began_ns) / MILLISECOND_NS, wait_ns / MILLISECOND_NS))
        now_ns += wait_ns + MILLISECOND_NS  # a refused connection takes a moment
    return waits


def test_the_first_try_is_at_once_and_the_bound_doubles_to_50_ms_and_after_5_s_is_one_second():
    waits = waits_ms(Backoff(Longest()), 0, 10 * SECOND_NS)
    assert [wait for _, wait in waits[:10]] == [0, 1, 2, 4, 8, 16, 32, 50, 50, 50]
    assert {wait for at, wait in waits[7:] if at < 5000} == {50}
    assert {wait for at, wait in waits if at >= 5000} == {1000}


def test_after_a_success_the_next_outage_begins_anew_however_long_the_last_one_was():
    backoff = Backoff(Longest())
    for _ in range(10_000):
        backoff.next_wait_ns(0)
    assert backoff.next_wait_ns(20 * SECOND_NS) == SECOND_NS
    backoff.succeeded()
    waits = waits_ms(backoff, 30 * SECOND_NS, 31 * SECOND_NS)
    assert [wait for _, wait in waits[:4]] == [0, 1, 2, 4]


def test_a_connection_that_is_cut_every_tenth_of_a_second_is_tried_for_at_once_each_time():
    backoff = Backoff(Longest())
    for cut in range(100):
        assert backoff.next_wait_ns(cut * 100 * MILLISECOND_NS) == 0
        backoff.succeeded()


def test_a_server_that_answers_and_then_breaks_the_protocol_is_not_called_in_a_busy_loop():
    backoff = Backoff(Random(7))
    now_ns, tries = 0, 0
    while now_ns < 20 * SECOND_NS:
        backoff.succeeded()
        now_ns += MILLISECOND_NS
        now_ns += backoff.next_wait_ns(now_ns)
        tries += 1
    assert tries < 400  # 5 s of 25 ms on average, then of half a second


def test_an_outage_goes_on_when_a_success_in_it_did_not_stand():
    backoff = Backoff(Longest())
    waits_ms(backoff, 0, 6 * SECOND_NS)
    last_try_ns = 8 * SECOND_NS + backoff.next_wait_ns(8 * SECOND_NS)
    backoff.succeeded()
    assert backoff.next_wait_ns(last_try_ns + MILLISECOND_NS) == SECOND_NS
    # Having failed again, it has no success to speak of.
    assert backoff.next_wait_ns(last_try_ns + 3 * SECOND_NS) == SECOND_NS
