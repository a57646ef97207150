"""Thousands of random and mutated inputs on each port; `make fuzz` sends a million."""

from __future__ import annotations

from tests.fuzz.campaign import run_campaign
from tests.fuzz.inputs import PORTS

INPUTS = 4000


def test_no_input_kills_a_role_or_keeps_it_from_serving_others() -> None:
    campaign = run_campaign(INPUTS, seed=1)
    assert campaign.findings == []
    assert all(campaign.reached[port] >= INPUTS for port in PORTS)
    assert campaign.fills > 0
