"""Two hops: producer → TCP → relay (epoll, recv, store, wake) → consumer (epoll, load, clock)."""

import os
import select
import socket
from array import array
from time import monotonic_ns
from typing import Final

from bench.rivals.floor import map_words, meeting_place, open_fifo
from bench.rivals.load import Load, due
from bench.rivals.rival import ConsumerResult, ProcessContext, RivalResult, run, tcp_connection

NAME: Final = "three bare processes"


def _producer(part: ProcessContext) -> None:
    (sender, _), _ = part.link
    part.start()
    for ticks in due(part.load):
        sender.send(array("q", [monotonic_ns()]) * len(ticks))
    sender.shutdown(socket.SHUT_WR)


def _relay(part: ProcessContext) -> None:
    (_, receiver), directory = part.link
    words, fifo, stored = map_words(directory), open_fifo(directory), 0
    receiver.setblocking(False)
    with select.epoll() as epoll:
        epoll.register(receiver, select.EPOLLIN)
        part.start()
        while epoll.poll() and (data := receiver.recv(65536)):
            words[stored : stored + len(data) // 8] = array("q", data)
            os.write(fifo, b"\0")
            stored += len(data) // 8


def _consumer(part: ProcessContext) -> ConsumerResult:
    _, directory = part.link
    words, fifo, latencies_ns = map_words(directory), open_fifo(directory), array("q")
    with select.epoll() as epoll:
        epoll.register(fifo, select.EPOLLIN)
        part.start()
        while len(latencies_ns) < part.load.messages and epoll.poll():
            os.read(fifo, 4096)
            while sent_ns := words[len(latencies_ns)]:
                latencies_ns.append(monotonic_ns() - sent_ns)
    return ConsumerResult(part.load.messages, len(latencies_ns), latencies_ns, monotonic_ns())


def measure(load: Load) -> RivalResult:
    """One latency a tick, from before the send to after the load. For paced loads only."""
    with tcp_connection() as connection, meeting_place(load) as directory:
        return run(load, _producer, _relay, _consumer, link=(connection, directory))
