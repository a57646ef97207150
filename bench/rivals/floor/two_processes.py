"""One hop with nothing in it: producer → TCP → consumer (epoll, recv, clock)."""

import select
import socket
from array import array
from time import monotonic_ns
from typing import Final

from bench.rivals.floor import run_bare
from bench.rivals.load import Load, due
from bench.rivals.rival import ConsumerResult, ProcessContext, RivalResult, main

NAME: Final = "two bare processes"


def producer(part: ProcessContext) -> None:
    """Send SENT_NS for each tick that is due, all that are due together."""
    part.start()
    for ticks in due(part.load):
        part.link.sender.send(array("q", [monotonic_ns()]) * len(ticks))
    part.link.sender.shutdown(socket.SHUT_WR)


def _consumer(part: ProcessContext) -> ConsumerResult:
    sock, latencies_ns = part.link.receiver, array("q")
    sock.setblocking(False)
    with select.epoll() as epoll:
        epoll.register(sock, select.EPOLLIN)
        part.start()
        while epoll.poll() and (data := sock.recv(65536)):
            now_ns = monotonic_ns()
            latencies_ns.extend(now_ns - sent_ns for sent_ns in array("q", data))
    return ConsumerResult(part.load.messages, len(latencies_ns), latencies_ns, monotonic_ns())


def measure(load: Load) -> RivalResult:
    """One latency a tick, from before the send to after the recv."""
    return run_bare(load, producer, _consumer)


if __name__ == "__main__":
    main(NAME, measure)
