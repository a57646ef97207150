"""The price book of this process's own stack: found, checked, released.

A second stack easily keeps the name in the settings, and a role that attached by name alone would
trade on another stack's prices. So a role that supervisord has started attaches only to a segment
of its own run; the segment says which run that is. A role that was started by hand is a run of its
own and takes any segment of the name.

Roles attach in no other way: those that trade with `RolePriceBook`, an observer of the stack with
`OwnPriceBook`.
"""

from __future__ import annotations

from typing import Final

import structlog

from lib.clock import MILLISECOND_NS
from lib.price_book.book import PriceBookError, SharedPriceBook
from lib.price_book.clean_up import belongs_to_another_stack
from lib.process.log_events import Detached, PriceBookLost, PriceBookUnusable, log_event
from lib.process.log_once import LogOnce
from lib.process.run_identity import current_run, is_alive, is_supervised

LOOK_NS: Final = 50 * MILLISECOND_NS
"""How often to look for a price book while there is none."""
NAME_LOOK_NS: Final = 400 * MILLISECOND_NS
"""How often to look whether the attached price book is still the one of its name. It is given up
when it is not at two looks, within a second: the orderbook, which looks more often, comes first."""
MAX_SYMBOLS_NAMED: Final = 5
"""How many symbols of another price book a problem lists."""
_UNSETTLED: Final = "whether it is this stack's shows at the next look"
"""The problem at the first look at a foreign segment, which the orderbook may be taking over."""


class OwnPriceBook:
    """Finds the price book for one observer of a stack. For one thread.

    Attributes:
        name: of the price book.
        book: the price book, while attached.
        next_look_ns: when `look` looks again, monotonic clock; 0 for now.
        problem: why the segment of this name cannot be used; "" if it can, or if there is none.
        is_lost: whether the attached price book is no longer the one of the name: `let_go`.

    """

    def __init__(
        self, name: str, symbols: tuple[str, ...] | None = None, *, as_role: bool = True
    ) -> None:
        """Look for the book `name` of these symbols; None takes any. `as_role` as for `attach`.

        Raises OrphanedError if the supervisord that started this process has died.
        """
        self.book: SharedPriceBook | None = None
        self.next_look_ns = 0
        self.problem = ""
        self.name = name
        self._symbols = symbols
        self._as_role = as_role
        self._run = current_run() if is_supervised() else None
        self.is_lost = False
        self._was_foreign = False
        self._was_lost = False

    def look(self, now_ns: int) -> SharedPriceBook | None:
        """Return the price book. While there is none, look for it, at most every `LOOK_NS`.

        Looks also whether the file of an attached one was removed or replaced; see `NAME_LOOK_NS`.
        """
        if now_ns >= self.next_look_ns:
            if self.book is None:
                self.next_look_ns = now_ns + LOOK_NS
                self._attach()
            else:
                self.next_look_ns = now_ns + NAME_LOOK_NS
                self._look_at_name(self.book)
        return self.book

    def let_go(self) -> None:
        """Close the price book, if attached. The next `look` looks for another one at once."""
        if self.book is not None:
            self.book.close()
            self.book = None
            self.next_look_ns = 0
            self.is_lost = self._was_lost = False

    def _look_at_name(self, book: SharedPriceBook) -> None:
        loss = book.loss()
        if loss and self._was_lost and not book.retired:
            self._lose(book, loss)
        self._was_lost = bool(loss)

    def _lose(self, _book: SharedPriceBook, _loss: str) -> None:
        self.is_lost = True

    def _attach(self) -> None:
        try:
            book = SharedPriceBook.attach(self.name, as_role=self._as_role)
        except FileNotFoundError:
            self.problem = ""
            return
        except PriceBookError as error:
            self.problem = str(error)
            return
        self.problem = self._foreign_owner(book) or self._other_symbols(book)
        if self.problem:
            book.close()
        else:
            self.book = book
            self._was_foreign = False

    def _foreign_owner(self, book: SharedPriceBook) -> str:
        """Return the problem of a price book of another stack; "" if it is this stack's."""
        run = book.run
        if self._run is None or run == self._run:
            return ""
        if run is not None and is_alive(run):
            return str(belongs_to_another_stack(self.name, run))
        if not self._was_foreign:
            self._was_foreign = True
            return _UNSETTLED
        return (
            f"price book {self.name} is not this stack's: its orderbook has neither made it nor "
            "taken it over"
        )

    def _other_symbols(self, book: SharedPriceBook) -> str:
        """Return the problem of a price book with other symbols; "" if they are as wanted."""
        if self._symbols in (None, book.symbols):
            return ""
        more = len(book.symbols) - MAX_SYMBOLS_NAMED
        named = ", ".join(book.symbols[:MAX_SYMBOLS_NAMED])
        return (
            f"price book {self.name} has other symbols than the settings: {named}"
            f"{f' and {more} more' if more > 0 else ''}"
        )


class RolePriceBook(OwnPriceBook):
    """Finds the price book for a role that trades; logs its problems and when it is closed."""

    def __init__(self, name: str, symbols: tuple[str, ...] | None = None) -> None:
        """Look for the book as `OwnPriceBook` does; raises the same."""
        super().__init__(name, symbols)
        self._logged_problem = LogOnce()
        """Until a price book is attached."""

    def damaged(self, error: PriceBookError) -> None:
        """Note that the attached price book cannot be read."""
        self.problem = str(error)
        self._log_problem()

    def let_go(self) -> None:
        """Close the price book, if attached. The next `look` looks for another one at once."""
        if self.book is not None:
            if not self.book.retired and (loss := self.book.loss()):
                self._log_loss(loss)  # no other role may have noticed
            super().let_go()
            log_event(structlog.get_logger(), Detached(price_book=self.name))

    def _lose(self, book: SharedPriceBook, loss: str) -> None:
        """Retire a lost price book, in the place of the orderbook, which is dead or hangs."""
        super()._lose(book, loss)
        book.retire()
        self._log_loss(loss)

    def _log_loss(self, loss: str) -> None:
        log_event(structlog.get_logger(), PriceBookLost(price_book=self.name, reason=loss))

    def _attach(self) -> None:
        super()._attach()
        if self.book is not None:
            self._logged_problem.over()
        else:
            self._log_problem()

    def _log_problem(self) -> None:
        if self.problem not in ("", _UNSETTLED):
            problem = PriceBookUnusable(price_book=self.name, reason=self.problem)
            self._logged_problem.log_new(problem)
