"""A short storm as a user runs it, on a private stack and on a running one."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chaos.storms.planned_faults import PLAIN_KINDS, PROXY_KINDS
from tests.helpers import DEADLINE_S, PROJECT_ROOT
from tests.stack import PrivateStack


@pytest.fixture
def stack() -> Iterator[PrivateStack]:
    """A stack's settings and var directory."""
    stack = PrivateStack({"gateway": {"news_interval": 0.1}})
    try:
        yield stack
    finally:
        stack.close()


def run_storm(stack: PrivateStack, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    target = ("--config", stack.config, "--var-dir", stack.var_dir)
    return subprocess.run(
        [sys.executable, PROJECT_ROOT / "chaos" / "storm.py", *target, *arguments],
        cwd="/",
        capture_output=True,
        text=True,
        timeout=2 * DEADLINE_S,
        check=False,
    )


def test_a_storm_loses_nothing_and_records_every_fault(stack: PrivateStack) -> None:
    path = stack.directory / "figures.json"
    result = run_storm(stack, "--minutes", "0.2", "--seed", "1", "--json", path)
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
    result = run_storm(stack, "--minutes", "0.2", "--seed", "2", "--json", path)
    assert (result.returncode, result.stderr) == (0, ""), result.stdout
    assert "no proxy is in its connections" in result.stdout
    [storm] = json.loads(path.read_text())["storms"]
    kinds = {fault["kind"] for fault in storm["gusts"]}
    assert kinds
    assert kinds <= {kind.name.lower() for kind in PLAIN_KINDS}
    assert stack.stop() == 0


@pytest.mark.parametrize("text", ["0", "0.01", "soon"])
def test_an_invalid_storm_length_is_a_one_line_error(stack: PrivateStack, text: str) -> None:
    result = run_storm(stack, "--minutes", text)
    assert result.returncode == 2
    assert "must be a number from 0.2 to" in result.stderr.splitlines()[-1]
