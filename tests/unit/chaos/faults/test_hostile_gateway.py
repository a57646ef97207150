"""The hostile gateway between the real server code and the real client code of the stream."""

from __future__ import annotations

from copy import deepcopy
from random import Random

import pytest

from chaos.faults.hostile_gateway import (
    DEFECTS,
    DISCONNECTED,
    MALFORMED,
    MISSED,
    PROTOCOL_ERROR,
    UNKNOWN,
    Defect,
    EventCounts,
    HostileGateway,
)
from lib.clock import MILLISECOND_NS
from lib.streams.publication import EncodedTape, Stream
from lib.streams.stream_client import Frames, Joined, StreamClient
from lib.streams.subscriber import Subscriber
from lib.wire.framing import MessageTooLongError
from lib.wire.stream_messages import ProtocolError
from lib.wire.tick_codec import TickCodec

STEP_NS = 10 * MILLISECOND_NS
MOST_STEPS = 20_000
CODEC = TickCodec(["AAPL", "MSFT"])


def price(sequence: int) -> int:
    return sequence * 10**6


class Wire:
    """Keeps the bytes that the fault passes on."""

    def __init__(self) -> None:
        self.passed = b""
        self.ended = False

    def deliver(self, data: bytes, at_ns: int) -> None:
        assert not self.ended, "the proxy would send it before the FIN"
        self.passed += data

    def finish(self) -> None:
        self.ended = True

    def reset(self) -> None:
        raise AssertionError

    vanish = reset


class World:
    """A server that publishes two batches a step, the gateway, and a client that counts."""

    def __init__(self, defect: Defect) -> None:
        tape = EncodedTape(
            lambda first, n: b"".join(
                b"AAPL,%d.%02d*" % divmod(s, 100) for s in range(first, first + n)
            )
        )
        self.stream = Stream("tape", tape, 1)
        self.client = StreamClient(next_sequence=1, may_be_plain=False)
        self.gateway = HostileGateway()
        self.gateway.defect = defect
        self.counted = EventCounts()
        self.booked: list[tuple[int, int]] = []
        self.now_ns = 1
        self._connect()

    def _connect(self) -> None:
        self.wire = Wire()
        self.connection = deepcopy(self.gateway)
        self.connection.begin(self.wire)
        self.subscriber = Subscriber(self.stream, self.now_ns)
        self._forward(self.subscriber.receive(self.client.connected(self.now_ns)))

    def _forward(self, data: bytes) -> None:
        self.connection.on_data(self.wire, data, self.now_ns)

    def step(self) -> None:
        self.now_ns += STEP_NS
        batches = []
        for count in (1, 2):
            self.stream.next_sequence += count
            batches += self.subscriber.take(self.now_ns)
        self._forward(b"".join(batches))
        data, self.wire.passed = self.wire.passed, b""
        deadline_ns = self.client.next_deadline_ns()
        try:
            for event in self.client.receive(data, self.now_ns) if data else ():
                self._handle(event)
        except (ProtocolError, MessageTooLongError):
            self.counted.by_event[PROTOCOL_ERROR] += 1
        else:
            if not self.wire.ended and (deadline_ns is None or self.now_ns < deadline_ns):
                return
        self.counted.by_event[DISCONNECTED] += 1
        self.client.disconnected()
        self._connect()

    def _handle(self, event: object) -> None:
        if isinstance(event, Joined) and event.missed:
            first, last = event.missed
            self.counted.add_ticks(MISSED, last - first + 1, range(first, last + 1))
        if isinstance(event, Frames):
            ticks = CODEC.decode(event.frames)
            numbers = (ticks.offsets + event.first).tolist()
            self.booked += zip(numbers, ticks.prices.tolist(), strict=True)
            for name, offsets in ((MALFORMED, ticks.malformed), (UNKNOWN, ticks.unknown)):
                if offsets:
                    self.counted.add_ticks(name, len(offsets), [event.first + o for o in offsets])


@pytest.mark.parametrize("seed", range(5))  # of each list of bad bytes, all are sent
@pytest.mark.parametrize("kind", DEFECTS)
def test_a_defect_is_counted_as_expected_and_all_other_ticks_are_booked_once(
    kind: type[Defect], seed: int
) -> None:
    defect = kind(Random(seed))
    world = World(defect)
    for _ in range(MOST_STEPS):
        world.step()
        if defect.left == 0 and max(world.booked, default=(0, 0))[0] > defect.last:
            break
    else:
        raise AssertionError("it was not injected, or the client did not recover")
    done = deepcopy(defect.event_counts)
    for _ in range(20):
        world.step()
    assert world.counted == defect.event_counts == done
    assert defect.event_counts.by_event.keys() <= {kind.counted_as, DISCONNECTED, PROTOCOL_ERROR}
    assert kind.counted_as is None or defect.event_counts.by_event[kind.counted_as] >= kind.times
    gone = set().union(*defect.event_counts.numbers.values())
    last = world.booked[-1][0]
    assert world.booked == [(s, price(s)) for s in range(1, last + 1) if s not in gone]
