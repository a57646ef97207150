"""Two hops: producer → TCP → relay (epoll, recv, store, wake) → consumer (epoll, load, clock)."""

import os
import select
from array import array
from time import monotonic_ns
from typing import Final

from bench.rivals.floor import map_words, open_fifo, run_bare
from bench.rivals.floor.two_processes import producer
from bench.rivals.load import Load
from bench.rivals.rival import ConsumerResult, ProcessContext, RivalResult, main

NAME: Final = "three bare processes"


def _relay(part: ProcessContext) -> None:
    words, fifo, stored = map_words(part.link.directory), open_fifo(part.link.directory), 0
    sock = part.link.receiver
    sock.setblocking(False)
    with select.epoll() as epoll:
        epoll.register(sock, select.EPOLLIN)
        part.start()
        while epoll.poll() and (data := sock.recv(65536)):
            words[stored : stored + len(data) // 8] = array("q", data)
            os.write(fifo, b"\0")
            stored += len(data) // 8


def _consumer(part: ProcessContext) -> ConsumerResult:
    words, fifo = map_words(part.link.directory), open_fifo(part.link.directory)
    latencies_ns = array("q")
    with select.epoll() as epoll:
        epoll.register(fifo, select.EPOLLIN)
        part.start()
        while len(latencies_ns) < part.load.messages and epoll.poll():
            os.read(fifo, 4096)
            while sent_ns := words[len(latencies_ns)]:
                latencies_ns.append(monotonic_ns() - sent_ns)
    return ConsumerResult(part.load.messages, len(latencies_ns), latencies_ns, monotonic_ns())


def measure(load: Load) -> RivalResult:
    """One latency a tick, from before the send to after the load."""
    return run_bare(load, producer, _relay, _consumer)


if __name__ == "__main__":
    main(NAME, measure)
