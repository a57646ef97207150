"""One hop with nothing in it: producer → TCP → consumer (epoll, recv, clock)."""

import select
from array import array
from time import monotonic_ns
from typing import Final

from bench.rivals.floor import run_bare
from bench.rivals.rival import ConsumerResult, Load, Pace, ProcessContext, RivalResult, due, main

NAME: Final = "two bare processes"


def producer(part: ProcessContext) -> int:
    """Send SENT_NS for each tick that is due, all that are due together."""
    with part.connect() as sock:
        part.start()
        for ticks in due(pace := Pace(part.load)):
            sock.send(array("q", [monotonic_ns()]) * len(ticks))
    return pace.sent


def _consumer(part: ProcessContext) -> ConsumerResult:
    latencies_ns = array("q")
    with part.accept() as sock, select.epoll() as epoll:
        sock.setblocking(False)
        epoll.register(sock, select.EPOLLIN)
        part.start()
        while epoll.poll() and (data := sock.recv(65536)):
            now_ns = monotonic_ns()
            latencies_ns.extend(now_ns - sent_ns for sent_ns in array("q", data))
    return ConsumerResult(len(latencies_ns), latencies_ns, monotonic_ns())


def measure(load: Load) -> RivalResult:
    """One latency a tick, from before the send to after the recv."""
    return run_bare(load, producer, _consumer)


if __name__ == "__main__":
    main(NAME, measure)
