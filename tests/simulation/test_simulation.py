"""The whole stack under seeded faults: hundreds of worlds without a finding, and bugs that show.

To replay a seed: `.venv/bin/python -m tests.simulation --seed N`; to run more of them:
`make simulate SEEDS=100000`.
"""

from __future__ import annotations

import re

import pytest

from tests.simulation.bugs import BUGS
from tests.simulation.campaign import run_seeds
from tests.simulation.clients import REFUSED
from tests.simulation.world import FAULTS, run_seed

SEEDS = 300
"""`make simulate` runs many more."""
SEEDS_FOR_A_BUG = 60
"""Within so many seeds each deliberate bug must show."""


def test_no_fault_loses_doubles_or_misjudges_anything(capsys):
    campaign = run_seeds(range(SEEDS))
    with capsys.disabled():
        print(f"\n{campaign}")
    assert not campaign.failed, str(campaign)
    assert campaign.seeds == SEEDS
    assert campaign.fewest_ticks >= 500
    assert campaign.fewest_orders >= 20
    assert campaign.fewest_faults >= 5
    assert min(campaign.faults[kind] for kind in FAULTS) >= 50
    for event in (REFUSED, "tick too old to trade on", "strategy killed as hung"):
        assert campaign.events[event] >= 10


@pytest.mark.parametrize("bug", BUGS)
def test_a_deliberate_bug_is_caught_within_a_bounded_number_of_seeds(bug):
    assert any(
        re.search(BUGS[bug].named, finding)
        for seed in range(SEEDS_FOR_A_BUG)
        for finding in run_seed(seed, bug).findings
    )


def test_a_seed_is_a_history_that_can_be_replayed():
    assert run_seed(1) == run_seed(1)
