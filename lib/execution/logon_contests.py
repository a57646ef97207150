"""Two clients of one client_id: each logon replaces the other's connection, again and again. Pure.

A client that restarts or reconnects may replace a stale connection of its own, once. A client that
is replaced by another one waits for a second and comes back: so what tells the two apart is that
the turns follow each other.

Clients of another make that come back more slowly are not recognised. From 2.5 s on, a single
client whose connections lead nowhere replaces one after the other in the same rhythm, and nothing
that the order manager sees (no process, a new port each time) says which of the two it is.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from lib.clock import MILLISECOND_NS, SECOND_NS

TURNS: Final = 3
"""One after the other they are a contest."""
TURN_NS: Final = 2 * SECOND_NS
"""How long after a turn the next one may follow. Below 2.5 s, which is how long a client waits for
answers before it gives up a dead connection, and replaces it."""
SAME_TURN_NS: Final = 100 * MILLISECOND_NS
"""Within this time, replacements are one turn: after a standstill of the order manager, all that a
single client has tried meanwhile arrives at once."""
QUIET_NS: Final = 60 * SECOND_NS
"""How long it must be quiet until a contest is a new one."""
MAX_CLIENT_IDS: Final = 1_000
"""Those replaced last are remembered."""


class _Turns(NamedTuple):
    number: int
    """How many have followed each other."""
    last_ns: int
    is_reported: bool


class LogonContests:
    """Notices contests, each once. Used from one thread."""

    def __init__(self) -> None:
        self._turns: dict[str, _Turns] = {}
        """By client_id, the one replaced last at the end."""

    def replaced(self, client_id: str, now_ns: int) -> bool:
        """Take note that a logon has replaced a connection of the same client_id.

        Returns whether that is a contest, to be reported now. `now_ns` is monotonic.
        """
        before = self._turns.pop(client_id, _Turns(0, now_ns - QUIET_NS - 1, False))
        since_ns = now_ns - before.last_ns
        if since_ns < SAME_TURN_NS:
            self._turns[client_id] = before
            return False
        number = before.number + 1 if since_ns <= TURN_NS else 1
        was_reported = before.is_reported and since_ns <= QUIET_NS
        is_contest = number >= TURNS
        self._turns[client_id] = _Turns(number, now_ns, was_reported or is_contest)
        if len(self._turns) > MAX_CLIENT_IDS:
            del self._turns[next(iter(self._turns))]
        return is_contest and not was_reported
