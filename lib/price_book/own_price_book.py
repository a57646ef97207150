"""The price book of one's own stack: found, checked, and let go. The one way in which roles attach.

A name in the settings is easily left as it is in a second stack, and a role that attached by name
alone would trade on another stack's prices. So a role that supervisord has started attaches only to
a segment of its own run, as the segment itself says. A role that was started by hand is a run of
its own and takes whatever bears the name.
"""

from __future__ import annotations

from typing import Final

from lib.clock import MILLISECOND_NS
from lib.price_book.book import PriceBookError, SharedPriceBook
from lib.price_book.clean_up import belongs_to_another_stack
from lib.process.run_identity import current_run, is_alive, is_supervised

LOOK_NS: Final = 50 * MILLISECOND_NS
"""How often to look for a price book while there is none."""
MAX_SYMBOLS_NAMED: Final = 5
_UNSETTLED: Final = "whether it is this stack's shows at the next look"
"""The orderbook may be taking the segment over at this moment."""


class OwnPriceBook:
    """Finds the price book for one role. For one thread.

    Attributes:
        book: the price book, while attached.
        next_look_ns: when `look` looks again, monotonic clock; 0 for now.
        problem: why what bears the name cannot be used; "" if it can, or if there is nothing. Its
            user sets it when it finds the book damaged.

    """

    def __init__(self, name: str, symbols: tuple[str, ...] | None = None) -> None:
        """Look for the book `name` of these symbols; None takes any.

        Raises OrphanedError if the supervisord that started this process has died.
        """
        self.book: SharedPriceBook | None = None
        self.next_look_ns = 0
        self.problem = ""
        self._name = name
        self._symbols = symbols
        self._run = current_run() if is_supervised() else None
        self._reported = ""
        self._was_not_ours = False

    def look(self, now_ns: int) -> SharedPriceBook | None:
        """Return the price book. While there is none, look for it, at most every `LOOK_NS`."""
        if self.book is None and now_ns >= self.next_look_ns:
            self.next_look_ns = now_ns + LOOK_NS
            self._attach()
        return self.book

    def let_go(self) -> None:
        """Close the price book, if attached. The next `look` looks for another one at once."""
        if self.book is not None:
            self.book.close()
            self.book = None
            self.next_look_ns = 0

    def new_problem(self) -> str:
        """Return the problem if it is another one than last time, for the log; "" if not."""
        if self.problem in ("", _UNSETTLED, self._reported):
            return ""
        self._reported = self.problem
        return self.problem

    def _attach(self) -> None:
        try:
            book = SharedPriceBook.attach(self._name, as_role=True)
        except FileNotFoundError:
            self.problem = ""
            return
        except PriceBookError as error:
            self.problem = str(error)
            return
        self.problem = self._whose(book) or self._of_what(book)
        if self.problem:
            book.close()
        else:
            self.book = book
            self._reported = ""
            self._was_not_ours = False

    def _whose(self, book: SharedPriceBook) -> str:
        """Say whose the price book is, unless it is ours."""
        run = book.run
        if self._run is None or run == self._run:
            return ""
        if run is not None and is_alive(run):
            return str(belongs_to_another_stack(self._name, run))
        if not self._was_not_ours:
            self._was_not_ours = True
            return _UNSETTLED
        return (
            f"price book {self._name} is not this stack's: its orderbook has neither made it nor "
            "taken it over"
        )

    def _of_what(self, book: SharedPriceBook) -> str:
        """Say what it holds, unless it holds our symbols."""
        if self._symbols in (None, book.symbols):
            return ""
        more = len(book.symbols) - MAX_SYMBOLS_NAMED
        named = ", ".join(book.symbols[:MAX_SYMBOLS_NAMED])
        return (
            f"price book {self._name} has other symbols than the settings: {named}"
            f"{f' and {more} more' if more > 0 else ''}"
        )
