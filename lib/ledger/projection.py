"""Books what a journal has, by the same ledger that booked it where it was decided."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import MsgspecError

from lib.ledger.journal import JournalEntry, JournalError, JournalPlace
from lib.ledger.loss_marks import loss_mark
from lib.ledger.rows import BookedOrder, DamagedRowError, booked_order
from lib.ledger.writer import Ledger, report_of
from lib.wire.order_messages import make_order


def project(ledger: Ledger, entries: Sequence[tuple[JournalPlace, JournalEntry]]) -> None:
    """Book entries as one transaction. Those that the ledger has are skipped.

    Raises JournalError for an entry that does not follow from what is booked before it, and
    LedgerError if the ledger cannot be used; then none of them is booked.
    """
    booked = reached = ledger.journal_place()
    anonymous_clients = ledger.anonymous_clients()
    try:
        for place, entry in entries:
            expected = reached.sequence + 1 if reached else 1
            if place.sequence < expected:
                continue
            if place.sequence > expected:
                raise JournalError(f"entry {expected} of the journal is missing")
            try:
                _record(ledger, entry)
            except (DamagedRowError, JournalError, MsgspecError) as error:
                raise JournalError(f"entry {expected} of the journal: {error}") from None
            anonymous_clients = max(anonymous_clients, entry.anonymous_clients or 0)
            reached = place
    except JournalError:
        ledger.forget()
        raise
    if reached is not booked:
        ledger.commit(reached, anonymous_clients)


def _record(ledger: Ledger, entry: JournalEntry) -> None:
    for row in entry.orders:
        order = booked_order(row)
        if problem := _contradiction(ledger, order):
            raise JournalError(f"order {order.order_id} of {order.client_id!r} {problem}")
        received = make_order(
            price=order.price,
            order_id=order.order_id,
            symbol=order.symbol,
            side=order.side,
            quantity=order.quantity,
            tape=order.tape,
            tick_sequence=order.tick_sequence,
            sent_ns=order.sent_ns,
        )
        ledger.record(received, report_of(order), order.received_ns, order.received_utc)
    for client_id, value in entry.loss_marks.items():
        ledger.mark_loss(client_id, loss_mark(value))


def _contradiction(ledger: Ledger, order: BookedOrder) -> str:
    """Return why an order cannot be the next one of this ledger, "" if it can."""
    if ledger.find(order.client_id, order.order_id):
        return "is booked already"
    expected, position = None, ledger.position(order.client_id, order.symbol)
    if order.status == "FILLED":
        expected = ledger.next_trade_id()
        position += order.signed_quantity
    if order.trade_id != expected:
        return f"has trade_id {order.trade_id}, and {expected} is next"
    if order.position != position:
        return f"leads to position {order.position}, and what is booked leads to {position}"
    return ""
