"""Plain subscribers of the ticks: what they cost the brokers, and when a message gets to them.

A further strategy host is one more such subscriber. They all live in one process, and speak the
brokers' protocol over bare sockets, so that they take little of the cores that the brokers need:
https://docs.nats.io/reference/reference-protocols/nats-protocol
"""

from __future__ import annotations

import json
import re
import selectors
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import numpy as np

from bench.errors import BenchError
from bench.measure.measured_cluster import MeasuredCluster
from bench.measure.measured_stack import process_stat_of
from bench.processes import Child, Part, begin, hear, started
from bench.results import LatencyDistribution, SubscriberLoad, TickMessages
from lib.clock import SECOND_NS
from lib.cluster.credentials import connect_options
from lib.cluster.status_file import read_status
from lib.cluster.streams import PRICE, live_subject, split_batch
from lib.process.log_events import UPLINK
from lib.settings import cluster_of

SETTLE_S: Final = 1.0
"""How long all are subscribed before anything counts."""
CONNECT_S: Final = 10.0
"""How long a broker may take to answer."""
LATE_S: Final = 10.0
"""How much longer than planned the subscribers may take."""
PONG_S: Final = 1.0
"""How often each says that it is alive, before the broker asks."""
RECEIVE_BYTES: Final = 1 << 18
LOOK_S: Final = 0.1

SEQUENCE: Final = "Nats-Sequence"
STAMP: Final = "Nats-Time-Stamp"
"""The header with the time at which the stream's leader took the message, by its wall clock."""

_MESSAGE: Final = re.compile(rb"HMSG [^\r]* (\d+) (\d+)\r\n")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class SubscriberPlan(NamedTuple):
    """What the process of the subscribers does."""

    addresses: Sequence[tuple[str, int]]
    """Of the brokers, which get the subscribers in turns."""
    user: str
    password: str
    subject: str
    subscribers: int
    seconds: float


class Arrival(NamedTuple):
    """A message of ticks at the first subscriber."""

    ticks: int
    sent_ns: int
    stamped_ns: int
    """By the leader's wall clock, ns since 1970."""
    arrived_ns: int
    """Monotonic, as `sent_ns`."""
    arrived_wall_ns: int


class Received(NamedTuple):
    """What has come, after SETTLE_S."""

    received_bytes: int
    arrivals: list[Arrival]


