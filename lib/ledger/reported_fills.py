"""The fills that were reported to the strategies, from what is left of their logs.

The logs grow and are rotated while they are read. Read them before the ledger: a fill is in the
ledger before it is reported, so every fill found in a log must be in a ledger read after it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from lib.ledger.check import ReportedFill
from lib.process.log_events import STRATEGY, FillReported, name_of, read_line

EXTENSION: Final = ".jsonl"
ROLE_LINES: Final = 10
"""How many lines of a log are searched for its role: a line may be cut off, or a traceback."""
MAX_LINE_BYTES: Final = 64 * 1024
"""The longest line that is read; no event is longer, and longer lines are skipped."""


class ReportedFills(msgspec.Struct):
    """The fills found in the logs, and the lines that could not be read."""

    fills: dict[ReportedFill, datetime] = msgspec.field(default_factory=dict)
    """When each fill was logged; the last time if more than once."""
    unreadable_lines: int = 0
    """Lines that are no event, or a truncated one: a fill may have been among them."""


def read_reported_fills(log_dir: Path) -> ReportedFills:
    """Read all logs of strategies in `log_dir`. Raises OSError."""
    reported = ReportedFills()
    for path in _parts_of_all(log_dir):
        try:
            file = path.open("rb")
        except FileNotFoundError:  # none was written yet, or a rotation is under way
            continue
        with file:
            for line in _lines(file):
                _read_line(line, reported)
    return reported


def _parts_of_all(log_dir: Path) -> Iterator[Path]:
    """Return the files of all strategies' logs."""
    # A log of which there are only older parts is being rotated.
    logs = {
        log_dir / (path.name.partition(EXTENSION)[0] + EXTENSION)
        for path in log_dir.glob(f"*{EXTENSION}*")
    }
    for log in sorted(logs):
        if log.stem == STRATEGY or _is_of_strategy(log):
            yield from _parts(log)


def _is_of_strategy(log: Path) -> bool:
    """Whether a log is a strategy's: a program may have any name, but its lines name its role."""
    for part in _parts(log):
        with suppress(FileNotFoundError), part.open("rb") as file:
            for line in islice(_lines(file), ROLE_LINES):
                if event := read_line(line):
                    return event.role.partition(":")[0] == STRATEGY
    return False


def _parts(log: Path) -> list[Path]:
    """Return the files, latest first: a part that is rotated meanwhile is read twice, not missed.

    Older parts of strategy.jsonl are strategy.jsonl.1 (the latest of them) and on.
    """
    older = [path for path in log.parent.glob(f"{log.name}.*") if path.suffix[1:].isdecimal()]
    return [log, *sorted(older, key=lambda path: int(path.suffix[1:]))]


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Return complete lines; b"" for one that is too long or incomplete."""
    while line := file.readline(MAX_LINE_BYTES):
        whole = line.endswith(b"\n")
        yield line if whole else b""
        while line and not line.endswith(b"\n"):
            line = file.readline(MAX_LINE_BYTES)


def _read_line(line: bytes, reported: ReportedFills) -> None:
    logged = read_line(line)
    if logged and logged.name != name_of(FillReported):
        return
    filled, at = (logged.event, logged.logged_at) if logged else (None, None)
    if (
        not isinstance(filled, FillReported)
        or at is None
        or filled.trade_id is None
        or filled.position is None
    ):
        reported.unreadable_lines += 1
        return
    fill = ReportedFill(
        filled.client_id,
        filled.order_id,
        filled.symbol,
        filled.side,
        filled.trade_id,
        filled.position,
    )
    reported.fills[fill] = max(at, reported.fills.get(fill, at))
