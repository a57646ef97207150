"""When to try a connection again: exponential backoff with full jitter.

Full jitter (a wait drawn evenly from zero to the bound) keeps many clients of one server from
coming back in step. Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog,
2015. The bound is small at first, because a restarted daemon is back within a fraction of a
second, and larger once the outage has lasted.
"""

from __future__ import annotations

from random import Random
from typing import Final

from lib.clock import MILLISECOND_NS, SECOND_NS

FIRST_BOUND_NS: Final = 1 * MILLISECOND_NS
EARLY_CAP_NS: Final = 50 * MILLISECOND_NS
"""The longest wait in the first `EARLY_NS` of an outage."""
EARLY_NS: Final = 5 * SECOND_NS
"""How long an outage counts as short."""
LATE_CAP_NS: Final = 1 * SECOND_NS
"""The longest wait after the first `EARLY_NS` of an outage."""
FLAPPING_NS: Final = 100 * MILLISECOND_NS
"""A connection lost this soon after the attempt has not ended the outage: otherwise a client would
reconnect in a busy loop to a server that answers and then breaks the protocol."""


class Backoff:
    """The waits of one outage. Pure: times go in (monotonic ns), waits come out."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._outage_began_ns: int | None = None
        self._failures = 0
        self._succeeded = False
        self._last_try_ns = 0

    def succeeded(self) -> None:
        """The connection works: the outage is over, unless it is lost within FLAPPING_NS."""
        self._succeeded = True

    def next_wait_ns(self, now_ns: int) -> int:
        """How long to wait before the next attempt. The first one of an outage is immediate."""
        stood = self._succeeded and now_ns - self._last_try_ns >= FLAPPING_NS
        self._succeeded = False
        if self._outage_began_ns is None or stood:
            self._outage_began_ns = now_ns
            self._failures = 0
            wait_ns = 0
        else:
            cap_ns = EARLY_CAP_NS if now_ns - self._outage_began_ns < EARLY_NS else LATE_CAP_NS
            # 2**20 ms is beyond either cap; the exponent is bounded so that the number is.
            bound_ns = min(cap_ns, FIRST_BOUND_NS << min(self._failures, 20))
            self._failures += 1
            wait_ns = self._random.randint(0, bound_ns)
        self._last_try_ns = now_ns + wait_ns
        return wait_ns
