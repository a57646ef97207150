"""The gateway as a process: plain and numbered clients, tapes, pace, and clients that misbehave."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.clients import NOISE, NumberedClient, Peer, joined
from tests.helpers import wait_until
from tests.stack import PrivateStack

SYMBOLS = ["AAPL", "MSFT", "GOOG", "AMZN"]
PLAIN_TICK = re.compile(rb"(AAPL|MSFT|GOOG|AMZN),[0-9]+\.[0-9]{2}")


@contextmanager
def started_gateway(**keys: Any) -> Iterator[PrivateStack]:
    with PrivateStack({"": {"symbols": SYMBOLS}, "gateway": keys}) as stack:
        stack.start_by_hand("gateway")
        stack.wait_for_event("gateway", "started")
        yield stack


@pytest.fixture(scope="module")
def busy() -> Iterator[PrivateStack]:
    """A thousand ticks and a hundred sentiments a second."""
    with started_gateway(rate=1000.0, news_interval=0.01) as stack:
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
    form = PLAIN_TICK if port_of(busy) == busy.price_port else re.compile(rb"\d{1,3}")
    assert all(form.fullmatch(frame) for frame in plain_frames)


# --- tapes from files

TAPE = """\
Timestamp,Ticker,Close
2025-11-03 09:30,AAPL,172.53
2025-11-03 09:30,MSFT,325.2
2025-11-03 09:31,TSLA,250.00
2025-11-03 09:31,AAPL,0
2025-11-03 09:31,GOOG,0.123456789
2025-11-03 09:32,AMZN,9000000000
"""
FRAMES = [b"AAPL,172.53", b"MSFT,325.20", b"GOOG,0.12345679", b"AMZN,9000000000.00"]


def test_a_tape_from_a_file_is_played_once_in_its_order_and_the_gateway_stays_up(
    tmp_path: Path,
) -> None:
    tape = tmp_path / "tape.csv"
    tape.write_text(TAPE)
    with started_gateway(source="file", path=str(tape), rate=500.0) as stack:
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
        # What is odd in the file is logged, once.
        warnings = [event["reason"] for event in stack.events("gateway", "tape_warning")]
        assert len(warnings) == len(set(warnings)) > 0


# --- clients that are slow


def test_without_a_rate_a_client_that_takes_nothing_for_a_second_is_disconnected() -> None:
    with ExitStack() as clean_up:
        stack = clean_up.enter_context(started_gateway(rate=0.0))
        stuck = clean_up.enter_context(NumberedClient.connect(stack.price_port, 4096))
        healthy = clean_up.enter_context(joined(stack.price_port))
        stuck.hello(0)
        # More than fits in all buffers between the two: it cannot come before the other is gone.
        healthy.read_to(healthy.first + 1_000_000)
        event = stack.wait_for_end_of_client("gateway", stuck.name)
        assert event["reason"] == "took nothing for 1 s"


# --- clients that send what they should not


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
            wait_until(
                lambda n=name: n in str(busy.events("gateway", "protocol_error")), "it is counted"
            )
        healthy.read_to(now_at(port))
