"""A cluster has targets of its own, and its loads say what the brokers of many hosts need."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from bench.report.cluster import HostCost, cluster_figures, targets
from bench.report.targets import Judgement
from bench.results import SubscriberLoad
from tests.recordings import cluster_recording, latency, throughput, tick_to_decision


def test_every_target_has_its_limit_and_the_figure_of_the_recording():
    found = list(targets(cluster_recording()))

    assert [(t.wanted, t.measured) for t in found] == [
        ("at least 0.5 M ticks/s", "0.750 M ticks/s"),
        ("at most 6 ms", "5.00 ms"),
        ("at most 0", "0"),
        ("at least 5,000/s", "6,000/s"),
        ("at most 6 ms", "5.90 ms"),
    ]
    assert {t.judgement for t in found} == {Judgement.REACHED}


@pytest.mark.parametrize(
    ("changed", "missed"),
    [
        ({"throughput": [throughput(100, 1, 400_000.0)]}, [0]),
        ({"tick_to_decision": [tick_to_decision(2e3, from_sent=latency(6_100))]}, [1]),
        ({"tick_to_decision": [tick_to_decision(2e3, missed=1)]}, [2]),
        ({"orders": cluster_recording().orders_beside}, []),
    ],
)
def test_a_worse_figure_misses_its_target(changed, missed):
    found = list(targets(cluster_recording(**changed)))

    assert [n for n, t in enumerate(found) if t.judgement is Judgement.MISSED] == missed


def test_a_further_host_costs_what_the_line_through_the_loads_says():
    cost = HostCost.of(cluster_recording().subscriber_loads)

    assert cost
    assert (cost.messages_per_s, cost.bytes_per_s) == (300, 200_000)
    assert cost.base_cores == pytest.approx(0.2)
    assert cost.delivery_s == pytest.approx(0.001 / 300)
    assert cost.deliveries_per_s(1_000) == 300_000
    assert cost.cores(1_000) == pytest.approx(1.2)
    assert cost.bits_per_s(1_000) == pytest.approx(1.6e9)


def test_many_subscribers_that_get_fewer_messages_do_not_look_cheaper():
    loads = cluster_recording().subscriber_loads
    seldom = replace(loads[-1], messages=1_500, broker_cpu_s=10.0 * (0.2 + 0.0005 * 200))

    cost = HostCost.of([*loads[:-1], seldom])
    assert cost
    assert cost.cores(1_000) == pytest.approx(1.2)


def test_one_load_makes_no_line_and_no_recording_no_figures():
    assert HostCost.of([SubscriberLoad(1, 10.0, 1, 1, 1.0)]) is None
    assert cluster_figures(None) is None
