"""The strategies of a stack, each with its decisions, latencies, orders and profit."""

from __future__ import annotations

from pathlib import Path

from lib.clock import MICROSECOND_NS
from lib.dashboard.holdings import Held
from lib.dashboard.latencies import Latencies
from lib.dashboard.view import StrategyView
from lib.settings import Settings, StrategySettings
from lib.trading.decision_log import Decided, DecisionReader, decision_log_path


class WatchedStrategy:
    """One strategy of the settings, whether a program runs it or not."""

    def __init__(self, table: str, settings: StrategySettings, var_dir: Path) -> None:
        """`table` is its table in the settings, such as "strategies.second"."""
        self.name = table.removeprefix("strategies.")
        self.settings = settings
        self.latencies = Latencies()
        self._path = decision_log_path(var_dir, settings.client_id)
        self._decisions: DecisionReader | None = None

    @property
    def has_decided(self) -> bool:
        """Whether there is a record of its decisions."""
        return self._decisions is not None

    def read_decisions(self, tape: str | None) -> Decided | None:
        """Return the decisions since the last call; None if there is no decision log.

        Read them before the ticks: a tick that was decided is already in the ring.
        """
        if self._decisions is None or self._decisions.tape != tape:
            self._decisions = DecisionReader.open(self._path)
        elif not self._decisions.is_in_place():  # the strategy puts back a file that was removed
            self._decisions = DecisionReader.open(self._path) or self._decisions
        return self._decisions.read() if self._decisions else None

    def quantile_us(self, quantile: float, now_ns: int) -> float | None:
        """Return a quantile of tick to decision over the last minute, None without ticks."""
        found_ns = self.latencies.quantile_ns(quantile, now_ns)
        return None if found_ns is None else found_ns / MICROSECOND_NS

    def view(self, orders: tuple[int, int] | None, held: Held | None, now_ns: int) -> StrategyView:
        """Return its part of a view.

        `orders`, filled and rejected ones, and `held` are from the ledger, None if not yet read.
        """
        return StrategyView(
            name=self.name,
            client_id=self.settings.client_id,
            signal_class=self.settings.signal_class,
            filled=orders[0] if orders else None,
            rejected=orders[1] if orders else None,
            held=held.symbols if held else None,
            realised=held.realised if held else None,
            p50_us=self.quantile_us(0.5, now_ns),
            p99_us=self.quantile_us(0.99, now_ns),
        )


def watched_strategies(settings: Settings) -> list[WatchedStrategy]:
    """Return all strategies of the settings, that of [strategy] first."""
    return [
        WatchedStrategy(table, strategy, settings.var_dir)
        for table, strategy in settings.all_strategies().items()
    ]
