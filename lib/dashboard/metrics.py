"""The observer's state for Prometheus: the text of /metrics.

Names and units follow https://prometheus.io/docs/practices/naming/: base units, `_total` for
counters. Counters begin with the dashboard, except ticks, restarts and the orders of a strategy,
which begin with the price book, supervisord and the ledger.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Final

from msgspec import UNSET
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from lib.clock import MICROSECOND_NS, SECOND_NS
from lib.dashboard.health import Health
from lib.dashboard.latencies import HISTOGRAM_NS
from lib.dashboard.observer import Observer
from lib.dashboard.view import ClusterView, RoleView, StreamView

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4
PAGES: Final = "tradewire_dashboard_pages"


def metrics(observer: Observer, pages: int) -> bytes:
    """Return the text of all metrics; `pages` is how many pages of the dashboard are open."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Now(observer, pages))
    return generate_latest(registry)


class _Now(Collector):
    """Collects the observer's state at the moment of a request."""

    def __init__(self, observer: Observer, pages: int) -> None:
        self._observer = observer
        self._pages = pages

    def collect(self) -> Iterator[Metric]:
        yield from _of_health(self._observer.health())
        yield from _of_roles(self._observer.role_views())
        yield from self._of_strategies()
        yield from self._of_ticks()
        yield from self._of_orders()
        if self._observer.cluster is not UNSET:
            yield from _of_cluster(self._observer.cluster)
        yield GaugeMetricFamily(PAGES, "Pages of the dashboard that are open.", value=self._pages)

    def _of_ticks(self) -> Iterator[Metric]:
        observer, counters = self._observer, self._observer.counters
        yield _counter("ticks", "Ticks that the price book has taken.", (), [((), observer.ticks)])
        missed = [((where,), count) for where, count in counters.ticks_missed.items()]
        yield _counter("ticks_missed", "Ticks that were lost, by where.", ("where",), missed)
        of_streams, of_kinds = ("program", "stream"), ("program", "kind")
        text = "Connections that were established."
        yield _counter("connections", text, of_streams, counters.connections.items())
        text = "Connections that were lost."
        yield _counter("connections_lost", text, of_streams, counters.connections_lost.items())
        text = "Frames that were no message, by program and kind."
        yield _counter("rejected_frames", text, of_kinds, counters.rejected_frames.items())
        text = "Lines in the logs, by program and level."
        yield _counter("log_events", text, ("program", "level"), counters.events.items())
        latency = HistogramMetricFamily(
            "tradewire_tick_to_decision_seconds",
            "From the sending of a tick to the decision of a strategy.",
            labels=["strategy"],
        )
        bounds = [*(f"{bound / SECOND_NS:g}" for bound in HISTOGRAM_NS), "+Inf"]
        for one in observer.strategies:
            counts = accumulate(one.latencies.histogram)
            buckets = list(zip(bounds, counts, strict=True))
            latency.add_metric([one.name], buckets, one.latencies.sum_s)
        yield latency
        sentiment = GaugeMetricFamily("tradewire_sentiment", "The sentiment in force, 0 to 100.")
        if observer.news.sentiment is not None:
            sentiment.add_metric([], observer.news.sentiment)
        yield sentiment

    def _of_orders(self) -> Iterator[Metric]:
        orders = [((s,), count) for s, count in self._observer.counters.orders.items()]
        yield _counter("orders", "Orders that were answered, by status.", ("status",), orders)
        position = GaugeMetricFamily(
            "tradewire_position_shares", "Shares that are held, by symbol.", labels=["symbol"]
        )
        realised = GaugeMetricFamily(
            "tradewire_realised_profit_dollars",
            "Profit of what was closed, by symbol.",
            labels=["symbol"],
        )
        holdings = self._observer.holdings
        for symbol, held in holdings.by_symbol.items() if holdings else ():
            position.add_metric([symbol], held.position)
            realised.add_metric([symbol], held.realised)
        yield position
        yield realised
        at_limit = GaugeMetricFamily(
            "tradewire_clients_at_loss_limit", "Clients that have reached max_loss."
        )
        at_limit.add_metric([], len(self._observer.at_loss_limit))
        yield at_limit

    def _of_strategies(self) -> Iterator[Metric]:
        orders: list[tuple[tuple[str, str], int]] = []
        held = GaugeMetricFamily(
            "tradewire_strategy_positions",
            "Symbols in which a strategy has a position.",
            labels=["strategy"],
        )
        realised = GaugeMetricFamily(
            "tradewire_strategy_realised_profit_dollars",
            "Profit of what a strategy has closed.",
            labels=["strategy"],
        )
        holdings, counts = self._observer.holdings, self._observer.order_counts
        for one in self._observer.strategies:
            client_id = one.settings.client_id
            if counted := counts.of_client(client_id):
                orders += zip(((one.name, "filled"), (one.name, "rejected")), counted, strict=True)
            if holdings is not None:
                held.add_metric([one.name], holdings.by_client[client_id].symbols)
                realised.add_metric([one.name], holdings.by_client[client_id].realised)
        text = "Orders of a strategy that the ledger has, by status."
        yield _counter("strategy_orders", text, ("strategy", "status"), orders)
        yield held
        yield realised


