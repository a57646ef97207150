"""What a page, a probe and Prometheus get of a cluster, and what they get without one."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families

from lib.clock import MICROSECOND_NS, SECOND_NS
from lib.cluster.status_file import STALE_NS, UNKNOWN, Activity, Figures, StatusFile, status_path
from lib.dashboard.metrics import metrics
from lib.dashboard.observer import Observer
from lib.dashboard.view import ClusterView, StreamView
from lib.process.supervisor import Process
from lib.settings import ClusterSettings, Settings
from tests.observed import Programs

WRITING = Figures(
    written_ns=0,
    activity=Activity.WRITING,
    epoch=5,
    takeovers=2,
    last=70,
    position=900,
    lag=0,
    lag_ns=0,
    heard_ns=-SECOND_NS // 2,
    p50_ns=800 * MICROSECOND_NS,
    p99_ns=1700 * MICROSECOND_NS,
)
SILENT = Figures(*[UNKNOWN] * len(Figures._fields))._replace(
    written_ns=0, activity=Activity.NO_MAJORITY
)

LABELS = ("program", "stream", "host", "activity", "quantile")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "log").mkdir()
    cluster = ClusterSettings(servers=("nats://a",), host="host-1")
    return Settings(var_dir=tmp_path, cluster=cluster)


@pytest.fixture
def observer(settings: Settings) -> Iterator[Observer]:
    made = Observer(settings, Programs([]), settings.var_dir)
    yield made
    made.close()


def write(settings: Settings, role: str, stream: str, writer: str, figures: Figures) -> None:
    """Write figures whose times are relative to now."""
    now_ns = time.monotonic_ns()
    heard_ns = UNKNOWN if figures.heard_ns == UNKNOWN else now_ns + figures.heard_ns
    file = StatusFile(status_path(settings.var_dir, role, stream), [])
    written_ns = now_ns + figures.written_ns
    file.write(writer, figures._replace(written_ns=written_ns, heard_ns=heard_ns))


def look(observer: Observer) -> list[StreamView]:
    observer.look()
    cluster = observer.view("AAPL").cluster
    assert isinstance(cluster, ClusterView)
    assert cluster.host == "host-1"
    return cluster.streams


def test_each_role_of_this_host_says_what_it_knows_of_its_streams(observer, settings):
    assert look(observer) == []
    write(settings, "uplink", "TW_PRICE", "host-1", WRITING)
    write(settings, "order_manager", "TW_LEDGER", "", SILENT)
    price, ledger = look(observer)
    assert replace(price, heard_s=0.0) == StreamView(
        stream="TW_PRICE",
        role="uplink",
        activity="writing",
        writer="host-1",
        epoch=5,
        takeovers=2,
        last=70,
        position=900,
        lag=0,
        lag_s=0.0,
        heard_s=0.0,
        p50_us=800.0,
        p99_us=1700.0,
    )
    assert price.heard_s >= 0.5
    nothing = dict.fromkeys(("epoch", "takeovers", "last", "position", "lag", "lag_s"))
    nothing |= dict.fromkeys(("heard_s", "p50_us", "p99_us"))
    assert ledger == StreamView("TW_LEDGER", "order_manager", "no majority", "", **nothing)
    assert observer.health().cluster.streams == [price, ledger]
    assert "order_manager reaches no majority" in observer.health().problems[-1]


def test_a_role_that_no_longer_writes_its_status_is_not_shown(observer, settings):
    old = WRITING._replace(written_ns=-STALE_NS)
    write(settings, "uplink", "TW_PRICE", "host-1", old)
    assert look(observer) == []


def test_the_gateway_of_a_standby_is_stopped_and_not_down(settings):
    programs = [Process("gateway", "STOPPED", 0), Process("uplink", "RUNNING", os.getpid())]
    one_host = replace(settings, cluster=None)
    for of, shown in ((settings, ["uplink"]), (one_host, ["gateway", "uplink"])):
        observer = Observer(of, Programs(programs), settings.var_dir)
        observer.look()
        assert [role.program for role in observer.role_views()] == shown
        assert ("gateway is STOPPED" in observer.health().problems) == (of is one_host)
        observer.close()
    observer = Observer(settings, Programs([Process("gateway", "FATAL", 0)]), settings.var_dir)
    observer.look()
    assert "gateway is FATAL" in observer.health().problems
    observer.close()


def test_prometheus_gets_the_same(observer, settings):
    write(settings, "uplink", "TW_PRICE", "host-1", WRITING)
    write(settings, "order_manager", "TW_LEDGER", "", SILENT)
    look(observer)
    families = text_string_to_metric_families(metrics(observer, pages=0).decode())
    found = {
        family.name.removeprefix("tradewire_cluster_"): {
            tuple(sample.labels[name] for name in sorted(sample.labels, key=LABELS.index)): (
                sample.value
            )
            for sample in family.samples
        }
        for family in families
        if family.name.startswith("tradewire_cluster_")
    }
    price = ("uplink", "TW_PRICE")
    assert found.pop("writer_silent_seconds")[price] >= 0.5
    assert found == {
        "writer": {(*price, "host-1"): 1.0},
        "activity": {
            (*price, "writing"): 1.0,
            ("order_manager", "TW_LEDGER", "no majority"): 1.0,
        },
        "epoch": {price: 5.0},
        "last_sequence": {price: 70.0},
        "position": {price: 900.0},
        "lag": {price: 0.0},
        "lag_seconds": {price: 0.0},
        "acknowledgement_seconds": {(*price, "0.5"): 0.0008, (*price, "0.99"): 0.0017},
        "takeovers": {price: 2.0},
    }


def test_without_a_cluster_nothing_of_it_is_sent(settings):
    write(settings, "uplink", "TW_PRICE", "host-1", WRITING)
    observer = Observer(replace(settings, cluster=None), Programs([]), settings.var_dir)
    observer.look()
    for sent in (observer.view("AAPL"), observer.health()):
        assert b'"cluster' not in msgspec.json.encode(sent)
    assert b"tradewire_cluster" not in metrics(observer, pages=0)
    observer.close()
