"""Why an order must not be filled: every limit of `[risk]`, the age of an order, and the halt.

The plan: `refusal` runs the checks from the cheapest and broadest to the most expensive, and the
first that fails gives the reason. All arithmetic is exact: exactly at a limit is allowed, one
beyond it is not. Nothing here reads a clock, a file or the ledger; what a decision depends on comes
in with the order, except the price book's latest price, which is looked up last, in shared memory.

An order that passes costs about a microsecond and leaves no object behind except two numbers in the
rate window for each pass of the order manager. A window holds at most one second of passes, and at
most as many as orders are allowed in a second.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from fractions import Fraction
from typing import Final

from lib.clock import SECOND_NS
from lib.execution.foreign_clocks import foreign_clock
from lib.prices import format_price
from lib.settings import RiskSettings
from lib.wire.order_fields import MAX_INTEGER
from lib.wire.order_messages import Order
from lib.wire.symbol_hints import SymbolHints

HALT_FILE: Final = "HALT"
"""While it exists in the var directory, every order is rejected."""


class Risk:
    """The risk checks of one order manager. Pure.

    `order_ttl_ns` is the age up to which an order is accepted. `latest_price` returns the price
    book's latest price of a symbol in fixed point, or why there is none: without a price to compare
    with an order is rejected. None switches the collar off.
    """

    def __init__(
        self,
        settings: RiskSettings,
        order_ttl_ns: int,
        symbols: tuple[str, ...],
        latest_price: Callable[[str], int | str | None],
    ) -> None:
        self._order_ttl_ns = order_ttl_ns
        self._symbols = frozenset(symbols)
        self._symbol_hints = SymbolHints(symbols)
        self._latest_price = latest_price
        # No order and no position is beyond MAX_INTEGER, so that is as good as no limit.
        self._max_order_quantity = settings.max_order_quantity or MAX_INTEGER
        self._max_position = settings.max_position or MAX_INTEGER
        self._max_orders_per_second = settings.max_orders_per_second
        self._windows: dict[str, _RateWindow] = {}  # by client_id; none of them is empty
        self._price_collar_percent = settings.price_collar_percent
        # Through its text, because 0.1 in the settings means exactly a tenth, which no float is.
        collar = Fraction(str(settings.price_collar_percent)) / 100
        self._collar_numerator, self._collar_denominator = collar.as_integer_ratio()

    def refusal(
        self, client_id: str, order: Order, price: int, position: int, *, now_ns: int, halted: bool
    ) -> str | None:
        """Return why the order must not be filled, as one human-readable line; None if it may be.

        Call it once for each new order, in order of receipt, and not for a resent one: it counts
        towards the client's rate. `price` is the order's, already parsed; `position` is what the
        client holds of the symbol now; `now_ns` is the monotonic time of receipt, which never goes
        back; `halted` says whether trading is halted. `sent_ns` must be of this clock: see
        `foreign_clock`.
        """
        if halted:
            return "halted"
        if order.sent_ns is not None and now_ns - order.sent_ns > self._order_ttl_ns:
            return (
                f"expired: first sent {(now_ns - order.sent_ns) / SECOND_NS:.3f} s before its "
                f"receipt, and the limit is {self._order_ttl_ns / SECOND_NS:.3f} s"
            )
        if self._max_orders_per_second and not self._count(client_id, now_ns):
            return (
                f"{client_id} has sent {self._max_orders_per_second} orders within a second, "
                "which is the limit"
            )
        symbol = order.symbol
        if symbol not in self._symbols:
            near = self._symbol_hints.nearest(symbol)
            shown = symbol if symbol == symbol.strip() else repr(symbol)
            return f"unknown symbol {shown}{f': {near} is configured' if near else ''}"
        if order.quantity > self._max_order_quantity:
            return f"the quantity is {order.quantity}, and the limit is {self._max_order_quantity}"
        if order.position is not None and order.position != position:
            return f"the position is {position}, and the order assumes {order.position}"
        new_position = position + order.signed_quantity
        if abs(new_position) > MAX_INTEGER:
            return f"the position would pass {MAX_INTEGER}"
        if abs(new_position) > self._max_position and not only_reduces(position, new_position):
            return (
                f"the position would be {new_position}, "
                f"and the limit is {self._max_position} long or short"
            )
        if self._price_collar_percent:
            latest = self._latest_price(symbol)
            if isinstance(latest, str):
                return f"no price to compare with: {latest}"
            if latest is not None and self._is_outside_collar(price, latest):
                return (
                    f"the price {format_price(price)} is more than "
                    f"{self._price_collar_percent:.15g}% from the latest, "
                    f"{format_price(latest)}"
                )
        return None

    def foreign_clock(self, sent_ns: int, now_ns: int, wall_ns: int) -> str | None:
        """Return which other clock `sent_ns` is of, None if it is the host's monotonic clock.

        The age of an order with another clock cannot be judged: do not call `refusal` for it, and
        do not book it. `wall_ns` is the wall clock at the receipt.
        """
        return foreign_clock(sent_ns, now_ns - self._order_ttl_ns, now_ns, wall_ns)

    def forget_idle(self, now_ns: int) -> None:
        """Drop the rate windows of clients that sent nothing for a second; changes no decision.

        Call it now and then: until then, a disconnected client takes memory.
        """
        self._windows = {
            client_id: window
            for client_id, window in self._windows.items()
            if window.times_ns[-1] > now_ns - SECOND_NS
        }

    def _count(self, client_id: str, now_ns: int) -> bool:
        """Count an order towards the client's rate; False if the rate is at its limit."""
        window = self._windows.get(client_id)
        if window is None:
            window = self._windows[client_id] = _RateWindow()
        return window.count(now_ns, self._max_orders_per_second)

    def _is_outside_collar(self, price: int, latest: int) -> bool:
        # |price - latest| / latest > collar, multiplied out: integers only.
        return abs(price - latest) * self._collar_denominator > latest * self._collar_numerator


class _RateWindow:
    """The orders that a client sent within the last second.

    One entry a pass of the order manager, because all orders of a pass have the same time. Plain
    integers in two deques, not pairs in one: the garbage collector does not traverse integers.
    """

    __slots__ = ("counts", "times_ns", "total")

    def __init__(self) -> None:
        self.times_ns: deque[int] = deque()
        self.counts: deque[int] = deque()
        self.total = 0

    def count(self, now_ns: int, limit: int) -> bool:
        """Count an order and return True; return False if there are `limit` already.

        An order that is exactly a second old is outside of the window.
        """
        times_ns = self.times_ns
        while times_ns and times_ns[0] <= now_ns - SECOND_NS:
            times_ns.popleft()
            self.total -= self.counts.popleft()
        if self.total >= limit:
            return False
        if times_ns and times_ns[-1] == now_ns:
            self.counts[-1] += 1
        else:
            times_ns.append(now_ns)
            self.counts.append(1)
        self.total += 1
        return True


def only_reduces(position: int, new_position: int) -> bool:
    """Return whether a position gets nearer to zero and does not change its sign."""
    return 0 <= new_position < position or position < new_position <= 0
