"""Two clients of one client_id: each logon replaces the other's connection, again and again. Pure.

A client that restarts or reconnects may replace a stale connection of its own, once. A client that
is replaced by another one waits for a second and comes back: so a contest is recognised by
replacements in quick succession.

Foreign clients that come back more slowly are not recognised. From 2.5 s on, a single client whose
connections are black holes replaces them in the same rhythm, and nothing that the order manager
sees (no process, a new port each time) distinguishes the two.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from lib.clock import MILLISECOND_NS, SECOND_NS

TURNS: Final = 3
"""How many replacements in succession are a contest."""
TURN_NS: Final = 2 * SECOND_NS
"""The longest time between two replacements in succession. Shorter than a client waits for answers
before it gives up a dead connection and replaces it."""
SAME_TURN_NS: Final = 100 * MILLISECOND_NS
"""Replacements within this time count as one: after a stall of the order manager, all attempts of a
single client arrive at once."""
QUIET_NS: Final = 60 * SECOND_NS
"""How long there must be no replacement before a contest is reported again."""
MAX_CLIENT_IDS: Final = 1_000
"""How many client_ids are remembered, those replaced last."""


class _Turns(NamedTuple):
    number: int
    """The number of replacements in succession."""
    last_ns: int
    is_reported: bool


class LogonContests:
    """Detects contests, each once. Used from one thread."""

    def __init__(self) -> None:
        self._turns: dict[str, _Turns] = {}
        """By client_id, in the order of the last replacement."""

    def replaced(self, client_id: str, now_ns: int) -> bool:
        """Record that a logon has replaced a connection of the same client_id.

        Returns whether there is a contest to report now. `now_ns` is monotonic.
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
