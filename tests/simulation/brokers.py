"""Brokers under virtual time: the streams of `tests.cluster_broker`, and the way to them.

What is asked arrives later, or never, or when its answer is no longer waited for. While a stream
elects its leader nothing is appended. A host can be cut off: then some of what it has sent arrives
once the way is open again. Plain messages are lost one by one, and a subscription can go dead.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from functools import lru_cache
from itertools import count
from random import Random
from typing import TYPE_CHECKING, Any

from lib.clock import MILLISECOND_NS, SECOND_NS
from lib.cluster.broker import (
    ANSWER_LIMIT_NS,
    Answer,
    Appended,
    Connected,
    Delivered,
    Disconnected,
    Event,
    Failed,
    Looked,
    Message,
    Read,
    Refused,
)
from lib.cluster.nats_broker import GIVEN_UP_NS
from lib.cluster.streams import LEDGER, live_subject
from lib.net.event_loop import EventLoop
from tests.cluster_broker import Faults, ModelStream

if TYPE_CHECKING:
    from tests.simulation.cluster_host import ClusterHost
    from tests.simulation.network import Network

SHORTEST_ELECTION_NS, LONGEST_ELECTION_NS = 4 * SECOND_NS, 9 * SECOND_NS
LATEST_NS = 5 * SECOND_NS
"""How late a message that is late arrives at most: later than its answer is waited for."""
NOTICED_NS = 5 * SECOND_NS
"""After how long a process notices that it is cut off."""
OVERTAKES = 0.02
"""How likely it is that a message of a stream is delivered before an earlier one."""


class SimulatedBrokers:
    """The streams, and what is on its way to them and to their clients."""

    def __init__(self, network: Network, faults: Faults, kept: int | None) -> None:
        """A stream of ticks or news keeps the last `kept` messages, or all."""
        self.random: Random = network.random
        self.faults = faults
        self.streams: dict[str, ModelStream] = {}
        self.clients: list[SimulatedBroker] = []
        self._network = network
        self._kept = kept
        self._due: list[tuple[int, int, Callable[[], None]]] = []
        self._order = count()

    @property
    def now_ns(self) -> int:
        return self._network.now_ns

    def stream(self, name: str) -> ModelStream:
        return self.streams.setdefault(name, ModelStream())

    def happens(self, likelihood: float) -> bool:
        return self.random.random() < likelihood

    def at(self, due_ns: int, act: Callable[[], None]) -> None:
        """Let something happen at a time."""
        heapq.heappush(self._due, (due_ns, next(self._order), act))

    def step(self) -> None:
        """Let happen what is due."""
        while self._due and self._due[0][0] <= self.now_ns:
            heapq.heappop(self._due)[2]()

    def elect(self, name: str) -> None:
        """Let a stream lose its leader, and elect another one."""
        stream = self.stream(name)
        stream.leader = False
        takes_ns = self.random.randint(SHORTEST_ELECTION_NS, LONGEST_ELECTION_NS)
        self.at(self.now_ns + takes_ns, lambda: setattr(stream, "leader", True))

    def end_faults(self) -> None:
        """From now on all goes well."""
        self.faults = Faults()
        for stream in self.streams.values():
            stream.leader = True

    def arrival_ns(self, host: ClusterHost) -> int | None:
        """Return when what is sent now between a host and the brokers arrives; None if never."""
        now_ns, open_ns = self.now_ns, host.cut_off_until_ns
        if now_ns < open_ns:
            return None if self.happens(0.5) else open_ns + self.random.randrange(SECOND_NS)
        return now_ns + self.random.randrange(2 * MILLISECOND_NS)

    def append(
        self, name: str, headers: Mapping[str, str], data: bytes, expected_last: int
    ) -> int | None:
        """Append a message and send it on. Returns its sequence, None if it is refused."""
        stream = self.stream(name)
        sequence = stream.append(headers, data, expected_last)
        if sequence is not None:
            if self._kept and name != LEDGER:
                stream.first = max(stream.first, sequence - self._kept + 1)
            for client in self.clients:
                client.deliver(None, live_subject(name), stream.messages[-1])
        return sequence

    def publish(self, sender: SimulatedBroker, subject: str, message: Message) -> None:
        """Hand a plain message on."""
        for client in self.clients:
            client.deliver(sender, subject, message)


class SimulatedBroker:
    """The brokers, for one process: what `lib.cluster.nats_broker.NatsBroker` is to it."""

    def __init__(
        self,
        brokers: SimulatedBrokers,
        host: ClusterHost,
        loop: EventLoop,
        on_event: Callable[[Event], None],
    ) -> None:
        self.host = host
        self.brokers = brokers
        self._on_event = on_event
        self._crash_point: Callable[[], None] = loop.host.crash_point  # type: ignore[attr-defined]
        self._questions = count(1)
        self._waiting: set[int] = set()
        self._events: list[tuple[int, int, Event]] = []
        self._order = count()
        self._follows: dict[str, bool] = {}
        """By subject: whether the subscription is alive."""
        self._latest_ns: dict[SimulatedBroker | None, int] = {}
        """By sender: when its last message arrives. A later one does not overtake it."""
        brokers.clients.append(self)
        loop.add_timed(self)

    # What a role asks.

    def append(
        self, stream: str, headers: Mapping[str, str], data: bytes, expected_last: int
    ) -> int:
        brokers, faults = self.brokers, self.brokers.faults

        def act(question: int, *, late: bool = False) -> Answer | None:
            if not brokers.stream(stream).leader:
                if not late and brokers.happens(0.2):  # a proposal that the next leader finds
                    later_ns = brokers.now_ns + LONGEST_ELECTION_NS
                    brokers.at(later_ns, lambda: void(act(question, late=True)))
                    return None
                return Failed(question, "no responders") if brokers.happens(0.5) else None
            sequence = brokers.append(stream, headers, data, expected_last)
            return Refused(question) if sequence is None else Appended(question, sequence)

        late_ns = self.brokers.random.randrange(LATEST_NS) if brokers.happens(faults.late) else 0
        return self._ask(act, late_ns)

    def look(self, stream: str) -> int:
        brokers, there = self.brokers, self.brokers.stream(stream)

        def act(question: int) -> Answer | None:
            if not there.leader and brokers.happens(0.3):
                return None
            return Looked(question, there.state())

        return self._ask(act)

    def read(self, stream: str, first: int, most: int) -> int:
        there = self.brokers.stream(stream)

        def act(question: int) -> Answer | None:
            return Read(question, there.read(first, most)) if there.leader else None

        return self._ask(act)

    def publish(self, subject: str, headers: Mapping[str, str], data: bytes) -> None:
        self._crash_point()
        due_ns = self.brokers.arrival_ns(self.host)
        message = Message(0, dict(headers), data)
        if due_ns is not None:
            self.brokers.at(due_ns, lambda: self.brokers.publish(self, subject, message))

    def follow(self, subject: str) -> None:
        self._crash_point()
        self._follows.pop(subject, None)
        due_ns = self.brokers.arrival_ns(self.host)
        if due_ns is not None:
            self.brokers.at(due_ns, lambda: self._follows.update({subject: True}))

    def close(self) -> None:
        """Leave; what was sent is on its way."""
        if self in self.brokers.clients:
            self.brokers.clients.remove(self)

    # What comes.

    def next_deadline_ns(self) -> int | None:
        """When the next event comes, by the clock of the host."""
        return self._events[0][0] + self.host.clock_ahead_ns if self._events else None

    def on_time(self, _now_ns: int) -> None:
        """Hand on what has come."""
        while self._events and self._events[0][0] <= self.brokers.now_ns:
            event = heapq.heappop(self._events)[2]
            if isinstance(event, Answer):
                if event.question not in self._waiting:
                    continue
                self._waiting.remove(event.question)
            self._crash_point()
            self._on_event(event)

    def deliver(self, sender: SimulatedBroker | None, subject: str, message: Message) -> None:
        """Let a message come, if this client follows its subject and it is not lost."""
        brokers = self.brokers
        for pattern, is_alive in self._follows.items():
            if is_alive and matches(pattern, subject):
                break
        else:
            return
        if brokers.happens(brokers.faults.lost_delivery):
            return
        if brokers.now_ns < self.host.cut_off_until_ns:
            return
        due_ns = brokers.now_ns + brokers.random.randrange(2 * MILLISECOND_NS)
        if sender or not brokers.happens(OVERTAKES):
            due_ns = self._latest_ns[sender] = max(due_ns, self._latest_ns.get(sender, 0))
        else:
            due_ns += brokers.random.randrange(SECOND_NS)
        self._come(due_ns, Delivered(subject, message))

    def cut_off(self, until_ns: int) -> None:
        """Let it notice, if it lasts, that there is no connection, and that there is one again."""
        noticed_ns = self.brokers.now_ns + NOTICED_NS
        if noticed_ns < until_ns:
            self._come(noticed_ns, Disconnected("the connection was lost"))
            again_ns = until_ns + self.brokers.random.randrange(SECOND_NS)
            self._come(again_ns, Connected("a broker"))

    def go_dead(self) -> None:
        """Let the subscriptions be dead, without a word."""
        self._follows = dict.fromkeys(self._follows, False)

    def _ask(self, act: Callable[[int], Answer | None], late_ns: int = 0) -> int:
        self._crash_point()
        brokers, faults = self.brokers, self.brokers.faults
        question = next(self._questions)
        self._waiting.add(question)
        limit_ns = brokers.random.randrange(ANSWER_LIMIT_NS, GIVEN_UP_NS)
        self._come(brokers.now_ns + limit_ns, Failed(question, "no answer"))
        due_ns = brokers.arrival_ns(self.host)
        if due_ns is not None and not brokers.happens(faults.lost_request):
            brokers.at(due_ns + late_ns, lambda: self._answer(act(question)))
        self._crash_point()
        return question

    def _answer(self, answer: Answer | None) -> None:
        brokers = self.brokers
        due_ns = brokers.arrival_ns(self.host)
        if answer and due_ns is not None and not brokers.happens(brokers.faults.lost_answer):
            self._come(due_ns, answer)

    def _come(self, due_ns: int, event: Event) -> None:
        heapq.heappush(self._events, (due_ns, next(self._order), event))


def void(_: Any) -> None:
    """Throw a result away."""


@lru_cache(maxsize=1024)
def matches(pattern: str, subject: str) -> bool:
    """Return whether a subscription to a pattern of NATS gets what is sent to a subject."""
    if pattern == subject:
        return True
    wanted, tokens = pattern.split("."), subject.split(".")
    if wanted[-1] == ">":
        wanted.pop()
        tokens = tokens[: len(wanted)] if len(tokens) > len(wanted) else []
    return len(wanted) == len(tokens) and all(
        one in ("*", token) for one, token in zip(wanted, tokens, strict=True)
    )
