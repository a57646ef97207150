"""A short storm as a user runs it, on a private stack and on a running one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from chaos.storms.planned_faults import PLAIN_KINDS, PROXY_KINDS
from tests.experiments import run
from tests.helpers import DEADLINE_S
from tests.stack import PrivateStack


@pytest.fixture
def stack() -> Iterator[PrivateStack]:
    """A stack's settings and var directory."""
    with PrivateStack({"gateway": {"news_interval": 0.1}}) as stack:
        yield stack


def test_a_storm_loses_nothing_and_records_every_fault(stack: PrivateStack) -> None:
    path = stack.directory / "figures.json"
    result = run(
        stack, "storm", "--minutes", "0.2", "--seed", "1", "--json", path, limit_s=2 * DEADLINE_S
    )
    assert (result.returncode, result.stderr) == (0, ""), result.stdout
    figures_json: dict[str, Any] = json.loads(path.read_text())
    assert figures_json["holds"]
    assert figures_json["ticks_at_book"] == {"missed": 0, "repeated": 0, "out_of_order": 0}
    [storm] = figures_json["storms"]
    assert storm["gusts"]
    for fault in storm["gusts"]:
        assert 0 <= fault["begin_ns"] <= fault["end_ns"] <= storm["steady_ns"]
    assert {fault["kind"] for fault in storm["gusts"]} & {kind.name.lower() for kind in PROXY_KINDS}
    assert sum(storm["evaluated_per_s"]) > 0
    assert len(storm["evaluated_per_s"]) == len(storm["orders_per_s"])


def test_a_running_stack_gets_no_faults_that_need_a_proxy(stack: PrivateStack) -> None:
    stack.start()
    path = stack.directory / "figures.json"
    result = run(
        stack, "storm", "--minutes", "0.2", "--seed", "2", "--json", path, limit_s=2 * DEADLINE_S
    )
    assert (result.returncode, result.stderr) == (0, ""), result.stdout
    assert "no proxy is in its connections" in result.stdout
    [storm] = json.loads(path.read_text())["storms"]
    kinds = {fault["kind"] for fault in storm["gusts"]}
    assert kinds
    assert kinds <= {kind.name.lower() for kind in PLAIN_KINDS}
    assert stack.stop() == 0
