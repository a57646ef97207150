"""The same facts for Prometheus: the text of /metrics, made when it is asked for.

Names and units follow https://prometheus.io/docs/practices/naming/: base units, `_total` for
counters. Counters begin with the dashboard, but for ticks and restarts, which begin with the price
book and with supervisord.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from lib.clock import SECOND_NS
from lib.live.latencies import HISTOGRAM_NS
from lib.live.observer import Observer
from lib.live.view import RoleView, View

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4
PAGES: Final = "tradewire_dashboard_pages"


def metrics(observer: Observer, pages: int) -> bytes:
    """Return the text for everything that is known now; `pages` of the dashboard are open."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Now(observer, pages))
    return generate_latest(registry)


class _Now(Collector):
    """What the observer knows at this moment."""

    def __init__(self, observer: Observer, pages: int) -> None:
        self._observer = observer
        self._pages = pages

    def collect(self) -> Iterator[Metric]:
        view = self._observer.view("")
        yield from _of_roles(view.roles)
        yield from self._of_ticks(view)
        yield from self._of_orders(view)
        yield GaugeMetricFamily(PAGES, "Pages of the dashboard that are open.", value=self._pages)

    def _of_ticks(self, view: View) -> Iterator[Metric]:
        observer, counters = self._observer, self._observer.counters
        ticks = CounterMetricFamily("tradewire_ticks", "Ticks that the price book has taken.")
        ticks.add_metric([], observer.ticks)
        yield ticks
        missed = CounterMetricFamily(
            "tradewire_ticks_missed", "Ticks that were lost, by where.", labels=["where"]
        )
        for where, count in counters.ticks_missed.items():
            missed.add_metric([where], count)
        yield missed
        for name, text, counted in (
            ("connections", "Connections that came to stand.", counters.connections),
            ("connections_lost", "Connections that were lost.", counters.connections_lost),
        ):
            family = CounterMetricFamily(f"tradewire_{name}", text, labels=["program", "stream"])
            for (program, stream), count in counted.items():
                family.add_metric([program, stream], count)
            yield family
        frames = CounterMetricFamily(
            "tradewire_rejected_frames",
            "Frames that were no message, by program and kind.",
            labels=["program", "kind"],
        )
        for (program, kind), count in counters.rejected_frames.items():
            frames.add_metric([program, kind], count)
        yield frames
        events = CounterMetricFamily(
            "tradewire_log_events",
            "Lines in the logs, by program and level.",
            labels=["program", "level"],
        )
        for (program, level), count in counters.events.items():
            events.add_metric([program, level], count)
        yield events
        latency = HistogramMetricFamily(
            "tradewire_tick_to_decision_seconds",
            "From the sending of a tick to the decision of the strategy.",
        )
        bounds = [*(f"{bound / SECOND_NS:g}" for bound in HISTOGRAM_NS), "+Inf"]
        counts = accumulate(observer.latencies.histogram)
        latency.add_metric([], list(zip(bounds, counts, strict=True)), observer.latencies.sum_s)
        yield latency
        if view.news.sentiment is not None:
            sentiment = GaugeMetricFamily(
                "tradewire_sentiment", "The sentiment in force, 0 to 100."
            )
            sentiment.add_metric([], view.news.sentiment)
            yield sentiment

    def _of_orders(self, view: View) -> Iterator[Metric]:
        orders = CounterMetricFamily(
            "tradewire_orders", "Orders that were answered, by status.", labels=["status"]
        )
        for status, count in self._observer.counters.orders.items():
            orders.add_metric([status], count)
        yield orders
        position = GaugeMetricFamily(
            "tradewire_position_shares", "Shares that are held, by symbol.", labels=["symbol"]
        )
        realised = GaugeMetricFamily(
            "tradewire_realised_profit_dollars",
            "Profit of what was closed, by symbol.",
            labels=["symbol"],
        )
        account = self._observer.account
        for held in account.holdings.values() if account else ():
            position.add_metric([held.symbol], held.position)
            realised.add_metric([held.symbol], held.realised)
        yield position
        yield realised
        halted = GaugeMetricFamily("tradewire_trading_halted", "1 while trading is halted.")
        halted.add_metric([], view.halted)
        yield halted


def _of_roles(roles: list[RoleView]) -> Iterator[Metric]:
    gauges = (
        (
            "role_up",
            "1 if supervisord calls the program RUNNING, and its process is there.",
            lambda role: float(role.is_up),
        ),
        ("role_uptime_seconds", "Since the start of its process.", lambda role: role.uptime_s),
        (
            "role_heartbeat_age_seconds",
            "Since its main loop came round.",
            lambda role: role.heartbeat_age_s,
        ),
        (
            "role_resident_memory_bytes",
            "Memory in use, the price book included.",
            lambda role: role.resident_bytes,
        ),
        ("role_cpu_ratio", "Share of a core over the last second.", lambda role: role.cpu_share),
    )
    for name, text, value_of in gauges:
        family = GaugeMetricFamily(f"tradewire_{name}", text, labels=["program"])
        for role in roles:
            value = value_of(role)
            if value is not None:
                family.add_metric([role.program], value)
        yield family
    restarts = CounterMetricFamily(
        "tradewire_role_restarts", "Starts after the first one of this run.", labels=["program"]
    )
    for role in roles:
        restarts.add_metric([role.program], role.restarts)
    yield restarts
