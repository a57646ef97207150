"""One pass of the gateway: whose turn comes in it."""

from __future__ import annotations

import socket
from pathlib import Path

import msgspec

from daemons.gateway import Gateway
from lib.net.event_loop import EventLoop
from lib.settings import Settings
from lib.stack.private_stack import free_ports
from lib.streams.server import StreamServer
from lib.streams.subscriber import MAX_BATCH_FRAMES
from tests.helpers import wait_until


def cursor(server: StreamServer) -> int | None:
    """Return the number of the next frame for the server's only client."""
    return next((client.next_sequence for client in server._connections), None)


def test_a_lagging_client_of_either_stream_has_its_turn_in_a_pass(tmp_path: Path) -> None:
    replace = msgspec.structs.replace
    price_port, news_port = free_ports(2)
    slow = replace(
        Settings().gateway, price_port=price_port, news_port=news_port, rate=1e-3, news_interval=1e3
    )
    loop = EventLoop()
    gateway = Gateway(replace(Settings(), var_dir=tmp_path, gateway=slow), loop)
    loop._longest_sleep_ns = 0  # a pass comes back at once

    def is_at(server: StreamServer, sequence: int) -> bool:
        gateway.step()
        return cursor(server) == sequence

    for port, server in ((price_port, gateway._prices), (news_port, gateway._news)):
        with socket.create_connection(("127.0.0.1", port)):
            first = server.publication.stream.next_sequence
            wait_until(lambda s=server, f=first: is_at(s, f), "the client is accepted")
            server.publish(3 * MAX_BATCH_FRAMES)
            end = first + 3 * MAX_BATCH_FRAMES
            wait_until(lambda s=server, e=end: is_at(s, e), "the client has every frame")
            assert server.publication.stream.next_sequence == end
    gateway.close()
