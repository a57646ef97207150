"""Which fills a strategy was told, from what is still there of its logs.

The logs grow and are rotated while they are read. Read them before the ledger: a fill is in the
ledger before anybody is told of it, so one that is in the logs by then has to be there.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated, BinaryIO, Final

import msgspec

from lib.ledger.check import ToldFill
from lib.order_fields import Side

LOG: Final = "strategy.jsonl"
"""Its older parts are strategy.jsonl.1 (the latest of them) and on."""
MAX_LINE_BYTES: Final = 64 * 1024
"""No event is longer; what is longer is skipped."""


class _Event(msgspec.Struct):
    event: str


class _OrderFilled(msgspec.Struct):
    timestamp: Annotated[datetime, msgspec.Meta(tz=True)]
    client_id: str
    order_id: int
    symbol: str
    side: Side
    trade_id: int
    position: int


_event = msgspec.json.Decoder(_Event)
_order_filled = msgspec.json.Decoder(_OrderFilled)


class Told(msgspec.Struct):
    """What the logs say."""

    fills: dict[ToldFill, datetime] = msgspec.field(default_factory=dict)
    """When the strategy was told, for the last time if more than once."""
    unreadable_lines: int = 0
    """Lines that are no event, or an event that is not whole: perhaps a fill that is not known."""


def read_told(log_dir: Path) -> Told:
    """Read all of the strategy's logs in `log_dir`. Raises OSError."""
    told = Told()
    for path in _parts(log_dir):
        try:
            file = path.open("rb")
        except FileNotFoundError:  # none was written yet, or a rotation is under way
            continue
        with file:
            for line in _lines(file):
                _read_line(line, told)
    return told


def _parts(log_dir: Path) -> list[Path]:
    """The files, the latest first: a part that is moved on meanwhile is read twice, not missed."""
    older = [path for path in log_dir.glob(f"{LOG}.*") if path.suffix[1:].isdecimal()]
    return [log_dir / LOG, *sorted(older, key=lambda path: int(path.suffix[1:]))]


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Whole lines; b"" for one that is too long, or not whole: it is being written, or was cut."""
    while line := file.readline(MAX_LINE_BYTES):
        whole = line.endswith(b"\n")
        yield line if whole else b""
        while line and not line.endswith(b"\n"):
            line = file.readline(MAX_LINE_BYTES)


def _read_line(line: bytes, told: Told) -> None:
    try:
        if _event.decode(line).event != "order_filled":
            return
        filled = _order_filled.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        told.unreadable_lines += 1
        return
    fill = ToldFill(
        filled.client_id,
        filled.order_id,
        filled.symbol,
        filled.side,
        filled.trade_id,
        filled.position,
    )
    told.fills[fill] = max(filled.timestamp, told.fills.get(fill, filled.timestamp))
