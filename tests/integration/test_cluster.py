"""A cluster of three brokers and four hosts: it trades, survives, and leaves nothing behind."""

from __future__ import annotations

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

pytest.importorskip("nats", reason="requirements-cluster.txt is not installed")

from lib.ledger.reader import read_ledger
from lib.settings import load_settings
from tests.helpers import PROJECT_ROOT, wait_until

SHM = Path("/dev/shm")
HOSTS = ("market-1", "strategy-1", "order-1", "order-2")


class Cluster:
    """`cluster.py`, and what its hosts have logged."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.output = directory.with_name("output")
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, PROJECT_ROOT / "cluster.py", "--var-dir", directory],
                stdout=output,
                stderr=output,
            )

    def events(self, host: str, program: str, event: str) -> list[dict[str, Any]]:
        log = self.directory / host / "var" / "log" / f"{program}.jsonl"
        lines = log.read_bytes().splitlines() if log.exists() else []
        found = [msgspec.json.decode(line) for line in lines if line.startswith(b"{")]
        return [one for one in found if one["event"] == event]

    def orders_of(self, host: str) -> int:
        ledger = self.directory / host / "var" / "orders.sqlite"
        if not ledger.exists():
            return 0
        with read_ledger(ledger) as snapshot:
            return len(list(snapshot.orders()))

    def wait_until(self, condition: Any, what: str) -> Any:
        def holds() -> Any:
            assert self.process.poll() is None, self.output.read_text()
            return condition()

        return wait_until(holds, what)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    # A socket's path may have about 100 characters; pytest's tmp_path can be longer.
    with tempfile.TemporaryDirectory(prefix="tw-cluster-") as directory:
        cluster = Cluster(Path(directory) / "c")
        yield cluster
        cluster.process.kill()
        cluster.process.wait()


def test_a_cluster_trades_before_and_after_the_death_of_an_order_manager(cluster: Cluster) -> None:
    def filled(host: str) -> list[dict[str, Any]]:
        return cluster.events(host, "order_manager", "order_filled")

    def writer() -> str | None:
        return next((host for host in ("order-1", "order-2") if filled(host)), None)

    first = cluster.wait_until(writer, "an order is filled")
    second = "order-2" if first == "order-1" else "order-1"
    cluster.wait_until(lambda: cluster.orders_of(second), "the other order host has it, too")
    pid = cluster.events(first, "order_manager", "started")[-1]["pid"]
    os.kill(pid, signal.SIGKILL)
    cluster.wait_until(
        lambda: (
            cluster.events(second, "order_manager", "stream_claimed")
            or cluster.events(first, "order_manager", "stream_claimed")[1:]
        ),
        "an order manager has claimed the ledger again",
    )
    count = cluster.orders_of(second)
    cluster.wait_until(
        lambda: min(cluster.orders_of(first), cluster.orders_of(second)) > count,
        "orders are booked on both order hosts again",
    )

    configs = [cluster.directory / host / "trading.toml" for host in HOSTS]
    books = [load_settings(config).price_book.name for config in configs]
    assert [name for name in books if (SHM / name).exists()]
    cluster.process.send_signal(signal.SIGINT)
    assert cluster.process.wait(60) == 0
    assert not cluster.directory.exists()
    assert not [name for name in books if list(SHM.glob(f"{name}*"))]
    said = cluster.output.read_text()
    for host in HOSTS:
        assert f"{host} watchdog" in said
    left = subprocess.run(["pgrep", "-f", str(cluster.directory)], capture_output=True, check=False)
    assert left.stdout == b""
