"""The bench on real stacks: every tick is accounted for, and nothing is left behind.

How long anything takes is asserted nowhere: only what is counted, and in which order things happen.
"""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from bench import watched
from bench.measure.measured_stack import bench_dir, measured_stack
from bench.measure.observer import observe
from bench.measure.side_by_side import RIVALS, STACK
from bench.measure.tapes import FILE, RANDOM_WALK
from bench.plan import (
    BROWSERS,
    NO_VIEWER,
    STREAMS,
    LatencyRun,
    OrdersRun,
    Plan,
    SideBySide,
    TapeRun,
    ThroughputRun,
    WatchedRun,
)
from bench.results import Recording
from bench.run import run
from lib.price_book.segment_files import SHM_DIR
from lib.settings import Settings
from lib.stack.private_stack import PrivateStack, start_private_stack
from tests.helpers import PROJECT_ROOT, wait_until
from tests.stack import ROLES


@pytest.fixture(autouse=True)
def var_dir(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A var directory of its own; whatever ran in it has ended and is gone in the end."""
    books = []

    def start(*arguments: Any) -> PrivateStack:
        stack = start_private_stack(*arguments)
        books.append(stack.settings.price_book.name)
        return stack

    monkeypatch.setattr("bench.measure.measured_stack.start_private_stack", start)
    with tempfile.TemporaryDirectory(prefix="tw-") as directory:
        monkeypatch.setenv("TRADING_VAR_DIR", directory)
        yield Path(directory)
        assert [path for path in bench_dir().glob("*") if path.is_dir()] == []
        assert [file for name in books for file in SHM_DIR.glob(f"{name}*")] == []


def test_what_is_observed_happens_in_order_and_orders_come_from_ticks() -> None:
    settings = Settings()
    changed = replace(
        settings,
        gateway=replace(settings.gateway, rate=4_000.0, news_interval=0.01),
        strategy=replace(settings.strategy, short_window=1, long_window=2),
    )
    with measured_stack(changed, strategies=2) as stack:
        seen = observe(stack, 2.0)
        assert stack.pids().keys() == {*ROLES, "strategy-2"}
    assert len(seen.sequences) == seen.published
    assert (seen.sequences[1:] - seen.sequences[:-1] == 1).all()
    assert (seen.sent_ns[1:] >= seen.sent_ns[:-1]).all()
    assert (seen.decided_ns > seen.sent_ns).all()
    assert (seen.sent_ns >= seen.schedule.intended_ns(seen.sequences)).all()
    assert len(seen.to_report_ns)
    assert (seen.to_report_ns > 0).all()


def test_a_whole_run_measures_everything_and_says_what_it_could_not() -> None:
    plan = Plan(
        latency=(LatencyRun(2_000.0, 0.5),),
        throughput=(ThroughputRun(4, 1, 0.5, 6),),
        stage_symbols=(4,),
        stage_s=0.001,
        orders=(OrdersRun(2, 2, 10), OrdersRun(4, 100, 500)),
        rest_s=0.1,
        segment_symbols=(4,),
        side_by_side=SideBySide(2, 0.1, 0.0, 2_000.0, 4),
        tapes=TapeRun(rounds=1, ticks=5_000_000, seconds=0.2, rows=1_000, symbols=4),
    )
    found = run(plan, io.StringIO(), "by hand", quick=True)
    [latency] = found.tick_to_decision
    assert latency.missed == 0
    assert latency.ticks == latency.from_sent.count == latency.from_intended.count
    assert 0 < latency.from_sent.curve_ns[0] <= latency.from_intended.curve_ns[0]
    assert {usage.role for usage in latency.usage} == set(ROLES)
    [throughput] = found.throughput
    held = [trial for trial in throughput.trials if trial.held]
    assert held
    for trial in held:
        assert trial.published == trial.evaluated
        assert trial.published >= 0.99 * trial.rate * trial.seconds
    # What held must hold again.
    assert (throughput.ticks_per_s > 0) == throughput.trials[-1].held
    assert [(one.clients, one.orders, one.answer.count) for one in found.orders] == [
        (2, 20, 20), (4, 2_000, 2_000),
    ]  # fmt: skip
    assert len(found.stages) == 9
    resident = {usage.role: usage.resident_bytes for usage in found.at_rest}
    for role in ("orderbook", "strategy"):  # the ring has gone round once in both
        assert resident[role] > 48 * Settings().price_book.ring_capacity
    assert [one.source for one in found.tape_speeds] == [RANDOM_WALK, FILE]
    assert all(one.ticks_per_s > 0 for one in found.tape_speeds)
    assert [(one.kind, one.rows) for one in found.prepared_files] == [
        ("CSV", 1_000), ("Parquet", 1_000),
    ]  # fmt: skip
    assert all(one.seconds > 0 for one in found.prepared_files)
    # More than Python with NumPy takes.
    assert all(one.peak_bytes > 50_000_000 for one in found.prepared_files)
    programs = {STACK, *(rival.name for rival in RIVALS)}
    gaps = [gap.partition(": ")[0] for gap in found.gaps]
    # In so short a time, on a busy machine, it may be that no rate holds twice.
    missing = {what for what in gaps if not what.startswith("throughput")}
    assert {(hops.name, hops.round) for hops in found.hops} == {
        (name, number) for name in programs - missing for number in range(2)
    }
    # Only what a package, or a compiler, is needed for may be missing.
    assert missing <= programs - {STACK, "three bare processes", "multiprocessing.Queue"}
    assert msgspec.json.decode(msgspec.json.encode(found), type=Recording) == found


def test_every_tick_is_decided_with_a_page_open_and_without() -> None:
    if watched.shutil.which(watched.BROWSER) is None:
        pytest.skip("Chromium is not there: apt-get install chromium")
    viewers = ((0, NO_VIEWER), (1, STREAMS), (1, BROWSERS))
    found = watched.record(WatchedRun(LatencyRun(2_000.0, 0.5), 1, viewers), io.StringIO())
    assert found.gaps == []
    assert [(one.watched_by, one.missed) for one in found.rounds] == [
        ("no browser", 0),
        ("1 streams, not drawn", 0),
        ("1 browsers", 0),
    ]
    assert all(one.from_intended.count > 100 for one in found.rounds)


def test_a_bench_that_is_interrupted_stops_everything_and_writes_nothing(var_dir: Path) -> None:
    bench = subprocess.Popen(
        [sys.executable, "-m", "bench", "--quick"],
        cwd=PROJECT_ROOT,
        env={**os.environ, "TRADING_VAR_DIR": str(var_dir)},
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    wait_until(lambda: list(var_dir.glob("bench/private-*/var/supervisord.pid")), "a stack runs")
    bench.send_signal(signal.SIGTERM)
    assert bench.wait(timeout=60) == 130
    assert not (var_dir / "bench" / "results.json").exists()