def _of_health(health: Health) -> Iterator[Metric]:
    for name, text, value in (
        ("healthy", "1 if the stack is at work, as /health says.", health.is_healthy),
        ("ledger_readable", "1 if the ledger can be read.", not health.ledger),
        ("price_book_attached", "1 if the price book is there.", not health.price_book),
        ("trading_halted", "1 while trading is halted.", health.is_halted),
        ("tape_ended", "1 once all ticks of the tape are published.", health.has_tape_ended),
        ("tick_age_seconds", "Since the latest tick was sent.", health.tick_age_s),
    ):
        family = GaugeMetricFamily(f"tradewire_{name}", text)
        if value is not None:
            family.add_metric([], value)
        yield family


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
            "Since the last pass of its main loop.",
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
    restarts = [((role.program,), role.restarts) for role in roles]
    text = "Starts after the first one of this run."
    yield _counter("role_restarts", text, ("program",), restarts)


def _of_cluster(cluster: ClusterView) -> Iterator[Metric]:
    labels = ("program", "stream")
    for name, label, text in (
        ("writer", "host", "1 for the host that writes the stream, as it was heard last."),
        ("activity", "activity", "1 for what the program does with the stream."),
    ):
        family = GaugeMetricFamily(f"tradewire_cluster_{name}", text, labels=[*labels, label])
        for one in cluster.streams:
            what = one.writer if label == "host" else one.activity
            if what:
                family.add_metric([one.role, one.stream, what], 1)
        yield family
    gauges: tuple[tuple[str, str, Callable[[StreamView], float | None]], ...] = (
        ("epoch", "The epoch of the writer.", lambda one: one.epoch),
        ("last_sequence", "The last sequence of the stream.", lambda one: one.last),
        (
            "position",
            "The last tick, sentiment or ledger entry that the program has.",
            lambda one: one.position,
        ),
        ("lag", "How many of them it does not have yet.", lambda one: one.lag),
        ("lag_seconds", "How long ago the stream was where it is.", lambda one: one.lag_s),
        ("writer_silent_seconds", "Since the writer was heard.", lambda one: one.heard_s),
    )
    for name, text, value_of in gauges:
        family = GaugeMetricFamily(f"tradewire_cluster_{name}", text, labels=labels)
        for one in cluster.streams:
            value = value_of(one)
            if value is not None:
                family.add_metric([one.role, one.stream], value)
        yield family
    acknowledged = GaugeMetricFamily(
        "tradewire_cluster_acknowledgement_seconds",
        "Until the brokers acknowledge a message, over the latest 1,000.",
        labels=[*labels, "quantile"],
    )
    for one in cluster.streams:
        for quantile, value_us in (("0.5", one.p50_us), ("0.99", one.p99_us)):
            if value_us is not None:
                value_s = value_us * MICROSECOND_NS / SECOND_NS
                acknowledged.add_metric([one.role, one.stream, quantile], value_s)
    yield acknowledged
    takeovers = [
        ((one.role, one.stream), one.takeovers)
        for one in cluster.streams
        if one.takeovers is not None
    ]
    text = "Claims of the stream in this run, after the first writer."
    yield _counter("cluster_takeovers", text, labels, takeovers)


def _counter(
    name: str, text: str, labels: Sequence[str], counted: Iterable[tuple[tuple[str, ...], int]]
) -> Metric:
    family = CounterMetricFamily(f"tradewire_{name}", text, labels=labels)
    for values, count in counted:
        family.add_metric(values, count)
    return family
