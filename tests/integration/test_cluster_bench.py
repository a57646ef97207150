"""The bench of a cluster on a real one: everything is measured, and nothing is left behind."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator

import msgspec
import pytest

pytest.importorskip("nats", reason="requirements-cluster.txt is not installed")

from bench.cluster import record
from bench.measure.measured_stack import bench_dir
from bench.plan import ClusterRun, LatencyRun, OrdersRun, ThroughputRun
from bench.results import ClusterRecording


@pytest.fixture(autouse=True)
def var_dir(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A var directory of its own; whatever ran in it has ended and is gone in the end."""
    with tempfile.TemporaryDirectory(prefix="tw-") as directory:
        monkeypatch.setenv("TRADING_VAR_DIR", directory)
        yield
        assert list(bench_dir().glob("*")) == []


@pytest.mark.timeout(500)
def test_a_run_measures_ticks_subscribers_orders_and_throughput() -> None:
    plan = ClusterRun(
        latency=LatencyRun(2_000.0, 2.0),
        subscribers=(1, 5),
        subscribed_s=1.0,
        orders=(OrdersRun(1, 1, 20), OrdersRun(2, 100, 500)),
        orders_beside=(OrdersRun(1, 1, 20),),
        throughput=ThroughputRun(4, 1, 0.5, 6),
    )
    found = record(plan, io.StringIO())
    # In so short a time, on a busy machine, it may be that no rate holds twice.
    assert [gap for gap in found.gaps if "no rate held twice" not in gap] == []
    [latency], [messages] = found.tick_to_decision, found.tick_messages
    assert (latency.missed, latency.ticks) == (0, latency.from_sent.count)
    programs = {usage.role for usage in latency.usage}
    assert {"broker a", "market-1 gateway", "strategy-1 strategy", "order-2 downlink"} <= programs
    assert messages.ticks >= messages.messages == messages.in_brokers.count > 0
    assert 0 < messages.in_brokers.p50_ns < messages.to_subscriber.p50_ns
    one, five = found.subscriber_loads
    assert (one.subscribers, five.subscribers) == (1, 5)
    # Each of them gets all of it.
    assert five.received_bytes / five.messages > 4 * one.received_bytes / one.messages
    counts = [(one.clients, one.orders, one.answer.count) for one in found.orders]
    assert counts == [(1, 20, 20), (2, 1_000, 1_000)]
    assert [(one.clients, one.orders) for one in found.orders_beside] == [(1, 20)]
    [throughput] = found.throughput
    assert throughput.trials
    for trial in throughput.trials:
        assert not trial.held or trial.published == trial.evaluated
    assert msgspec.json.decode(msgspec.json.encode(found), type=ClusterRecording) == found
