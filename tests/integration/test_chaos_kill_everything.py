"""kill_everything as a user runs it."""

from __future__ import annotations

import json

from tests.experiments import run
from tests.helpers import DEADLINE_S
from tests.stack import PrivateStack

SETTINGS = {"gateway": {"news_interval": 0.1}}


def test_everything_is_killed_twice_and_comes_back(stack: PrivateStack) -> None:
    figures = stack.directory / "figures.json"
    result = run(
        stack, "kill_everything", "--times", "2", "--json", figures, limit_s=4 * DEADLINE_S
    )
    assert (result.returncode, result.stderr) == (0, ""), result.stdout
    figures_json = json.loads(figures.read_text())
    assert len(figures_json["roles_killed"]) == len(figures_json["supervisord_killed"]) == 2
    for found in figures_json["roles_killed"]:
        assert 0 < found["detection_ns"] <= found["respawn_ns"] < found["reconnection_ns"]
        assert found["fresh_tick_ns"] <= found["order_possible_ns"]
    for found in figures_json["supervisord_killed"]:
        assert all(time_ns > 0 for time_ns in found["departure"].values())
        assert found["started_again"]["respawn_ns"] < found["started_again"]["order_possible_ns"]
    assert figures_json["ticks_at_book"] == {"missed": 0, "repeated": 0, "out_of_order": 0}
    assert list((stack.var_dir / "chaos").iterdir()) == []
