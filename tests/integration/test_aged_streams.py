"""Real brokers with a stream of ticks that has got too old."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

pytest.importorskip("nats", reason="requirements-cluster.txt is not installed")

from lib.clock import SECOND_NS
from lib.cluster.broker import Answer, Connected, Looked, Replied
from lib.cluster.stream_writer import Standing, StreamWriter
from lib.cluster.streams import PRICE, REPLICAS, configuration
from lib.cluster.takeover import Takeover
from lib.stack.brokers import Brokers
from tests.brokers import BrokerClient, brokers, cluster_settings
from tests.helpers import wait_until

__all__ = ["brokers"]


def pass_until(client: BrokerClient, condition: Callable[[int], object], *parts: object) -> None:
    """Let these parts of a role have all answers, until something holds."""
    taken = len(client.events)

    def holds() -> object:
        nonlocal taken
        now_ns = client.loop.clock()
        client.loop.poll()
        new, taken = client.events[taken:], len(client.events)
        for event in new:
            for part in parts:
                if isinstance(event, Answer) and isinstance(part, StreamWriter):
                    part.take(event)
                elif isinstance(event, Answer) and isinstance(part, Takeover):
                    part.take(event, now_ns)
        for part in parts:
            part.look(now_ns)  # type: ignore[attr-defined]
        return condition(now_ns)

    wait_until(holds, "it is so")


def makes(client: BrokerClient, shape: Mapping[str, Any]) -> bool:
    """Have a stream of this shape made; not so while the brokers elect."""
    made = client.ask(f"$JS.API.STREAM.CREATE.{PRICE}", shape)
    return isinstance(made, Replied) and "error" not in made.content


def test_a_stream_that_keeps_nothing_any_more_is_claimed_and_its_former_writer_refused(
    brokers: Brokers,
) -> None:
    with BrokerClient(cluster_settings(brokers, "market")) as client:
        client.wait_for(lambda event: isinstance(event, Connected))
        shape = {**configuration(PRICE, REPLICAS), "max_age": SECOND_NS}
        wait_until(lambda: makes(client, shape), "the brokers have made it")

        former = StreamWriter(client.broker, PRICE, "a", "a-1")
        former.claim(0, 0)
        pass_until(client, lambda _: former.standing is Standing.WRITER, former)

        def keeps_nothing() -> bool:
            looked = client.answer(client.broker.look(PRICE))
            return isinstance(looked, Looked) and looked.state.first > looked.state.last

        wait_until(keeps_nothing, "the message is too old")
        takeover = Takeover(client.broker, PRICE, "b", SECOND_NS // 2, client.loop.clock())
        pass_until(client, lambda _: takeover.is_due, takeover)
        assert (takeover.last, takeover.end) == (None, 1)
        successor = StreamWriter(client.broker, PRICE, "b", "b-1")
        successor.claim(takeover.end, takeover.epoch)
        pass_until(client, lambda _: successor.standing is Standing.WRITER, successor)
        former.append({}, b"late")
        pass_until(client, lambda _: former.standing is Standing.OVERTAKEN, former)
