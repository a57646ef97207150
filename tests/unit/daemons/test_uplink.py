"""When the uplink asks supervisord about the gateway."""

from __future__ import annotations

from pathlib import Path

import pytest

from daemons import uplink
from daemons.uplink import GATEWAY_LOOK_NS, UplinkRole
from lib.clock import SECOND_NS
from lib.cluster.uplink import Uplink
from lib.net.event_loop import EventLoop
from lib.process.supervisor import Process
from lib.settings import ClusterSettings, Settings
from tests.cluster_broker import Faults, ModelBroker, ModelBrokers


class CountedSupervisor:
    """A supervisord whose gateway runs."""

    def __init__(self) -> None:
        self.asked = 0

    def processes(self) -> list[Process]:
        self.asked += 1
        return [Process("gateway", "RUNNING", 1)]


def test_supervisord_is_not_asked_while_the_gateway_delivers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may stand still, and a question waits for its answer: no tick is published meanwhile."""
    broker, supervisor = ModelBroker(ModelBrokers(0, Faults())), CountedSupervisor()
    is_fed = False
    monkeypatch.setattr(uplink, "connect", lambda *_, **__: broker)
    monkeypatch.setattr(uplink, "control_socket", lambda _: tmp_path)
    monkeypatch.setattr(uplink, "Supervisor", lambda _: supervisor)
    monkeypatch.setattr(Uplink, "is_fed", property(lambda _: is_fed))
    loop = EventLoop()
    loop._longest_sleep_ns = 0
    now_ns = SECOND_NS
    loop.clock = lambda: now_ns
    cluster = ClusterSettings(servers=("nats://a",), host="a")
    role = UplinkRole(Settings(var_dir=tmp_path, cluster=cluster), loop)

    def asked_in(passes: int) -> int:
        nonlocal now_ns
        before = supervisor.asked
        for _ in range(passes):
            now_ns += GATEWAY_LOOK_NS // 2  # a claim is made between two looks at the stream
            role.step()
            answers, broker.answers = broker.answers, []
            for answer in answers:
                role._on_event(answer)
        return supervisor.asked - before

    assert asked_in(20) > 5  # until it delivers
    is_fed = True
    assert asked_in(20) == 0
    is_fed = False
    assert asked_in(20) == 10
