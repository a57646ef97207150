"""Two hosts of each kind under seeded faults, and bugs that show.

To replay a seed: `.venv/bin/python -m tests.simulation --clusters --seed N`.
"""

from __future__ import annotations

import re

import pytest

from tests.simulation.campaign import run_seeds
from tests.simulation.cluster_bugs import CLUSTER_BUGS
from tests.simulation.cluster_world import CLUSTER_FAULTS, LEAST_ORDERS, LEAST_TICKS, run_cluster

SEEDS = 24
"""`make simulate` runs many more."""
SEEDS_FOR_A_BUG = 30
"""Within so many seeds each deliberate bug must show."""


def test_no_fault_of_a_cluster_loses_doubles_or_forks_anything(capsys):
    campaign = run_seeds(range(SEEDS), clusters=True)
    with capsys.disabled():
        print(f"\n{campaign}")
    assert not campaign.failed, str(campaign)
    assert campaign.fewest_ticks >= LEAST_TICKS
    assert campaign.fewest_orders >= LEAST_ORDERS
    assert all(campaign.faults[kind] for kind in CLUSTER_FAULTS)
    for event in ("uplink ended: StreamOvertaken", "order_manager ended: StreamOvertaken"):
        assert campaign.events[event]


@pytest.mark.parametrize("bug", CLUSTER_BUGS)
def test_a_deliberate_bug_of_a_cluster_is_caught_within_a_bounded_number_of_seeds(bug):
    assert any(
        re.search(CLUSTER_BUGS[bug].named, finding)
        for seed in range(SEEDS_FOR_A_BUG)
        for finding in run_cluster(seed, bug).findings
    )


def test_a_seed_of_a_cluster_is_a_history_that_can_be_replayed():
    assert run_cluster(1) == run_cluster(1)
