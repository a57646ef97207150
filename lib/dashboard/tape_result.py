"""What the tape of a stack has come to: one line for the screen when it has ended.

The gateway logs that all ticks are published. From then on the strategies are followed by the last
tick that each has evaluated, and the ledger is read now and then, until nothing changes any more.
A ledger goes on from run to run, so what it had before the start is subtracted.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Final, NamedTuple

from lib.clock import MILLISECOND_NS, SECOND_NS
from lib.dashboard.holdings import HoldingsReader, Total, open_profit
from lib.ledger.reader import read_ledger
from lib.ledger.schema import LedgerError
from lib.prices import to_float
from lib.process.log_events import GATEWAY, LogLine, TapeEnded
from lib.settings import Settings, StrategySettings
from lib.shared_memory_utils import PriceBookError, SharedPriceBook
from lib.stack.log_follower import NOTICE, WARNING, ScreenLine
from lib.stack.observer import EventFollower
from lib.tape_files.listing import plural
from lib.trading.checkpoint import last_evaluated_path, read_last_evaluated

SETTLED_NS: Final = SECOND_NS
"""How long nothing may have changed since all ticks were evaluated: the last orders are booked."""
PATIENCE_NS: Final = 10 * SECOND_NS
"""How long the next tick may take to be evaluated, and after the last one the orders to settle."""
READ_NS: Final = 500 * MILLISECOND_NS
"""The shortest time between two reads of the ledger."""
READ_SHARE: Final = 20
"""The time between two reads of the ledger is at least this many times as long as a read takes."""
LOCK_WAIT_S: Final = 0.02
READ_LIMIT_S: Final = 0.5
"""How long one read of the ledger may take: enough for ten million orders and 100,000 positions."""


class Figures(NamedTuple):
    """What a ledger has come to, of all its clients together. Money in dollars."""

    created_utc: datetime | None = None
    """Of the ledger; None if there is none."""
    filled: int = 0
    rejected: int = 0
    realised: float = 0.0
    held: Mapping[str, Total] = {}
    """By symbol."""

    def since(self, earlier: Figures) -> Figures:
        """Return what was added to those of `earlier`; of another ledger, nothing was there."""
        if earlier.created_utc != self.created_utc:
            return self
        return self._replace(
            filled=self.filled - earlier.filled,
            rejected=self.rejected - earlier.rejected,
            realised=self.realised - earlier.realised,
        )


class Settling:
    """Whether what a tape has come to is final. Pure."""

    def __init__(self, ticks: int, now_ns: int) -> None:
        """The tape has ended after so many ticks."""
        self._ticks = ticks
        self._evaluated: Mapping[str, int] = {}
        self._evaluated_ns = now_ns
        """When a further tick was evaluated."""
        self._figures: Figures | str = ""
        self._changed_ns = now_ns

    def is_over(self, evaluated: Mapping[str, int], figures: Figures | str, now_ns: int) -> bool:
        """Take what was read now; return whether to wait no longer.

        `evaluated` is how many ticks of the tape each strategy has come to. `figures` were read
        after it; if they could not be, they are the reason.
        """
        if evaluated != self._evaluated:
            self._evaluated, self._evaluated_ns = evaluated, now_ns
        if figures != self._figures:
            self._figures, self._changed_ns = figures, now_ns
        if now_ns - self._evaluated_ns >= PATIENCE_NS:
            return True
        is_complete = not behind(evaluated, self._ticks) and isinstance(figures, Figures)
        return is_complete and now_ns - max(self._evaluated_ns, self._changed_ns) >= SETTLED_NS


class TapeResult:
    """Follows a stack from its start to the end of its tape. For one thread."""

    def __init__(self, settings: Settings, strategies: Mapping[str, StrategySettings]) -> None:
        """To be made before the stack starts. `strategies` are those that run, by table."""
        self._book_name = settings.price_book.name
        self._ledger = settings.var_dir / settings.order_manager.ledger
        self._evaluated = {
            table.removeprefix("strategies."): last_evaluated_path(settings.var_dir, one.client_id)
            for table, one in strategies.items()
        }
        self._log = EventFollower(settings.var_dir, [GATEWAY])
        self._before = read_figures(self._ledger) if os.path.lexists(self._ledger) else Figures()
        self._ended: TapeEnded | None = None
        self._settling: Settling | None = None
        """None while there is nothing to wait for."""
        self._read_ns = 0
        """When to read the ledger next."""

    def look(self) -> list[ScreenLine]:
        """Return the line when it is due, once for each tape; usually nothing."""
        now_ns = time.monotonic_ns()
        for seen in self._log.read():
            event = seen.line.event if isinstance(seen.line, LogLine) else None
            # A gateway that is restarted after the end logs it again.
            if isinstance(event, TapeEnded) and event != self._ended:
                self._ended = event
                self._settling = Settling(event.ticks, now_ns)
        if self._ended is None or self._settling is None or now_ns < self._read_ns:
            return []
        evaluated = {
            name: sequence if tape == self._ended.tape else 0
            for name, path in self._evaluated.items()
            for tape, sequence in [read_last_evaluated(path)]
        }
        figures = read_figures(self._ledger)
        read_ns = time.monotonic_ns() - now_ns
        self._read_ns = now_ns + max(READ_NS, READ_SHARE * read_ns)
        if not self._settling.is_over(evaluated, figures, now_ns):
            return []
        self._settling = None
        profit = self._open_profit(figures.held) if isinstance(figures, Figures) else None
        return [result_line(self._ended.ticks, evaluated, figures, self._before, profit)]

    def close(self) -> None:
        """Close the log."""
        self._log.close()

    def _open_profit(self, held: Mapping[str, Total]) -> float | None:
        try:
            with SharedPriceBook.attach(self._book_name) as book:

                def latest(symbol: str) -> float | None:
                    tick = book.latest(symbol) if symbol in book.symbols else None
                    return to_float(tick.price) if tick else None

                return open_profit(held, latest)
        except (FileNotFoundError, PriceBookError):
            return open_profit(held, lambda _: None)


def read_figures(ledger: Path) -> Figures | str:
    """Return the figures of a ledger, all of one moment, or why they cannot be read."""
    try:
        with read_ledger(ledger, LOCK_WAIT_S, READ_LIMIT_S) as snapshot:
            holdings = HoldingsReader(())
            while holdings.latest is None:
                holdings.read(snapshot)
            filled = snapshot.fill_count()
            return Figures(
                snapshot.created_utc,
                filled,
                snapshot.order_count() - filled,
                holdings.latest.realised,
                holdings.latest.by_symbol,
            )
    except (FileNotFoundError, LedgerError) as error:
        return str(error)


def behind(evaluated: Mapping[str, int], ticks: int) -> dict[str, int]:
    """Return the strategies that have not come to the end of the tape."""
    return {name: sequence for name, sequence in evaluated.items() if sequence < ticks}


def result_line(
    ticks: int,
    evaluated: Mapping[str, int],
    figures: Figures | str,
    before: Figures | str,
    profit: float | None,
) -> ScreenLine:
    """Return the line for a tape of so many ticks.

    `before` are the figures of before the start, and `profit` the open profit, None if it is
    unknown; the rest is as for `Settling.is_over`.
    """
    parts = [f"tape ended after {plural(ticks, 'tick')}: {_came_to(figures, before, profit)}"]
    lagging = behind(evaluated, ticks)
    parts += [f"{name} has evaluated {at:,} of {ticks:,} ticks" for name, at in lagging.items()]
    level = WARNING if lagging or isinstance(figures, str) else NOTICE
    return ScreenLine("main.py", "; ".join(parts), level)


def _came_to(figures: Figures | str, before: Figures | str, profit: float | None) -> str:
    if isinstance(figures, str):
        return f"orders and profit are unknown: {figures}"
    if isinstance(before, Figures):
        figures, where = figures.since(before), "since the start"
    else:
        where = "in the ledger"
    return (
        f"{where} {plural(figures.filled, 'order')} filled, {figures.rejected:,} rejected, "
        f"realised profit {_money(figures.realised)}; open profit "
        + ("unknown: a symbol is held that has no price" if profit is None else _money(profit))
    )


def _money(dollars: float) -> str:
    cents = round(dollars, 2)
    return f"{cents:+,.2f}" if cents else "0.00"
