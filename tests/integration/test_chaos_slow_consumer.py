"""Clients that do not read, with a whole stack, as a user runs the experiment."""

from __future__ import annotations

import json

from tests.experiments import run
from tests.helpers import DEADLINE_S
from tests.stack import PrivateStack

# With so many ticks buffers are full soon.
SETTINGS = {"gateway": {"rate": 2000.0, "news_interval": 0.1}}


def test_clients_that_do_not_read_affect_no_other_and_one_that_resumes_misses_nothing(
    stack: PrivateStack,
) -> None:
    path = stack.directory / "figures.json"
    result = run(stack, "slow_consumer", "--times", "1", "--json", path, limit_s=2 * DEADLINE_S)
    figures_json = json.loads(path.read_text())
    [found] = figures_json["rounds"]
    # The longest waits also depend on the machine.
    assert [r for r in figures_json["reasons"] if not r.startswith("longest time")] == [], (
        result.stdout
    )
    assert result.returncode == (0 if figures_json["holds"] else 1)
    assert found["troubles"] == []
    assert all(found["waiting_bytes"]["numbered prices"])
    assert all(found["waiting_bytes"]["orders"])
    assert found["hung_up"]["numbered prices"] == 2  # of three; the third has read on
    assert found["hung_up"]["orders"] == 3
    assert found["ticks_read_on"] > 3 * 1000  # of a window, at least
