"""A short storm as a user runs it, on a private stack and on a running one."""

from __future__ import annotations

import json
from typing import Any

from chaos.storms.planned_faults import PLAIN_KINDS, PROXY_KINDS
from tests.experiments import run
from tests.helpers import DEADLINE_S
from tests.stack import PrivateStack

SETTINGS = {"gateway": {"news_interval": 0.1}}


def storm(stack: PrivateStack, seed: int) -> tuple[str, dict[str, Any], set[str]]:
    """The output, the figures and the kinds of faults of the shortest storm."""
    path = stack.directory / "figures.json"
    arguments = ("--minutes", "0.2", "--seed", str(seed), "--json", path)
    result = run(stack, "storm", *arguments, limit_s=2 * DEADLINE_S)
    assert (result.returncode, result.stderr) == (0, ""), result.stdout
    figures = json.loads(path.read_text())
    return result.stdout, figures, {fault["kind"] for fault in figures["storms"][0]["gusts"]}


def test_a_storm_loses_nothing_and_records_every_fault(stack: PrivateStack) -> None:
    _, figures, kinds = storm(stack, seed=1)
    assert figures["holds"]
    assert figures["ticks_at_book"] == {"missed": 0, "repeated": 0, "out_of_order": 0}
    [recorded] = figures["storms"]
    for fault in recorded["gusts"]:
        assert 0 <= fault["begin_ns"] <= fault["end_ns"] <= recorded["steady_ns"]
    assert kinds & {kind.name.lower() for kind in PROXY_KINDS}
    assert sum(recorded["evaluated_per_s"]) > 0
    assert len(recorded["evaluated_per_s"]) == len(recorded["orders_per_s"])


def test_a_running_stack_gets_no_faults_that_need_a_proxy(stack: PrivateStack) -> None:
    stack.start()
    output, _, kinds = storm(stack, seed=2)
    assert "no proxy is in its connections" in output
    assert kinds
    assert kinds <= {kind.name.lower() for kind in PLAIN_KINDS}
    assert stack.stop() == 0
