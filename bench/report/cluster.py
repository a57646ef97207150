"""The figures of a cluster: its targets, and what the brokers of many hosts need. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import linear_regression
from typing import Any, Final, Self

from bench.report.figures import P99_SAMPLES, P999_SAMPLES, usage_tables
from bench.report.targets import Bound, Judgement, Target, judged, m_ticks, order_targets
from bench.results import ClusterRecording, SubscriberLoad
from lib.clock import MILLISECOND_NS
from lib.reports.machine import processor
from lib.reports.units import MILLION, time_of, whole
from lib.stack.brokers import NAMES

LEAST_TICKS_PER_S: Final = 0.5 * MILLION
MOST_TO_DECISION_NS: Final = 6 * MILLISECOND_NS
LEAST_ORDERS_PER_S: Final = 5_000.0
MOST_TO_ANSWER_NS: Final = 6 * MILLISECOND_NS
MANY_HOSTS: Final = 1_000
BITS: Final = 8


@dataclass(frozen=True)
class HostCost:
    """What further strategy hosts cost the brokers: a line through the measured loads.

    With many subscribers on a busy machine there are fewer, larger messages. So the line is over
    what was delivered, and a host gets as many messages as with the fewest subscribers.
    """

    base_cores: float
    """What all brokers together take without further hosts."""
    delivery_s: float
    """The CPU time of all brokers together for a message to a further host."""
    messages_per_s: float
    """What a host gets."""
    bytes_per_s: float
    """What a host gets."""

    @classmethod
    def of(cls, loads: Sequence[SubscriberLoad]) -> Self | None:
        """Return the cost by these loads; None if there are no two of them."""
        if len(loads) < 2:
            return None
        delivery_s, base_cores = linear_regression(
            [one.subscribers * one.messages / one.seconds for one in loads],
            [one.broker_cpu_s / one.seconds for one in loads],
        )
        least = min(loads, key=lambda one: one.subscribers)
        received_bytes = least.received_bytes / least.subscribers
        messages_per_s = least.messages / least.seconds
        return cls(base_cores, delivery_s, messages_per_s, received_bytes / least.seconds)

    def deliveries_per_s(self, hosts: int) -> float:
        """Return how many messages the brokers send to so many hosts."""
        return hosts * self.messages_per_s

    def cores(self, hosts: int) -> float:
        """Return what all brokers together take with so many further hosts, in cores."""
        return self.base_cores + self.deliveries_per_s(hosts) * self.delivery_s

    def bits_per_s(self, hosts: int) -> float:
        """Return what all brokers together send to so many hosts."""
        return BITS * hosts * self.bytes_per_s


def cluster_figures(recording: ClusterRecording | None) -> dict[str, Any] | None:
    """Return the figures of the page; None if nothing is recorded."""
    if recording is None:
        return None
    found = list(targets(recording))
    latency = next(iter(recording.tick_to_decision), None)
    throughput = next(iter(recording.throughput), None)
    programs, usages = usage_tables(one.usage if one else () for one in (latency, throughput))
    return {
        "recording": recording,
        "machine": processor(recording.machine),
        "targets": found,
        "reached": judged(found, Judgement.REACHED),
        "missed": judged(found, Judgement.MISSED),
        "latency": latency,
        "tick_messages": next(iter(recording.tick_messages), None),
        "throughput": throughput,
        "programs": programs,
        "usages": usages,
        "host_cost": HostCost.of(recording.subscriber_loads),
        "many_hosts": MANY_HOSTS,
        "brokers": len(NAMES),
        "p99_samples": P99_SAMPLES,
        "p999_samples": P999_SAMPLES,
    }


def targets(recording: ClusterRecording) -> Iterator[Target]:
    """Judge all targets of a cluster."""
    latency = next(iter(recording.tick_to_decision), None)
    throughput = next(iter(recording.throughput), None)
    run, search = recording.plan.latency, recording.plan.throughput
    yield Target(
        f"tape to a decision on another host, {search.symbols} symbols, nothing lost",
        Bound.AT_LEAST,
        LEAST_TICKS_PER_S,
        m_ticks,
        throughput.ticks_per_s if throughput else None,
    )
    what = f"tick sent to a decision on another host at {whole(run.rate)} ticks/s"
    p50_ns = latency.from_sent.p50_ns if latency else None
    yield Target(f"{what}, p50", Bound.AT_MOST, MOST_TO_DECISION_NS, time_of, p50_ns)
    missed = latency.missed if latency else None
    yield Target(f"{what}, ticks lost", Bound.AT_MOST, 0, whole, missed)
    yield from order_targets(recording.orders, LEAST_ORDERS_PER_S, MOST_TO_ANSWER_NS)