class MessageParser:
    """Takes a broker's bytes, and returns the headers and the data of each message. Pure."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> list[tuple[dict[str, str], bytes]]:
        """Return the messages that are complete. Raises BenchError if the broker says an error."""
        self._buffer += data
        messages, begin = [], 0
        while (end := self._buffer.find(b"\r\n", begin)) >= 0:
            end += 2
            if found := _MESSAGE.fullmatch(self._buffer, begin, end):
                header_bytes, total_bytes = map(int, found.groups())
                behind = end + total_bytes + 2
                if len(self._buffer) < behind:
                    break
                headers = _headers(self._buffer[end : end + header_bytes])
                messages.append((headers, self._buffer[end + header_bytes : behind - 2]))
                end = behind
            elif self._buffer.startswith(b"-ERR", begin):
                raise BenchError(f"a broker says {self._buffer[begin:end].decode().strip()}")
            begin = end
        self._buffer = self._buffer[begin:]
        return messages


def _headers(block: bytes) -> dict[str, str]:
    lines = block.decode().split("\r\n")[1:]  # the first one is their version
    return dict(line.split(": ", 1) for line in lines if line)


def measure_loads(
    cluster: MeasuredCluster, counts: Sequence[int], seconds: float, found: list[SubscriberLoad]
) -> None:
    """Measure the brokers with each of these numbers of further subscribers. Raises BenchError."""
    for count in counts:
        with _subscribed(cluster, count, seconds) as subscribers:
            time.sleep(SETTLE_S)
            before_s, began_ns = _broker_cpu_s(cluster), time.monotonic_ns()
            received = _received(subscribers, seconds)
            cpu_s, ended_ns = _broker_cpu_s(cluster) - before_s, time.monotonic_ns()
        elapsed_s = (ended_ns - began_ns) / SECOND_NS
        messages = len(received.arrivals)
        found.append(SubscriberLoad(count, elapsed_s, messages, received.received_bytes, cpu_s))


@contextmanager
def subscribed_beside(
    cluster: MeasuredCluster, seconds: float, found: list[TickMessages]
) -> Iterator[None]:
    """Have a subscriber note the messages of ticks during the block, which takes `seconds`.

    Raises BenchError.
    """
    with _subscribed(cluster, 1, seconds) as subscribers:
        time.sleep(SETTLE_S)
        yield
        received = _received(subscribers, seconds)
    status = read_status(cluster.gateway_var_dir, UPLINK, PRICE, time.monotonic_ns())
    if status is None:
        raise BenchError("the uplink does not say how long the brokers take to acknowledge")
    figures = status.figures
    found.append(tick_messages(received, figures.p50_ns, figures.p99_ns))


def tick_messages(received: Received, p50_ns: int, p99_ns: int) -> TickMessages:
    """Return the figures of what one subscriber got. Raises BenchError if it got nothing."""
    if not received.arrivals:
        raise BenchError("a plain subscriber got no ticks")
    ticks, sent_ns, stamped_ns, arrived_ns, arrived_wall_ns = np.array(received.arrivals).T
    to_subscriber_ns = arrived_ns - sent_ns
    in_brokers_ns = arrived_wall_ns - stamped_ns
    return TickMessages(
        messages=len(received.arrivals),
        ticks=int(ticks.sum()),
        received_bytes=received.received_bytes,
        to_brokers=LatencyDistribution.of(to_subscriber_ns - in_brokers_ns),
        in_brokers=LatencyDistribution.of(in_brokers_ns),
        to_subscriber=LatencyDistribution.of(to_subscriber_ns),
        acknowledged_p50_ns=p50_ns,
        acknowledged_p99_ns=p99_ns,
    )


@contextmanager
def _subscribed(cluster: MeasuredCluster, count: int, seconds: float) -> Iterator[list[Child]]:
    """Run so many subscribers with the credentials of the strategy host."""
    options = connect_options(cluster_of(cluster.settings, "a strategy host"))
    plan = SubscriberPlan(
        [(str(url.hostname), url.port or 0) for url in map(urlsplit, options["servers"])],
        options["user"],
        options["password"],
        live_subject(PRICE),
        count,
        seconds,
    )
    with started([(_subscribe, plan)]) as children:
        begin(children)
        yield children


def _received(subscribers: list[Child], seconds: float) -> Received:
    received: list[Received] = hear(subscribers, subscribers, seconds + LATE_S, "not done in time")
    return received[0]


def _broker_cpu_s(cluster: MeasuredCluster) -> float:
    pids = cluster.broker_pids()
    return sum(process_stat_of(name, pid).cpu_s for name, pid in pids.items())


def _subscribe(part: Part[SubscriberPlan]) -> Received:
    """The main function of the process."""
    plan = part.load
    try:
        with ExitStack() as opened:
            selector = opened.enter_context(selectors.DefaultSelector())
            for number in range(plan.subscribers):
                address = plan.addresses[number % len(plan.addresses)]
                sock = opened.enter_context(_connected(address, plan))
                selector.register(sock, selectors.EVENT_READ, number)
            part.start()
            return _receive(selector, plan.seconds)
    except OSError as error:
        raise BenchError(f"a plain subscriber: {error}") from None


def _connected(address: tuple[str, int], plan: SubscriberPlan) -> socket.socket:
    """Return the connection of a subscriber, once the broker has its subscription."""
    sock = socket.create_connection(address, CONNECT_S)
    options = {
        "user": plan.user, "pass": plan.password, "verbose": False, "pedantic": False,
        "headers": True, "protocol": 1, "lang": "bench", "version": "1",
    }  # fmt: skip
    words = f"CONNECT {json.dumps(options)}\r\nSUB {plan.subject} 1\r\nPING\r\n"
    sock.sendall(words.encode())
    answer = b""
    while b"PONG\r\n" not in answer:
        piece = sock.recv(RECEIVE_BYTES)
        if not piece or b"-ERR" in answer + piece:
            raise BenchError(f"a broker refuses a plain subscriber: {answer + piece!r}")
        answer += piece
    return sock


def _receive(selector: selectors.BaseSelector, seconds: float) -> Received:
    """Receive for SETTLE_S, and then for `seconds`; return what has come in these."""
    socks = [key.fileobj for key in selector.get_map().values()]
    parser, arrivals, received_bytes = MessageParser(), list[Arrival](), 0
    count_s = pong_s = time.monotonic() + SETTLE_S
    end_s = count_s + seconds
    while (now_s := time.monotonic()) < end_s:
        if now_s >= pong_s:
            pong_s += PONG_S
            for sock in socks:
                assert isinstance(sock, socket.socket)
                sock.sendall(b"PONG\r\n")
        for key, _ in selector.select(min(LOOK_S, end_s - now_s)):
            assert isinstance(key.fileobj, socket.socket)
            data = key.fileobj.recv(RECEIVE_BYTES)
            if not data:
                raise BenchError("a broker has disconnected a plain subscriber")
            arrived_ns, wall_ns = time.monotonic_ns(), time.time_ns()
            found = [] if key.data else parser.feed(data)
            if now_s >= count_s:
                received_bytes += len(data)
                arrivals += [
                    _arrival(headers, ticks, arrived_ns, wall_ns)
                    for headers, ticks in found
                    if ticks and SEQUENCE in headers
                ]
    return Received(received_bytes, arrivals)


def _arrival(headers: dict[str, str], data: bytes, arrived_ns: int, wall_ns: int) -> Arrival:
    batch, _ = split_batch(data)
    since_epoch = datetime.fromisoformat(headers[STAMP]) - _EPOCH
    stamped_ns = since_epoch // timedelta(microseconds=1) * 1000
    return Arrival(batch.count, batch.sent_ns, stamped_ns, arrived_ns, wall_ns)
