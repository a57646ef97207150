"""The experiments with a cluster, as a user runs them: one fault, and a short storm."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("nats", reason="requirements-cluster.txt is not installed")

from tests.helpers import PROJECT_ROOT

RUN_S = 240.0
NONE_WRONG = {"missed": 0, "repeated": 0, "out_of_order": 0}


@pytest.fixture
def directory() -> Iterator[Path]:
    # A socket's path may have about 100 characters; pytest's tmp_path can be longer.
    with tempfile.TemporaryDirectory(prefix="tw-chaos-") as directory:
        yield Path(directory)


def run(directory: Path, name: str, *arguments: str) -> dict[str, Any]:
    """Run an experiment, which must hold and leave nothing behind; its figures."""
    path = directory / "figures.json"
    script = PROJECT_ROOT / "chaos" / f"{name}.py"
    done = subprocess.run(
        [sys.executable, script, "--var-dir", directory, "--json", path, *arguments],
        cwd="/", capture_output=True, text=True, timeout=RUN_S, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    figures: dict[str, Any] = json.loads(path.read_text())
    assert (done.returncode, figures["reasons"]) == (0, []), done.stdout
    assert figures["ticks_at_book"] == NONE_WRONG
    assert (figures["orders"]["lost"], figures["orders"]["doubled"]) == (0, 0)
    assert list((directory / "chaos").iterdir()) == []
    return figures


def test_a_market_host_that_is_killed_is_succeeded_and_the_cluster_is_judged(
    directory: Path,
) -> None:
    figures = run(directory, "break_cluster", "--fault", "market_host_killed", "--times", "1")
    [case] = figures["cases"]
    [outage] = case["outages"]
    assert outage["claimed_ns"] > figures["goal_ns"] / 2  # the silence of the former writer
    assert outage["stale_ns"] > figures["goal_ns"] / 2
    assert figures["ticks_at_strategy"] == NONE_WRONG
    assert figures["orders"]["sent"] > 0


def test_an_order_host_that_stood_still_is_refused_when_it_wakes(directory: Path) -> None:
    figures = run(directory, "break_cluster", "--fault", "order_host_frozen", "--times", "1")
    [case] = figures["cases"]
    [outage] = case["outages"]
    assert outage["was_refused"]
    assert outage["pending"] == []


def test_a_short_storm_over_a_cluster_loses_nothing(directory: Path) -> None:
    figures = run(directory, "storm_cluster", "--minutes", "0.3", "--seed", "1")
    [storm] = figures["storms"]
    assert storm["faults"]
    for fault in storm["faults"]:
        assert 0 <= fault["begin_ns"] <= fault["end_ns"] <= storm["whole_ns"]
