"""Many seeds, on all cores, and what they showed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from lib.process.run_identity import end_with
from tests.simulation.cluster_world import CLUSTER_FAULTS, run_cluster
from tests.simulation.files import remove_leftovers
from tests.simulation.result import Result
from tests.simulation.world import FAULTS, run_seed

MOST_FAILURES_TOLD = 10
MOST_FINDINGS_TOLD = 5
"""Of one seed."""


@dataclass
class Campaign:
    """The sum of many results, of clusters or of hosts by themselves."""

    clusters: bool = False
    seeds: int = 0
    ticks: int = 0
    orders: int = 0
    fewest_ticks: int = sys.maxsize
    fewest_orders: int = sys.maxsize
    fewest_faults: int = sys.maxsize
    faults: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    failed: list[Result] = field(default_factory=list)

    def add(self, result: Result) -> None:
        """Count one more seed."""
        self.seeds += 1
        self.ticks += result.ticks
        self.orders += result.orders
        self.fewest_ticks = min(self.fewest_ticks, result.ticks)
        self.fewest_orders = min(self.fewest_orders, result.orders)
        self.fewest_faults = min(self.fewest_faults, result.faults.total())
        self.faults += result.faults
        self.events += result.events
        if result.findings:
            self.failed.append(result)

    def __str__(self) -> str:
        kinds = CLUSTER_FAULTS if self.clusters else FAULTS
        option = "--clusters " if self.clusters else ""
        lines = [
            f"{self.seeds:,} seeds, {self.ticks:,} ticks (at least {self.fewest_ticks} a seed), "
            f"{self.orders:,} orders (at least {self.fewest_orders}), "
            f"{self.faults.total():,} faults (at least {self.fewest_faults})",
            *(f"{self.faults[kind]:>9,}  {kind}" for kind in kinds),
            "what the roles said:",
            *(f"{times:>9,}  {event}" for event, times in self.events.most_common()),
        ]
        for result in self.failed[:MOST_FAILURES_TOLD]:
            more = len(result.findings) - MOST_FINDINGS_TOLD
            lines.append(f"seed {result.seed} failed:")
            lines += [f"    {finding}" for finding in result.findings[:MOST_FINDINGS_TOLD]]
            lines += [f"    and {more} more findings"] if more > 0 else []
            lines.append(f"    .venv/bin/python -m tests.simulation {option}--seed {result.seed}")
        lines.append(f"{len(self.failed)} of {self.seeds:,} seeds failed")
        return "\n".join(lines)


def run_seeds(seeds: Sequence[int], *, clusters: bool = False) -> Campaign:
    """Run the seeds on all cores: of clusters, or of hosts by themselves."""
    campaign = Campaign(clusters)
    run = run_cluster if clusters else run_seed
    workers = min(os.cpu_count() or 1, len(seeds))
    chunk = max(1, min(20, len(seeds) // 4))
    remove_leftovers()
    try:
        # Spawned, not forked: a child must not inherit what a test runner has open.
        with multiprocessing.get_context("spawn").Pool(workers, _begin, [os.getpid()]) as pool:
            for result in pool.imap_unordered(run, seeds, chunksize=chunk):
                campaign.add(result)
    finally:
        remove_leftovers()
    campaign.failed.sort()
    return campaign


def _begin(parent_pid: int) -> None:
    """Let a worker end when its parent does, however that ends, and at no Ctrl-C of its own."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not end_with(parent_pid):
        sys.exit(1)
