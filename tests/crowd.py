"""Plain clients that connect, and again whenever they are disconnected, as fast as they can.

    python -m tests.crowd COUNT PORT...     COUNT of them for each port, until standard input ends

They read nothing: what they are sent waits in the kernel, so that they cost their server what they
cost, and the machine little more. For `LONGEST_S` and `MAX_CONNECTIONS` at most.
"""

from __future__ import annotations

import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.clients import HOST
from tests.helpers import DEADLINE_S, PROJECT_ROOT

LONGEST_S = 2 * DEADLINE_S
MAX_CONNECTIONS = 1_000_000


@contextmanager
def crowd(count: int, *ports: int) -> Iterator[None]:
    """Let so many come to each port for the time of the block."""
    command = [sys.executable, "-m", "tests.crowd", *map(str, (count, *ports))]
    with subprocess.Popen(command, cwd=PROJECT_ROOT, stdin=subprocess.PIPE) as process:
        yield
        assert process.poll() is None, "the crowd has ended by itself"
        assert process.stdin
        process.stdin.close()
        assert process.wait(DEADLINE_S) == 0


def main(count: int, ports: list[int]) -> None:
    epoll = select.epoll()
    epoll.register(sys.stdin, select.EPOLLIN)
    clients: dict[int, tuple[socket.socket, int]] = {}
    connections = 0
    end_s = time.monotonic() + LONGEST_S

    def connect(port: int) -> None:
        sock = socket.socket()
        sock.setblocking(False)
        sock.connect_ex((HOST, port))
        epoll.register(sock, select.EPOLLRDHUP)
        clients[sock.fileno()] = sock, port

    for port in ports:
        for _ in range(count):
            connect(port)
    while time.monotonic() < end_s and connections < MAX_CONNECTIONS:
        for fd, _ in epoll.poll(1.0):
            if fd == sys.stdin.fileno():
                return
            sock, port = clients.pop(fd)
            sock.close()
            connect(port)
            connections += 1


if __name__ == "__main__":
    main(int(sys.argv[1]), list(map(int, sys.argv[2:])))
