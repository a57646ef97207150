"""The gateway as a process: plain and numbered clients, tapes, pace, and clients that misbehave."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.clients import NOISE, NumberedClient, Peer, joined
from tests.helpers import DEADLINE_S, wait_until
from tests.stack import PrivateStack

SYMBOLS = ["AAPL", "MSFT", "GOOG", "AMZN"]
PLAIN_TICK = re.compile(rb"(AAPL|MSFT|GOOG|AMZN),[0-9]+\.[0-9]{2}")


def gateway_stack(**keys: Any) -> PrivateStack:
    return PrivateStack({"": {"symbols": SYMBOLS}, "gateway": keys})


@contextmanager
def started_gateway(**keys: Any) -> Iterator[PrivateStack]:
    with gateway_stack(**keys) as stack:
        stack.start_by_hand("gateway")
        stack.wait_for_event("gateway", "started")
        yield stack


@pytest.fixture(scope="module")
def busy() -> Iterator[PrivateStack]:
    """A thousand ticks and a hundred sentiments a second."""
    with started_gateway(rate=1000.0, news_interval=0.01) as stack:
        yield stack


@pytest.fixture(scope="module")
def unpaced() -> Iterator[PrivateStack]:
    """As fast as the slowest numbered client."""
    with started_gateway(rate=0.0) as stack:
        yield stack


PortOf = Callable[[PrivateStack], int]
both_ports = pytest.mark.parametrize(
    "port_of", [lambda s: s.price_port, lambda s: s.news_port], ids=["prices", "news"]
)


def now_at(port: int) -> int:
    """A number that the stream has reached, as a fresh client learns it."""
    with joined(port) as client:
        client.read_to(client.first)
        return client.next - 1


# --- what clients get


def test_a_client_that_only_connects_gets_plain_ticks_and_nothing_else(busy: PrivateStack) -> None:
    with Peer.connect(busy.price_port) as plain:
        frames = plain.frames(400)
    assert all(PLAIN_TICK.fullmatch(frame) for frame in frames)
    assert {frame.split(b",")[0].decode() for frame in frames} == set(SYMBOLS)


@both_ports
def test_numbered_batches_have_no_gap_and_the_frames_that_plain_clients_get(
    busy: PrivateStack, port_of: PortOf
) -> None:
    with joined(port_of(busy)) as numbered, Peer.connect(port_of(busy)) as plain:
        plain_frames = plain.frames(60)
        latest = now_at(port_of(busy))
        numbered_frames = numbered.read_to(latest)
    assert numbered.next == numbered.first + len(numbered_frames)
    assert b"*%b*" % b"*".join(plain_frames) in b"*%b*" % b"*".join(numbered_frames)


def test_no_tick_leaves_before_the_time_that_the_log_says_it_is_due(busy: PrivateStack) -> None:
    [started] = [e for e in busy.events("gateway", "schedule_started") if e["stream"] == "price"]
    with joined(busy.price_port, 2**62) as client:
        batches = [client.batch() for _ in range(50)]
    period_ns = 1e9 / started["rate"]
    late_ns = [
        batch.sent_ns - (started["start_ns"] + period_ns * (sequence - started["first"] + 1))
        for batch in batches
        for sequence in range(batch.first, batch.first + len(batch.frames))
    ]
    assert min(late_ns) >= 0
    assert not busy.events("gateway", "schedule_shifted")
    # Were the schedule a tick off, the quickest of them would be a period late.
    assert min(late_ns) < period_ns / 2


def test_two_hundred_clients_of_each_port_get_the_same() -> None:
    with ExitStack() as clean_up:
        stack = clean_up.enter_context(started_gateway(rate=50.0, news_interval=0.02))
        ports = stack.price_port, stack.news_port
        witnesses = [clean_up.enter_context(joined(port)) for port in ports]
        plain = [[clean_up.enter_context(Peer.connect(p)) for _ in range(100)] for p in ports]
        numbered = [[clean_up.enter_context(joined(p)) for _ in range(100)] for p in ports]
        for witness, plain_ones, numbered_ones in zip(witnesses, plain, numbered, strict=True):
            last = numbered_ones[-1].first + 40
            frames = witness.read_to(last)[: last + 1 - witness.first]
            for client in numbered_ones:
                own_span = slice(last + 1 - client.first)
                assert client.read_to(last)[own_span] == frames[client.first - witness.first :]
            for peer in plain_ones:
                assert b"*%b*" % b"*".join(peer.frames(40)) in b"*%b*" % b"*".join(frames)
        assert stack.events("gateway", "client_disconnected") == []


# --- tapes from files

TAPE = """\
Timestamp,Ticker,Close
2025-11-03 09:30,AAPL,172.53
2025-11-03 09:30,MSFT,325.2
2025-11-03 09:31,TSLA,250.00
2025-11-03 09:31,AAPL,0
2025-11-03 09:31,GOOG,0.123456789
2025-11-03 09:32,AAPL,nan
2025-11-03 09:32,AMZN,9000000000
"""
FRAMES = [b"AAPL,172.53", b"MSFT,325.20", b"GOOG,0.12345679", b"AMZN,9000000000.00"]


def test_a_tape_from_a_file_is_played_once_in_its_order_and_the_gateway_stays_up(
    tmp_path: Path,
) -> None:
    tape = tmp_path / "tape.csv"
    tape.write_text(TAPE)
    with started_gateway(source="csv", csv_path=str(tape), rate=500.0) as stack:
        ended = stack.wait_for_event("gateway", "tape_ended")
        assert ended["ticks"] == len(FRAMES)
        with joined(stack.price_port, 1) as client:
            assert client.read_to(len(FRAMES)) == FRAMES
            # After the end come heartbeats, at least one a second, and no tick again.
            beats = [client.batch() for _ in range(3)]
            assert [(beat.first, beat.frames) for beat in beats] == [(len(FRAMES) + 1, [])] * 3
            # A process that is held up may be late once, but it has no period of over a second.
            assert 0 < min(np.diff([beat.sent_ns for beat in beats])) <= 10**9
        with joined(stack.news_port) as client:
            client.read_to(client.first + 1)  # the news go on
        assert len(stack.events("gateway", "tape_ended")) == 1
        # Rows that cannot be played are logged by their line.
        assert [e["line"] for e in stack.events("gateway", "row_skipped")] == [5, 7]
        assert [e["count"] for e in stack.events("gateway", "rows_skipped")] == [2]
        [skipped] = stack.events("gateway", "symbols_skipped")
        assert skipped["rows_by_symbol"] == {"TSLA": 1}


def test_an_unusable_tape_ends_the_gateway_with_one_line_that_names_it(tmp_path: Path) -> None:
    tape = tmp_path / "noise.csv"
    tape.write_bytes(random.Random(3).randbytes(5000))
    with gateway_stack(source="csv", csv_path=str(tape)) as stack:
        assert stack.start_by_hand("gateway").wait(DEADLINE_S) == 1
        (line,) = stack.events("gateway")
        assert line["event"] == "cannot_start"
        assert str(tape) in line["reason"]


# --- clients that are slow


def test_without_a_rate_a_client_that_takes_nothing_for_a_second_is_disconnected(
    unpaced: PrivateStack,
) -> None:
    with (
        NumberedClient.connect(unpaced.price_port, receive_buffer=4096) as stuck,
        joined(unpaced.price_port) as healthy,
    ):
        stuck.hello(0)
        # More than fits in all buffers between the two: it cannot come before the other is gone.
        healthy.read_to(healthy.first + 1_000_000)
        event = unpaced.wait_for_end_of_client("gateway", stuck.name)
        assert event["reason"] == "took nothing for 1 s"


# --- clients that send what they should not


def protocol_errors(stack: PrivateStack, peer: str) -> list[dict[str, Any]]:
    """Those of one client that the gateway has counted."""
    lines = stack.events("gateway", "protocol_error")
    return [example for line in lines for example in line["examples"] if example["peer"] == peer]


@both_ports
def test_a_client_that_sends_anything_but_one_hello_is_disconnected_alone(
    busy: PrivateStack, port_of: PortOf
) -> None:
    port = port_of(busy)
    with joined(port) as healthy:
        for data in (*NOISE.values(), b"HELLO,1,0*HELLO,1,0*"):
            with Peer.connect(port) as bad:
                name = bad.name
                bad.send_until_disconnected(data)
                bad.frames_until_the_end()
            event = busy.wait_for_end_of_client("gateway", name)
            assert "protocol error" in event["reason"], data[:50]
            logged = [e["event"] for e in busy.client_events("gateway", name)]
            assert logged == ["client_connected", "client_disconnected"]
            wait_until(lambda n=name: protocol_errors(busy, n), "it is counted")
        healthy.read_to(now_at(port))
