"""From which profit a client's losses count: a fact of the ledger, written with its orders.

It is kept beside the positions because it is about their profit: with another ledger it would mean
something else.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from lib.ledger.rows import DamagedRowError
from lib.prices import decimal_text, units_of

_PREFIX: Final = "loss_mark:"
_REACHED: Final = " reached"

CLIENTS_AT_LIMIT: Final = (
    f"SELECT substr(name, {len(_PREFIX) + 1}) FROM facts"
    f" WHERE name GLOB '{_PREFIX}*' AND value GLOB '*{_REACHED}' ORDER BY name"
)
"""Selects the client_ids of the marks that say so."""


class LossMark(NamedTuple):
    """How far a client is from its loss limit, together with its profit. Money in units of 1e-8."""

    profit: int = 0
    """The profit from which losses count: that of a fresh ledger, or that of the last lifting."""
    is_reached: bool = False
    """Whether the limit was reached, and not lifted since."""


def fact_name(client_id: str) -> str:
    """Return the name of the fact of this client."""
    return f"{_PREFIX}{client_id}"


def fact_value(mark: LossMark) -> str:
    """Write a mark: `-12.5`, or `-12.5 reached`."""
    return f"{decimal_text(mark.profit)}{_REACHED if mark.is_reached else ''}"


def loss_mark(value: Any) -> LossMark:
    """Read what `fact_value` writes; None is a client without a mark. Raises DamagedRowError."""
    if value is None:
        return LossMark()
    try:
        return LossMark(units_of(value.removesuffix(_REACHED)), value.endswith(_REACHED))
    except (AttributeError, TypeError, ValueError):
        raise DamagedRowError(f"a loss mark is not as booked: {value!r:.40}") from None
