"""What a ledger is a projection of: a journal, with one entry for each commit.

An entry has the rows of `orders` that the commit books, and the facts that are written with them.
Positions follow from the fills. So each host that has the journal can make the same ledger.
"""

from __future__ import annotations

import sqlite3
from typing import Final, NamedTuple

import msgspec

from lib.ledger.rows import DamagedRowError, booked_count
from lib.wire.order_fields import Side
from lib.wire.order_messages import Status

SEQUENCE_FACT: Final = "journal_sequence"
DIGEST_FACT: Final = "journal_digest"

OrderRow = tuple[
    str, int, str, Side, int, str, Status, str | None, int | None, int, str | None, int | None,
    int | None, int, str,
]  # fmt: skip
"""The columns of `orders` (`schema.TABLES`); the price is an exact decimal."""


class JournalPlace(NamedTuple):
    """Up to where a ledger has its journal: a fact of the ledger."""

    sequence: int
    """Of the last entry that is booked."""
    digest: str
    """Of that entry: another one may have its sequence in another journal."""


class JournalEntry(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """What one commit books."""

    orders: list[OrderRow]
    loss_marks: dict[str, str] = {}
    """By client_id, as `loss_marks.fact_value` writes them."""
    anonymous_clients: int | None = None
    """How many clients without a logon there were so far; None if as many as before."""


class JournalError(Exception):
    """An entry cannot be booked. The text says which one and why, on one line."""


_entry = msgspec.json.Decoder(JournalEntry)


def encode_entry(entry: JournalEntry) -> bytes:
    """Write an entry as JSON."""
    return msgspec.json.encode(entry)


def decode_entry(data: bytes) -> JournalEntry:
    """Read what `encode_entry` writes. Raises JournalError, without the entry's sequence."""
    try:
        return _entry.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise JournalError(f"is damaged, or of a later version: {error}") from None


def place_in(connection: sqlite3.Connection) -> JournalPlace | None:
    """Read how much of its journal a ledger has; None if it has none. Raises DamagedRowError."""
    rows = connection.execute(
        "SELECT name, value FROM facts WHERE name IN (?, ?)", (SEQUENCE_FACT, DIGEST_FACT)
    )
    facts = dict(rows.fetchall())
    if not facts:
        return None
    digest = facts.get(DIGEST_FACT)
    if not isinstance(digest, str):
        raise DamagedRowError(f"{DIGEST_FACT} is not as an order manager books: {digest!r:.40}")
    return JournalPlace(booked_count(facts.get(SEQUENCE_FACT), SEQUENCE_FACT), digest)
