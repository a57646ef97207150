"""Whether the ledger can be used, also while no order comes: looked at, and logged."""

from __future__ import annotations

from typing import Final

import structlog

from lib.clock import SECOND_NS
from lib.errors import CannotStartError
from lib.ledger.schema import DamagedLedgerError, ForeignLedgerError, LedgerError, command
from lib.ledger.writer import Ledger
from lib.process.log_events import LedgerFailed, LedgerLost, LedgerRecovered, log_event
from lib.process.log_once import LogOnce

LOOK_NS: Final = SECOND_NS // 2
"""How often to look whether the ledger is still there."""


class LedgerWatch:
    """Looks after the ledger while no order comes, and logs its failures and their ends once.

    The first look opens it. If it cannot be used, each look and each order tries again; until one
    succeeds, orders are answered with the reason.
    """

    def __init__(self, ledger: Ledger, now_ns: int) -> None:
        self._log = structlog.get_logger()
        self._ledger = ledger
        self._failure = LogOnce()
        self._next_look_ns = now_ns + LOOK_NS
        self._look_failed = False

    def next_deadline_ns(self) -> int:
        """When to look again."""
        return self._next_look_ns

    def on_time(self, now_ns: int) -> None:
        """Look whether the ledger is there. Raises CannotStartError, as `look` does."""
        self._next_look_ns = now_ns + LOOK_NS
        if not self._ledger.has_recorded:  # its commit will look
            self.look()

    def look(self) -> None:
        """Look whether the ledger is there.

        Raises CannotStartError if the operator has to act before it can be opened: at the start, or
        later, if another order manager wrote it until now.
        """
        try:
            self._ledger.look()
        except LedgerError as error:
            if not self._ledger.was_opened and isinstance(error, ForeignLedgerError):
                raise CannotStartError(str(error)) from None
            if not self._ledger.was_opened and isinstance(error, DamagedLedgerError):
                look = command(self._ledger.path, "--check")
                raise CannotStartError(f"{error}; look at it with {look}") from None
            self.failed(str(error))
            self._look_failed = True
        else:
            # Of a failure to write, a look does not show whether it is over.
            if self._look_failed:
                self.works()

    def failed(self, reason: str) -> None:
        """Note that the ledger cannot be used."""
        self._look_failed = False
        ledger = str(self._ledger.path)
        is_lost = self._ledger.lost is not None
        self._failure.log_new(
            LedgerLost(ledger=ledger, reason=reason) if is_lost else LedgerFailed(reason=reason)
        )

    def works(self) -> None:
        """Note that the ledger can be used."""
        self._look_failed = False
        if self._failure.over():
            log_event(self._log, LedgerRecovered(ledger=str(self._ledger.path)))
