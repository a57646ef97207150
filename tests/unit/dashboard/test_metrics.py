"""What Prometheus reads: every metric by its conventions, each explained."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from lib.cluster.status_file import Figures, StatusFile, status_path
from lib.dashboard.latencies import HISTOGRAM_NS
from lib.dashboard.metrics import PAGES, metrics
from lib.dashboard.observer import Observer
from lib.process.heartbeat import begin_to_beat
from lib.process.supervisor import Process
from lib.settings import ClusterSettings, Settings, StrategySettings
from lib.trading.decision_log import Decided
from tests.helpers import PROJECT_ROOT
from tests.ledgers import write_ledger
from tests.observed import Programs, raw


@pytest.fixture
def observer(tmp_path: Path) -> Iterator[Observer]:
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "strategy.jsonl").touch()
    programs = [Process("gateway", "RUNNING", 1), Process("strategy", "FATAL", 0)]
    second = StrategySettings(client_id="alice")
    cluster = ClusterSettings(servers=("nats://a",), host="host-1")
    settings = Settings(var_dir=tmp_path, strategies={"second": second}, cluster=cluster)
    figures = Figures(*[0] * len(Figures._fields))._replace(written_ns=time.monotonic_ns())
    StatusFile(status_path(tmp_path, "uplink", "TW_PRICE"), []).write("host-1", figures)
    made = Observer(settings, Programs(programs), settings.var_dir)
    made.look()
    with (tmp_path / "log" / "strategy.jsonl").open("wb") as log:
        log.write(raw("ticks_missed", first=1, last=7, where="ring", ticks=7))
        log.write(raw("disconnected", stream="news"))
        log.write(raw("connected", stream="news"))
        log.write(raw("malformed_frames", count=3))
        log.write(raw("news_applied", sentiment=64))
        log.write(raw("order_filled", by="strategy"))  # the order manager says it, too
    (tmp_path / "log" / "order_manager.jsonl").write_bytes(
        raw("order_filled", by="order_manager") + raw("orders_booked", filled=40, rejected=2)
    )
    write_ledger(tmp_path / "orders.sqlite", "alice 1 BUY 7 NVDA @ 100")
    made._ledger_ns = 0
    begin_to_beat(tmp_path, "gateway")
    made.look()
    made.roles._watched["gateway"].cpu_share = 0.5  # it takes a second to be known
    times_ns = np.array([60_000, 200_000, 30_000_000])
    decided = Decided(np.array([1]), np.array([3]), np.array([10**12]), 0)
    made.strategies[0].latencies.take(decided, np.array([1, 2, 3]), 10**12 - times_ns, 10**12)
    yield made
    made.close()


@pytest.fixture
def families(observer: Observer) -> dict[str, Metric]:
    text = metrics(observer, pages=3).decode()
    return {family.name: family for family in text_string_to_metric_families(text)}


def values(family) -> dict[tuple[str, ...], float]:
    return {tuple(sorted(sample.labels.values())): sample.value for sample in family.samples}


COUNTED = {
    "tradewire_role_up": {("gateway",): 1.0, ("strategy",): 0.0},
    "tradewire_orders": {("filled",): 41.0, ("rejected",): 2.0},  # each order once
    "tradewire_position_shares": {("NVDA",): 7.0},
    "tradewire_strategy_orders": {
        ("filled", "second"): 1.0,
        ("rejected", "second"): 0.0,
        ("filled", "strategy"): 0.0,
        ("rejected", "strategy"): 0.0,
    },
    "tradewire_strategy_positions": {("strategy",): 0.0, ("second",): 1.0},
    "tradewire_ticks_missed": {("ring",): 7.0},
    "tradewire_connections": {("news", "strategy"): 1.0},
    "tradewire_connections_lost": {("news", "strategy"): 1.0},
    "tradewire_rejected_frames": {("malformed_frames", "strategy"): 3.0},
    "tradewire_sentiment": {(): 64.0},
    "tradewire_healthy": {(): 0.0},
    "tradewire_ledger_readable": {(): 1.0},
    "tradewire_price_book_attached": {(): 0.0},
    "tradewire_trading_halted": {(): 0.0},
    "tradewire_tape_ended": {(): 0.0},
    "tradewire_tick_age_seconds": {},  # there was none
    "tradewire_clients_at_loss_limit": {(): 0.0},
    PAGES: {(): 3.0},
}


def test_what_is_there_and_what_the_logs_and_the_ledger_count(families):
    assert {name: values(families[name]) for name in COUNTED} == COUNTED
    assert values(families["tradewire_role_restarts"])["gateway",] == 0.0
    assert values(families["tradewire_role_resident_memory_bytes"])["gateway",] > 0


def test_the_latency_of_each_strategy_is_a_histogram_in_seconds(families):
    family = families["tradewire_tick_to_decision_seconds"]
    counts = {s.labels["strategy"]: s.value for s in family.samples if s.name.endswith("_count")}
    assert counts == {"strategy": 3.0, "second": 0.0}
    samples = [s for s in family.samples if s.labels["strategy"] == "strategy"]
    buckets = {s.labels["le"]: s.value for s in samples if s.name.endswith("_bucket")}
    assert len(buckets) == len(HISTOGRAM_NS) + 1
    assert [buckets[le] for le in ("5e-05", "0.0001", "0.00025", "0.025")] == [0.0, 1.0, 2.0, 2.0]
    assert (buckets["0.05"], buckets["+Inf"]) == (3.0, 3.0)
    [total] = [s.value for s in samples if s.name.endswith("_sum")]
    assert round(total, 6) == 0.03026


# The board for Grafana

BOARD = PROJECT_ROOT / "etc" / "grafana" / "tradewire.json"


def mistakes(expression: str, legend: str, families: dict[str, Metric]) -> list[str]:
    """What an expression of the board takes for granted and the metrics do not have."""
    found, labels = [], set(re.findall(r"{{(\w+)}}", legend))
    for group in re.findall(r"\bby \((.*?)\)", expression):
        labels |= set(re.findall(r"\w+", group))
    known: set[str] = {"le"} if "_bucket" in expression else set()
    for match in re.finditer(r"(\w+\()?\b(tradewire_\w+)({[^}]*})?", expression):
        function, name, selected = match.groups()
        of_name = re.sub(r"_(total|bucket|sum|count)$", "", name)
        family = families.get(of_name) or families.get(name)
        if family is None:
            found.append(f"{name} is no metric")
            continue
        counts = family.type in ("counter", "histogram")
        if counts != (name != family.name):
            found.append(f"{name} is not what the {family.type} {family.name} calls it")
        if counts != (function in ("rate(", "increase(")):
            found.append(f"{name} is a {family.type}: a rate of it and of nothing else")
        if ("histogram_quantile(" in expression) != name.endswith("_bucket"):
            found.append(f"{name} and histogram_quantile do not belong together")
        of_metric = {label for sample in family.samples for label in sample.labels}
        known |= of_metric
        for label in re.findall(r"(\w+)\s*[=!]", selected or ""):
            if label not in of_metric:
                found.append(f"{name} has no label {label}")
    return found + [f"no metric has the label {label}: {expression}" for label in labels - known]


def test_the_board_shows_metrics_that_are_there_as_what_they_are(families):
    panels = json.loads(BOARD.read_text())["panels"]
    targets = [target for panel in panels for target in panel["targets"]]
    assert len(targets) >= len(panels) > 15
    for one in targets:
        assert "tradewire_" in one["expr"]
        assert mistakes(one["expr"], one["legendFormat"], families) == []
        assert one["datasource"]["uid"] == "${datasource}"


@pytest.mark.parametrize(
    ("expression", "legend"),
    [
        ("tradewire_role_upp", ""),
        ("tradewire_ticks_total", ""),
        ("rate(tradewire_ticks[1m])", ""),
        ("rate(tradewire_role_up[1m])", ""),
        ("tradewire_role_up", "{{role}}"),
        ("sum by (role) (tradewire_role_up)", ""),
        ('tradewire_role_up{role="gateway"}', ""),
        ("histogram_quantile(0.5, rate(tradewire_ticks_total[1m]))", ""),
        ("rate(tradewire_tick_to_decision_seconds_bucket[1m])", ""),
    ],
)
def test_a_board_with_a_mistake_is_seen_to_have_one(families, expression, legend):
    assert mistakes(expression, legend, families)


def test_no_panel_of_the_board_lies_over_another():
    panels = json.loads(BOARD.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [
        (column, row)
        for panel in panels
        for at in [panel["gridPos"]]
        for column in range(at["x"], at["x"] + at["w"])
        for row in range(at["y"], at["y"] + at["h"])
    ]
    assert len(set(places)) == len(places)
    assert all(0 <= column < 24 for column, _ in places)
