"""What a role loads at its start: each further package costs every role memory and time."""

from __future__ import annotations

import subprocess
import sys

import pytest

from lib.settings import PROJECT_ROOT
from lib.stack.supervisord_configuration import programs_of, read_configuration

NEEDED = {"numpy", "structlog", "msgspec", "h11", "prometheus_client"}
ALSO = {"greenlet", "typing_extensions"}
"""Imported by structlog and msgspec where they are installed, as they are beside the tests."""
CLUSTER = """
import sys
import daemons.dashboard, daemons.order_manager
from lib.dashboard.observer import Observer
from lib.process.supervisor import Supervisor
from lib.settings import ClusterSettings, Settings
from pathlib import Path

cluster = ClusterSettings(servers=("nats://a",), host="b") if {has_cluster} else None
Observer(Settings(cluster=cluster), Supervisor(Path("none")), Path("none"))
print(sum(name.startswith("lib.cluster") for name in sys.modules), "nats" in sys.modules)
"""
SHOW = """
import sys
import {roles}
print(*sorted({{
    name.partition(".")[0]
    for name, module in list(sys.modules.items())
    if name[0] != "_" and "site-packages" in (getattr(module, "__file__", None) or "")
}}))
"""


def printed(code: str) -> list[str]:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True
    ).stdout.split()


@pytest.mark.parametrize("has_cluster", [False, True])
def test_what_a_cluster_needs_is_loaded_where_there_is_one(has_cluster: bool) -> None:
    modules, nats = printed(CLUSTER.format(has_cluster=has_cluster))
    assert (modules != "0") == has_cluster
    assert nats == "False"  # the dashboard speaks to no broker


def test_no_role_loads_a_package_that_it_does_not_need() -> None:
    roles = ", ".join(
        f"daemons.{program.name}"
        for program in programs_of(read_configuration())
        if program.autostart
    )
    loaded = printed(SHOW.format(roles=roles))
    assert set(loaded) - ALSO == NEEDED
