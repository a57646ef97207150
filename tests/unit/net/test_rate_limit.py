"""The rate: a burst at once, then so many a second, and what is owed is paid for."""

from __future__ import annotations

from lib.net.rate_limit import RateLimit


def done(limit: RateLimit, times_ns: range) -> int:
    """How often it could be done, by who tries at these times."""
    count = 0
    for now_ns in times_ns:
        if now_ns >= limit.ready_ns:
            limit.take(now_ns)
            count += 1
    return count


def test_a_burst_is_done_at_once_and_the_rest_at_the_rate():
    limit = RateLimit(burst=5, interval_ns=100)
    assert done(limit, range(1000, 1100)) == 5
    assert done(limit, range(1100, 11100)) == 100


def test_after_a_quiet_time_there_is_a_burst_again_and_no_more():
    limit = RateLimit(burst=5, interval_ns=100)
    done(limit, range(1000, 2000))
    assert done(limit, range(1_000_000, 1_000_100)) == 5


def test_what_is_taken_beyond_the_burst_has_to_be_waited_for():
    limit = RateLimit(burst=5, interval_ns=100)
    limit.take(1000, times=25)
    assert limit.ready_ns == 1000 + 21 * 100
